"""Images with objects, as converters create them and records contain them.

The converters' worker processes import this module, so it does not import TensorFlow.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tpuseg.ops.masks import RunLengths

# Maximum number of digits of a numeric id; Python refuses to parse numbers of a few thousand digits.
_LONGEST_NUMBER = 40


@dataclasses.dataclass(frozen=True)
class Category:
    """A category of objects.

    Attributes:
      id: the id in the data set, any integer.
      name: the name of the category.
    """

    id: int
    name: str


@dataclasses.dataclass(frozen=True)
class Instance:
    """One object, or one ignored region.

    Attributes:
      category: the category.
      class_index: rank of the category among all categories sorted by id, from 0.
      is_crowd: whether it is an ignored region: objects that were not annotated individually.
      box: [4] float64 yxyx box in pixels, within the image.
      annotated_box: [4] float64 x, y, width, height as annotated; used for evaluation.
      annotated_area: area in square pixels as annotated; evaluation distinguishes small and large objects by it.
      runs: run lengths of the mask at the image's size.
      frame: [56, 56] uint8 box mask; see `masks.frame_of_polygons`.
      png: the mask at the image's size as a PNG, 1 on the object.
    """

    category: Category
    class_index: int
    is_crowd: bool
    box: np.ndarray
    annotated_box: np.ndarray
    annotated_area: float
    runs: RunLengths
    frame: np.ndarray
    png: bytes


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a window of a larger image comes from.

    Attributes:
      source_id: id of the larger image in the data set.
      top: first row of the window in that image.
      left: first column.
      height: height of that image in pixels.
      width: width of that image in pixels.
    """

    source_id: str
    top: int
    left: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Example:
    """One image; its labels are in the subclasses.

    Attributes:
      image: the encoded JPEG or PNG.
      image_format: `jpeg` or `png`.
      height: height of the image in pixels.
      width: width of the image in pixels.
      source_id: id of the image in the data set, as text; messages name the image by it.
      filename: file name of the image.
      num_channels: number of channels of the image; `image_channels` describes how numbers other than 3 are encoded.
      origin: where it comes from if it is a window of a larger image; otherwise None.
    """

    image: bytes
    image_format: str
    height: int
    width: int
    source_id: str
    filename: str
    num_channels: int = dataclasses.field(default=3, kw_only=True)
    origin: Origin | None = dataclasses.field(default=None, kw_only=True)


@dataclasses.dataclass(frozen=True)
class SemanticExample(Example):
    """One image with a class for every pixel.

    Attributes:
      labels: PNG with one 8-bit class id per pixel.
    """

    labels: bytes


@dataclasses.dataclass(frozen=True)
class InstanceExample(Example):
    """One image with its objects.

    Attributes:
      instances: its objects; may be empty.
      id_type: `int` or `str`, the type of the id in the data set's file; empty if the text determines it, see `image_id`.
    """

    instances: Sequence[Instance]
    id_type: str = ""

    @property
    def image_id(self) -> int | str:
        """The id with the type and spelling of the data set's file, as pycocotools compares it."""
        return image_id(self.source_id, self.id_type)


def image_id(source_id: str, id_type: str = "") -> int | str:
    """Returns the id of an image from the values in a record.

    Args:
      source_id: the id as text.
      id_type: `int` or `str`; if it is empty, an id that consists of digits is a number, as in COCO's files.
    """
    has_digits = source_id.isascii() and source_id.isdigit() and len(source_id) <= _LONGEST_NUMBER
    is_number = id_type == "int" if id_type else has_digits
    return int(source_id) if is_number else source_id


def id_type(value: int | str) -> str:
    """Returns the `id_type` that `image_id` needs to return this id; empty for nearly all ids."""
    derived = image_id(str(value))
    return "" if derived == value and type(derived) is type(value) else type(value).__name__


def window_id(source_id: str, top: int, left: int) -> str:
    """Returns the id of a window of an image: `name@top,left`."""
    return f"{source_id}@{top},{left}"
