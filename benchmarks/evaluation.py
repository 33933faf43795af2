"""Measures the time per image of COCO's metrics for boxes and masks, compared with the Model Garden's evaluator and pycocotools.

python benchmarks/evaluation.py                        # 100 generated images of 640x480, 100 detections each
python benchmarks/evaluation.py --num_pictures=5000

All three receive the same boxes, scores and 28x28 masks for the same generated objects, paste the masks at the size of the images,
encode them as run lengths, and compute the twelve metrics for boxes and for masks. Each runs in a separate process, so that its
peak memory can be measured. The time of generating detections and of reading the ground truth is not included; the ground truth is
read from the same file.

`pycocotools` draws each mask at full size like detectron2 (bilinear interpolation, half-pixel centres, threshold 0.5), encodes it
and runs COCOeval: its metrics must be equal to ours. The Model Garden pastes masks differently (OpenCV's resize into rounded
boxes), so its masks differ slightly; for this comparison, our evaluator scores the masks of the Model Garden. It assigns boxes to
small, medium and large by the areas of their masks instead of those of the boxes, so these six of the metrics of boxes are left
out of the comparison.

Times are wall-clock times and, because other programs may run, CPU times of all threads. The evaluators run in turn, and the
smallest times are reported. COCOeval needs a constant time for classes and area ranges, which is divided by the number of images:
with few images, the differences are smaller.
"""

import contextlib
import io
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

from tpuseg import cli  # noqa: E402

_NUM_PICTURES = flags.DEFINE_integer("num_pictures", 100, "Generated images.", lower_bound=1)
_NUM_DETECTIONS = flags.DEFINE_integer("num_detections", 100, "Detections per image.", lower_bound=1)
_NUM_OBJECTS = flags.DEFINE_integer("num_objects", 7, "Objects per image; COCO has 7.", lower_bound=1)
_HEIGHT = flags.DEFINE_integer("height", 480, "Height of an image.", lower_bound=32)
_WIDTH = flags.DEFINE_integer("width", 640, "Width of an image.", lower_bound=32)
_ROUNDS = flags.DEFINE_integer("rounds", 2, "Rounds of all evaluators; the smallest times are reported.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the generated images.", lower_bound=0)

_NUM_CLASSES = 80
# The ids of COCO's categories have gaps.
_CATEGORY_IDS = np.arange(1, _NUM_CLASSES + 1) + np.arange(_NUM_CLASSES) // 9


class Settings(NamedTuple):
    """Settings of the generated images; see the flags."""

    num_pictures: int
    num_detections: int
    num_objects: int
    size: tuple[int, int]
    seed: int


class Scene(NamedTuple):
    """A generated image.

    Attributes:
      object_boxes: [N, 4] boxes of the objects, yxyx in pixels.
      object_masks: [N, 28, 28] masks of the objects within their boxes.
      object_classes: [N] classes of the objects.
      boxes: [D, 4] float32 boxes of the detections, near the objects, in decreasing order of the scores.
      scores: [D] float32 scores of the detections.
      classes: [D] classes of the detections.
      masks: [D, 28, 28] float32 probabilities of the detections' masks.
    """

    object_boxes: np.ndarray
    object_masks: np.ndarray
    object_classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray


def generate(settings: Settings, number: int) -> Scene:
    """Generates the objects of an image, which are 16 to 300 pixels large, and detections near them."""
    random = np.random.default_rng([settings.seed, number])
    limits = np.tile(settings.size, 2)

    def blobs(count: int, noise: float) -> np.ndarray:
        y, x = np.meshgrid(*[(np.arange(28) + 0.5) / 14 - 1] * 2, indexing="ij")
        angle = np.arctan2(y, x)[np.newaxis] * random.integers(2, 6, (count, 1, 1)) + random.uniform(0, 6, (count, 1, 1))
        logits = 8 * (0.85 + 0.15 * np.sin(angle) - np.hypot(y, x)) + noise * random.normal(size=(count, 28, 28))
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    sides = np.exp(random.uniform(np.log(16), np.log(300), (settings.num_objects, 2)))
    centres = random.uniform(0.1, 0.9, sides.shape) * settings.size
    objects = np.clip(np.concatenate([centres - sides / 2, centres + sides / 2], 1), 0, limits)
    classes = random.integers(0, _NUM_CLASSES, settings.num_objects)
    near = random.integers(0, settings.num_objects, settings.num_detections)
    moved = objects[near] + random.normal(0, 0.12, (len(near), 4)) * np.tile(objects[near, 2:] - objects[near, :2], 2)
    moved = np.clip(moved, 0, limits)
    # The Model Garden's pasting fails for boxes without an area, which no model predicts.
    moved[:, 2:] = np.minimum(np.maximum(moved[:, 2:], moved[:, :2] + 2), limits[2:])
    moved[:, :2] = np.minimum(moved[:, :2], moved[:, 2:] - 2)
    return Scene(
        object_boxes=objects,
        object_masks=blobs(settings.num_objects, 0.0),
        object_classes=classes,
        boxes=moved.astype(np.float32),
        scores=np.sort(random.uniform(0.05, 1, len(near)))[::-1].astype(np.float32),
        classes=np.where(random.uniform(size=len(near)) < 0.6, classes[near], random.integers(0, _NUM_CLASSES, len(near))),
        masks=blobs(len(near), 0.3),
    )


def write_truth(settings: Settings, path: str) -> None:
    """Writes the generated objects as a COCO file."""
    from tpuseg.ops import masks

    annotations: list[dict[str, Any]] = []
    for number in range(settings.num_pictures):
        image = generate(settings, number)
        pasted = masks.paste(image.object_masks, image.object_boxes, settings.size)
        for box, category, runs, area in zip(image.object_boxes, image.object_classes, *pasted, strict=True):
            y0, x0, y1, x1 = box.tolist()
            row = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": int(_CATEGORY_IDS[category]), "iscrowd": 0}
            segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
            annotations.append({**row, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(area), "segmentation": segmentation})
    images = [{"id": n + 1, "height": settings.size[0], "width": settings.size[1]} for n in range(settings.num_pictures)]
    categories = [{"id": int(number), "name": f"class {number}"} for number in _CATEGORY_IDS]
    with open(path, "w") as file:
        json.dump({"images": images, "annotations": annotations, "categories": categories}, file)


def _empty_evaluator(path: str) -> Any:
    """Returns tpuseg's evaluator with the ground truth of a COCO file."""
    from tpuseg.data.examples import Category
    from tpuseg.evaluation import coco

    with open(path) as file:
        content = json.load(file)
    rows: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for row in content["annotations"]:
        row["segmentation"]["counts"] = row["segmentation"]["counts"].encode()
        rows[row["image_id"]].append(row)
    truths = [
        coco.ImageTruth(str(image["id"]), image["height"], image["width"], rows[image["id"]]) for image in content["images"]
    ]
    return coco.CocoEvaluator([Category(row["id"], row["name"]) for row in content["categories"]], truths)


def _numbers(metrics: dict[str, Any]) -> list[float]:
    return [-1.0 if value is None else value for kind in ("bbox", "segm") for value in metrics[kind].values()]


def ours(settings: Settings, path: str) -> Iterator[list[float]]:
    """Evaluates with tpuseg; yields before and after adding each image, and finally the 24 metrics."""
    evaluator = _empty_evaluator(path)
    for number in range(settings.num_pictures):
        image = generate(settings, number)
        yield []
        evaluator.add(number, image.boxes, image.scores, image.classes, image.masks)
        yield []
    yield []
    yield _numbers(evaluator.metrics())


def pycocotools(settings: Settings, path: str) -> Iterator[list[float]]:
    """Evaluates with pycocotools and a full-size image for every mask; yields like `ours`."""
    from pycocotools import coco, cocoeval
    from pycocotools import mask as coco_mask

    def weights(start: float, stop: float, num_pixels: int) -> np.ndarray:
        places = ((np.arange(num_pixels) + 0.5 - start) / (stop - start) * 28 - 0.5).astype(np.float32)
        return np.maximum(1 - np.abs(places[:, np.newaxis] - np.arange(28, dtype=np.float32)), 0)

    rows = []
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(path)
    for number in range(settings.num_pictures):
        image = generate(settings, number)
        yield []
        for box, score, category, mask in zip(image.boxes, image.scores, image.classes, image.masks, strict=True):
            y0, x0, y1, x1 = box.astype(np.float64).tolist()
            canvas = weights(y0, y1, settings.size[0]) @ mask @ weights(x0, x1, settings.size[1]).T >= 0.5
            row = {"image_id": number + 1, "category_id": int(_CATEGORY_IDS[category]), "score": float(score)}
            row["segmentation"] = coco_mask.encode(np.asfortranarray(canvas, np.uint8))
            rows.append({**row, "bbox": [x0, y0, x1 - x0, y1 - y0]})
        yield []
    yield []
    numbers: list[float] = []
    with contextlib.redirect_stdout(io.StringIO()):
        for kind, other in (("bbox", "segmentation"), ("segm", "bbox")):
            found = truth.loadRes([{key: value for key, value in row.items() if key != other} for row in rows])
            evaluation = cocoeval.COCOeval(truth, found, kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            numbers += evaluation.stats.tolist()
    yield numbers


def model_garden(settings: Settings, path: str) -> Iterator[list[float]]:
    """Evaluates with the Model Garden's evaluator; yields like `ours`, and then our metrics for its masks."""
    import tensorflow as tf
    from official.vision.evaluation import coco_evaluator, coco_utils

    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = coco_evaluator.COCOEvaluator(path, include_mask=True, need_rescale_bboxes=False)
    info = tf.constant([[settings.size, settings.size, [1, 1], [0, 0]]], tf.float32)
    for number in range(settings.num_pictures):
        image = generate(settings, number)
        yield []
        predictions = {
            "source_id": tf.constant([number + 1]),
            "image_info": info,
            "num_detections": tf.constant([settings.num_detections]),
            "detection_boxes": tf.constant(image.boxes[np.newaxis]),
            "detection_classes": tf.constant(_CATEGORY_IDS[image.classes][np.newaxis]),
            "detection_scores": tf.constant(image.scores[np.newaxis]),
            "detection_masks": tf.constant(image.masks[np.newaxis]),
        }
        evaluator.update_state({}, predictions)
        yield []
    pasted: list[dict[str, Any]] = []
    convert = coco_utils.convert_predictions_to_coco_annotations

    def keep(predictions: Any) -> Any:
        pasted.extend(convert(predictions))
        return pasted

    coco_utils.convert_predictions_to_coco_annotations = keep
    yield []
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = evaluator.evaluate()
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl")
    yield [float(metrics[prefix + name]) for prefix in ("", "mask_") for name in names]
    yield _ours_of(pasted, path)


def _ours_of(rows: list[dict[str, Any]], path: str) -> list[float]:
    """Returns our 24 metrics for masks that another evaluator pasted."""
    evaluator = _empty_evaluator(path)
    for row in rows:
        found = {key: row[key] for key in ("score", "segmentation")} | {"category_id": int(row["category_id"])}
        found |= {"bbox": [float(value) for value in row["bbox"]], "area": int(row["area"])}
        evaluator.detections.setdefault(int(row["image_id"]) - 1, []).append(found)
    return _numbers(evaluator.metrics())


class Result(NamedTuple):
    """Time, memory and metrics of an evaluator.

    Attributes:
      adding: [2] seconds per image of wall-clock time and CPU time for adding the detections.
      scoring: [2] seconds per image of wall-clock time and CPU time for computing the metrics.
      peak: peak memory in MB.
      numbers: the 24 metrics.
      ours: our metrics for the same masks.
    """

    adding: np.ndarray
    scoring: np.ndarray
    peak: float
    numbers: list[float]
    ours: list[float]


SIDES = {"tpuseg": ours, "pycocotools": pycocotools, "model_garden": model_garden}


def _work(name: str, settings: Settings, path: str, pipe: Connection) -> None:
    """Runs an evaluator in a separate process, and sends a `Result`."""
    steps = SIDES[name](settings, path)
    adding = np.zeros(2)
    for _ in range(settings.num_pictures):
        next(steps)
        started = _now()
        next(steps)
        adding += _now() - started
    next(steps)
    started = _now()
    numbers = next(steps)
    scoring = _now() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send(Result(adding / settings.num_pictures, scoring / settings.num_pictures, peak, numbers, next(steps, numbers)))


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def main(argv: list[str]) -> None:
    """Runs all evaluators, and prints a table."""
    cli.refuse_arguments(argv)
    size = (_HEIGHT.value, _WIDTH.value)
    settings = Settings(_NUM_PICTURES.value, _NUM_DETECTIONS.value, _NUM_OBJECTS.value, size, _SEED.value)
    context = multiprocessing.get_context("spawn")
    results: dict[str, list[Result]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "truth.json")
        write_truth(settings, path)
        for name in list(SIDES) * _ROUNDS.value:
            receiver, sender = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(name, settings, path, sender), daemon=True)
            worker.start()
            sender.close()  # So that receiving raises EOFError if the worker dies, instead of waiting endlessly.
            results[name].append(receiver.recv())
            worker.join()
    _print(settings, {name: _least(rounds) for name, rounds in results.items()})


def _least(rounds: list[Result]) -> Result:
    """Returns the smallest times of an evaluator; its metrics are the same in every round."""
    adding = np.min([result.adding for result in rounds], axis=0)
    scoring = np.min([result.scoring for result in rounds], axis=0)
    return rounds[0]._replace(adding=adding, scoring=scoring, peak=max(result.peak for result in rounds))


def _print(settings: Settings, results: dict[str, Result]) -> None:
    size = f"{settings.size[1]}x{settings.size[0]}"
    print(f"{settings.num_pictures} images of {size}, {settings.num_detections} detections each; milliseconds an image")
    print(f"least of {_ROUNDS.value} rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':12}  paste  score    all  slower  processor  slower  peak MB  box AP  mask AP  largest difference to tpuseg")
    best = results["tpuseg"].adding + results["tpuseg"].scoring
    for name, result in results.items():
        total = result.adding + result.scoring
        expected = results["tpuseg"].numbers if name == "pycocotools" else result.ours
        compared = [place for place in range(24) if name != "model_garden" or place not in (3, 4, 5, 9, 10, 11)]
        difference = max(abs(result.numbers[place] - expected[place]) for place in compared)
        print(
            f"{name:12} {1e3 * result.adding[0]:6.1f} {1e3 * result.scoring[0]:6.1f} {1e3 * total[0]:6.1f}"
            f" {total[0] / best[0]:6.1f}x {1e3 * total[1]:10.1f} {total[1] / best[1]:6.1f}x {result.peak:8.0f}"
            f"  {result.numbers[0]:.4f}   {result.numbers[12]:.4f}  {'' if name == 'tpuseg' else f'{difference:.0e}'}"
        )
    print("The Model Garden pastes and encodes when it scores.")


if __name__ == "__main__":
    cli.run(main)
