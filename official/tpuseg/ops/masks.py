"""Instance masks: COCO's run lengths, pasting of predictions, and the box masks that records contain for training.

Run lengths are pycocotools' dictionaries {`size`: [height, width], `counts`: bytes}: the lengths of alternating runs of 0 and 1,
column by column. Box masks, which the network predicts and is trained on, are [S, S] grids in the frame of a box, whatever the
size of the box is. Pixels are areas with their centres at half coordinates. The converters' worker processes import this module,
so it does not import TensorFlow; `box_masks` has the functions for graphs.

Shapes: D detections, N objects of an image, S the side of a box mask, H x W the image.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

RunLengths = dict[str, Any]

# Side of the box masks in records, see `frame_of_polygons`.
FRAME_SIZE = 56
# Each cell is rasterized with this many rows and columns, and its value is the fraction of them that the object covers.
_SUBSAMPLES = 4
# Limits of polygons, in pixels. pycocotools traces an outline in 32-bit integers with five points per pixel, and keeps all points
# in memory. Polygons of real images are far below these limits.
_MAX_COORDINATE = 1e6
_MAX_OUTLINE = 4e6
# Characters of a compressed run length in files: pycocotools cannot read all numbers of more than 30 bits. It writes them for runs
# beside objects in images of more than 2^29 pixels.
_MAX_COUNT_CHARACTERS, MOST_CHARACTERS = 6, 7
# A pixel belongs to the object if its probability is at least this.
_THRESHOLD = 0.5


def run_lengths(segmentation: Any, height: int, width: int) -> RunLengths:
    """Converts a segmentation of a COCO file to run lengths.

    Args:
      segmentation: polygons (a list of flat lists x0, y0, x1, y1 ... in pixels, whose union is the mask), or run lengths as a
        dictionary whose counts are a list or compressed.
      height: height of the image in pixels.
      width: width of the image in pixels.

    Returns:
      Compressed run lengths of the image's size.

    Raises:
      ValueError: the segmentation has another form or another size.
    """
    if isinstance(segmentation, dict):
        return _check_run_lengths(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError(f"the segmentation is a {type(segmentation).__name__}, neither polygons nor run lengths")
    polygons = [check_polygon(polygon) for polygon in segmentation]
    if not polygons:
        return encode(np.zeros((height, width)))
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def check_polygon(polygon: Any) -> list[float]:
    """Returns the coordinates of a polygon as numbers.

    Raises:
      ValueError: the polygon has fewer than three corners, values that are not finite numbers, or coordinates outside any image.
    """
    try:
        values = [float(value) for value in polygon]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"a polygon is {str(polygon)[:60]}, not a flat list of numbers x0, y0, x1, y1 ...") from None
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"a polygon has {len(values)} coordinates; it needs an even number of at least 6")
    if not all(map(math.isfinite, values)):
        raise ValueError("a polygon has coordinates that are not finite numbers")
    farthest = max(max(values), -min(values))
    if farthest > _MAX_COORDINATE or (len(values) * farthest > _MAX_OUTLINE and _outline(values) > _MAX_OUTLINE):
        raise ValueError(f"a polygon has coordinates up to {farthest:g}, which are outside any image")
    return values


def _outline(values: Sequence[float]) -> float:
    """Returns the approximate number of pixels along the outline of a polygon."""
    points = np.reshape(values, (-1, 2))
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(1).sum())


def has_size(segmentation: dict[str, Any], height: int, width: int) -> bool:
    """Returns whether the `size` entry of run lengths is [height, width]."""
    size = segmentation.get("size")
    return isinstance(size, list | tuple) and len(size) == 2 and size[0] == height and size[1] == width


def _check_run_lengths(segmentation: dict[str, Any], height: int, width: int) -> RunLengths:
    counts = segmentation.get("counts")
    if counts is None or not has_size(segmentation, height, width):
        size = str(segmentation.get("size"))[:40]
        raise ValueError(f"the run lengths are of size {size}, the image is [{height}, {width}] (height, width)")
    if isinstance(counts, str | bytes):
        compressed = counts.encode(errors="replace") if isinstance(counts, str) else counts
        lengths = decode_counts(compressed)
    else:
        compressed, lengths = b"", _whole_numbers(counts)
    # For other lengths pycocotools would access memory out of bounds. Lengths within the image cannot overflow 64 bits when added.
    if lengths.min(initial=0) < 0 or lengths.max(initial=0) > height * width:
        longest = lengths[np.abs(lengths).argmax()]
        raise ValueError(f"the run lengths add up to more than the image: a run has {longest} pixels, the image {height * width}")
    if lengths.sum() != height * width:
        raise ValueError(f"the run lengths add up to {lengths.sum()} pixels, the image has {height * width}")
    if compressed:
        return {"size": [height, width], "counts": compressed}
    return coco_mask.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)


def _whole_numbers(counts: Any) -> np.ndarray:
    """Returns uncompressed run lengths as int64; raises ValueError unless they are a list of integers."""
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
    """Returns the union of the parts of one object."""
    return parts[0] if len(parts) == 1 else coco_mask.merge(parts)


def encode(mask: np.ndarray) -> RunLengths:
    """Returns the run lengths of [H, W] uint8 or bool."""
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def decode(runs: RunLengths) -> np.ndarray:
    """Returns the mask, [H, W] uint8, 1 on the object."""
    return coco_mask.decode(runs)


def area(runs: RunLengths) -> int:
    """Returns the number of pixels on the object."""
    return int(coco_mask.area(runs))


def bounding_box(runs: RunLengths) -> np.ndarray:
    """Returns the bounding box, [4] float64 yxyx; zeros for an empty mask."""
    x, y, width, height = coco_mask.toBbox(runs)
    return np.array([y, x, y + height, x + width])


class Pasted(NamedTuple):
    """Masks at the size of the image.

    Attributes:
      runs: run lengths of the D masks.
      areas: [D] int64 number of pixels of each mask.
    """

    runs: list[RunLengths]
    areas: np.ndarray


def paste(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> Pasted:
    """Pastes predicted box masks into the image and returns them as run lengths (Mask R-CNN, arXiv:1703.06870, section 3.1).

    The result is that of detectron2: the centre of a pixel is mapped to the frame of the box, the mask, padded with zeros, is
    interpolated bilinearly at this position, and the pixel belongs to the object if the value is at least one half. But the pixels
    are not computed one by one. Within a column of pixels the interpolated mask is linear between the rows of the [S, S] mask, so
    runs begin and end where a linear segment crosses one half. The time is proportional to the widths of the boxes instead of
    their areas, and all masks of an image are processed together.

    Example: the mask [[0.9, 0.2], [0.55, 0.2]] in the box (1, 1, 5, 5). A cell has 2 x 2 pixels, so the centres of the mask's rows,
    called nodes, are at y = 2 and 4, and those of the padding at y = 0 and 6. The column of pixels x = 1 has its centre at 1.5, one
    quarter of a cell before the centre of the first cell. Its values at the nodes are therefore 0.75 times the first column of the
    mask:

        y of the node       0        2        4        6
        value               0    0.675   0.4125        0
        crosses 0.5 at         1.48     3.33

    The centres of the pixels y = 1 and 2, at 1.5 and 2.5, lie between 1.48 and 3.33: the column has one run of two pixels.

    Args:
      masks: [D, S, S] probabilities in the frames of the boxes.
      boxes: [D, 4] yxyx boxes in pixels of the image; they may reach beyond it.
      size: (H, W) of the image.

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
    # The crossings are sorted by object, column and row, which is the order of the runs.
    changes = np.flatnonzero(above[:, 1:] != above[:, :-1])
    line = changes // (nodes - 1)
    node = changes - line * (nodes - 1)
    place = changes + line  # Index in `values`, whose lines have one element more.
    first = values.ravel()[place].astype(np.float64)
    second = values.ravel()[place + 1]
    crossing = node + (_THRESHOLD - first) / (second - first)
    # Node k is the centre of row k - 1 of the mask. One half is subtracted because the centre of pixel i is at i + 1/2.
    scale = ((boxes[:, 2] - boxes[:, 0]) / (nodes - 2))[owner]
    offset = boxes[owner, 0] - 0.5 * scale - 0.5
    rows = crossing * scale[line] + offset[line]
    # A run begins with the first pixel whose centre is at or after its start, and ends with the last one at or before its end.
    rows = np.where(second >= _THRESHOLD, np.ceil(rows), np.floor(rows) + 1)
    rows = np.clip(rows, 0, height).astype(np.int64)
    bounds = (owner * (height * width + 1) + columns * height)[line] + rows
    return encode_bounds(bounds, len(boxes), size)


def _columns(boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns all columns of pixels whose centres are in a box: the index of the box and the column, both [C] int64."""
    first = np.clip(np.ceil(boxes[:, 1] - 0.5), 0, size[1]).astype(np.int64)
    last = np.clip(np.floor(boxes[:, 3] - 0.5), -1, size[1] - 1).astype(np.int64)
    # A box without height or width has no columns.
    counts = np.where(boxes[:, 2] > boxes[:, 0], np.maximum(last - first + 1, 0), 0)
    counts[boxes[:, 3] <= boxes[:, 1]] = 0
    owner = np.repeat(np.arange(len(boxes)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - first, counts)


def _interpolate_columns(masks: np.ndarray, boxes: np.ndarray, owner: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the masks at the centres of columns, [C, S + 2] float32: the S rows of a mask between two zeros."""
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


def encode_bounds(bounds: np.ndarray, num_masks: int, size: tuple[int, int]) -> Pasted:
    """Creates run lengths from the positions where runs begin and end.

    Args:
      bounds: ascending; index of the mask * (H * W + 1) + position in 0..H * W, alternately where a run of 1 begins and ends.
      num_masks: D.
      size: (H, W) of the image.
    """
    pixels = size[0] * size[1]
    owner, place = np.divmod(_without_pairs(bounds), pixels + 1)
    inside = place < pixels  # The end of the image is not a change between 0 and 1.
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
    """Returns the values of an ascending sequence that occur an odd number of times, which removes runs of length 0."""
    if not len(bounds) or (bounds[1:] != bounds[:-1]).all():
        return bounds
    values, counts = np.unique(bounds, return_counts=True)
    return values[counts % 2 == 1]


def _compress(lengths: np.ndarray, number: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Encodes run lengths as pycocotools does: as differences, five bits per character, the lowest bits first.

    Args:
      lengths: [R] run lengths of all masks, concatenated.
      number: [R] index of each run within its mask; from the fourth run, the difference to the run two before is encoded.

    Returns:
      The characters, and [R] the number of characters of each run.
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


def decode_counts(counts: bytes, most_characters: int = _MAX_COUNT_CHARACTERS) -> np.ndarray:
    """Returns the run lengths, int64, of compressed counts: the first run is 0, the second 1, and so on.

    Args:
      counts: the compressed counts.
      most_characters: largest number of characters of a run length.

    Raises:
      ValueError: the counts are truncated or contain invalid characters.
    """
    values = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(values):
        return values
    stops = np.flatnonzero(values & 32 == 0) + 1
    starts = np.concatenate([[0], stops[:-1]])
    is_truncated = not len(stops) or stops[-1] != len(values)
    if is_truncated or values.min() < 0 or values.max() > 63 or (stops - starts).max() > most_characters:
        raise ValueError("the compressed run lengths are damaged")
    place = np.arange(len(values)) - np.repeat(starts, stops - starts)
    result = np.add.reduceat((values & 31) << (5 * place), starts)
    negative = values[stops - 1] & 16 > 0
    result = np.where(negative, result - (1 << (5 * (stops - starts))), result)
    # From the fourth run, the difference to the run two before is stored, so even and odd runs are two cumulative sums.
    result[1::2] = np.cumsum(result[1::2])
    result[2::2] = np.cumsum(result[2::2])
    return result


def fit_frame(polygons: Sequence[Sequence[float]], box: np.ndarray) -> bool:
    """Returns whether polygons can be rasterized in the frame of a box; for a very narrow box they would become too large."""
    sides = box[2:] - box[:2]
    if sides.min() < 1:
        return False
    scale = FRAME_SIZE * _SUBSAMPLES / sides
    for polygon in polygons:
        height = max(max(polygon[1::2]) - box[0], box[2] - min(polygon[1::2])) * scale[0]
        width = max(max(polygon[0::2]) - box[1], box[3] - min(polygon[0::2])) * scale[1]
        farthest = max(height, width)
        if farthest > _MAX_COORDINATE:
            return False
        if len(polygon) * farthest > _MAX_OUTLINE and _outline(polygon) * scale.max() > _MAX_OUTLINE:
            return False
    return True


def frame_of_polygons(polygons: Sequence[Sequence[float]], box: np.ndarray) -> np.ndarray:
    """Rasterizes polygons in the frame of a box, with a finer grid than the image's pixels if the box is small.

    Records contain masks for training in this form: a [56, 56] grid over the box, whose cells contain the fraction that the object
    covers. One `decode_compressed` decodes the masks of all objects of an image, and flipping and scaling need no computation. For
    COCO images with ten objects this takes 0.5 ms, and decoding a full-size PNG for each object 9.7 ms.

    The grid is accurate enough for mask targets of 28x28. For 700 objects, each with its box and four rois at IoU 0.5 and more, the
    IoU with the polygons rasterized at 28x28 in the roi itself, as in detectron2, is 0.988 (0.990 for objects below 32 pixels). A
    binary grid of 112x112 has 0.985, and a mask of the image's size, as in a PNG, 0.96 (0.93 for the small objects).

    Args:
      polygons: flat lists x0, y0, x1, y1 ... in pixels of the image.
      box: [4] yxyx in pixels, not empty.

    Returns:
      [FRAME_SIZE, FRAME_SIZE] uint8; 255 where the object covers the whole cell.
    """
    fine = FRAME_SIZE * _SUBSAMPLES
    y0, x0, y1, x1 = box
    scaled = []
    for polygon in polygons:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        scaled.append(((points - (x0, y0)) * fine / (x1 - x0, y1 - y0)).ravel().tolist())
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(scaled, fine, fine)))
    covered = drawn.reshape(FRAME_SIZE, _SUBSAMPLES, FRAME_SIZE, _SUBSAMPLES).mean((1, 3))
    return np.round(covered * 255).astype(np.uint8)


def frame_of_runs(runs: RunLengths, box: np.ndarray) -> np.ndarray:
    """Converts a mask of pixels to a box mask.

    Args:
      runs: run lengths of the mask at the size of the image.
      box: [4] yxyx in pixels, not empty, within the image.

    Returns:
      [FRAME_SIZE, FRAME_SIZE] uint8; 255 where the object covers the whole cell.
    """
    pixels = decode(runs)
    y, x = (cell_overlaps(box[axis], box[axis + 2], pixels.shape[axis], FRAME_SIZE) for axis in (0, 1))
    return np.round(y @ pixels @ x.T * 255).astype(np.uint8)


def cell_overlaps(start: float, stop: float, num_pixels: int, num_cells: int) -> np.ndarray:
    """Returns the part of each cell that lies in each pixel of an axis.

    Args:
      start: where the first cell begins, in pixels.
      stop: where the last cell ends, more than `start`.
      num_pixels: number of pixels of the axis.
      num_cells: number of cells, which have the same size.

    Returns:
      [num_cells, num_pixels] float64.
    """
    edges = start + (stop - start) * np.arange(num_cells + 1)[:, np.newaxis] / num_cells
    pixels = np.arange(num_pixels)
    shared = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return np.maximum(shared, 0.0) * num_cells / (stop - start)


def read_frames(packed: bytes, num_frames: int) -> np.ndarray:
    """Unpacks the box masks that `pack_frames` has packed, [N, FRAME_SIZE, FRAME_SIZE] uint8.

    Args:
      packed: the bytes in the record.
      num_frames: the expected number of masks; the memory is limited to that of one mask more.

    Raises:
      ValueError: the bytes are damaged.
    """
    try:
        reader = zlib.decompressobj()
        raw = reader.decompress(packed, (num_frames + 1) * FRAME_SIZE**2) if packed else b""
        if packed and not reader.eof and len(raw) < (num_frames + 1) * FRAME_SIZE**2:
            raise ValueError("the compressed data is truncated")
        return np.frombuffer(raw, np.uint8).reshape(-1, FRAME_SIZE, FRAME_SIZE)
    except (zlib.error, ValueError) as error:
        raise ValueError("the objects' box masks (image/object/mask/frames) cannot be unpacked") from error


def pack_frames(frames: Sequence[np.ndarray]) -> bytes:
    """Packs the box masks of the objects of an image for a record."""
    return zlib.compress(b"".join(frame.tobytes() for frame in frames), 6) if len(frames) else b""
