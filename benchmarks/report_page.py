"""Time to write the page of a report, and to open it in Chromium.

python benchmarks/report_page.py                       # 5,000 images with 100 objects each
python benchmarks/report_page.py --num_images=100 --rounds=1

The objects are random, half of them predictions, with outlines of `--num_points` points. Opening is measured until the
first outlines of the list of images are drawn; it needs Selenium and Chromium (`apt-get install chromium chromium-driver`).
"""

import os
import sys
import tempfile
import time

from absl import app, flags

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(_ROOT, "official"), os.path.join(_ROOT, "tests", "helpers")]

import chromium  # noqa: E402
import numpy as np  # noqa: E402

from tpuseg.report import content, page, thumbnails  # noqa: E402

_NUM_IMAGES = flags.DEFINE_integer("num_images", 5000, "Number of images.", lower_bound=1)
_NUM_OBJECTS = flags.DEFINE_integer("num_objects", 100, "Number of objects in each image.", lower_bound=1)
_NUM_POINTS = flags.DEFINE_integer("num_points", 24, "Number of points of an outline.", lower_bound=3)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the page is opened.", lower_bound=1)

_SIZE = (480, 640)
_NUM_CLASSES = 80
_SECONDS_AT_MOST = 60
_DRAWN = "return document.querySelectorAll('#tab-images .outline').length > 0"


def make_mark(random: np.random.Generator, num_points: int) -> content.Mark:
    """Returns a random object; its outline is an ellipse."""
    y, x = random.uniform(20, np.array(_SIZE) - 20)
    height, width = random.uniform(4, 40, 2)
    angles = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    outline = np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1).ravel().tolist()
    box = (float(y - height), float(x - width), float(y + height), float(x + width))
    label = int(random.integers(_NUM_CLASSES))
    if random.random() < 0.5:
        return content.Mark("truth", label, box, [outline], None, random.choice(["", "missed"]))
    return content.Mark("prediction", label, box, [outline], float(random.random()), random.choice(["", *content.ERRORS[:-1]]))


def make_report(folder: str, num_images: int, num_objects: int, num_points: int) -> content.Report:
    """Returns a report with random objects; all of its images are the same file."""
    random = np.random.default_rng(0)
    image = thumbnails.write_thumbnail(random.integers(0, 255, (*_SIZE, 3)).astype(np.uint8), folder, "noise")
    cards = []
    for number in range(num_images):
        marks = [make_mark(random, num_points) for _ in range(num_objects)]
        errors = {error: sum(mark.error == error for mark in marks) for error in content.ERRORS}
        labels = sorted({mark.label for mark in marks})
        score = float(random.random())
        cards.append(content.Card(f"{number}", f"{number:06d}.jpg", _SIZE, image, score, marks, {}, errors, labels))
    names = [f"class {number}" for number in range(_NUM_CLASSES)]
    return content.Report("Benchmark", "instances", names, [], [], [], cards, [])


def measure_opening(path: str, rounds: int) -> list[float]:
    """Returns the seconds until the first outlines are drawn, for each time the page is opened."""
    seconds = []
    with chromium.open_browser() as browser:
        for _ in range(rounds):
            browser.get("about:blank")
            start = time.perf_counter()
            browser.get(f"file://{path}#images")
            while not browser.execute_script(_DRAWN) and time.perf_counter() - start < _SECONDS_AT_MOST:
                time.sleep(0.01)
            seconds.append(time.perf_counter() - start)
    return seconds


def main(_: list[str]) -> None:
    """Writes the page into a temporary folder, opens it, and prints the times."""
    with tempfile.TemporaryDirectory() as folder:
        report = make_report(folder, _NUM_IMAGES.value, _NUM_OBJECTS.value, _NUM_POINTS.value)
        start = time.perf_counter()
        path = page.write(report, folder)
        print(f"written in {time.perf_counter() - start:.2f} s", flush=True)
        print("opened in", ", ".join(f"{seconds:.2f} s" for seconds in measure_opening(path, _ROUNDS.value)))


if __name__ == "__main__":
    app.run(main)
