"""Images with objects, as converters make them and records hold them.

Converters' worker processes import this module, so it leaves TensorFlow alone.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tpuseg.ops.masks import RunLengths

# Digits of an id that can be a number; Python refuses to read numbers of some thousand digits.
_LONGEST_NUMBER = 40


@dataclasses.dataclass(frozen=True)
class Category:
    """A kind of object.

    Attributes:
      id: the data set's own number of it, any whole number.
      name: for people.
    """

    id: int
    name: str


@dataclasses.dataclass(frozen=True)
class Instance:
    """One object, or a crowd.

    Attributes:
      category: what it is.
      class_index: place of the category among all of them, ordered by id; from 0.
      is_crowd: a region with objects that nobody told apart; neither an object nor background.
      box: [4] float64 yxyx pixels, within the image.
      annotated_box: [4] float64 x, y, width, height as the annotation has them; evaluation uses it.
      annotated_area: by which evaluation tells small from large objects.
      runs: the mask at the image's size.
      frame: [56, 56] uint8, the mask in the box's frame; see `masks.frame_of_polygons`.
      png: the mask at the image's size, 1 on the object.
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
class InstanceExample:
    """One image with its objects.

    Attributes:
      image: the encoded JPEG or PNG.
      image_format: `jpeg` or `png`.
      height: of the image.
      width: of the image.
      source_id: the data set's id of the image, as text.
      filename: of the image.
      instances: its objects; there may be none.
      id_type: `int` or `str`, what the id is in the data set's own file; empty where the text says it, see `image_id`.
      num_channels: of the image; `image_channels` says how other numbers than 3 are encoded.
    """

    image: bytes
    image_format: str
    height: int
    width: int
    source_id: str
    filename: str
    instances: Sequence[Instance]
    id_type: str = ""
    num_channels: int = 3

    @property
    def image_id(self) -> int | str:
        """The id in the type and spelling of the data set's own file, as pycocotools compares it."""
        return image_id(self.source_id, self.id_type)


def image_id(source_id: str, id_type: str = "") -> int | str:
    """Returns an image's id from what a record holds.

    Args:
      source_id: the id as text.
      id_type: `int` or `str`; where it is empty, an id that has only digits is a number, as in COCO's own files.
    """
    has_digits = source_id.isascii() and source_id.isdigit() and len(source_id) <= _LONGEST_NUMBER
    is_number = id_type == "int" if id_type else has_digits
    return int(source_id) if is_number else source_id


def id_type(value: int | str) -> str:
    """Returns the `id_type` that a record needs so that `image_id` gives the id back; empty for nearly all ids."""
    derived = image_id(str(value))
    return "" if derived == value and type(derived) is type(value) else type(value).__name__
