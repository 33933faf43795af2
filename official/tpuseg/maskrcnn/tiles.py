"""The objects of a large image from the detections in overlapping windows.

An object in the common part of two windows is detected twice, and an object that is larger than the common part is cut by the
border of a window. Three rules combine the detections of different windows; t is 0.5, and masks are compared pixel by pixel:

1.  Part: a detection touches a border of its window, and a detection of another window reaches beyond this border, but the opposite
    does not hold. If at least t of the first mask is inside the second, the first is removed, whatever the scores and the classes
    are: it shows only a part of the object.
2.  Join: two detections of one class each touch a border beyond which the other one reaches. If inside the common part of both
    windows the masks have at least t of the smaller one in common, both show parts of one object: their masks are united, and the
    score is the larger one. An object that is larger than a window is joined from a chain of windows.
3.  Duplicate: of two other detections of one class that have at least t of the smaller mask in common, the one with the higher
    score stays.

          window A      window B
        +--------------+
        |       +------|---------+        The object `x` is cut by the right border of A, and B shows it completely: a part.
        |  ooooo|oooooo|ooo xxxxx|        The object `o` is cut by A's right border and by B's left one: it is joined.
        |     vv|vvv   |         |        The object `v` touches B's left border, and A shows it completely: a part.
        +-------|------+         |
                +----------------+

Detections of one window are not compared with each other, because the network has already suppressed duplicates among them. Only
windows with a common part are compared, so the time is proportional to the number of windows.

Shapes: D detections, S the side of a box mask, h x w the image.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from tpuseg.maskrcnn.prediction import Objects, scale_to_image
from tpuseg.ops import mask_crops, masks, windows
from tpuseg.ops.mask_crops import Crop
from tpuseg.training.tile_merging import TileMerger

# The part of a mask that another mask must cover; see the rules above.
_COVERED = 0.5
# A box touches a border, or reaches beyond it, from this distance on: in pixels, and as a part of the side of the box, because the
# error of a box grows with its size.
_MARGIN, _RELATIVE_MARGIN = 2.0, 0.05


@dataclasses.dataclass(frozen=True, repr=False)
class MergedObjects(Objects):
    """The objects of an image that was divided into windows.

    Attributes:
      crops: The D masks in pixels of the image.
    """

    crops: list[Crop]

    def runs(self) -> list[masks.RunLengths]:
        """Returns the run lengths of the masks at the image's size."""
        return mask_crops.to_run_lengths(self.crops, self.size)

    def take(self, rows: np.ndarray) -> "MergedObjects":
        """Returns some of the objects."""
        found = super().take(rows)
        values = {field.name: getattr(found, field.name) for field in dataclasses.fields(Objects)}
        return MergedObjects(**values, crops=[self.crops[row] for row in np.arange(len(self))[rows]])


@dataclasses.dataclass
class _Detection:
    """A detection of one window.

    Attributes:
      window: number of the window.
      box: [4] float32 yxyx in pixels of the image.
      score: probability.
      label: class number.
      box_mask: [S, S] float32.
      crop: mask in pixels of the image.
      area: number of pixels of the mask.
    """

    window: int
    box: np.ndarray
    score: float
    label: int
    box_mask: np.ndarray
    crop: Crop
    area: int


@dataclasses.dataclass(frozen=True)
class _Relations:
    """Pairs of detections by the rule that applies to them: (part, whole), (one part, other part), (one, other)."""

    parts: list[tuple[int, int]]
    joins: list[tuple[int, int]]
    duplicates: list[tuple[int, int]]


class ObjectMerger(TileMerger):
    """Collects the detections in the windows of an image."""

    def __init__(self, grid: windows.Grid) -> None:
        """Creates a merger without detections.

        Args:
          grid: The windows of the image.
        """
        self._grid = grid
        self._found: dict[int, list[_Detection]] = {}

    def add(self, number: int, outputs: dict[str, np.ndarray], row: int) -> None:
        """See `TileMerger`."""
        window = self._grid[number]
        found = scale_to_image(outputs, row, window.size)
        crops = mask_crops.paste(found.masks, found.boxes, (window.top, window.left))
        boxes = found.boxes + np.tile(np.array([window.top, window.left], np.float32), 2)
        rows = zip(boxes, found.scores.tolist(), found.classes.tolist(), found.masks, crops, strict=True)
        detections = [_Detection(number, *values, area=masks.area(values[-1].runs)) for values in rows]
        self._found[number] = [detection for detection in detections if detection.area]

    def finish(self) -> MergedObjects:
        """Returns the objects of the image in the order of decreasing scores."""
        found = [detection for number in sorted(self._found) for detection in self._found[number]]
        groups = _merge(found, _relate(self._grid, found))
        groups.sort(key=lambda group: -max(found[index].score for index in group))
        return _to_objects([_unite([found[index] for index in group]) for group in groups], self._grid.size)


def _relate(grid: windows.Grid, found: list[_Detection]) -> _Relations:
    """Compares all detections of windows with a common part."""
    relations = _Relations([], [], [])
    boxes = np.array([detection.box for detection in found]).reshape(-1, 4)
    by_window: dict[int, list[int]] = {}
    for index, detection in enumerate(found):
        by_window.setdefault(detection.window, []).append(index)
    for number, indices in by_window.items():
        for other in set(grid.neighbours(number)) & by_window.keys():
            common = grid[number].intersect(grid[other])
            for first, second in _overlapping_boxes(boxes, np.array(indices), np.array(by_window[other]), common):
                _compare(grid, found, first, second, common, relations)
    return relations


def _overlapping_boxes(
    boxes: np.ndarray, indices: np.ndarray, others: np.ndarray, common: windows.Window
) -> Iterator[tuple[int, int]]:
    """Yields the pairs of detections of two windows whose boxes overlap; both reach into the common part of the windows."""
    first, second = (rows[_are_overlapping(boxes[rows], np.array(common))] for rows in (indices, others))
    for place, other_place in np.argwhere(_are_overlapping(boxes[first, np.newaxis], boxes[second])).tolist():
        yield int(first[place]), int(second[other_place])


def _are_overlapping(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (np.minimum(boxes[..., 2:], others[..., 2:]) > np.maximum(boxes[..., :2], others[..., :2])).all(-1)


def _compare(
    grid: windows.Grid, found: list[_Detection], first: int, second: int, common: windows.Window, relations: _Relations
) -> None:
    """Adds a pair of detections to the relation that applies to it, if any."""
    one, other = found[first], found[second]
    shared = mask_crops.count_shared_pixels(one.crop, other.crop)
    if not shared:
        return
    one_is_cut, other_is_cut = _is_continued(one, other, grid), _is_continued(other, one, grid)
    if one_is_cut and other_is_cut:
        smaller = min(mask_crops.count_pixels(detection.crop, common) for detection in (one, other))
        if one.label == other.label and shared >= _COVERED * smaller:
            relations.joins.append((first, second))
    elif one_is_cut and shared >= _COVERED * one.area:
        relations.parts.append((first, second))
    elif other_is_cut and shared >= _COVERED * other.area:
        relations.parts.append((second, first))
    elif one.label == other.label and shared >= _COVERED * min(one.area, other.area):
        relations.duplicates.append((first, second))


def _is_continued(one: _Detection, other: _Detection, grid: windows.Grid) -> bool:
    """Returns whether a detection touches a border of its window beyond which another one reaches."""
    window = np.array(grid[one.window], np.float32)
    margin = _margin(one.box)
    touches = np.abs(one.box - window) <= np.tile(margin, 2)
    sign = np.array([-1, -1, 1, 1])
    reaches = (other.box - window) * sign > np.tile(_margin(other.box), 2)
    return bool((touches & reaches).any())


def _margin(box: np.ndarray) -> np.ndarray:
    """Returns the margins along y and x in pixels, [2]."""
    return np.maximum(_MARGIN, _RELATIVE_MARGIN * (box[2:] - box[:2]))


def _merge(found: list[_Detection], relations: _Relations) -> list[list[int]]:
    """Applies the three rules, and returns the indices of the detections of each object."""
    alive = _remove_parts(found, relations.parts)
    groups = _join(len(found), [(one, other) for one, other in relations.joins if alive[one] and alive[other]])
    kept = _suppress(found, alive, groups, relations.duplicates)
    members: dict[int, list[int]] = {}
    for index in np.flatnonzero(alive).tolist():
        members.setdefault(groups[index], []).append(index)
    return [indices for group, indices in members.items() if group in kept]


def _remove_parts(found: list[_Detection], parts: list[tuple[int, int]]) -> list[bool]:
    """Returns which detections stay when those that show only a part of another one are removed, the smallest first."""
    alive = [True] * len(found)
    for part, whole in sorted(parts, key=lambda pair: found[pair[0]].area):
        if alive[whole]:
            alive[part] = False
    return alive


def _join(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Returns the number of the group of each index, where the indices of a pair have the same group."""
    groups = list(range(count))

    def root(index: int) -> int:
        while groups[index] != index:
            groups[index] = groups[groups[index]]
            index = groups[index]
        return index

    for one, other in pairs:
        groups[root(one)] = root(other)
    return [root(index) for index in range(count)]


def _suppress(found: list[_Detection], alive: list[bool], groups: list[int], duplicates: list[tuple[int, int]]) -> set[int]:
    """Returns the groups that stay when duplicates with lower scores are removed."""
    scores: dict[int, float] = {}
    for index in np.flatnonzero(alive).tolist():
        scores[groups[index]] = max(scores.get(groups[index], 0.0), found[index].score)
    rivals: dict[int, set[int]] = {group: set() for group in scores}
    for one, other in duplicates:
        if alive[one] and alive[other] and groups[one] != groups[other]:
            rivals[groups[one]].add(groups[other])
            rivals[groups[other]].add(groups[one])
    kept: set[int] = set()
    for group in sorted(scores, key=lambda group: (-scores[group], group)):
        if not rivals[group] & kept:
            kept.add(group)
    return kept


def _unite(parts: list[_Detection]) -> _Detection:
    """Returns the object of which detections show the parts."""
    best = max(parts, key=lambda part: part.score)
    if len(parts) == 1:
        return best
    boxes = np.stack([part.box for part in parts])
    box = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
    crop = mask_crops.unite([part.crop for part in parts])
    box_mask = mask_crops.to_box_mask(crop, box, len(best.box_mask))
    return dataclasses.replace(best, box=box, crop=crop, box_mask=box_mask, area=masks.area(crop.runs))


def _to_objects(found: list[_Detection], size: tuple[int, int]) -> MergedObjects:
    return MergedObjects(
        boxes=np.array([detection.box for detection in found], np.float32).reshape(-1, 4),
        scores=np.array([detection.score for detection in found], np.float32),
        classes=np.array([detection.label for detection in found], np.int32),
        masks=np.array([detection.box_mask for detection in found], np.float32).reshape(
            len(found), *(found[0].box_mask.shape if found else (1, 1))
        ),
        size=size,
        crops=[detection.crop for detection in found],
    )
