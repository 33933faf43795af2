"""Matching of detections to objects at a mask IoU of 0.5, and the type of each error (TIDE, arXiv:2008.08115, section 2.2).

In each image, in the order of decreasing scores, a detection takes the free object of its class with the largest IoU, if that is
at least 0.5, and is then right. A detection that takes none and lies in an ignored region of its class is ignored. Every other
detection has the first of these errors whose condition holds; t_f is 0.5 and t_b is 0.1:

    localization     the largest IoU with an object of its class is between t_b and t_f
    classification   the IoU with an object of another class is at least t_f
    duplicate        the IoU with an object of its class that another detection has taken is at least t_f
    background       no IoU is above t_b
    both             otherwise: an object of another class is between t_b and t_f

An object is missed if no detection takes it, and none would take it if its class or its place were corrected.

Shapes: D detections and N objects; of one image in the functions, of all images in `Matches`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from pycocotools import mask as coco_mask

from tpuseg.ops.masks import RunLengths
from tpuseg.report.content import ERRORS

FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1
RIGHT = -1
CLASSIFICATION, LOCALIZATION, BOTH, DUPLICATE, BACKGROUND = map(
    ERRORS.index, ("classification", "localization", "both", "duplicate", "background")
)


class Truth(Protocol):
    """The objects of an image, as `evaluation.coco.ImageTruth`."""

    @property
    def source_id(self) -> str:
        """Id of the image in the data set."""

    @property
    def height(self) -> int:
        """Height of the image in pixels."""

    @property
    def width(self) -> int:
        """Width of the image in pixels."""

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """Annotations in COCO's form, with run lengths."""


class ImageMatches(NamedTuple):
    """The matches of one image; its D detections are in the order of decreasing scores.

    Attributes:
      errors: [D] index in `ERRORS`, or `RIGHT`.
      partners: [D] the object that a detection takes, would take or has been compared with; -1 if there is none.
      repairs: [D] bool, whether correcting this detection finds an object that no detection takes; one detection per object.
      ignored: [D] bool, whether the detection lies in an ignored region.
      takers: [N] the detection that takes the object; -1 if there is none.
      missed: [N] bool.
      nearest: [N] the largest IoU of the object with any detection.
    """

    errors: np.ndarray
    partners: np.ndarray
    repairs: np.ndarray
    ignored: np.ndarray
    takers: np.ndarray
    missed: np.ndarray
    nearest: np.ndarray


def match_image(overlaps: np.ndarray, labels: np.ndarray, object_labels: np.ndarray, in_ignored: np.ndarray) -> ImageMatches:
    """Matches the detections of one image and finds the type of each error.

    Args:
      overlaps: [D, N] IoU of detections, in the order of decreasing scores, and objects without ignored regions.
      labels: [D] classes of the detections.
      object_labels: [N] classes of the objects.
      in_ignored: [D] bool, whether an ignored region of its class covers more than half of the detection.
    """
    same = labels[:, np.newaxis] == object_labels
    own = overlaps * same
    takers = _take(own)
    taken = takers >= 0
    partners = np.full(len(labels), -1)
    partners[takers[taken]] = np.flatnonzero(taken)
    wrong = partners < 0
    errors = np.full(len(labels), RIGHT)
    errors[wrong], partners[wrong] = _find_errors(overlaps[wrong], own[wrong], taken)
    repairs = _find_repairs(errors, partners, taken)
    missed = ~taken
    missed[partners[repairs]] = False
    return ImageMatches(errors, partners, repairs, wrong & in_ignored, takers, missed, overlaps.max(0, initial=0.0))


def _take(own: np.ndarray) -> np.ndarray:
    """Returns the detection that takes each object, [N]; -1 if there is none.

    Args:
      own: [D, N] IoU with the objects of the same class; 0 for other objects.
    """
    takers = np.full(own.shape[1], -1)
    candidates: dict[int, list[int]] = {}
    for number, place in zip(*(axis.tolist() for axis in np.nonzero(own >= FOREGROUND_IOU)), strict=True):
        candidates.setdefault(number, []).append(place)
    for number, places in candidates.items():
        free = [place for place in places if takers[place] < 0]
        if free:
            takers[max(free, key=lambda place: own[number, place])] = number
    return takers


def _find_repairs(errors: np.ndarray, partners: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Returns whether correcting a detection finds an object, [D] bool; see `ImageMatches`."""
    possible = np.flatnonzero((errors == CLASSIFICATION) | (errors == LOCALIZATION))
    possible = possible[~taken[partners[possible]]]
    _, first = np.unique(partners[possible], return_index=True)
    repairs = np.zeros(len(errors), bool)
    repairs[possible[first]] = True
    return repairs


def _find_errors(overlaps: np.ndarray, own: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the error and the partner of detections that take no object, both [D]; see `match_image`."""
    if not overlaps.shape[1]:
        return np.full(len(overlaps), BACKGROUND), np.full(len(overlaps), -1)
    other, repeated = overlaps - own, own * taken
    nearest, nearest_other, nearest_taken = own.max(1), other.max(1), repeated.max(1)
    conditions = [
        (nearest >= BACKGROUND_IOU) & (nearest <= FOREGROUND_IOU),
        nearest_other >= FOREGROUND_IOU,
        nearest_taken >= FOREGROUND_IOU,
        overlaps.max(1) <= BACKGROUND_IOU,
    ]
    errors = np.select(conditions, [LOCALIZATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH)
    places = [own.argmax(1), other.argmax(1), repeated.argmax(1), np.full(len(own), -1)]
    return errors, np.select(conditions, places, overlaps.argmax(1))


@dataclasses.dataclass(frozen=True)
class Detections:
    """The D detections of all images, by image and then in the order of decreasing scores.

    Attributes:
      image: [D] index of the image.
      row: [D] position among the detections of the image as they were given.
      label: [D] class.
      score: [D] score.
      box: [D, 4] yxyx in pixels.
      area: [D] pixels of the mask.
      error: [D] index in `ERRORS`, or `RIGHT`.
      partner: [D] index of an object in `Objects`, or -1; see `ImageMatches`.
      repairs: [D] bool; see `ImageMatches`.
      ignored: [D] bool; see `ImageMatches`.
    """

    image: np.ndarray
    row: np.ndarray
    label: np.ndarray
    score: np.ndarray
    box: np.ndarray
    area: np.ndarray
    error: np.ndarray
    partner: np.ndarray
    repairs: np.ndarray
    ignored: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """[D] bool, whether the detection takes an object."""
        return self.error == RIGHT


@dataclasses.dataclass(frozen=True)
class Objects:
    """The N objects of all images without ignored regions, by image.

    Attributes:
      image: [N] index of the image.
      row: [N] position among the annotations of the image.
      label: [N] class.
      box: [N, 4] annotated yxyx box in pixels.
      mask_box: [N, 4] bounding box of the mask, yxyx in pixels.
      area: [N] annotated area in square pixels.
      taker: [N] index of a detection in `Detections`, or -1.
      missed: [N] bool; see `ImageMatches`.
      nearest: [N] the largest IoU with any detection.
    """

    image: np.ndarray
    row: np.ndarray
    label: np.ndarray
    box: np.ndarray
    mask_box: np.ndarray
    area: np.ndarray
    taker: np.ndarray
    missed: np.ndarray
    nearest: np.ndarray


@dataclasses.dataclass(frozen=True)
class Matches:
    """The detections and objects of all images with their matches.

    Attributes:
      detections: the detections.
      objects: the objects.
      sizes: [I, 2] height and width of each image in pixels.
      num_classes: number of classes.
    """

    detections: Detections
    objects: Objects
    sizes: np.ndarray
    num_classes: int


def match(
    truths: Sequence[Truth],
    detections: Mapping[int, list[dict[str, Any]]],
    category_ids: Sequence[int],
    max_detections: int | None = None,
) -> Matches:
    """Matches the detections of all images.

    Args:
      truths: the objects of each image.
      detections: detections of each image in COCO's form with run lengths, by index in `truths`; may lack images.
      category_ids: the category id of each class.
      max_detections: only this many detections of an image, those with the highest scores, are used; None uses all.

    Raises:
      ValueError: an annotation or a detection has a category that is not in `category_ids`, or a detection has a mask of another
        size than its image; the message names the image.
    """
    classes = {category_id: number for number, category_id in enumerate(category_ids)}
    found: list[dict[str, np.ndarray]] = []
    objects: list[dict[str, np.ndarray]] = []
    num_found = num_objects = 0
    for index, truth in enumerate(truths):
        rows = detections.get(index, [])
        order = np.argsort([-row["score"] for row in rows], kind="stable")[:max_detections]
        rows = [rows[number] for number in order]
        first, second = _match_rows(truth, rows, classes)
        first["image"], first["row"] = np.full(len(rows), index), order
        second["image"] = np.full(len(second["row"]), index)
        first["partner"] = _shift(first["partner"], num_objects)
        second["taker"] = _shift(second["taker"], num_found)
        num_found, num_objects = num_found + len(rows), num_objects + len(second["row"])
        found.append(first)
        objects.append(second)
    sizes = np.array([(truth.height, truth.width) for truth in truths], np.int64).reshape(-1, 2)
    return Matches(Detections(**_join(found, Detections)), Objects(**_join(objects, Objects)), sizes, len(category_ids))


def _shift(indices: np.ndarray, offset: int) -> np.ndarray:
    return np.where(indices < 0, -1, indices + offset)


_BOXES = ("box", "mask_box")
_FLAGS = ("repairs", "ignored", "missed")
_NUMBERS = ("score", "area", "nearest", *_BOXES)


def _join(parts: list[dict[str, np.ndarray]], kind: type) -> dict[str, np.ndarray]:
    """Returns each field of a class with the rows of all images."""
    joined = {}
    for field in dataclasses.fields(kind):
        dtype = bool if field.name in _FLAGS else np.float64 if field.name in _NUMBERS else np.int64
        empty = np.zeros((0, 4) if field.name in _BOXES else 0, dtype)
        joined[field.name] = np.concatenate([empty, *(part[field.name].astype(dtype) for part in parts)])
    return joined


def _match_rows(
    truth: Truth, rows: list[dict[str, Any]], classes: Mapping[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the fields of `Detections` and of `Objects` for one image; without `image`, and with indices within the image."""
    places = [place for place, row in enumerate(truth.annotations) if not row["iscrowd"]]
    objects = [truth.annotations[place] for place in places]
    regions = [row for row in truth.annotations if row["iscrowd"]]
    labels, object_labels, region_labels = (_labels(truth, part, classes) for part in (rows, objects, regions))
    masks, object_masks = _masks(truth, rows), _masks(truth, objects)
    covered = _overlaps(masks, _masks(truth, regions), is_region=True) > FOREGROUND_IOU
    in_ignored = (covered & (labels[:, np.newaxis] == region_labels)).any(1)
    result = match_image(_overlaps(masks, object_masks), labels, object_labels, in_ignored)
    found = {
        "label": labels,
        "score": np.array([row["score"] for row in rows], np.float64),
        "box": _to_yxyx([row["bbox"] for row in rows]) if all("bbox" in row for row in rows) else _bounding_boxes(masks),
        "area": np.array(coco_mask.area(masks) if masks else []),
        "error": result.errors,
        "partner": result.partners,
        "repairs": result.repairs,
        "ignored": result.ignored,
    }
    known = {
        "row": np.array(places),
        "label": object_labels,
        "box": _to_yxyx([row["bbox"] for row in objects]),
        "mask_box": _bounding_boxes(object_masks),
        "area": np.array([row["area"] for row in objects]),
        "taker": result.takers,
        "missed": result.missed,
        "nearest": result.nearest,
    }
    return found, known


def _labels(truth: Truth, rows: list[dict[str, Any]], classes: Mapping[int, int]) -> np.ndarray:
    try:
        return np.array([classes[row["category_id"]] for row in rows], np.int64)
    except KeyError as error:
        raise ValueError(
            f"image {truth.source_id}: category {error.args[0]} is not a category of the data set; use detections of this data set"
        ) from None


def _masks(truth: Truth, rows: list[dict[str, Any]]) -> list[RunLengths]:
    """Returns the masks of detections or objects after a check of their sizes, because pycocotools compares masks of any sizes."""
    for row in rows:
        size = list(row["segmentation"]["size"])
        if size != [truth.height, truth.width]:
            raise ValueError(
                f"image {truth.source_id}: a mask has the size {size}, the image [{truth.height}, {truth.width}] (height, width);"
                " use detections at the size of the image"
            )
    return [row["segmentation"] for row in rows]


def _overlaps(masks: list[RunLengths], others: list[RunLengths], is_region: bool = False) -> np.ndarray:
    """Returns the IoU of masks, [D, N]; with `is_region` the part of each mask that the other one covers."""
    if not masks or not others:
        return np.zeros((len(masks), len(others)))
    return np.asarray(coco_mask.iou(masks, others, [is_region] * len(others)), np.float64)


def _to_yxyx(boxes_xywh: list[list[float]]) -> np.ndarray:
    x, y, width, height = np.array(boxes_xywh, np.float64).reshape(-1, 4).T
    return np.stack([y, x, y + height, x + width], axis=1)


def _bounding_boxes(masks: list[RunLengths]) -> np.ndarray:
    return _to_yxyx(coco_mask.toBbox(masks).tolist() if masks else [])
