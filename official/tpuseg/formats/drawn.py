"""Drawing objects into a mask with a class for every pixel.

Worker processes import this module, so it does not import TensorFlow.
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
    """Objects that are drawn on top of each other on the background, whose class is 0.

    Attributes:
      name: name of the image, for findings.
      objects: the objects, later ones above earlier ones.
      class_ids: class id of the pixels of each category, by the category's index.
      by_size: whether large objects are drawn before small ones, for formats in which the order has no meaning.
    """

    name: str
    objects: LabelledObjects | ObjectSource
    class_ids: tuple[int, ...]
    by_size: bool

    def read(self, size: tuple[int, int]) -> PixelClasses:
        """Draws the objects.

        Crowds and objects without a usable mask are ignored regions, and are drawn below all other objects.
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
    """Converts a data set of instances to a semantic one by drawing its objects on a background.

    Args:
      dataset: a data set of instances. A category called `background` is the background; otherwise a class is added for it.
      by_size: whether small objects are drawn above large ones, for formats in which the order has no meaning.
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
