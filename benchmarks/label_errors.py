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

from absl import flags

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


class Shape(NamedTuple):
    """An object of a class map.

    Attributes:
      centre: y, x in pixels.
      radii: y, x in pixels.
      phase: angle of the bumps of its outline.
      label: its class, from 1.
    """

    centre: np.ndarray
    radii: np.ndarray
    phase: float
    label: int

    @property
    def box(self) -> np.ndarray:
        """The yxyx box, [4]."""
        return np.concatenate([self.centre - self.radii, self.centre + self.radii])


def simulate_shapes(random: np.random.Generator) -> list[Shape]:
    """Returns the objects of a class map; they do not overlap much."""
    shapes: list[Shape] = []
    for _ in range(random.poisson(_NUM_OBJECTS.value)):
        radii = np.exp(random.uniform(np.log(10), np.log(45), 1)) * random.uniform(0.8, 1.25, 2)
        centre = random.uniform(0.1, 0.9, 2) * _SIZE
        if all(np.hypot(*(centre - other.centre)) > radii.max() + other.radii.max() for other in shapes):
            shapes.append(Shape(centre, radii, random.uniform(0, 6), int(random.integers(1, _NUM_CLASSES + 1))))
    return shapes


def pixels_of(shape: Shape, bumps: float = 0.1) -> np.ndarray:
    """Returns the pixels of an object, [H, W] bool."""
    y, x = np.meshgrid(*(np.arange(side) + 0.5 for side in _SIZE), indexing="ij")
    y, x = (y - shape.centre[0]) / shape.radii[0], (x - shape.centre[1]) / shape.radii[1]
    return np.hypot(y, x) < 1 + bumps * np.sin(5 * np.arctan2(y, x) + shape.phase)


def simulate_prediction(random: np.random.Generator, shapes: list[Shape]) -> tuple[np.ndarray, np.ndarray]:
    """Returns predicted classes and confidences, both [H, W]; where it confuses or misses an object, it is less confident."""
    classes, confidence = np.zeros(_SIZE, np.uint8), np.full(_SIZE, random.beta(20, 1))
    for shape in shapes:
        kind = random.uniform()
        moved = shape._replace(
            centre=shape.centre + random.normal(0, _NOISE.value, 2) * shape.radii,
            radii=shape.radii * (1 + random.normal(0, _NOISE.value, 2)),
            phase=shape.phase + random.normal(0, 0.5),
        )
        inside = pixels_of(moved)
        if kind < _MISS.value:
            confidence[inside] = random.beta(4, 2)
            continue
        is_confused = kind < _MISS.value + _CONFUSION.value
        classes[inside] = random.integers(1, _NUM_CLASSES + 1) if is_confused else shape.label
        confidence[inside] = random.beta(4, 2) if is_confused else random.beta(12, 1.2)
    return classes, confidence


def corrupt_shapes(random: np.random.Generator, images: list[list[Shape]], share: float) -> tuple[list[list[Shape]], list[Label]]:
    """Makes a share of the objects of class maps wrong; returns all objects and the wrong ones."""
    places = [(image, number) for image, shapes in enumerate(images) for number in range(len(shapes))]
    chosen = random.permutation(len(places))[: round(share * len(places))].tolist()
    result, wrong = [list(shapes) for shapes in images], []
    removed: list[tuple[int, Shape]] = []
    for order, place in enumerate(chosen):
        image, number = places[place]
        kind, shape = _WRONG[order % 3], images[image][number]
        wrong.append(Label(kind, image, None, shape.box))
        if kind == "removed":
            removed.append((image, shape))
        elif kind == "class changed":
            result[image][number] = shape._replace(
                label=(shape.label - 1 + int(random.integers(1, _NUM_CLASSES))) % _NUM_CLASSES + 1
            )
        else:
            towards = np.where(shape.centre < np.array(_SIZE) / 2, 1, -1)
            offset = random.uniform(0.25, 1.0, 2) * 2 * shape.radii * towards
            result[image][number] = shape._replace(centre=shape.centre + offset)
            # Both the old and the new place are wrong.
            wrong[-1] = wrong[-1]._replace(box=np.concatenate([shape.box, result[image][number].box]))
    for image, shape in removed:
        result[image] = [other for other in result[image] if other is not shape]
    return result, wrong


def find_region_hit(entry: Any, wrong: list[tuple[int, Label]]) -> int | None:
    """Returns the number of the wrong label of this image whose box contains the centre of a region; None if there is none."""
    y, x = (entry.box[0] + entry.box[2]) / 2, (entry.box[1] + entry.box[3]) / 2
    for number, label in wrong:
        boxes = label.box.reshape(-1, 4)
        if ((boxes[:, 0] <= y) & (y <= boxes[:, 2]) & (boxes[:, 1] <= x) & (x <= boxes[:, 3])).any():
            return number
    return None


def measure_class_maps(random: np.random.Generator) -> None:
    """Measures the list of a semantic model; entries are regions, and right if their centre is in the box of a wrong object."""
    from tpuseg.report.semantic import SemanticAnalysis

    names = ["background", *(f"class {number}" for number in range(1, _NUM_CLASSES + 1))]
    images = [simulate_shapes(random) for _ in range(_NUM_IMAGES.value)]
    corrupted, wrong = corrupt_shapes(random, images, _SHARE.value)
    analysis = SemanticAnalysis(names, 255, str, lambda index: {})
    for index, (shapes, labelled) in enumerate(zip(images, corrupted, strict=True)):
        truth = np.zeros(_SIZE, np.uint8)
        for shape in labelled:
            truth[pixels_of(shape)] = shape.label
        analysis.add(index, str(index), truth, *simulate_prediction(random, shapes))
    by_image: dict[int, list[tuple[int, Label]]] = {}
    for number, label in enumerate(wrong):
        by_image.setdefault(label.image, []).append((number, label))
    entries = analysis.report().labels_to_check
    hits = [find_region_hit(entry, by_image.get(int(entry.image_id), [])) for entry in entries]
    print_result("class maps", hits, [label.kind for label in wrong])


def main(argv: list[str]) -> None:
    """Measures both lists."""
    cli.refuse_arguments(argv)
    if bool(_ANNOTATIONS.value) != bool(_DETECTIONS.value):
        raise ValueError("--annotations and --detections are used together; give both or none")
    random = np.random.default_rng(_SEED.value)
    measure_instances(random)
    if not _ANNOTATIONS.value:
        measure_class_maps(random)


if __name__ == "__main__":
    cli.run(main)
