"""pycocotools' evaluation, with its slowest part done by looking only where something can match.

For each picture, class, range of areas and threshold, pycocotools compares every detection with every object in Python, although
nearly all of them do not even touch. Overlaps, precision and recall stay its own.
"""

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools import cocoeval


class Evaluation(cocoeval.COCOeval):
    """A `COCOeval` that gives the same answers and prints nothing."""

    def evaluate(self) -> None:
        """Matches detections to objects, for every picture, class and range of areas."""
        params = self.params
        params.imgIds, params.catIds = np.unique(params.imgIds).tolist(), np.unique(params.catIds).tolist()
        params.maxDets = sorted(params.maxDets)
        self._prepare()
        image_places = {image_id: place for place, image_id in enumerate(params.imgIds)}
        class_places = {category_id: place for place, category_id in enumerate(params.catIds)}
        num_ranges, num_images = len(params.areaRng), len(params.imgIds)
        self.evalImgs: list[dict[str, Any] | None] = [None] * (len(params.catIds) * num_ranges * num_images)
        pairs = [key for key in {**self._gts, **self._dts} if self._gts.get(key) or self._dts.get(key)]
        for image_id, category_id in pairs:
            overlaps = self.computeIoU(image_id, category_id)
            matcher = _Matcher(self._gts[image_id, category_id], self._dts[image_id, category_id], overlaps, params)
            for place, area_range in enumerate(params.areaRng):
                slot = (class_places[category_id] * num_ranges + place) * num_images + image_places[image_id]
                self.evalImgs[slot] = {"image_id": image_id, "category_id": category_id, **matcher.match(area_range)}
        # What `accumulate` takes the parameters from.
        self._paramsEval = params

    def run(self) -> np.ndarray:
        """Returns the twelve numbers; -1 where there is no object."""
        self.evaluate()
        with contextlib.redirect_stdout(io.StringIO()):
            self.accumulate()
            self.summarize()
        return np.asarray(self.stats)


class _Matcher:
    """One picture's objects and detections of one class."""

    def __init__(self, objects: list[dict[str, Any]], detections: list[dict[str, Any]], overlaps: Any, params: Any) -> None:
        order = np.argsort([-detection["score"] for detection in detections], kind="mergesort")[: params.maxDets[-1]]
        self._detections = [detections[place] for place in order]
        self._objects = objects
        self._overlaps = np.asarray(overlaps, np.float64).reshape(len(order), len(objects))
        self._thresholds = np.minimum(params.iouThrs, 1 - 1e-10)
        self._areas = np.array([detection["area"] for detection in self._detections])
        self._scores = [detection["score"] for detection in self._detections]
        self._object_areas = np.array([row["area"] for row in objects])
        self._always_ignored = np.array([bool(row["ignore"]) for row in objects], bool)
        self._crowds = np.array([bool(row.get("iscrowd", 0)) for row in objects], bool)
        # Which objects are ignored differs between the ranges of areas; where it does not, neither do the matches.
        self._found: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def match(self, area_range: list[float]) -> dict[str, Any]:
        """Returns what pycocotools' `evaluateImg` returns of it and `accumulate` reads."""
        low, high = area_range
        ignored = self._always_ignored
        if len(self._objects):
            ignored = ignored | (self._object_areas < low) | (self._object_areas > high)
        key = ignored.tobytes()
        if key not in self._found:
            self._found[key] = self._matches(ignored)
        matches, on_ignored, sorted_ignored = self._found[key]
        outside = (self._areas < low) | (self._areas > high)
        return {
            "dtScores": self._scores,
            "dtMatches": matches,
            "dtIgnore": on_ignored | ((matches == 0) & outside),
            "gtIgnore": sorted_ignored,
        }

    def _matches(self, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the matched objects' ids [T, D], whether these are ignored [T, D], and `ignored` in pycocotools' order."""
        shape = (len(self._thresholds), len(self._detections))
        matches, on_ignored = np.zeros(shape), np.zeros(shape, bool)
        order = np.argsort(ignored, kind="mergesort")
        overlaps, is_ignored, crowds = self._overlaps[:, order], ignored[order], self._crowds[order]
        # How many thresholds an overlap reaches: the only ones at which the two can match.
        levels = np.searchsorted(self._thresholds, overlaps, side="right")
        taken = [set[int]() for _ in self._thresholds]
        for detection in np.flatnonzero(levels.any(axis=1)).tolist():
            near = np.flatnonzero(levels[detection]).tolist()
            reach = levels[detection, near].tolist()
            values = overlaps[detection, near].tolist()
            for level in range(max(reach)):
                best, best_value = -1, 0.0
                for place, reached, value in zip(near, reach, values, strict=True):
                    if reached <= level or (place in taken[level] and not crowds[place]):
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
