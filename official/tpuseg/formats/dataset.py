"""What a data set is after reading, whatever its format: images with their labels, the classes, and what is odd about it.

Worker processes import this module, so it leaves TensorFlow alone.
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
# In arrays of class ids while they are read; records hold 255.
IGNORED = -1


@dataclasses.dataclass(frozen=True)
class Options:
    """How to read what can be read in two ways.

    Attributes:
      kind: `instances` or `semantic`; empty for the first that the folder offers.
      class_names: of masks whose files do not name them, in the order of the ids; the background is one of them.
      class_colors: red, green and blue of these classes in masks that hold colours.
      values: how values of masks become class ids.
      palette: see `mask_values.LabelRules`.
      boxes_are_masks: a rectangle is the outline of its object; otherwise its inside is an ignored region.
      crowds_are_instances: annotations with iscrowd 1 are objects.
      allow_outside: names and symbolic links may lead out of the folder.
      num_workers: processes, where files have to be read to know what the data set holds.
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
      annotations: in the order in which they are drawn, later ones above earlier ones.
      findings: what is odd about them.
      size: height and width of the masks, where only their file tells it; otherwise None.
    """

    annotations: Sequence[Annotation]
    findings: Sequence[Finding] = ()
    size: tuple[int, int] | None = None


class PixelClasses(NamedTuple):
    """The classes of an image's pixels.

    Attributes:
      ids: [H, W] int16 class ids; `IGNORED` where the pixel does not count.
      findings: what is odd about them.
    """

    ids: np.ndarray
    findings: Sequence[Finding] = ()


class ObjectSource(abc.ABC):
    """Objects that are read when they are needed, in a worker process: of an image's mask of objects, for instance.

    Subclasses are frozen dataclasses that can be pickled, in modules that do not import TensorFlow.
    """

    @abc.abstractmethod
    def read(self) -> LabelledObjects:
        """Returns the objects.

        Raises:
          ValueError: a file is missing or damaged; names it.
        """


class PixelSource(abc.ABC):
    """Classes of pixels that are read or drawn when they are needed, in a worker process.

    Subclasses are frozen dataclasses that can be pickled, in modules that do not import TensorFlow.
    """

    @abc.abstractmethod
    def read(self, size: tuple[int, int]) -> PixelClasses:
        """Returns the classes of the pixels.

        Args:
          size: height and width of the image, for sources that draw; the result of others has the size of their file.

        Raises:
          ValueError: a file is missing or damaged; names it.
        """


@dataclasses.dataclass(frozen=True)
class LabelledFile:
    """One image of a data set with its labels.

    Attributes:
      path: of the file.
      name: of the image, by which lists of splits and messages call it; no other image of the data set has it.
      source_id: the data set's id of the image, as text.
      labels: of a data set of instances its objects, of a semantic one the classes of its pixels.
      split: `train`, `val` or `test` if the layout says so; otherwise empty.
      size: height and width as annotated; None where they are missing.
      id_type: what the id is in the data set's file, see `examples.image_id`.
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
    """A data set as read.

    Attributes:
      format: its name, see `registry`.
      kind: `instances` or `semantic`.
      source: the file or folder that names the images, for messages.
      categories: of instances, the kinds of objects, ordered by id; of pixels, all classes, whose ids are their places.
      images: whose files are there.
      findings: what is odd about the lists and the labels, what was left out included.
      num_images: as listed, also those that were left out.
      num_annotations: as listed; None where objects or classes are only found in the images' masks.
      notes: sentences for people about how the data set was understood: where names come from, what belongs together.
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
        """The splits that the layout names, `train` first; without one, a list of nothing."""
        named = {image.split for image in self.images} - {""}
        return [split for split in (TRAIN, VAL, TEST) if split in named]


def require_kind(kind: str, offered: Sequence[str], source: str) -> str:
    """Returns the kind of labels to read.

    Args:
      kind: that was asked for; empty for the first that is offered.
      offered: kinds that the data set has.
      source: of the data set, for the message.

    Raises:
      ValueError: the data set does not have it.
    """
    if kind and kind not in offered:
        raise ValueError(f"{source} has no labels for --task={kind}; it has those for {' and '.join(offered)}")
    return kind or offered[0]
