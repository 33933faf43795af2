"""pycocotools' evaluation with a faster matching of detections to objects.

For each image, class, area range and IoU threshold, pycocotools compares every detection with every object in Python, although
nearly all pairs do not overlap. Here only the pairs whose IoU reaches at least the smallest threshold are compared. IoU, precision
and recall are still computed by pycocotools.

The rule is COCO's: in the order of decreasing scores, and separately for each threshold, a detection takes the free object with the
largest IoU that reaches the threshold, and an ignored object only if no other object is possible. For two detections (scores 0.9
and 0.8), two objects, and the thresholds 0.5 and 0.7:

    IoU            object 1   object 2     thresholds reached     match at 0.5   match at 0.7
    detection 1      0.55       0.80             1  2             object 2       object 2
    detection 2      0.60       0.75             1  2             object 1       none (object 2 is taken)

    If object 2 is ignored, detection 1 takes object 1 at 0.5, although its IoU is smaller, and detection 2 takes object 2, so that
    it counts neither as correct nor as wrong. At 0.7, detection 1 takes object 2, and detection 2 takes none.

Shapes: A area ranges, T thresholds, D detections and N objects of an image and class.
"""

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np
from pycocotools import cocoeval

from tpuseg.utils import private_apis


class SparseCocoEval(cocoeval.COCOeval):
    """A `COCOeval` with the same results and without messages."""

    def evaluate(self) -> None:
        """Matches detections to objects for every image, class and area range."""
        params = self.params
        params.imgIds, params.catIds = np.unique(params.imgIds).tolist(), np.unique(params.catIds).tolist()
        params.maxDets = sorted(params.maxDets)
        groups = private_apis.grouped_annotations(self)
        if groups is None:
            with contextlib.redirect_stdout(io.StringIO()):
                super().evaluate()
            return
        all_objects, all_detections = groups
        image_places = {image_id: place for place, image_id in enumerate(params.imgIds)}
        class_places = {category_id: place for place, category_id in enumerate(params.catIds)}
        num_ranges, num_images = len(params.areaRng), len(params.imgIds)
        self.evalImgs: list[dict[str, Any] | None] = [None] * (len(params.catIds) * num_ranges * num_images)
        low, high = np.array(params.areaRng, np.float64).T[..., np.newaxis]
        limits = _Limits(np.minimum(params.iouThrs, 1 - 1e-10), low, high, params.maxDets[-1])
        for image_id, category_id in {**all_objects, **all_detections}:
            objects, detections = all_objects.get((image_id, category_id), []), all_detections.get((image_id, category_id), [])
            if not objects and not detections:
                continue
            overlaps = self.computeIoU(image_id, category_id) if objects and detections else ()
            matcher = _Matcher(objects, detections, overlaps, limits)
            for place in range(num_ranges):
                slot = (class_places[category_id] * num_ranges + place) * num_images + image_places[image_id]
                self.evalImgs[slot] = {"image_id": image_id, "category_id": category_id, **matcher.match(place)}
        private_apis.keep_parameters(self)

    def run(self) -> np.ndarray:
        """Computes the twelve metrics; -1 if there is no object."""
        self.evaluate()
        with contextlib.redirect_stdout(io.StringIO()):
            self.accumulate()
            self.summarize()
        return np.asarray(self.stats)


class _Limits(NamedTuple):
    """The parameters of matching.

    Attributes:
      thresholds: [T] IoU thresholds in ascending order.
      low: [A, 1] smallest area of each range, in square pixels.
      high: [A, 1] largest area of each range, in square pixels.
      max_detections: maximum number of detections per image and class.
    """

    thresholds: np.ndarray
    low: np.ndarray
    high: np.ndarray
    max_detections: int


class _Matcher:
    """Matches the detections of one image and class for all area ranges."""

    def __init__(self, objects: list[dict[str, Any]], detections: list[dict[str, Any]], overlaps: Any, limits: _Limits) -> None:
        scores = np.array([detection["score"] for detection in detections], np.float64)
        order = (-scores).argsort(kind="mergesort")[: limits.max_detections]
        self._scores = scores[order]
        self._objects = objects
        self._overlaps = np.asarray(overlaps, np.float64).reshape(len(order), len(objects))
        self._thresholds = limits.thresholds
        areas = np.array([detection["area"] for detection in detections], np.float64)[order]
        self._outside = (areas < limits.low) | (areas > limits.high)
        object_areas = np.array([row["area"] for row in objects], np.float64)
        always_ignored = np.array([row["ignore"] for row in objects], bool)
        self._ignored = (object_areas < limits.low) | (object_areas > limits.high) | always_ignored
        self._crowds = np.array([row.get("iscrowd", 0) for row in objects], bool)
        # Area ranges differ in which objects are ignored. Ranges with the same ignored objects have the same matches.
        self._found: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = {}

    def match(self, place: int) -> dict[str, Any]:
        """Returns the entries of the result of pycocotools' `evaluateImg` that `accumulate` reads, for one area range."""
        ignored = self._ignored[place]
        key = ignored.tobytes()
        if key not in self._found:
            matches, on_ignored, sorted_ignored = self._matches(ignored)
            self._found[key] = (matches, on_ignored, matches == 0, sorted_ignored)
        matches, on_ignored, unmatched, sorted_ignored = self._found[key]
        return {
            "dtScores": self._scores,
            "dtMatches": matches,
            "dtIgnore": on_ignored | (unmatched & self._outside[place]),
            "gtIgnore": sorted_ignored,
        }

    def _matches(self, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the ids of the matched objects [T, D], whether they are ignored [T, D], and `ignored` in pycocotools' order."""
        matches = np.zeros((len(self._thresholds), len(self._scores)))
        on_ignored = np.zeros(matches.shape, bool)
        if not self._overlaps.size:
            return matches, on_ignored, np.sort(ignored).astype(np.int64)
        order = ignored.argsort(kind="mergesort")
        is_ignored = ignored[order]
        near, places = np.nonzero(self._overlaps[:, order] >= self._thresholds[0])
        values = self._overlaps[near, order[places]]
        # The number of thresholds that an IoU reaches: detection and object can only match at these.
        reached = np.searchsorted(self._thresholds, values, side="right")
        candidates: dict[int, list[tuple[int, int, float]]] = {}
        for detection, *candidate in zip(near.tolist(), places.tolist(), reached.tolist(), values.tolist(), strict=True):
            candidates.setdefault(detection, []).append(tuple(candidate))
        taken: list[set[int]] = [set() for _ in self._thresholds]
        crowds = set(np.flatnonzero(self._crowds[order]).tolist())
        for detection, row in candidates.items():
            for level in range(max(reach for _, reach, _ in row)):
                best, best_value = -1, 0.0
                for place, reach, value in row:
                    if reach <= level or (place in taken[level] and place not in crowds):
                        continue
                    if best > -1 and not is_ignored[best] and is_ignored[place]:
                        break
                    if value >= best_value:
                        best, best_value = place, value
                if best > -1:
                    taken[level].add(best)
                    matches[level, detection] = self._objects[order[best]]["id"]
                    on_ignored[level, detection] = is_ignored[best]
        return matches, on_ignored, is_ignored.astype(np.int64)
