"""COCO metrics of boxes and masks, equal to those of pycocotools, computed from records without an annotation file.

Shapes: D detections, K classes, S the side of a predicted box mask.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tpuseg.data import class_counts, instance_records, records
from tpuseg.data.examples import Category, InstanceExample, image_id
from tpuseg.evaluation.matching import SparseCocoEval
from tpuseg.io import files
from tpuseg.ops import masks
from tpuseg.utils.messages import format_count

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
KINDS = ("bbox", "segm")
# The twelve COCO metrics use at most this many detections per image and class.
_COCO_DETECTIONS = 100
# The same metrics with all detections, if there can be more: name, precision or recall, IoU threshold, index of the area range.
_METRICS_OF_ALL = (
    ("AP_all", "precision", None, 0),
    ("AP50_all", "precision", 0.5, 0),
    ("AP75_all", "precision", 0.75, 0),
    ("APs_all", "precision", None, 1),
    ("APm_all", "precision", None, 2),
    ("APl_all", "precision", None, 3),
    ("AR_all", "recall", None, 0),
    ("ARs_all", "recall", None, 1),
    ("ARm_all", "recall", None, 2),
    ("ARl_all", "recall", None, 3),
)
METRICS_OF_ALL = tuple(name for name, *_ in _METRICS_OF_ALL)


@dataclasses.dataclass(frozen=True)
class ImageTruth:
    """The ground-truth objects of an image.

    Attributes:
      source_id: id of the image in the data set, as text.
      height: height of the image in pixels.
      width: width of the image in pixels.
      annotations: annotations of its objects in COCO's form, with the category ids of the data set.
      id_type: type of the id, see `examples.image_id`.
    """

    source_id: str
    height: int
    width: int
    annotations: list[dict[str, Any]]
    id_type: str = ""

    @property
    def image_id(self) -> int | str:
        """The id in the type that the data set uses."""
        return image_id(self.source_id, self.id_type)

    @property
    def num_instances(self) -> int:
        """The number of objects without ignored regions."""
        return sum(not row["iscrowd"] for row in self.annotations)


def image_truth(example: InstanceExample) -> ImageTruth:
    """Returns the ground truth of an example."""
    annotations = [
        {
            "category_id": instance.category.id,
            "bbox": instance.annotated_box.tolist(),
            "area": instance.annotated_area,
            "iscrowd": int(instance.is_crowd),
            "segmentation": instance.runs,
        }
        for instance in example.instances
    ]
    return ImageTruth(example.source_id, example.height, example.width, annotations, example.id_type)


def read_truth(paths: Sequence[str]) -> tuple[list[Category], list[ImageTruth]]:
    """Reads all objects of a data set.

    The categories are those of the summary beside the records. Without a summary they are those that occur in the records, which
    does not change the metrics, because classes without objects are not included.

    Args:
      paths: the shards.

    Returns:
      The K categories in the order of the classes, and the images in the order of the records.

    Raises:
      ValueError: a record is damaged or of another kind, or the files have different categories; the message names file and record.
    """
    table: dict[int, Category] = {}
    truths = []
    for path in paths:
        for example in instance_records.read_file(path):
            for instance in example.instances:
                _add_category(table, instance.class_index, instance.category, path)
            truths.append(image_truth(example))
    for name, path in sorted({records.summary_path(path): path for path in paths}.items()):
        summary = records.read_summary(path) or {}
        for index, row in enumerate(summary.get("categories", [])):
            _add_category(table, index, Category(row["id"], row["name"]), name)
    unused = max((category.id for category in table.values()), default=0) + 1
    size = max(table, default=-1) + 1
    return [table.get(index, Category(unused + index, f"class {index}")) for index in range(size)], truths


def _add_category(table: dict[int, Category], index: int, category: Category, path: str) -> None:
    known = table.setdefault(index, category)
    if known != category:
        raise ValueError(
            f"{path}: class {index} is category {category.id} `{category.name}`, in other files {known.id} `{known.name}`;"
            " convert all files with the same categories"
        )


def detections(
    boxes: np.ndarray, scores: np.ndarray, category_ids: Sequence[int], runs: Sequence[masks.RunLengths]
) -> list[dict[str, Any]]:
    """Converts the detections in an image to COCO's form, without the id of the image.

    Args:
      boxes: [D, 4] yxyx boxes in pixels of the image at its original size.
      scores: [D] scores.
      category_ids: category id of each detection.
      runs: run lengths of each mask.
    """
    y0, x0, y1, x1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    boxes_xywh = np.stack([x0, y0, x1 - x0, y1 - y0], axis=1).tolist()
    rows = zip(category_ids, boxes_xywh, np.asarray(scores, np.float64).tolist(), runs, strict=True)
    return [
        {"category_id": category_id, "bbox": box, "score": score, "segmentation": mask} for category_id, box, score, mask in rows
    ]


def as_result(detection: dict[str, Any], image_id: int | str) -> dict[str, Any]:
    """Converts a detection to COCO's results format for JSON; numbers are not rounded, because that could change a metric."""
    mask = detection["segmentation"]
    return {
        "image_id": image_id,
        "category_id": detection["category_id"],
        "bbox": detection["bbox"],
        "score": detection["score"],
        "segmentation": {**mask, "counts": mask["counts"].decode()},
    }


def write_results(path: str, rows: Sequence[dict[str, Any]]) -> None:
    """Writes detections in COCO's results format: one file with boxes and masks, and one file for each of the two.

    If a detection has a box, pycocotools' `loadRes` computes its area from the box, which changes APs, APm and APl of masks. The
    file with both is therefore only for programs that read detections; `NAME_bbox.json` and `NAME_segm.json` are for evaluation.

    Args:
      path: path of the file with both, `NAME.json`.
      rows: detections from `as_result`.
    """
    stem = path.removesuffix(".json")
    files.write_text(path, json.dumps(rows))
    for kind, other in (("bbox", "segmentation"), ("segm", "bbox")):
        kept = [{key: value for key, value in row.items() if key != other} for row in rows]
        files.write_text(f"{stem}_{kind}.json", json.dumps(kept))


def _find_image(row: Any, number: int, path: str, indices: dict[int | str, int]) -> int:
    """Returns the index of a detection's image; raises ValueError if the detection is incomplete or of another image."""
    required = ("image_id", "category_id", "score", "segmentation")
    missing = [key for key in required if not isinstance(row, dict) or key not in row]
    if missing:
        raise ValueError(f"{path}: detection {number} has no `{missing[0]}`; results with masks have {', '.join(required)}")
    if row["image_id"] not in indices:
        raise ValueError(f"{path}: detection {number} is of image {row['image_id']!r}, which the evaluation data do not have")
    return indices[row["image_id"]]


def _read_mask(row: dict[str, Any], truth: ImageTruth, path: str) -> masks.RunLengths:
    try:
        return masks.run_lengths(row["segmentation"], truth.height, truth.width)
    except ValueError as error:
        raise ValueError(f"{path}: image {truth.source_id}: {error}") from error


def _box_of(row: dict[str, Any], mask: masks.RunLengths) -> np.ndarray:
    """Returns the box of a detection, [4] yxyx; that of its mask if it has none."""
    if "bbox" not in row:
        return masks.bounding_box(mask)
    x, y, width, height = row["bbox"]
    return np.array([y, x, y + height, x + width])


class _Annotations:
    """The methods of pycocotools' `COCO` that `COCOeval` calls, without copies and messages."""

    def __init__(self, image_ids: Iterable[int], category_ids: Iterable[int], rows: list[dict[str, Any]]) -> None:
        self._image_ids, self._category_ids, self._rows = list(image_ids), list(category_ids), rows

    def getImgIds(self) -> list[int]:  # noqa: N802, D102
        return self._image_ids

    def getCatIds(self) -> list[int]:  # noqa: N802, D102
        return self._category_ids

    def getAnnIds(self, imgIds: Any, catIds: Any) -> list[dict[str, Any]]:  # noqa: N802, N803, D102
        return self._rows

    def loadAnns(self, ids: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802, D102
        return ids

    def annToRLE(self, row: dict[str, Any]) -> masks.RunLengths:  # noqa: N802, D102
        return row["segmentation"]


class CocoEvaluator:
    """Collects detections and compares them with the ground truth.

    Attributes:
      categories: the categories in the order of the classes.
      truths: the ground truth of each image.
      detections: detections of each image so far, by index of the image in `truths`; see the function `detections`.
    """

    def __init__(self, categories: Sequence[Category], truths: Sequence[ImageTruth], max_detections: int | None = None) -> None:
        """Starts without detections.

        Args:
          categories: the categories in the order of the classes.
          truths: the ground truth of each image.
          max_detections: maximum number of detections per image. Above COCO's 100, there are additional metrics that use all of
            them. None is the largest number that is added.
        """
        self._max_detections = max_detections
        self.categories = list(categories)
        self.truths = list(truths)
        self.detections: dict[int, list[dict[str, Any]]] = {}
        self._precisions: dict[str, np.ndarray] = {}

    def add(self, index: int, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, mask_probabilities: np.ndarray) -> None:
        """Adds the detections in one image, and replaces those that were added before.

        Args:
          index: index of the image in `truths`.
          boxes: [D, 4] yxyx boxes in pixels of the image at its original size.
          scores: [D] scores.
          classes: [D] integers in 0..K-1.
          mask_probabilities: [D, S, S] box masks.

        Raises:
          ValueError: a class is not among the categories, or a number is not finite; the message names the image.
        """
        self._check(index, scores, classes)
        truth = self.truths[index]
        try:
            pasted = masks.paste(mask_probabilities, boxes, (truth.height, truth.width))
        except ValueError as error:
            raise ValueError(f"image {truth.source_id}: {error}") from error
        self._add(index, boxes, scores, classes, pasted.runs, pasted.areas.tolist())

    def add_runs(
        self, index: int, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, runs: Sequence[masks.RunLengths]
    ) -> None:
        """Does the same as `add` with masks at the size of the image.

        Args:
          index: index of the image in `truths`.
          boxes: [D, 4] yxyx boxes in pixels of the image at its original size.
          scores: [D] scores.
          classes: [D] integers in 0..K-1.
          runs: run lengths of the D masks.

        Raises:
          ValueError: see `add`.
        """
        self._check(index, scores, classes)
        self._add(index, boxes, scores, classes, runs, [masks.area(mask) for mask in runs])

    def _check(self, index: int, scores: np.ndarray, classes: np.ndarray) -> None:
        truth = self.truths[index]
        wrong = [int(number) for number in classes if not 0 <= number < len(self.categories)]
        if wrong:
            raise ValueError(
                f"image {truth.source_id}: a detection has class {wrong[0]}, but the records have"
                f" {format_count(len(self.categories), 'category', 'categories')}"
            )
        if not np.isfinite(scores).all():
            raise ValueError(f"image {truth.source_id}: a score is not a finite number")

    def _add(
        self,
        index: int,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        runs: Sequence[masks.RunLengths],
        areas: Sequence[int],
    ) -> None:
        category_ids = [self.categories[number].id for number in np.asarray(classes).tolist()]
        rows = detections(boxes, scores, category_ids, runs)
        self.detections[index] = [{**row, "area": area} for row, area in zip(rows, areas, strict=True)]
        self._precisions.clear()

    def read_results(self, path: str) -> None:
        """Adds the detections of a file in COCO's results format, with masks, from this or another program.

        Args:
          path: path of the file.

        Raises:
          ValueError: the file is damaged, or a detection has no mask, or an unknown image or category; the message names it.
        """
        indices = {truth.image_id: index for index, truth in enumerate(self.truths)}
        labels = {category.id: label for label, category in enumerate(self.categories)}
        rows: dict[int, list[dict[str, Any]]] = {}
        content = files.read_json(path)
        if not isinstance(content, list):
            raise ValueError(f"{path} is not a list of detections in COCO's results format")
        for number, row in enumerate(content):
            rows.setdefault(_find_image(row, number, path, indices), []).append(row)
        for index, found in rows.items():
            unknown = {row["category_id"] for row in found} - labels.keys()
            if unknown:
                raise ValueError(f"{path}: category {min(unknown)} is not one of the data set, which has {sorted(labels)}")
            truth = self.truths[index]
            runs = [_read_mask(row, truth, path) for row in found]
            boxes = np.array([_box_of(row, mask) for row, mask in zip(found, runs, strict=True)])
            scores = np.array([row["score"] for row in found], np.float64)
            self.add_runs(index, boxes, scores, np.array([labels[row["category_id"]] for row in found]), runs)

    def results(self) -> list[dict[str, Any]]:
        """Returns all detections in COCO's results format."""
        return [as_result(row, self.truths[index].image_id) for index, rows in sorted(self.detections.items()) for row in rows]

    def write_results(self, path: str) -> None:
        """Writes `results` as three JSON files; see the function `write_results`."""
        write_results(path, self.results())

    def metrics(self) -> dict[str, Any]:
        """Computes the twelve COCO metrics for boxes and for masks, and the AP of each class.

        Returns:
          {`bbox`: {`AP` ...}, `segm`: {`AP` ...}, `per_class`: {name: {`bbox`: AP, `segm`: AP}}, `num_images`, `num_instances`,
          `num_detections`, `classes_without_truth`}. A metric is None if there is no ground-truth object for it. The COCO metrics
          use at most 100 detections per image and class; if there can be more, `bbox` and `segm` also contain `AP_all` ..., which
          use all detections.
        """
        result: dict[str, Any] = {}
        limit = self._limit()
        per_class: dict[str, dict[str, float | None]] = {category.name: {} for category in self.categories}
        for kind in KINDS:
            evaluation = self._evaluation(kind)
            if limit > _COCO_DETECTIONS:
                evaluation.params.maxDets = [*evaluation.params.maxDets, limit]
            result[kind] = dict(zip(METRICS, map(_known, evaluation.run().tolist()), strict=True))
            if limit > _COCO_DETECTIONS:
                result[kind] |= _metrics_of_all(evaluation)
            # [thresholds, recalls, classes, ranges of areas, numbers of detections]: all areas, 100 detections.
            precision = evaluation.eval["precision"][:, :, :, 0, 2]
            classes = np.searchsorted(evaluation.params.catIds, [category.id for category in self.categories])
            self._precisions[kind] = evaluation.eval["precision"][..., 2][:, :, classes]
            for place, category_id in enumerate(evaluation.params.catIds):
                values = precision[:, :, place]
                name = next(category.name for category in self.categories if category.id == category_id)
                per_class[name][kind] = float(values[values > -1].mean()) if (values > -1).any() else None
        num_detections = sum(map(len, self.detections.values()))
        num_instances = sum(truth.num_instances for truth in self.truths)
        counts = {"num_images": len(self.truths), "num_instances": num_instances, "num_detections": num_detections}
        # Ignored regions are not objects, so a class that has only ignored regions has no ground truth.
        found = {row["category_id"] for truth in self.truths for row in truth.annotations if not row["iscrowd"]}
        without = [category.name for category in self.categories if category.id not in found]
        return {**result, "per_class": per_class, **counts, "classes_without_truth": without}

    def precisions(self, kind: str) -> np.ndarray:
        """Returns the precision from which AP is the mean, [10, 101, K, 4]; those of the last `metrics` if there were any.

        The axes are the IoU thresholds 0.5 to 0.95, the recalls 0 to 1, the classes, and the areas all, small, medium and large.
        At most 100 detections per image and class are used. The precision is -1 for a class or area without objects.

        Args:
          kind: one of `KINDS`.
        """
        if kind not in self._precisions:
            self.metrics()
        return self._precisions[kind]

    def _limit(self) -> int:
        if self._max_detections is not None:
            return self._max_detections
        return max(map(len, self.detections.values()), default=0)

    def _evaluation(self, kind: str) -> SparseCocoEval:
        image_ids = _ranks([truth.image_id for truth in self.truths])
        objects = [
            {**row, "image_id": image_id}
            for image_id, truth in zip(image_ids, self.truths, strict=True)
            for row in truth.annotations
        ]
        found = [{**row, "image_id": image_ids[index]} for index, rows in sorted(self.detections.items()) for row in rows]
        for rows in (objects, found):
            for number, row in enumerate(rows, start=1):  # From 1, because pycocotools uses 0 for "no match".
                row["id"] = number
        if kind == "bbox":
            for row in found:
                row["area"] = row["bbox"][2] * row["bbox"][3]
        category_ids = [category.id for category in self.categories]
        return SparseCocoEval(_Annotations(image_ids, category_ids, objects), _Annotations(image_ids, category_ids, found), kind)


def _ranks(ids: list[int | str]) -> list[int]:
    """Returns the rank of each id, from 1.

    pycocotools sorts the images by id, which decides the order of equal scores, but converts numbers like 2**63 + 1 to floats, so
    ranks are used instead. If there are numbers and texts, or duplicate ids, the order is that of the records.
    """
    if len({type(image_id) for image_id in ids}) > 1 or len(set(ids)) < len(ids):
        return list(range(1, len(ids) + 1))
    place = {image_id: number for number, image_id in enumerate(sorted(ids), start=1)}  # type: ignore[type-var]
    return [place[image_id] for image_id in ids]


def _metrics_of_all(evaluation: SparseCocoEval) -> dict[str, float | None]:
    """Returns the metrics with the largest of the evaluation's maximum numbers of detections."""
    thresholds = evaluation.params.iouThrs
    found = {}
    for name, kind, threshold, area in _METRICS_OF_ALL:
        # [thresholds, (recalls,) classes, ranges of areas, numbers of detections]
        values = evaluation.eval[kind][..., area, -1]
        if threshold is not None:
            values = values[np.isclose(thresholds, threshold)]
        found[name] = float(values[values > -1].mean()) if (values > -1).any() else None
    return found


def _known(value: float) -> float | None:
    return None if value < 0 else value


def table(metrics: dict[str, Any]) -> str:
    """Formats the metrics as a table."""
    width = max(len(name) for name in [*metrics["per_class"], "class"])
    lines = [f"{'':{width}}  " + "  ".join(f"{name:>6}" for name in METRICS)]
    lines += [f"{kind:{width}}  " + "  ".join(_shown(metrics[kind][name]) for name in METRICS) for kind in KINDS]
    if METRICS_OF_ALL[0] in metrics[KINDS[0]]:
        lines.append(f"{'':{width}}  " + "  ".join(f"{name:>8}" for name in METRICS_OF_ALL))
        lines += [f"{kind:{width}}  " + "  ".join(f"  {_shown(metrics[kind][name])}" for name in METRICS_OF_ALL) for kind in KINDS]
    lines.append(f"{'class':{width}}  {'bbox':>6}  {'segm':>6}")
    for name, values in metrics["per_class"].items():
        lines.append(f"{name:{width}}  {_shown(values['bbox'])}  {_shown(values['segm'])}")
    covered = class_counts.coverage(len(metrics["per_class"]), metrics["classes_without_truth"])
    lines.append(
        f"{format_count(metrics['num_detections'], 'detection')} in {format_count(metrics['num_images'], 'image')}{covered}"
    )
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return f"{'-':>6}" if value is None else f"{value:6.4f}"
