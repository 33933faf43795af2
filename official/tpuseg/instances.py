"""Pictures with objects, as converters make them and records hold them.

Converters' worker processes import this module, so it leaves TensorFlow alone.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tpuseg.masks import RunLengths


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
      box: [4] float64 yxyx pixels, within the picture.
      annotated_box: [4] float64 x, y, width, height as the annotation has them; evaluation uses it.
      annotated_area: by which evaluation tells small from large objects.
      runs: the mask at the picture's size.
      frame: [56, 56] uint8, the mask in the box's frame; see `masks.frame_of_polygons`.
      png: the mask at the picture's size, 1 on the object.
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
    """One picture with its objects.

    Attributes:
      image: the encoded JPEG or PNG.
      image_format: `jpeg` or `png`.
      height: of the picture.
      width: of the picture.
      source_id: the data set's id of the picture.
      filename: of the picture.
      instances: its objects; there may be none.
    """

    image: bytes
    image_format: str
    height: int
    width: int
    source_id: str
    filename: str
    instances: Sequence[Instance]
