"""Labels in mask files: classes of pixels, and the objects of Pascal VOC and Cityscapes.

Worker processes import this module, so it does not import TensorFlow.
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

# Maximum number of classes of a mask, without the ignore label.
MOST_VALUES = 255


@dataclasses.dataclass(frozen=True)
class MaskFile(PixelSource):
    """A mask with a class for every pixel.

    Attributes:
      path: path of the file.
      rules: rules that convert its values to class ids.
    """

    path: str
    rules: LabelRules

    def read(self, size: tuple[int, int]) -> PixelClasses:
        """Reads the file; see `label_masks.read_mask`."""
        del size  # The size of the file is used.
        mask = label_masks.read_mask(self.path, self.rules)
        ids = np.where(mask.ids == self.rules.ignore_label, IGNORED, mask.ids.astype(np.int16))
        return PixelClasses(ids, [Finding(voc_objects.KINDS[mask.note], self.path)] if mask.note else [])


@dataclasses.dataclass(frozen=True)
class VocObjects(ObjectSource):
    """The objects of an image in the two masks of VOC's layout.

    Attributes:
      files: paths of the masks.
      rules: rules that convert their values to classes and objects.
    """

    files: label_masks.Files
    rules: voc_objects.Rules

    def read(self) -> LabelledObjects:
        """Reads both masks; see `voc_objects.read_annotations`."""
        return LabelledObjects(*voc_objects.read_annotations(self.files, self.rules))


class Values(NamedTuple):
    """The distinct values or colours in a mask.

    Attributes:
      numbers: values of a grey or palette image.
      colors: colours (red, green, blue) of a colour image.
    """

    numbers: frozenset[int]
    colors: frozenset[tuple[int, int, int]]


def find_values(path: str) -> Values:
    """Returns the distinct values in a mask.

    Raises:
      ValueError: the file is missing or damaged, has a lossy format, or contains too many values; the message names it.
    """
    raw = images.read_bytes(path, "mask")
    with image_files.open_image(raw, path, "mask") as image:
        label_masks.refuse_lossy(image, path)
        is_color = image.mode in ("RGB", "RGBA")
        if is_color:
            counts = image.convert("RGB").getcolors(MOST_VALUES + 1)
            found: Any = None if counts is None else frozenset(color for _, color in counts)
        else:
            found = _find_distinct(label_masks.whole_numbers(label_png.values(image, raw), path))
    if found is None or len(found) > MOST_VALUES + 1:
        raise ValueError(
            f"{path} has more than {MOST_VALUES + 1} different values; a mask has one for each class. Was it smoothed or resized"
            " with interpolation, or is it not a mask?"
        )
    return Values(frozenset(), found) if is_color else Values(found, frozenset())


def _find_distinct(values: np.ndarray) -> frozenset[int]:
    if values.dtype.itemsize <= 2 and values.dtype.kind == "u":
        return frozenset(np.flatnonzero(np.bincount(values.ravel())).tolist())
    return frozenset(np.unique(values).tolist())


@dataclasses.dataclass(frozen=True)
class NumberedObjects(ObjectSource):
    """Objects in Cityscapes' 16-bit mask, whose values are 1000 times the class plus the number of the object.

    Attributes:
      path: path of the file.
      categories: categories whose ids are the classes; other values are not objects. A value that is a class id itself is a group
        of objects that were not annotated individually.
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
        for number in sorted(_find_distinct(numbers)):
            place = places.get(number // 1000 if number >= 1000 else number)
            if place is not None:
                runs = masks.encode(numbers == number)
                made = shapes.pixel_mask(f"object {number}", self.categories[place], place, runs)
                annotations.append(made if number >= 1000 else shapes.as_crowd(made))
        return LabelledObjects(annotations, (), (numbers.shape[0], numbers.shape[1]))
