"""Headless Chromium for tests of pages, without the network."""

import contextlib
import shutil

import pytest

PHONE, SCREEN = (390, 844), (1280, 900)
FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"),
    *("disable-background-networking", "hide-scrollbars"),
)


def require_browser():
    """Skips the test if Selenium, Chromium or its driver is not installed."""
    pytest.importorskip("selenium", reason="requirements-dev.txt is not installed")
    programs = [shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")]
    if None in programs:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    return programs


@contextlib.contextmanager
def open_browser():
    program, driver = require_browser()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def open_page(browser, path, size=SCREEN, is_dark=False):
    """Opens a file in a window of a size, and empties the console."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get("about:blank")  # Otherwise, an address that differs in its end only does not load the page again.
    browser.get_log("browser")
    browser.get(f"file://{path}")


def read_errors(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
