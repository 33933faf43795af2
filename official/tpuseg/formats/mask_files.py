"""Masks in image files as labels: the classes of pixels, and objects as Pascal VOC and Cityscapes have them.

Worker processes import this module, so it leaves TensorFlow alone.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from tpuseg.convert import images, label_masks, voc_objects
from tpuseg.convert.mask_values import LabelRules
from tpuseg.convert.objects import Finding
from tpuseg.data.examples import Category
from tpuseg.formats import shapes
from tpuseg.formats.dataset import IGNORED, LabelledObjects, ObjectSource, PixelClasses, PixelSource
from tpuseg.io import image_files, label_png
from tpuseg.ops import masks

# More different values or colours are no classes.
MOST_VALUES = 255


@dataclasses.dataclass(frozen=True)
class MaskFile(PixelSource):
    """A mask with a class for every pixel.

    Attributes:
      path: of the file.
      rules: what its values mean.
    """

    path: str
    rules: LabelRules

    def read(self, size: tuple[int, int]) -> PixelClasses:
        """Reads the file; see `label_masks.read_mask`."""
        del size  # That of the file counts.
        mask = label_masks.read_mask(self.path, self.rules)
        ids = np.where(mask.ids == self.rules.ignore_label, IGNORED, mask.ids.astype(np.int16))
        return PixelClasses(ids, [Finding(voc_objects.KINDS[mask.note], self.path)] if mask.note else [])


@dataclasses.dataclass(frozen=True)
class VocObjects(ObjectSource):
    """The objects of an image in VOC's two masks.

    Attributes:
      files: the masks.
      rules: what their values mean.
    """

    files: label_masks.Files
    rules: voc_objects.Rules

    def read(self) -> LabelledObjects:
        """Reads both masks; see `voc_objects.read_annotations`."""
        return LabelledObjects(*voc_objects.read_annotations(self.files, self.rules))


class Values(NamedTuple):
    """What occurs in a mask.

    Attributes:
      numbers: values of a grey or palette image.
      colors: red, green and blue of a colour image.
    """

    numbers: frozenset[int]
    colors: frozenset[tuple[int, int, int]]


def find_values(path: str) -> Values:
    """Returns the different values in a mask.

    Raises:
      ValueError: the file is missing or damaged, changes values, or holds so many that they are no classes; names it.
    """
    raw = images.read_bytes(path, "mask")
    with image_files.open_image(raw, path, "mask") as image:
        label_masks.refuse_lossy(image, path)
        is_color = image.mode in ("RGB", "RGBA")
        if is_color:
            counted = image.convert("RGB").getcolors(MOST_VALUES + 1)
            found: Any = None if counted is None else frozenset(color for _, color in counted)
        else:
            found = _distinct(label_masks.whole_numbers(label_png.values(image, raw), path))
    if found is None or len(found) > MOST_VALUES + 1:
        raise ValueError(
            f"{path} has more than {MOST_VALUES + 1} different values; a mask has one for each class. Was it smoothed or resized"
            " with interpolation, or is it no mask?"
        )
    return Values(frozenset(), found) if is_color else Values(found, frozenset())


def _distinct(values: np.ndarray) -> frozenset[int]:
    if values.dtype.itemsize <= 2 and values.dtype.kind == "u":
        return frozenset(np.flatnonzero(np.bincount(values.ravel())).tolist())
    return frozenset(np.unique(values).tolist())


@dataclasses.dataclass(frozen=True)
class NumberedObjects(ObjectSource):
    """Objects in a mask of 16 bits as Cityscapes has them: 1000 times the class, plus the number of the object.

    Attributes:
      path: of the file.
      categories: whose ids are the classes; other values are no objects. A value that is a class itself is a group of objects that
        nobody told apart.
    """

    path: str
    categories: tuple[Category, ...]

    def read(self) -> LabelledObjects:
        """Reads the mask."""
        raw = images.read_bytes(self.path, "mask")
        with image_files.open_image(raw, self.path, "mask") as image:
            label_masks.refuse_lossy(image, self.path)
            numbers = label_masks.whole_numbers(label_png.values(image, raw), self.path)
        places = {category.id: place for place, category in enumerate(self.categories)}
        annotations = []
        for number in sorted(_distinct(numbers)):
            place = places.get(number // 1000 if number >= 1000 else number)
            if place is not None:
                runs = masks.encode(numbers == number)
                made = shapes.pixel_mask(f"object {number}", self.categories[place], place, runs)
                annotations.append(made if number >= 1000 else shapes.as_crowd(made))
        return LabelledObjects(annotations, (), (numbers.shape[0], numbers.shape[1]))
