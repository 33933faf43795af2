"""Objects drawn into a mask with a class for every pixel.

Worker processes import this module, so it leaves TensorFlow alone.
"""

import dataclasses

import numpy as np

from tpuseg.convert import objects
from tpuseg.convert.objects import Finding
from tpuseg.data.examples import Category
from tpuseg.formats.dataset import IGNORED, SEMANTIC, Dataset, LabelledObjects, ObjectSource, PixelClasses, PixelSource
from tpuseg.ops import masks

BACKGROUND = "background"


@dataclasses.dataclass(frozen=True)
class DrawnObjects(PixelSource):
    """Objects that are drawn one above the other on the background, whose class is 0.

    Attributes:
      name: of the image, for findings.
      objects: with their annotations, later ones above earlier ones.
      class_ids: class of the pixels of each category, by the category's place.
      by_size: large objects are drawn before small ones; for formats whose order means nothing.
    """

    name: str
    objects: LabelledObjects | ObjectSource
    class_ids: tuple[int, ...]
    by_size: bool

    def read(self, size: tuple[int, int]) -> PixelClasses:
        """Draws the objects.

        What has no usable mask is an ignored region, and so is a crowd; objects are above them.
        """
        given = self.objects.read() if isinstance(self.objects, ObjectSource) else self.objects
        findings = list(given.findings)
        ids = np.zeros(size, np.int16)
        drawn: list[tuple[int, masks.RunLengths]] = []
        for annotation in given.annotations:
            found: list[tuple[str, str]] = []
            runs, is_usable = objects.pixels(annotation, size, found)
            findings += [Finding(kind, f"image {self.name}, {annotation.name}: {what}") for kind, what in found]
            if runs is not None:
                counts = is_usable and not annotation.is_crowd
                drawn.append((self.class_ids[annotation.class_index] if counts else IGNORED, runs))
        if self.by_size:
            drawn.sort(key=lambda one: -masks.area(one[1]))
        drawn.sort(key=lambda one: one[0] != IGNORED)
        for class_id, runs in drawn:
            ids[masks.decode(runs) > 0] = class_id
        return PixelClasses(ids, findings)


def as_pixels(dataset: Dataset, by_size: bool) -> Dataset:
    """Returns a data set of instances as a semantic one: its objects drawn on a background.

    Args:
      dataset: of instances. A category that is called `background` in it is the background; otherwise that is a class more.
      by_size: the annotations have no order of their own, so that small objects are drawn above large ones.
    """
    names = dataset.class_names
    others = [name for name in names if name.lower() != BACKGROUND]
    class_ids = tuple(0 if name.lower() == BACKGROUND else 1 + others.index(name) for name in names)
    categories = tuple(Category(number, name) for number, name in enumerate([BACKGROUND, *others]))
    images = []
    for image in dataset.images:
        if isinstance(image.labels, PixelSource):
            raise TypeError(f"{image.name} has classes of pixels already")
        images.append(dataclasses.replace(image, labels=DrawnObjects(image.name, image.labels, class_ids, by_size)))
    return dataclasses.replace(dataset, kind=SEMANTIC, categories=categories, images=tuple(images))
