"""Measures how many wrong labels the lists of labels to check find.

python benchmarks/label_errors.py                       # simulated predictions of instances and of classes of pixels
python benchmarks/label_errors.py --num_images=2000 --share=0.02
python benchmarks/label_errors.py --annotations=datasets/coco/annotations/instances_val2017.json --detections=detections.json

A share of the labels is made wrong on purpose: a third is removed, a third gets another class, and a third is shifted by a quarter
to a whole of the object's side. The predictions do not change, because a model that was trained on other images does not know about
these errors. The analysis then ranks the labels, and precision and recall are printed for as many entries of the list as there are
wrong labels, and for half and twice as many. An entry is right if it names a wrong label, or for a removed or shifted one, if its
box is where the object was (IoU of at least 0.5).

Simulated detections: small objects are missed more often; boxes are moved, masks are noisy; some have another class, usually with
a lower score; some objects are detected twice; and there are detections where nothing is. `--miss`, `--confusion` and `--noise`
change how good the model is. Simulated class maps: objects on a background whose outlines are moved; some are missed or have
another class, usually with a lower confidence.
"""

import os
import sys
from typing import Any, NamedTuple

from absl import app, flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

from tpuseg import cli  # noqa: E402

_NUM_IMAGES = flags.DEFINE_integer("num_images", 500, "Simulated images.", lower_bound=1)
_NUM_OBJECTS = flags.DEFINE_integer("num_objects", 7, "Mean number of objects in a simulated image.", lower_bound=1)
_SHARE = flags.DEFINE_float("share", 0.05, "Share of the labels that is made wrong.", lower_bound=0.0, upper_bound=1.0)
_MISS = flags.DEFINE_float("miss", 0.1, "Share of the objects that the simulated model misses.", lower_bound=0.0, upper_bound=1.0)
_CONFUSION = flags.DEFINE_float("confusion", 0.05, "Share of the detections with another class.", lower_bound=0.0, upper_bound=1.0)
_NOISE = flags.DEFINE_float("noise", 0.05, "Standard deviation of the edges of boxes, as a part of the side.", lower_bound=0.0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the simulation and of the wrong labels.", lower_bound=0)
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "COCO annotation file; replaces the simulated objects.")
_DETECTIONS = flags.DEFINE_string("detections", None, "Detections for it in COCO's results format, with masks.")

_SIZE = (240, 320)
_NUM_CLASSES = 10
_WRONG = ("removed", "class changed", "shifted")


class Label(NamedTuple):
    """A label that was made wrong.

    Attributes:
      kind: one of `_WRONG`.
      image: index of the image.
      row: position among the annotations of the image; None if it was removed.
      box: [4] yxyx box of the object before.
    """

    kind: str
    image: int
    row: int | None
    box: np.ndarray


class Truth(NamedTuple):
    """The labels of an image; see `tpuseg.evaluation.coco.ImageTruth`."""

    source_id: str
    height: int
    width: int
    annotations: list[dict[str, Any]]


def blobs(random: np.random.Generator, count: int, noise: float) -> np.ndarray:
    """Returns box masks of roundish objects, [count, 28, 28] probabilities."""
    y, x = np.meshgrid(*[(np.arange(28) + 0.5) / 14 - 1] * 2, indexing="ij")
    return (1 / (1 + np.exp(-8 * (0.95 - np.hypot(y, x)) + noise * random.normal(size=(count, 28, 28))))).astype(np.float32)


def annotations_of(boxes: np.ndarray, classes: np.ndarray, box_masks: np.ndarray, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Returns objects in COCO's form; class numbers are category ids."""
    from tpuseg.ops import masks

    pasted = masks.paste(box_masks, boxes, size)
    rows = zip(boxes.tolist(), classes.tolist(), pasted.runs, pasted.areas.tolist(), strict=True)
    return [
        {"category_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area, "iscrowd": 0, "segmentation": runs}
        for (y0, x0, y1, x1), number, runs, area in rows
        if area
    ]


def simulate_objects(random: np.random.Generator) -> list[dict[str, Any]]:
    """Returns the objects of an image."""
    count = random.poisson(_NUM_OBJECTS.value)
    sides = np.exp(random.uniform(np.log(12), np.log(120), (count, 1))) * random.uniform(0.7, 1.4, (count, 2))
    centres = random.uniform(0.05, 0.95, (count, 2)) * _SIZE
    boxes = np.clip(np.concatenate([centres - sides / 2, centres + sides / 2], 1), 0, np.tile(_SIZE, 2))
    return annotations_of(boxes, random.integers(0, _NUM_CLASSES, count), blobs(random, count, 0.0), _SIZE)


def yxyx(row: dict[str, Any]) -> np.ndarray:
    """Returns the box of an annotation, [4]."""
    x, y, width, height = row["bbox"]
    return np.array([y, x, y + height, x + width])


def simulate_detections(random: np.random.Generator, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns detections of the objects of an image."""
    boxes = np.array([yxyx(row) for row in rows]).reshape(-1, 4)
    classes = np.array([row["category_id"] for row in rows], int)
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    # Small objects are missed up to twice as often.
    missed = random.uniform(size=len(rows)) < _MISS.value * np.clip(2 - sides / 60, 0.3, 2)
    repeated = random.uniform(size=len(rows)) < 0.1
    near = np.concatenate([np.flatnonzero(~missed), np.flatnonzero(~missed & repeated)]).astype(int)
    first = np.arange(len(near)) < (~missed).sum()
    scores = np.where(first, random.beta(6, 1.2, len(near)), random.beta(1.5, 4, len(near)))
    confused = random.uniform(size=len(near)) < _CONFUSION.value
    labels = np.where(confused, random.integers(0, _NUM_CLASSES, len(near)), classes[near])
    scores = np.where(confused, random.beta(3, 2, len(near)), scores)
    lengths = np.tile(boxes[near, 2:] - boxes[near, :2], 2)
    moved = boxes[near] + random.normal(0, _NOISE.value, (len(near), 4)) * lengths
    count = random.poisson(3)
    corners = random.uniform(0, 0.8, (count, 2)) * _SIZE
    others = np.concatenate([corners, corners + random.uniform(10, 60, (count, 2))], 1)
    moved = np.clip(np.concatenate([moved, others]), 0, np.tile(_SIZE, 2))
    labels = np.concatenate([labels, random.integers(0, _NUM_CLASSES, count)])
    found = annotations_of(moved, labels, blobs(random, len(moved), 0.5), _SIZE)
    scores = np.concatenate([scores, random.beta(1.2, 5, count)])
    return [{**row, "score": score} for row, score in zip(found, scores.tolist(), strict=False)]


def read_files(annotations: str, detections: str) -> tuple[list[Truth], dict[int, list[dict[str, Any]]], list[int]]:
    """Reads a COCO annotation file and detections; returns labels, detections by image, and the ids of the categories."""
    from tpuseg.io import files
    from tpuseg.ops import masks

    content, found = files.read_json(annotations), files.read_json(detections)
    images = content["images"]
    places = {image["id"]: index for index, image in enumerate(images)}
    truths = [Truth(str(image["id"]), image["height"], image["width"], []) for image in images]
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in content["annotations"] + found:
        truth = truths[places[row["image_id"]]]
        row["segmentation"] = masks.run_lengths(row["segmentation"], truth.height, truth.width)
        target = rows.setdefault(places[row["image_id"]], []) if "score" in row else truth.annotations
        target.append(row)
    return truths, rows, [row["id"] for row in content["categories"]]


def corrupt(
    random: np.random.Generator, truths: list[Truth], category_ids: list[int], share: float
) -> tuple[list[Truth], list[Label]]:
    """Makes a share of the labels wrong; returns all labels and the wrong ones."""
    places = [(image, row) for image, truth in enumerate(truths) for row in range(len(truth.annotations))]
    places = [(image, row) for image, row in places if not truths[image].annotations[row]["iscrowd"]]
    chosen = [places[number] for number in random.permutation(len(places))[: round(share * len(places))]]
    kinds = {place: _WRONG[number % 3] for number, place in enumerate(chosen)}
    result, wrong = [], []
    for image, truth in enumerate(truths):
        kept: list[dict[str, Any]] = []
        for number, row in enumerate(truth.annotations):
            kind = kinds.get((image, number))
            changed = row if kind is None else change(random, truth, row, kind, category_ids)
            if kind is not None:
                wrong.append(Label(kind, image, None if changed is None else len(kept), yxyx(row)))
            kept += [] if changed is None else [changed]
        result.append(truth._replace(annotations=kept))
    return result, wrong


def change(
    random: np.random.Generator, truth: Truth, row: dict[str, Any], kind: str, category_ids: list[int]
) -> dict[str, Any] | None:
    """Returns a wrong label instead of an annotation; None if it is removed."""
    if kind == "removed":
        return None
    if kind == "class changed":
        others = [number for number in category_ids if number != row["category_id"]]
        return {**row, "category_id": others[random.integers(len(others))]}
    return shift(random, truth, row)


def shift(random: np.random.Generator, truth: Truth, row: dict[str, Any]) -> dict[str, Any]:
    """Returns an annotation at another place, away from the nearest border: a quarter to a whole of the object's sides."""
    from tpuseg.ops import masks

    pixels = masks.decode(row["segmentation"])
    box, size = yxyx(row), np.array([truth.height, truth.width])
    towards = np.where((box[:2] + box[2:]) / 2 < size / 2, 1, -1)
    offset = np.round(random.uniform(0.25, 1.0, 2) * (box[2:] - box[:2]) * towards).astype(int)
    moved = np.zeros_like(pixels)
    y, x = np.nonzero(pixels)
    inside = (np.stack([y, x], 1) + offset >= 0).all(1) & (np.stack([y, x], 1) + offset < size).all(1)
    moved[y[inside] + offset[0], x[inside] + offset[1]] = 1
    corners = np.clip(box + np.tile(offset, 2), 0, np.tile(size, 2))
    bbox = [corners[1], corners[0], corners[3] - corners[1], corners[2] - corners[0]]
    return {**row, "segmentation": masks.encode(moved), "bbox": [float(value) for value in bbox], "area": int(moved.sum())}


def find_hit(entry: Any, wrong: list[tuple[int, Label]], image: int) -> int | None:
    """Returns the number of the wrong label of this image that an entry of the list names; None if there is none."""
    from tpuseg.report.instance_labels import box_iou

    for number, label in wrong:
        if label.image == image and label.row is not None and entry.annotation_id == str(label.row):
            return number
        if label.kind != "class changed" and not entry.annotation_id and box_iou(label.box, np.array(entry.box)) >= 0.5:
            return number
    return None


def score_list(entries: list[Any], wrong: list[Label]) -> list[int | None]:
    """Returns for each entry the number of the wrong label that it names, or None."""
    by_image: dict[int, list[tuple[int, Label]]] = {}
    for number, label in enumerate(wrong):
        by_image.setdefault(label.image, []).append((number, label))
    return [find_hit(entry, by_image.get(int(entry.image_id), []), int(entry.image_id)) for entry in entries]


def print_result(title: str, hits: list[int | None], kinds: list[str]) -> None:
    """Prints precision and recall at the top of a list, and the recall of each kind."""
    print(f"{title}: {len(kinds)} wrong labels, {len(hits)} entries")
    for factor in (0.5, 1, 2):
        top = hits[: round(factor * len(kinds))]
        right = [hit for hit in top if hit is not None]
        precision, recall = len(right) / max(len(top), 1), len(set(right)) / max(len(kinds), 1)
        found = [kinds[hit] for hit in set(right)]
        parts = ", ".join(f"{kind} {found.count(kind) / kinds.count(kind):.2f}" for kind in _WRONG if kind in kinds)
        print(f"  first {len(top):5}: precision {precision:.3f}, recall {recall:.3f} ({parts})")


def measure_instances(random: np.random.Generator) -> None:
    """Measures the list of an instance model."""
    from tpuseg.report import instances

    if _ANNOTATIONS.value:
        truths, detections, category_ids = read_files(_ANNOTATIONS.value, _DETECTIONS.value)
    else:
        truths = [Truth(str(index), *_SIZE, simulate_objects(random)) for index in range(_NUM_IMAGES.value)]
        detections = {index: simulate_detections(random, truth.annotations) for index, truth in enumerate(truths)}
        category_ids = list(range(_NUM_CLASSES))
    # The ids of the images are their positions, and annotations have none, so that entries are found by position.
    truths = [truth._replace(source_id=str(index)) for index, truth in enumerate(truths)]
    truths = [
        truth._replace(annotations=[{key: row[key] for key in row if key != "id"} for row in truth.annotations]) for truth in truths
    ]
    corrupted, wrong = corrupt(random, truths, category_ids, _SHARE.value)
    entries = instances.find_labels_to_check(corrupted, detections, category_ids, [str(number) for number in category_ids])
    print_result("instances", score_list(entries, wrong), [label.kind for label in wrong])


def main(argv: list[str]) -> None:
    """Measures both lists."""
    cli.refuse_arguments(argv)
    if bool(_ANNOTATIONS.value) != bool(_DETECTIONS.value):
        raise app.UsageError("--annotations and --detections are used together; give both or none")
    random = np.random.default_rng(_SEED.value)
    measure_instances(random)


if __name__ == "__main__":
    app.run(main)
