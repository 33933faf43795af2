"""The pages in headless Chromium: sorting, filtering, drawing, keys, the console, and the width of a phone."""

import chromium
import pytest
import report_samples
from report_samples import make_card, make_image, mark

from tpuseg.report import content, page, thumbnails

PHONE, SCREEN = chromium.PHONE, chromium.SCREEN
ODD = "<img src=x onerror=document.title='changed'>\"'&</script>"


@pytest.fixture(scope="module")
def browser():
    with chromium.open_browser() as browser:
        yield browser


def make_cards(folder):
    """Returns three images: two errors and quality 0.2, no errors and 1.0, one error and 0.6."""
    image = thumbnails.write_thumbnail(make_image(0), folder, "x")
    small, large = (10, 10, 30, 30), (40, 40, 200, 240)
    missed = mark("truth", 0, small, error="missed")
    pair = [mark("truth", 1, large, partner=1), mark("prediction", 1, large, 0.9, partner=0)]
    background = mark("prediction", 2, (100, 250, 150, 310), 0.5, "background")
    cards = []
    images = [
        ("b.jpg", [*pair, missed, background], 0.2),
        ("a.jpg", pair, 1.0),
        ("c <10>.jpg", [background, mark("truth", 0, small)], 0.6),
    ]
    for number, (name, marks, score) in enumerate(images):
        card = make_card(number, marks, image, name)
        cards.append(content.Card(card.image_id, name, card.size, image, score, marks, {}, card.errors, card.labels))
    return cards


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    """The path of the page of three images."""
    folder = str(tmp_path_factory.mktemp("report"))
    labels = [
        content.LabelToCheck("2", "c <10>.jpg", "17", "no prediction", 0.9, "No prediction is near.", (10, 10, 30, 30)),
        content.LabelToCheck("0", "b.jpg", "", "missing label", 0.5, "A confident prediction has no label.", (100, 250, 150, 310)),
        content.LabelToCheck("gone", "gone.jpg", "3", "missing label", 0.4, "The image has no card.", None),
    ]
    sections = report_samples.make_sections()
    advice, cards = report_samples.ADVICE, make_cards(folder)
    shown = content.Report("R", "instances", report_samples.NAMES, [("AP", "0.3")], advice, sections, cards, labels)
    return page.write(shown, folder)


@pytest.fixture(params=["report", "semantic", "comparison"])
def any_page(request, browser, tmp_path):
    folder = str(tmp_path)
    if request.param == "comparison":
        return page.write_comparison(report_samples.make_comparison(folder, 3), folder)
    make = report_samples.make_semantic if request.param == "semantic" else report_samples.make_instances
    return page.write(make(folder, 3), folder)


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def wait(browser, script, expected):
    """Waits until a script returns a value; returns the last one, for the message of an assertion."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.wait import WebDriverWait

    try:
        WebDriverWait(browser, 20, 0.05).until(lambda _: browser.execute_script(f"return {script}") == expected)
    except TimeoutException:
        pass
    return browser.execute_script(f"return {script}")


def check(browser, script, expected):
    assert wait(browser, script, expected) == expected


def names(browser):
    return [element.text for element in find(browser, "#tab-images .card .name")]


def choose(browser, name, value):
    """Sets a control of the images as a user does."""
    script = "const c = document.querySelector('#tab-images form').elements[arguments[0]]; c.value = arguments[1];"
    browser.execute_script(script + "c.dispatchEvent(new Event('input', {bubbles: true}))", name, value)


def press(browser, *keys):
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def outlines(selector):
    return f"document.querySelectorAll('{selector} .outline').length"


def click(browser, selector):
    find(browser, selector)[0].click()


def test_images_are_sorted(browser, report):
    chromium.open_page(browser, f"{report}#images")
    orders = {
        "worst": ["b.jpg", "c <10>.jpg", "a.jpg"],
        "best": ["a.jpg", "c <10>.jpg", "b.jpg"],
        "errors": ["b.jpg", "c <10>.jpg", "a.jpg"],
        "objects": ["b.jpg", "c <10>.jpg", "a.jpg"],
        "name": ["a.jpg", "b.jpg", "c <10>.jpg"],
    }
    assert names(browser) == orders["worst"]
    for order, expected in orders.items():
        choose(browser, "sort", order)
        assert names(browser) == expected, order
    assert chromium.read_errors(browser) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"error": "any"}, ["b.jpg", "c <10>.jpg"]),
        ({"error": "missed"}, ["b.jpg"]),
        ({"error": "background"}, ["b.jpg", "c <10>.jpg"]),
        ({"label": "1"}, ["b.jpg", "a.jpg"]),
        ({"label": "0"}, ["b.jpg", "c <10>.jpg"]),
        ({"label": "0", "error": "any"}, ["b.jpg"]),  # Both conditions are for the same object.
        ({"size": "0"}, ["b.jpg", "c <10>.jpg"]),
        ({"size": "2"}, ["b.jpg", "a.jpg"]),
        ({"size": "2", "error": "background"}, []),
        ({"threshold": "0.5"}, ["b.jpg", "c <10>.jpg", "a.jpg"]),
        ({"threshold": "0.51"}, ["b.jpg", "a.jpg"]),
        ({"threshold": "0.5", "error": "background"}, ["b.jpg", "c <10>.jpg"]),
        ({"threshold": "0.5", "error": "missed"}, []),
        ({"name": "C <1"}, ["c <10>.jpg"]),
    ],
)
def test_images_are_filtered(browser, report, filters, expected):
    chromium.open_page(browser, f"{report}#images")
    for name, value in filters.items():
        choose(browser, name, value)
    assert names(browser) == expected
    said = find(browser, "#tab-images .count")[0].text
    assert said.startswith(f"{len(expected)} of 3 images" if expected else "None of 3 images meets all filters")
    click(browser, "#tab-images [type=reset]")
    check(browser, "document.querySelectorAll('#tab-images .card').length", 3)


def test_what_is_drawn(browser, report):
    chromium.open_page(browser, f"{report}#images")
    first = '[data-card="0"]'
    check(browser, outlines(first), 4)
    assert [tag.text for tag in find(browser, f"{first} .tag")] == ["missed", "background"]
    assert len(find(browser, f"{first} .outline.truth")) == 2
    click(browser, "#tab-images .toggles [name=truth]")
    check(browser, outlines(first), 2)
    click(browser, "#tab-images .toggles [name=truth]")
    click(browser, "#tab-images .toggles [name=onlyErrors]")
    check(browser, outlines(first), 2)
    click(browser, "#tab-images .toggles [name=onlyErrors]")
    choose(browser, "threshold", "0.6")
    check(browser, outlines(first), 3)
    # The matched box, in pixels of the image.
    d = find(browser, f"{first} .outline[data-error=missed]")[0].get_attribute("d")
    assert d.startswith("M30 20L")
    assert chromium.read_errors(browser) == []


def test_layers_of_class_maps(browser, tmp_path):
    path = page.write(report_samples.make_semantic(str(tmp_path), 2), str(tmp_path))
    chromium.open_page(browser, f"{path}#images")

    def layers(which):
        return f"document.querySelectorAll('#tab-images .layer-{which}').length"

    check(browser, layers("errors"), 2)
    for name in ("truth", "prediction"):
        check(browser, layers(name), 0)
        click(browser, f"#tab-images .toggles [name={name}]")
        check(browser, layers(name), 2)
    click(browser, "#tab-images .toggles [name=errors]")
    check(browser, layers("errors"), 0)
    click(browser, "#tab-images .picture")
    check(browser, "document.querySelectorAll('.stage .layer-truth').length", 1)
    assert not find(browser, "#viewer [data-do=nextError]")
    choose(browser, "threshold", "0.5")
    check(browser, "document.querySelectorAll('#tab-images .card').length", 0)
    assert chromium.read_errors(browser) == []


def test_the_keys_of_the_large_view(browser, report):
    from selenium.webdriver.common.keys import Keys

    chromium.open_page(browser, f"{report}#images")
    find(browser, "#tab-images .picture")[0].send_keys(Keys.ENTER)
    check(browser, outlines(".stage"), 4)
    whole = browser.execute_script("return document.querySelector('.stage svg').getAttribute('viewBox')")
    assert whole == "0 0 320 240"
    press(browser, "n")
    check(browser, "document.querySelector('.said').textContent.startsWith('Error 1 of 2, missed: ground truth person')", True)
    # The box has 20 pixels; the view has 2.2 times its size, at least 48.
    check(browser, "document.querySelector('.stage svg').getAttribute('viewBox')", "-4 -4 48 48")
    assert len(find(browser, ".stage .chosen.outline")) == 1
    press(browser, "n")
    check(browser, "document.querySelector('.said').textContent.startsWith('Error 2 of 2, background')", True)
    press(browser, "n")
    check(browser, "document.querySelector('.said').textContent.startsWith('Error 1 of 2')", True)
    press(browser, "p")
    check(browser, "document.querySelector('.said').textContent.startsWith('Error 2 of 2')", True)
    press(browser, "0")
    check(browser, "document.querySelector('.stage svg').getAttribute('viewBox')", whole)
    press(browser, "+")
    assert browser.execute_script("return document.querySelector('.stage svg').viewBox.baseVal.width") == pytest.approx(320 / 1.5)
    press(browser, "-")
    assert browser.execute_script("return document.querySelector('.stage svg').viewBox.baseVal.width") == pytest.approx(320)
    press(browser, "1")  # Hides the ground truth; the chosen prediction stays.
    check(browser, outlines(".stage"), 2)
    press(browser, "1", Keys.ARROW_RIGHT)
    check(browser, "document.querySelector('#viewer .name').textContent", "c <10>.jpg")
    assert find(browser, "#viewer .place")[0].text == "2 of 3"
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    check(browser, "document.querySelector('#viewer .name').textContent", "a.jpg")
    check(browser, "document.querySelector('[data-do=nextError]').disabled", True)
    press(browser, "n", Keys.ARROW_LEFT)
    check(browser, "document.querySelector('#viewer .name').textContent", "c <10>.jpg")
    press(browser, Keys.ESCAPE)
    check(browser, "document.querySelector('#viewer').open", False)
    assert chromium.read_errors(browser) == []


def test_the_list_of_objects(browser, report):
    chromium.open_page(browser, f"{report}#image/0")
    check(browser, "document.querySelectorAll('.marks button').length", 4)
    texts = [element.text for element in find(browser, ".marks button")]
    errors = ["missed: ground truth person", "background: prediction traffic light 0.50"]
    assert texts == [*errors, "ground truth bicycle", "prediction bicycle 0.90"]
    find(browser, ".marks button")[3].click()
    check(browser, "document.querySelector('.said').textContent", "prediction bicycle 0.90; matched with ground truth bicycle.")
    assert find(browser, ".marks button")[3].get_attribute("aria-pressed") == "true"


def test_labels_to_check(browser, report):
    chromium.open_page(browser, f"{report}#labels")
    rows = [element.text for element in find(browser, ".suspects li")]
    assert [row.split(" · ")[0] for row in rows] == ["1. no prediction", "2. missing label", "3. missing label"]
    assert "annotation 17" in rows[0] and "annotation" not in rows[1]
    assert len(find(browser, ".suspects a")) == 2  # The third has no card.
    find(browser, ".suspects a")[1].click()
    check(browser, "document.querySelector('.said').textContent", "missing label: A confident prediction has no label.")
    check(browser, "document.querySelector('.stage .extra').getAttribute('d')", "M250 100H310V150H250Z")
    click(browser, "#viewer [data-do=close]")
    check(browser, "location.hash", "#labels")
    script = "const s = document.querySelector('#tab-labels select'); s.value = 'missing label';"
    browser.execute_script(script + "s.dispatchEvent(new Event('input', {bubbles: true}))")
    assert len(find(browser, ".suspects li")) == 2 and find(browser, "#tab-labels .count")[0].text == "2 of 3 labels"
    assert chromium.read_errors(browser) == []


def test_tables_are_sorted(browser, report):
    chromium.open_page(browser, report)
    check(browser, "document.querySelectorAll('#part-classes tbody tr').length", 4)

    def column(number):
        return [row.find_elements("css selector", "td")[number].text for row in find(browser, "#part-classes tbody tr")]

    heads = find(browser, "#part-classes thead button")
    heads[1].click()
    assert column(1) == ["0.533", "0.412", "0.287", "0.101"]
    heads[1].click()
    assert column(1) == ["0.101", "0.287", "0.412", "0.533"]
    heads[3].click()
    assert column(3) == ["0.6", "0.55", "0.45", "–"]  # Without a value: last in both directions.
    heads[3].click()
    assert column(3) == ["0.45", "0.55", "0.6", "–"]
    heads[0].click()
    assert column(0) == ["bicycle", "dog", "person", "traffic light"]
    assert find(browser, "#part-classes th")[0].get_attribute("aria-sort") == "ascending"


def test_charts_show_values_by_keys(browser, report):
    from selenium.webdriver.common.keys import Keys

    chromium.open_page(browser, report)
    browser.execute_script("document.querySelector('#part-sizes').scrollIntoView()")
    check(browser, "document.querySelectorAll('#part-sizes .bar-of-series').length", 6)
    browser.execute_script("document.querySelector('#part-sizes svg').focus()")
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    check(browser, "document.querySelector('#tip').textContent", "medium\nAP: 0.31\nAP50: 0.5")
    press(browser, Keys.ARROW_LEFT)
    check(browser, "document.querySelector('#tip').textContent", "small\nAP: 0.12\nAP50: 0.3")
    find(browser, "#part-sizes .series button")[0].click()
    check(browser, "document.querySelectorAll('#part-sizes .bar-of-series').length", 3)
    check(browser, "document.querySelector('#tip').hidden", True)


def test_bars_have_the_heights_of_their_values(browser, report):
    chromium.open_page(browser, report)
    browser.execute_script("document.querySelector('#part-sizes').scrollIntoView()")
    check(browser, "document.querySelectorAll('#part-sizes .bar-of-series').length", 6)
    heights = [float(bar.get_attribute("height")) for bar in find(browser, "#part-sizes .bar-of-series")]
    assert [height / heights[-1] * 0.7 for height in heights] == pytest.approx([0.12, 0.31, 0.47, 0.3, 0.5, 0.7], abs=0.002)


def test_lines_have_gaps_and_a_logarithmic_axis(browser, report):
    chromium.open_page(browser, report)
    browser.execute_script("document.querySelector('#part-loss').scrollIntoView()")
    check(browser, "document.querySelectorAll('#part-loss path').length", 2)
    d = find(browser, "#part-loss path")[1].get_attribute("d")
    assert d.count("M") == 2 and d.count("L") == 2
    x = [float(point.split(" ")[0]) for point in d.replace("L", "M").split("M")[1:]]
    # From 500 to 1500 is a factor of 3, and from 3500 to 4500 one of 9 / 7.
    assert (x[1] - x[0]) / (x[3] - x[2]) == pytest.approx(1.0986 / 0.2513, rel=0.02)


def test_a_matrix_is_read_by_keys(browser, report):
    from selenium.webdriver.common.keys import Keys

    chromium.open_page(browser, report)
    browser.execute_script("document.querySelector('#part-confusion').scrollIntoView()")
    check(browser, "document.querySelectorAll('#part-confusion tbody tr').length", 5)
    browser.execute_script("document.querySelector('#part-confusion td[tabindex=\"0\"]').focus()")
    press(browser, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    check(browser, "document.querySelector('#tip').textContent", "ground truth: person\nprediction: bicycle\n1\n1.6 % of the row")


def test_themes(browser, report):
    def background():
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    chromium.open_page(browser, report)
    light = background()
    chromium.open_page(browser, report, is_dark=True)
    dark = background()
    assert light != dark and find(browser, "#theme")[0].get_attribute("aria-pressed") == "true"
    click(browser, "#theme")
    assert background() == light and find(browser, "#theme")[0].get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("size", [PHONE, SCREEN])
def test_nothing_is_wider_than_the_window(browser, any_page, size):
    chromium.open_page(browser, any_page, size)
    tabs = browser.execute_script("return [...document.querySelectorAll('[data-tab]')].map(tab => tab.dataset.tab)")
    assert len(tabs) == 3
    for tab in tabs:
        click(browser, f"header a[href='#{tab}']")
        check(browser, f"document.querySelector('#tab-{tab}').hidden", False)
        assert [link.get_attribute("href").split("#")[1] for link in find(browser, "header [aria-current]")] == [tab]
        bottom = "scrollTo(0, document.documentElement.scrollHeight);"
        widths = browser.execute_script(f"{bottom} return [document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1] == size[0], tab
        pictures = [picture for picture in find(browser, ".picture") if picture.is_displayed()]
        if pictures:
            pictures[0].click()
            check(browser, "document.querySelector('#viewer').open", True)
            parts = "[...document.querySelectorAll('#viewer button, #viewer .bar')]"
            check(browser, f"{parts}.every(part => part.getBoundingClientRect().right <= innerWidth)", True)
            click(browser, "#viewer [data-do=close]")
    assert chromium.read_errors(browser) == []


def test_long_names_are_not_wider_than_a_phone(browser, tmp_path):
    name = "x" * 200
    image = thumbnails.write_thumbnail(make_image(0), str(tmp_path), "x")
    card = content.Card("0", name, (240, 320), image, 0.5, [mark("prediction", 0, (1, 1, 9, 9), 0.9, "background")], {}, {}, [0])
    table = content.Table("t", name, [name, "n"], [[name, 1]])
    bars = content.Chart("c", name, "bar", "x", "y", [content.Series(name, [0.0], [1.0])] * 2, [name])
    matrix = content.Matrix("m", name, [name], [name], [[1.0]], name, name)
    sections = [content.Section("s", name, [name], [table, bars, matrix])]
    label = content.LabelToCheck("0", name, name, name, 0.5, name, (1, 1, 5, 5))
    advice = [content.Advice(name, name)]
    path = page.write(content.Report(name, "instances", [name], [(name, name)], advice, sections, [card], [label]), str(tmp_path))
    for tab in ("overview", "images", "labels"):
        chromium.open_page(browser, f"{path}#{tab}", PHONE)
        check(browser, f"document.querySelector('#tab-{tab}').hidden", False)
        browser.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
        check(browser, "document.documentElement.scrollWidth <= innerWidth", True)
    check(browser, "document.querySelectorAll('.suspects svg').length", 1)


def test_names_are_texts(browser, tmp_path):
    image = thumbnails.write_thumbnail(make_image(0), str(tmp_path), "x")
    marks = [mark("prediction", 0, (20, 20, 60, 60), 0.9, "background")]
    card = content.Card(ODD, ODD, (240, 320), image, 0.5, marks, {}, {"background": 1}, [0])
    chart = content.Chart("c", ODD, "bar", ODD, ODD, [content.Series(ODD, [0.0], [1.0])] * 2, [ODD])
    matrix = content.Matrix("m", ODD, [ODD], [ODD], [[1.0]], ODD, ODD)
    sections = [content.Section("s", ODD, [ODD], [chart, matrix, content.Table("t", ODD, [ODD], [[ODD]])])]
    label = content.LabelToCheck(ODD, ODD, ODD, ODD, 0.5, ODD, (1, 1, 5, 5))
    advice = [content.Advice(ODD, ODD)]
    path = page.write(content.Report("R", "instances", [ODD], [(ODD, ODD)], advice, sections, [card], [label]), str(tmp_path))
    for tab in ("overview", "images", "labels", "label/0"):
        chromium.open_page(browser, f"{path}#{tab}")
        check(browser, "document.title", "R")
        assert not find(browser, "img")
        assert chromium.read_errors(browser) == []
    check(browser, "document.querySelector('#viewer .name').textContent", ODD)
    check(browser, outlines(".stage"), 2)
    chromium.open_page(browser, f"{path}#images")
    click(browser, "#tab-images .card a")
    check(browser, "document.querySelector('#viewer .name').textContent", ODD)


def test_many_images_are_added_while_scrolling(browser, tmp_path):
    cards = [make_card(number, [mark("truth", 0, (1, 1, 9, 9))], "images/none.jpg") for number in range(300)]
    path = page.write(content.Report("R", "instances", ["a"], [], [], [], cards, []), str(tmp_path))
    chromium.open_page(browser, f"{path}#images")
    check(browser, "document.querySelectorAll('[data-card=\"0\"] .outline').length", 1)
    assert len(find(browser, ".card")) < 200
    assert len(find(browser, "script[src*=marks]")) < 6
    for _ in range(20):
        browser.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
        wait(browser, "innerHeight + scrollY < document.documentElement.scrollHeight - 300", True)
        if find(browser, "[data-card='299']"):
            break
    browser.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    check(browser, "document.querySelectorAll('[data-card=\"299\"] .outline').length", 1)
    check(browser, "document.querySelectorAll('[data-card=\"0\"] .outline').length", 0)  # It is no longer visible.


def test_a_comparison(browser, tmp_path):
    path = page.write_comparison(report_samples.make_comparison(str(tmp_path), 3), str(tmp_path))
    chromium.open_page(browser, path)
    rows = [" ".join(row.text.split()) for row in find(browser, "#metrics tbody tr")]
    assert rows[1] == "runs/large 0.341 0.318 to 0.362 +0.029 (0.011 to 0.047), better"
    assert rows[3].endswith("not clear") and rows[5].endswith("worse")
    click(browser, "header a[href='#differences']")
    check(browser, "document.querySelectorAll('.pair').length", 3)
    find(browser, ".pair .picture")[1].click()
    check(browser, "document.querySelector('#viewer .name').textContent", "val_00000.jpg – runs/large")
    click(browser, "#viewer [data-do=close]")
    click(browser, "header a[href='#settings']")
    assert [cell.text for cell in find(browser, "#tab-settings td")][:3] == ["task.model.input_size", "[512, 512]", "[768, 768]"]
    assert chromium.read_errors(browser) == []


@pytest.mark.parametrize("missing", ["report.js", "marks-0000.js"])
def test_a_missing_file_is_named(browser, tmp_path, missing):
    card = make_card(0, [mark("truth", 0, (1, 1, 9, 9))], thumbnails.write_thumbnail(make_image(0), str(tmp_path), "x"))
    path = page.write(content.Report("R", "instances", ["a"], [], [], [], [card], []), str(tmp_path))
    (file,) = tmp_path.glob(f"data-*/{missing}")
    file.unlink()
    chromium.open_page(browser, f"{path}#images")
    check(browser, "document.querySelectorAll('[role=alert]').length", 1)
    assert f"{file.parent.name}/{missing} cannot be read" in find(browser, "[role=alert]")[0].text
