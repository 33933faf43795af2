"""Time of plan.py beside that of the COCO converter, on the same generated images.

python benchmarks/plan_time.py                       # 5,000 images of 640x480 with 7 objects each
python benchmarks/plan_time.py --num_images=200 --rounds=1

The two programs run in turn, each with all its start-up, `--rounds` times; the table has the medians of wall-clock time and of
processor time (of the program and its worker processes). The converter reads one annotation file; the plan splits the same images,
looks for duplicates, and writes the experiment and the report as well.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

import noise_images  # noqa: E402
import numpy as np  # noqa: E402
import PIL.Image  # noqa: E402
import tqdm  # noqa: E402

_NUM_IMAGES = flags.DEFINE_integer("num_images", 5000, "Number of images.", lower_bound=10)
_NUM_OBJECTS = flags.DEFINE_integer("num_objects", 7, "Number of objects in each image.", lower_bound=1)
_SIZE = flags.DEFINE_list("size", ["480", "640"], "Height and width of the images.")
_ROUNDS = flags.DEFINE_integer("rounds", 2, "How often each program runs.", lower_bound=1)

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NUM_CLASSES = 5
# Number of images that are generated; the others are shifted copies of them, which have other pixels and take less time.
_NUM_GENERATED = 50


def write_data(folder: str, num_images: int, num_objects: int, size: tuple[int, int]) -> None:
    """Writes JPEG files, and a JSON file in COCO's format with polygons."""
    random = np.random.default_rng(0)
    os.makedirs(os.path.join(folder, "images"))
    generated = [noise_images.noise_photo(size, random)[0] for _ in range(min(_NUM_GENERATED, num_images))]
    images, annotations = [], []
    for number in tqdm.tqdm(range(num_images), "writing images"):
        name = f"{random.integers(1 << 40):011x}.jpg"  # Without running numbers, which would be frames of a video.
        pixels = np.roll(generated[number % len(generated)], random.integers(0, size, 2), axis=(0, 1))
        PIL.Image.fromarray(pixels).save(os.path.join(folder, "images", name), quality=90)
        images.append({"id": number + 1, "file_name": name, "height": size[0], "width": size[1]})
        for _ in range(num_objects):
            annotations.append({"id": len(annotations) + 1, "image_id": number + 1, **_annotation(size, random)})
    categories = [{"id": number + 1, "name": f"class {number + 1}"} for number in range(_NUM_CLASSES)]
    with open(os.path.join(folder, "annotations.json"), "w") as file:
        json.dump({"images": images, "annotations": annotations, "categories": categories}, file)


def _annotation(size: tuple[int, int], random: np.random.Generator) -> dict[str, object]:
    """Returns the entries of a random object."""
    corners = np.round(noise_images.blob_corners(size, random), 2)
    low, high = corners.min(0), corners.max(0)
    return {
        "category_id": int(random.integers(_NUM_CLASSES)) + 1,
        "segmentation": [corners.ravel().tolist()],
        "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
        "area": round(float(np.prod(high - low) * np.pi / 4), 2),
        "iscrowd": 0,
    }


def _run(command: list[str]) -> tuple[float, float]:
    """Runs a program; returns seconds of wall-clock time and of processor time."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(argv: list[str]) -> None:
    """Generates the images, runs both programs in turn and prints a table."""
    del argv
    height, width = (int(side) for side in _SIZE.value)
    times: dict[str, list[tuple[float, float]]] = {"converter": [], "plan": []}
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        write_data(data, _NUM_IMAGES.value, _NUM_OBJECTS.value, (height, width))
        for number in range(_ROUNDS.value):
            outputs = {name: os.path.join(folder, f"{name}{number}") for name in times}
            images, labels = os.path.join(data, "images"), os.path.join(data, "annotations.json")
            converter = ["data/coco_to_tfrecord.py", f"--images={images}", f"--annotations={labels}"]
            times["converter"].append(_run([*converter, f"--output={outputs['converter']}"]))
            times["plan"].append(_run(["official/plan.py", f"--data={data}", f"--output={outputs['plan']}"]))
            print(", ".join(f"{name} {rows[-1][0]:.1f} s" for name, rows in times.items()), flush=True)
    print(f"{_NUM_IMAGES.value} images of {width}x{height}, {_NUM_OBJECTS.value} objects each, medians of {_ROUNDS.value}")
    print(f"{'':<10} {'wall s':>8} {'processor s':>12}")
    wall, processor = ({name: statistics.median(row[i] for row in rows) for name, rows in times.items()} for i in (0, 1))
    for name in times:
        print(f"{name:<10} {wall[name]:8.1f} {processor[name]:12.1f}")
    print(f"{'ratio':<10} {wall['plan'] / wall['converter']:8.2f} {processor['plan'] / processor['converter']:12.2f}")


if __name__ == "__main__":
    app.run(main)
