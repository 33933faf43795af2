"""Masks of objects: COCO's run lengths, pasting of predictions, and the small form in which records hold masks for training.

Run lengths are pycocotools' dictionaries {`size`: [height, width], `counts`: bytes}: an image's pixels column by column, in
alternating runs beside and on the object. Masks that a network predicts, and those that it learns from, lie in the frame of a
box: [S, S], whatever the box's size is. Pixels are areas with their centres at half coordinates. Converters' worker processes
import this module, so it leaves TensorFlow alone; `frames` has what runs in a graph.

Shapes: D detections, N objects of an image, S the side of a mask in its box's frame, H W the image.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

RunLengths = dict[str, Any]

# Side of the masks that records hold, see `frame_of_polygons`.
FRAME_SIZE = 56
# Each cell of such a mask is drawn as so many rows and columns, and says how many of them the object covers.
_FINER = 4
# pycocotools computes an outline's pixels in 32 bits, five of them a pixel, and keeps all of them in memory. No image is so large
# that its polygons come near these limits, in pixels.
_FARTHEST = 1e6
_LONGEST_OUTLINE = 4e6
# Characters of a compressed run length: pycocotools reads no more than 30 bits right.
_LONGEST_COUNT = 6
# A pixel is on the object from this probability on.
_THRESHOLD = 0.5


def run_lengths(segmentation: Any, height: int, width: int) -> RunLengths:
    """Reads any form in which COCO files hold a mask.

    Args:
      segmentation: polygons (a list of flat lists x0, y0, x1, y1 ... in pixels, whose union is the mask), or run lengths as a
        dictionary whose counts are a list or compressed.
      height: of the image.
      width: of the image.

    Returns:
      Compressed run lengths of the image's size.

    Raises:
      ValueError: it is none of these forms, or of another size.
    """
    if isinstance(segmentation, dict):
        return _checked(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError(f"the segmentation is a {type(segmentation).__name__}, neither polygons nor run lengths")
    polygons = [check_polygon(polygon) for polygon in segmentation]
    if not polygons:
        return encode(np.zeros((height, width)))
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def check_polygon(polygon: Any) -> list[float]:
    """Returns a polygon's coordinates as numbers.

    Raises:
      ValueError: it has fewer than three corners, something else than finite numbers, or reaches farther than any image.
    """
    try:
        values = [float(value) for value in polygon]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"a polygon is {str(polygon)[:60]}, not a flat list of numbers x0, y0, x1, y1 ...") from None
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"a polygon has {len(values)} coordinates; at least 6, and an even number, make an area")
    if not all(map(math.isfinite, values)):
        raise ValueError("a polygon has coordinates that are not finite numbers")
    farthest = max(max(values), -min(values))
    if farthest > _FARTHEST or (len(values) * farthest > _LONGEST_OUTLINE and _outline(values) > _LONGEST_OUTLINE):
        raise ValueError(f"a polygon has coordinates up to {farthest:g}, which no image has")
    return values


def _outline(values: Sequence[float]) -> float:
    """Returns how many pixels a polygon's outline passes, nearly."""
    points = np.reshape(values, (-1, 2))
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(1).sum())


def has_size(segmentation: dict[str, Any], height: int, width: int) -> bool:
    """Returns whether run lengths say that they are of a size."""
    size = segmentation.get("size")
    return isinstance(size, list | tuple) and len(size) == 2 and size[0] == height and size[1] == width


def _checked(segmentation: dict[str, Any], height: int, width: int) -> RunLengths:
    counts = segmentation.get("counts")
    if counts is None or not has_size(segmentation, height, width):
        told = str(segmentation.get("size"))[:40]
        raise ValueError(f"the run lengths are of size {told}, the image is [{height}, {width}] (height, width)")
    if isinstance(counts, str | bytes):
        compressed = counts.encode(errors="replace") if isinstance(counts, str) else counts
        lengths = decode_counts(compressed)
    else:
        compressed, lengths = b"", _whole_numbers(counts)
    # pycocotools would read and write beyond its memory. Lengths within the image cannot add up to more than 64 bits.
    if lengths.min(initial=0) < 0 or lengths.max(initial=0) > height * width:
        longest = lengths[np.abs(lengths).argmax()]
        raise ValueError(f"the run lengths add up to more than the image: a run has {longest} pixels, it has {height * width}")
    if lengths.sum() != height * width:
        raise ValueError(f"the run lengths add up to {lengths.sum()} pixels, the image has {height * width}")
    if compressed:
        return {"size": [height, width], "counts": compressed}
    return coco_mask.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)


def _whole_numbers(counts: Any) -> np.ndarray:
    """Returns uncompressed run lengths as int64; raises ValueError for anything else than a list of whole numbers."""
    try:
        values = np.asarray(counts) if isinstance(counts, list | tuple | np.ndarray) else np.zeros(0, object)
        if values.dtype.kind in "iu" and values.ndim == 1:
            return values.astype(np.int64)
        if values.dtype.kind == "f" and values.ndim == 1 and (values == np.floor(values)).all() and np.abs(values).max() < 2**53:
            return values.astype(np.int64)
    except ValueError:  # Lists of different lengths.
        pass
    raise ValueError(f"the run lengths are {str(counts)[:60]}, not a list of whole numbers or their compressed form")


def union(parts: Sequence[RunLengths]) -> RunLengths:
    """Returns the pixels of all parts of one object."""
    return parts[0] if len(parts) == 1 else coco_mask.merge(parts)


def encode(mask: np.ndarray) -> RunLengths:
    """Returns the run lengths of [H, W] uint8 or bool."""
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def decode(runs: RunLengths) -> np.ndarray:
    """Returns [H, W] uint8, 1 on the object."""
    return coco_mask.decode(runs)


def area(runs: RunLengths) -> int:
    """Returns the number of pixels on the object."""
    return int(coco_mask.area(runs))


def bounding_box(runs: RunLengths) -> np.ndarray:
    """Returns the smallest box around all pixels, [4] float64 yxyx; zeros for an empty mask."""
    x, y, width, height = coco_mask.toBbox(runs)
    return np.array([y, x, y + height, x + width])


class Pasted(NamedTuple):
    """Masks at an image's size.

    Attributes:
      runs: D run lengths.
      areas: [D] int64 pixels.
    """

    runs: list[RunLengths]
    areas: np.ndarray


def paste(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> Pasted:
    """Draws predicted masks into their boxes at the size of the image (Mask R-CNN, arXiv:1703.06870, section 3.1).

    As detectron2 does: a pixel's centre is mapped into the box's frame, the mask, with zeros around it, is interpolated
    there bilinearly, and the pixel is on the object from one half on. But no pixel is drawn: within a column the
    interpolated mask is made of straight pieces between the rows of the [S, S] mask, and where these pass one half the
    runs begin and end. The work grows with the boxes' widths, not with their areas, and all masks of an image are done in
    one go.

    Args:
      masks: [D, S, S] probabilities.
      boxes: [D, 4] yxyx pixels of the image, over whose border they may reach.
      size: (H, W).

    Raises:
      ValueError: a box or mask has values that are not finite.
    """
    for name, values in (("boxes", boxes), ("masks", masks)):
        if not np.isfinite(values).all():
            raise ValueError(f"the {name} have values that are not finite numbers")
    height, width = size
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    owner, columns = _columns(boxes, size)
    values = _interpolate_columns(np.asarray(masks, np.float32), boxes, owner, columns)
    above = values >= _THRESHOLD
    nodes = values.shape[1]
    # The changes come in the order of the objects, their columns and rows: the order of the runs.
    changes = np.flatnonzero(above[:, 1:] != above[:, :-1])
    line = changes // (nodes - 1)
    node = changes - line * (nodes - 1)
    place = changes + line  # In `values`, whose lines are longer by one.
    first = values.ravel()[place].astype(np.float64)
    second = values.ravel()[place + 1]
    crossing = node + (_THRESHOLD - first) / (second - first)
    # Node k is the centre of the mask's row k - 1; minus a half, as pixel i has its centre at i + 1/2.
    scale = ((boxes[:, 2] - boxes[:, 0]) / (nodes - 2))[owner]
    offset = boxes[owner, 0] - 0.5 * scale - 0.5
    rows = crossing * scale[line] + offset[line]
    # A run begins with the first centre from the crossing on, and ends before the first one beyond it.
    rows = np.where(second >= _THRESHOLD, np.ceil(rows), np.floor(rows) + 1)
    rows = np.clip(rows, 0, height).astype(np.int64)
    bounds = (owner * (height * width + 1) + columns * height)[line] + rows
    return _encode(bounds, len(boxes), size)


def _columns(boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns all columns of pixels with their centres in a box: the boxes' numbers and the columns, both [C] int64."""
    first = np.clip(np.ceil(boxes[:, 1] - 0.5), 0, size[1]).astype(np.int64)
    last = np.clip(np.floor(boxes[:, 3] - 0.5), -1, size[1] - 1).astype(np.int64)
    # A box without a height has columns all the same.
    counts = np.where(boxes[:, 2] > boxes[:, 0], np.maximum(last - first + 1, 0), 0)
    counts[boxes[:, 3] <= boxes[:, 1]] = 0
    owner = np.repeat(np.arange(len(boxes)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - first, counts)


def _interpolate_columns(masks: np.ndarray, boxes: np.ndarray, owner: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the masks' values at the centres of columns, [C, S + 2] float32: a zero, the mask's S rows, a zero."""
    side = masks.shape[-1]
    padded = np.zeros((len(masks), side + 2, side + 2), np.float32)
    padded[:, 1:-1, 1:-1] = masks.transpose(0, 2, 1)
    left, right = boxes[owner, 1], boxes[owner, 3]
    places = (columns + 0.5 - left) / (right - left) * side + 0.5
    node = np.clip(places.astype(np.int64), 0, side)
    share = (places - node).astype(np.float32)[:, np.newaxis]
    values = padded[owner, node + 1]
    before = padded[owner, node]
    values -= before
    values *= share
    values += before
    return values


def _encode(bounds: np.ndarray, num_masks: int, size: tuple[int, int]) -> Pasted:
    """Makes run lengths from the places where runs begin and end.

    Args:
      bounds: not falling: mask number * (H * W + 1) + place in 0..H * W, where a run on the object begins, ends, begins and so on.
      num_masks: D.
      size: (H, W).
    """
    pixels = size[0] * size[1]
    owner, place = np.divmod(_without_pairs(bounds), pixels + 1)
    inside = place < pixels  # The last run ends with the image; that is no change.
    owner, place = owner[inside], place[inside]
    num_runs = np.bincount(owner, minlength=num_masks) + 1
    stops = np.cumsum(num_runs)
    ends = np.full(stops[-1] if num_masks else 0, pixels)
    is_change = np.ones(len(ends), bool)
    is_change[stops - 1] = False
    ends[is_change] = place
    begins = np.concatenate([[0], ends[:-1]]) if num_masks else ends
    begins[stops - num_runs] = 0
    lengths = ends - begins
    number = np.arange(len(lengths)) - np.repeat(stops - num_runs, num_runs)
    counts, sizes = _compress(lengths, number)
    byte_stops = np.concatenate([[0], np.cumsum(sizes)])[np.concatenate([[0], stops])]
    runs = [
        {"size": list(size), "counts": counts[start:stop]} for start, stop in zip(byte_stops[:-1], byte_stops[1:], strict=True)
    ]
    on_object = np.where(number % 2 == 1, lengths, 0)
    areas = np.add.reduceat(on_object, stops - num_runs) if num_masks else on_object
    return Pasted(runs, areas)


def _without_pairs(bounds: np.ndarray) -> np.ndarray:
    """Returns the values of a rising sequence that occur an odd number of times: runs and gaps without a length go."""
    if not len(bounds) or (bounds[1:] != bounds[:-1]).all():
        return bounds
    values, counts = np.unique(bounds, return_counts=True)
    return values[counts % 2 == 1]


def _compress(lengths: np.ndarray, number: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Writes run lengths as pycocotools does: differences, five bits a character, the lowest ones first.

    Args:
      lengths: of all masks' runs, one after the other.
      number: of each run within its mask; from the fourth on, the difference to the last but one is written.

    Returns:
      The characters, and how many each run takes.
    """
    rest = lengths.copy()
    rest[2:] -= np.where(number[2:] > 2, lengths[:-2], 0)
    characters: list[np.ndarray] = []
    written: list[np.ndarray] = []
    more = np.ones(len(rest), bool)
    while more.any():
        bits = rest & 31
        rest = rest >> 5
        written.append(more)
        # The sign is the highest bit of the last character.
        more = more & (rest != np.where(bits & 16, -1, 0))
        characters.append((bits | (more << 5)) + 48)
    if not characters:
        return b"", np.zeros(0, np.int64)
    used = np.stack(written, 1)
    return np.stack(characters, 1)[used].astype(np.uint8).tobytes(), used.sum(1)


def decode_counts(counts: bytes) -> np.ndarray:
    """Returns the run lengths, int64, of compressed counts: beside the object, on it, beside it and so on.

    Raises:
      ValueError: the counts are cut off, or hold other characters.
    """
    values = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(values):
        return values
    stops = np.flatnonzero(values & 32 == 0) + 1
    starts = np.concatenate([[0], stops[:-1]])
    is_cut_off = not len(stops) or stops[-1] != len(values)
    if is_cut_off or values.min() < 0 or values.max() > 63 or (stops - starts).max() > _LONGEST_COUNT:
        raise ValueError("the compressed run lengths are damaged")
    place = np.arange(len(values)) - np.repeat(starts, stops - starts)
    result = np.add.reduceat((values & 31) << (5 * place), starts)
    negative = values[stops - 1] & 16 > 0
    result = np.where(negative, result - (1 << (5 * (stops - starts))), result)
    # From the fourth on, each is the difference to the last but one: two running sums.
    result[1::2] = np.cumsum(result[1::2])
    result[2::2] = np.cumsum(result[2::2])
    return result


def fit_frame(polygons: Sequence[Sequence[float]], box: np.ndarray) -> bool:
    """Returns whether polygons can be drawn in the frame of a box: a sliver would blow them up beyond measure."""
    sides = box[2:] - box[:2]
    if sides.min() < 1:
        return False
    scale = FRAME_SIZE * _FINER / sides
    for polygon in polygons:
        height = max(max(polygon[1::2]) - box[0], box[2] - min(polygon[1::2])) * scale[0]
        width = max(max(polygon[0::2]) - box[1], box[3] - min(polygon[0::2])) * scale[1]
        farthest = max(height, width)
        if farthest > _FARTHEST:
            return False
        if len(polygon) * farthest > _LONGEST_OUTLINE and _outline(polygon) * scale.max() > _LONGEST_OUTLINE:
            return False
    return True


def frame_of_polygons(polygons: Sequence[Sequence[float]], box: np.ndarray) -> np.ndarray:
    """Draws polygons in the frame of a box, finer than the image's pixels where the box is small.

    This is the form in which records hold masks for training: a fixed [56, 56] grid over the box, whose cells say how much
    of them the object covers. One `decode_compressed` makes the masks of all objects of an image; flips and scales cost
    nothing. On images of COCO with ten objects, that takes 0.5 ms where decoding a full-size PNG for each takes 9.7 ms.

    Faithful to 28x28 targets: for 700 objects, each with its box and four rois at IoU 0.5 and more, the IoU with the
    polygons rasterised at 28x28 in the roi itself, as detectron2 does, is 0.988 (0.990 for objects below 32 pixels). A
    binary grid of 112x112 has 0.985; the image's own pixels, as in a PNG, have 0.96 (0.93 for the small ones).

    Args:
      polygons: flat lists x0, y0, x1, y1 ... in pixels of the image.
      box: [4] yxyx, not empty.

    Returns:
      [FRAME_SIZE, FRAME_SIZE] uint8; 255 where the object covers the whole cell.
    """
    fine = FRAME_SIZE * _FINER
    y0, x0, y1, x1 = box
    scaled = []
    for polygon in polygons:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        scaled.append(((points - (x0, y0)) * fine / (x1 - x0, y1 - y0)).ravel().tolist())
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(scaled, fine, fine)))
    covered = drawn.reshape(FRAME_SIZE, _FINER, FRAME_SIZE, _FINER).mean((1, 3))
    return np.round(covered * 255).astype(np.uint8)


def frame_of_runs(runs: RunLengths, box: np.ndarray) -> np.ndarray:
    """Does the same for a mask of pixels: how much of each cell of the box's frame they cover.

    Args:
      runs: at the size of the image.
      box: [4] yxyx, not empty, within the image.

    Returns:
      [FRAME_SIZE, FRAME_SIZE] uint8; 255 where the object covers the whole cell.
    """
    pixels = decode(runs)
    y, x = (_covered(box[axis], box[axis + 2], pixels.shape[axis]) for axis in (0, 1))
    return np.round(y @ pixels @ x.T * 255).astype(np.uint8)


def _covered(start: float, stop: float, num_pixels: int) -> np.ndarray:
    """Returns which share of each cell between two places lies in each pixel, [FRAME_SIZE, num_pixels] float64."""
    edges = start + (stop - start) * np.arange(FRAME_SIZE + 1)[:, np.newaxis] / FRAME_SIZE
    pixels = np.arange(num_pixels)
    shared = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return np.maximum(shared, 0.0) * FRAME_SIZE / (stop - start)


def read_frames(packed: bytes, num_frames: int) -> np.ndarray:
    """Inverts `pack_frames`: [N, FRAME_SIZE, FRAME_SIZE] uint8.

    Args:
      packed: the bytes.
      num_frames: how many there should be; not much more is unpacked, whatever the bytes say.

    Raises:
      ValueError: the bytes are damaged.
    """
    try:
        reader = zlib.decompressobj()
        raw = reader.decompress(packed, (num_frames + 1) * FRAME_SIZE**2) if packed else b""
        if packed and not reader.eof and len(raw) < (num_frames + 1) * FRAME_SIZE**2:
            raise ValueError("they are cut off")
        return np.frombuffer(raw, np.uint8).reshape(-1, FRAME_SIZE, FRAME_SIZE)
    except (zlib.error, ValueError) as error:
        raise ValueError("the objects' masks in their boxes' frames cannot be unpacked") from error


def pack_frames(frames: Sequence[np.ndarray]) -> bytes:
    """Returns the bytes in which a record holds its objects' frames."""
    return zlib.compress(b"".join(frame.tobytes() for frame in frames), 6) if len(frames) else b""
