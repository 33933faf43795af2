"""Labels of objects that are probably wrong, found by comparing them with confident detections and with their own masks.

A label is suspicious if the model disagrees with it where the model usually agrees with the labels. Its score is therefore the
share of agreement in similar cases, which makes the five kinds comparable:

    missing label              a detection far from every label             scores of right detections against those of these
    label without prediction   no detection is near the label               labels of this class and of a similar area
    other class                a detection on the label has another class   scores, as for missing labels
    other position             a detection of the class overlaps partly     scores, as for missing labels
    box does not fit mask      box and mask of the label differ             labels whose box fits their mask, times 1 - IoU / 2

If 90 % of the detections with scores near 0.8 are right and 10 % have no label, then each of the latter has the score 0.9. Only
the detections of a selection are used, those with at least a certain score.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

from tpuseg.report import matching
from tpuseg.report.content import LabelToCheck
from tpuseg.report.matching import Matches
from tpuseg.report.selection import Selection

KINDS = ("missing label", "label without prediction", "other class", "other position", "box does not fit mask")
_MISSING, _UNSUPPORTED, _CLASS, _POSITION, _BOX = range(len(KINDS))
# A box fits its mask if each edge is at most this far from that of the mask, in pixels or as a part of the box's side.
_FIT_PIXELS = 2.0
_FIT_PART = 0.05
# Each share of agreement is computed from about this many detections or labels.
_GROUP = 50
_MAX_GROUPS = 20
_NUM_AREAS = 5
# Number of objects of a class for which the share of a range of areas counts as much as that of the class.
_PRIOR = 10.0


class Suspicions(NamedTuple):
    """Suspicious labels.

    Attributes:
      kind: [S] index in `KINDS`.
      score: [S] share of agreement, 0 to 1.
      detection: [S] index of a detection; -1 if there is none.
      object: [S] index of an object; -1 if there is none.
    """

    kind: np.ndarray
    score: np.ndarray
    detection: np.ndarray
    object: np.ndarray


def find_suspicions(matches: Matches, selection: Selection) -> Suspicions:
    """Finds suspicious labels, those with the highest scores first; each object has at most one.

    Args:
      matches: the matches.
      selection: the detections that are used.
    """
    parts = [
        _find_missing(matches, selection),
        _find_unsupported(matches),
        _find_contradictions(matches, selection, matching.CLASSIFICATION, _CLASS),
        _find_contradictions(matches, selection, matching.LOCALIZATION, _POSITION),
        _find_misfits(matches),
    ]
    joined = Suspicions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    certainty = np.where(joined.detection >= 0, np.append(matches.detections.score, 0.0)[joined.detection], 0.0)
    order = np.lexsort((-certainty, -joined.score))
    ranked = Suspicions(*(column[order] for column in joined))
    # Detections without a label get numbers of their own.
    owners = np.where(ranked.object >= 0, ranked.object, -1 - ranked.detection)
    _, first = np.unique(owners, return_index=True)
    return Suspicions(*(column[np.sort(first)] for column in ranked))


def _find_missing(matches: Matches, selection: Selection) -> Suspicions:
    """Finds detections far from every label; of several at the same place the one with the highest score."""
    found = matches.detections
    rows = np.flatnonzero(selection.kept & (found.error == matching.BACKGROUND))
    rows = rows[_are_first(found.image[rows], found.box[rows])]
    score = agreement(found.score[selection.kept & found.right], found.score[rows])
    return Suspicions(np.full(len(rows), _MISSING), score, rows, np.full(len(rows), -1))


def _are_first(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns whether each box, [D] bool, overlaps no earlier one of its image with an IoU of at least 0.5.

    Args:
      images: [D] ascending.
      boxes: [D, 4] yxyx.
    """
    first = np.ones(len(images), bool)
    bounds = np.flatnonzero(np.diff(images, prepend=-1, append=-1))
    for start, stop in zip(bounds[:-1], bounds[1:], strict=False):
        for row in range(start + 1, stop):
            earlier = boxes[start:row][first[start:row]]
            first[row] = not (box_iou(boxes[row], earlier) >= matching.FOREGROUND_IOU).any()
    return first


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the IoU of boxes, [..., 4] yxyx, that are broadcast against each other; 0 where both are empty."""
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    union = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def agreement(agreeing: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the share of agreeing detections near each score, [S].

    The share is computed in groups of similar scores, does not decrease with the score, and is interpolated between the groups.

    Args:
      agreeing: scores of detections that agree with the labels.
      scores: [S] scores of detections that disagree.
    """
    if not len(scores):
        return np.zeros(0)
    values = np.concatenate([agreeing, scores])
    num_groups = min(max(len(values) // _GROUP, 1), _MAX_GROUPS)
    groups = np.searchsorted(np.quantile(values, np.arange(1, num_groups) / num_groups), values, side="right")
    counts, sums, agrees = (
        np.bincount(groups, weights, num_groups) for weights in (None, values, np.arange(len(values)) < len(agreeing))
    )
    known = counts > 0  # Equal scores are in the same group, so that others can be empty.
    # As if one more of each had been seen, so that few detections do not give a share of 0 or 1.
    shares = (agrees[known] + 1) / (counts[known] + 2)
    return np.interp(scores, sums[known] / counts[known], np.maximum.accumulate(shares))


def _find_unsupported(matches: Matches) -> Suspicions:
    """Finds labels that no detection is near."""
    objects = matches.objects
    lonely = objects.nearest <= matching.BACKGROUND_IOU
    rows = np.flatnonzero(lonely)
    shares = share_of_similar(~lonely, objects.label, objects.area)
    return Suspicions(np.full(len(rows), _UNSUPPORTED), shares[rows], np.full(len(rows), -1), rows)


def share_of_similar(flags: np.ndarray, labels: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Returns the share of the objects of the same class and of a similar area for which a flag is set, [N].

    With few such objects, the share of the class is included, and with few of the class that of all.

    Args:
      flags: [N] bool.
      labels: [N] classes.
      areas: [N] areas in square pixels.
    """
    if not len(flags):
        return np.zeros(0)
    limits = np.quantile(areas, np.arange(1, _NUM_AREAS) / _NUM_AREAS)
    share = np.full(len(flags), (flags.sum() + 1) / (len(flags) + 2))
    for groups in (labels, labels * _NUM_AREAS + np.digitize(areas, limits)):
        counts = np.bincount(groups)[groups]
        share = (np.bincount(groups, flags)[groups] + _PRIOR * share) / (counts + _PRIOR)
    return share


def _find_contradictions(matches: Matches, selection: Selection, error: int, kind: int) -> Suspicions:
    """Finds labels with a detection that has this error and a higher score than the detection that takes the label, if any."""
    found, objects = matches.detections, matches.objects
    rows = np.flatnonzero(selection.kept & (found.error == error))
    takers = objects.taker[found.partner[rows]]
    rival = np.where(takers >= 0, np.append(found.score, 0.0)[takers], 0.0)
    stronger = found.score[rows] > rival
    rows, rival = rows[stronger], rival[stronger]
    # Detections of an image are in the order of their scores, so the first one of each object has the highest.
    _, first = np.unique(found.partner[rows], return_index=True)
    rows, rival = rows[first], rival[first]
    share = agreement(found.score[selection.kept & found.right], found.score[rows])
    score = share * (1 - rival / np.maximum(found.score[rows], 1e-9))
    return Suspicions(np.full(len(rows), kind), score, rows, found.partner[rows])


def _find_misfits(matches: Matches) -> Suspicions:
    """Finds labels whose box does not fit their mask."""
    objects = matches.objects
    sides = np.tile(objects.mask_box[:, 2:] - objects.mask_box[:, :2], 2)
    misfit = (np.abs(objects.box - objects.mask_box) > np.maximum(_FIT_PIXELS, _FIT_PART * sides)).any(1)
    rows = np.flatnonzero(misfit)
    share = (len(misfit) - len(rows) + 1) / (len(misfit) + 2)
    score = share * (1 - box_iou(objects.box[rows], objects.mask_box[rows]) / 2)
    return Suspicions(np.full(len(rows), _BOX), score, np.full(len(rows), -1), rows)


class Names(Protocol):
    """The names with which labels are described."""

    def image_name(self, index: int) -> str:
        """Returns the name of an image."""

    def image_id(self, index: int) -> str:
        """Returns the id of an image."""

    def annotation_id(self, index: int, row: int) -> str:
        """Returns the id of an annotation of an image."""

    def class_name(self, label: int) -> str:
        """Returns the name of a class."""


def describe(matches: Matches, suspicions: Suspicions, names: Names) -> list[LabelToCheck]:
    """Returns suspicious labels with texts.

    Args:
      matches: the matches.
      suspicions: from `find_suspicions`.
      names: the names of images, annotations and classes.
    """
    return [_describe(matches, names, *row) for row in zip(*(column.tolist() for column in suspicions), strict=True)]


def _describe(matches: Matches, names: Names, kind: int, score: float, detection: int, number: int) -> LabelToCheck:
    found, objects = matches.detections, matches.objects
    part: Any = objects if number >= 0 else found
    place = number if number >= 0 else detection
    image = int(part.image[place])
    label = names.class_name(int(part.label[place]))
    confidence = f"{found.score[detection]:.2f}" if detection >= 0 else ""
    if kind == _MISSING:
        text = f"`{label}` is predicted with score {confidence}, but nothing is labelled here"
    elif kind == _UNSUPPORTED:
        text = f"`{label}` is labelled, but no prediction is near it"
    elif kind == _CLASS:
        text = f"labelled `{label}`, predicted `{names.class_name(int(found.label[detection]))}` with score {confidence}"
    elif kind == _POSITION:
        text = f"`{label}` is predicted with score {confidence} at a place that differs from the label"
    else:
        text = f"the box of `{label}` does not fit its mask (IoU {box_iou(objects.box[number], objects.mask_box[number]):.2f})"
    annotation_id = names.annotation_id(image, int(objects.row[number])) if number >= 0 else ""
    box = tuple(part.box[place].tolist())
    return LabelToCheck(names.image_id(image), names.image_name(image), annotation_id, KINDS[kind], round(score, 4), text, box)
