"""The form of a data set after it was read, independent of its format: images with labels, classes, and findings.

Worker processes import this module, so it does not import TensorFlow.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tpuseg.convert.mask_values import ValueRules
from tpuseg.convert.objects import Annotation, Finding
from tpuseg.data.examples import Category

INSTANCES, SEMANTIC = "instances", "semantic"
KINDS = (INSTANCES, SEMANTIC)
TRAIN, VAL, TEST = "train", "val", "test"
# Id of ignored pixels while a data set is read; in records it is 255.
IGNORED = -1


@dataclasses.dataclass(frozen=True)
class Options:
    """Options for reading a data set, for everything that its files leave open.

    Attributes:
      kind: kind of labels, `instances` or `semantic`; empty for the first one that the folder has.
      class_names: names of the classes in the order of their ids, background included, for masks without a file that names them.
      class_colors: colours (red, green, blue) of these classes in masks that contain colours.
      values: rules that convert values of masks to class ids.
      palette: see `mask_values.LabelRules`.
      boxes_are_masks: whether a rectangle is the outline of its object; otherwise the area in it is an ignored region.
      crowds_are_instances: whether annotations with iscrowd 1 are objects.
      allow_outside: whether names and symbolic links may lead out of the folder.
      num_workers: number of processes that read files to find the classes.
    """

    kind: str = ""
    class_names: tuple[str, ...] = ()
    class_colors: tuple[tuple[int, int, int], ...] = ()
    values: ValueRules = ValueRules()
    palette: str = "auto"
    boxes_are_masks: bool = False
    crowds_are_instances: bool = False
    allow_outside: bool = False
    num_workers: int = 1


class LabelledObjects(NamedTuple):
    """The objects of one image.

    Attributes:
      annotations: the objects in the order in which they are drawn, later ones above earlier ones.
      findings: irregularities in the labels.
      size: height and width of the masks in pixels if only the file of the masks has it; otherwise None.
    """

    annotations: Sequence[Annotation]
    findings: Sequence[Finding] = ()
    size: tuple[int, int] | None = None


class PixelClasses(NamedTuple):
    """The classes of an image's pixels.

    Attributes:
      ids: [H, W] int16 class ids; `IGNORED` for ignored pixels.
      findings: irregularities in the labels.
    """

    ids: np.ndarray
    findings: Sequence[Finding] = ()


class ObjectSource(abc.ABC):
    """Objects that a worker process reads when they are needed, for example from an image's mask of objects.

    Subclasses are frozen dataclasses that can be pickled, in modules that do not import TensorFlow.
    """

    @abc.abstractmethod
    def read(self) -> LabelledObjects:
        """Returns the objects.

        Raises:
          ValueError: a file is missing or damaged; the message names it.
        """


class PixelSource(abc.ABC):
    """Classes of pixels that a worker process reads or draws when they are needed.

    Subclasses are frozen dataclasses that can be pickled, in modules that do not import TensorFlow.
    """

    @abc.abstractmethod
    def read(self, size: tuple[int, int]) -> PixelClasses:
        """Returns the classes of the pixels.

        Args:
          size: height and width of the image in pixels, for sources that draw; the result of others has the size of their file.

        Raises:
          ValueError: a file is missing or damaged; the message names it.
        """


@dataclasses.dataclass(frozen=True)
class LabelledFile:
    """One image of a data set with its labels.

    Attributes:
      path: path of the image file.
      name: unique name of the image, used in lists of splits and in messages.
      source_id: id of the image in the data set, as text.
      labels: the objects (in a data set of instances), or the classes of the pixels (in a semantic one).
      split: `train`, `val` or `test` if the data set specifies it; otherwise empty.
      size: height and width in pixels as annotated; None if they are missing.
      id_type: type of the id in the data set's file, see `examples.image_id`.
    """

    path: str
    name: str
    source_id: str
    labels: LabelledObjects | ObjectSource | PixelSource
    split: str = ""
    size: tuple[int, int] | None = None
    id_type: str = ""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set after it was read.

    Attributes:
      format: name of the format, see `registry`.
      kind: kind of labels, `instances` or `semantic`.
      source: the file or folder that lists the images, for messages.
      categories: categories of the objects, ordered by id; in a semantic data set all classes, whose ids are their indices.
      images: the images whose files exist.
      findings: irregularities in the lists and the labels, and everything that was left out.
      num_images: number of listed images, including those that were left out.
      num_annotations: number of listed annotations; None if objects or classes are only defined by masks.
      notes: sentences for the user about how the data set was interpreted, for example where the class names come from.
    """

    format: str
    kind: str
    source: str
    categories: tuple[Category, ...]
    images: tuple[LabelledFile, ...]
    findings: tuple[Finding, ...] = ()
    num_images: int = 0
    num_annotations: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> list[str]:
        """The names of the categories, in their order."""
        return [category.name for category in self.categories]

    @property
    def splits(self) -> list[str]:
        """The splits that the data set specifies, `train` first; empty if it specifies none."""
        named = {image.split for image in self.images} - {""}
        return [split for split in (TRAIN, VAL, TEST) if split in named]


def require_kind(kind: str, offered: Sequence[str], source: str) -> str:
    """Returns the kind of labels to read.

    Args:
      kind: the requested kind; empty for the first one in `offered`.
      offered: kinds of labels that the data set has.
      source: file or folder of the data set, for the message.

    Raises:
      ValueError: the data set does not have labels of this kind.
    """
    if kind and kind not in offered:
        raise ValueError(f"{source} has no labels for --task={kind}; it has labels for {' and '.join(offered)}")
    return kind or offered[0]
