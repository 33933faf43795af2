"""PNGs of COCO's panoptic format, whose colours are the numbers of segments: reading objects and classes of pixels.

Worker processes import this module, so it does not import TensorFlow.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from tpuseg.convert import images
from tpuseg.convert.objects import Annotation, Finding
from tpuseg.data.examples import Category
from tpuseg.formats import shapes
from tpuseg.formats.dataset import IGNORED, LabelledObjects, ObjectSource, PixelClasses, PixelSource
from tpuseg.io import image_files
from tpuseg.ops import masks


class Segment(NamedTuple):
    """One segment of an image.

    Attributes:
      number: red + 256 * green + 65536 * blue of its pixels.
      place: index of its category.
      is_crowd: whether it is a group of objects that were not annotated individually.
    """

    number: int
    place: int
    is_crowd: bool = False


def read_numbers(path: str) -> np.ndarray:
    """Returns the segment number of each pixel, [H, W] int32; 0 for pixels without a segment.

    Raises:
      ValueError: the file is missing, damaged or not an RGB image; the message names it.
    """
    raw = images.read_bytes(path, "mask")
    with image_files.open_image(raw, path, "mask") as image:
        if image.mode not in ("RGB", "RGBA"):
            raise ValueError(f"{path} has the mode {image.mode}; masks of segments are RGB")
        colors = np.asarray(image.convert("RGB")).astype(np.int32)
    return colors[..., 0] | colors[..., 1] << 8 | colors[..., 2] << 16


@dataclasses.dataclass(frozen=True)
class SegmentObjects(ObjectSource):
    """The segments that are objects.

    Attributes:
      path: path of the PNG.
      segments: the segments that are objects.
      categories: categories of the data set.
    """

    path: str
    segments: tuple[Segment, ...]
    categories: tuple[Category, ...]

    def read(self) -> LabelledObjects:
        """Reads the PNG; a segment without pixels is a finding."""
        numbers = read_numbers(self.path)
        annotations: list[Annotation] = []
        findings = []
        for segment in self.segments:
            pixels = numbers == segment.number
            if not pixels.any():
                findings.append(Finding("segment_missing", f"{self.path}: segment {segment.number}"))
                continue
            made = shapes.pixel_mask(
                f"segment {segment.number}", self.categories[segment.place], segment.place, masks.encode(pixels)
            )
            annotations.append(shapes.as_crowd(made) if segment.is_crowd else made)
        return LabelledObjects(annotations, findings, (numbers.shape[0], numbers.shape[1]))


@dataclasses.dataclass(frozen=True)
class SegmentClasses(PixelSource):
    """The classes of all segments; pixels without a segment are ignored.

    Attributes:
      path: path of the PNG.
      segments: segments of the image.
    """

    path: str
    segments: tuple[Segment, ...]

    def read(self, size: tuple[int, int]) -> PixelClasses:
        """Reads the PNG; segments without pixels, and pixels of a segment that is not listed, are findings."""
        del size  # The size of the file is used.
        numbers = read_numbers(self.path)
        ids = np.full(numbers.shape, IGNORED, np.int16)
        findings = []
        for segment in self.segments:
            pixels = numbers == segment.number
            if not pixels.any():
                findings.append(Finding("segment_missing", f"{self.path}: segment {segment.number}"))
            ids[pixels] = segment.place
        unknown = (ids == IGNORED) & (numbers > 0)
        if unknown.any():
            first = int(numbers[unknown][0])
            findings.append(Finding("segment_unknown", f"{self.path}: {int(unknown.sum())} pixels, the first of segment {first}"))
        return PixelClasses(ids, findings)
