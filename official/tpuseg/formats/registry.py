"""The formats there are, by name: those of this package, and those that other packages register."""

import abc

from tpuseg.formats.dataset import KINDS, Dataset, Options
from tpuseg.formats.listing import Listing
from tpuseg.registry import Registry


class Format(abc.ABC):
    """One way in which programs lay out images and their labels.

    Attributes:
      name: by which `--format` calls it.
      layout: the files that make it up, for the message that lists all known layouts.
      instead_of: names of more general formats that a folder of this one fits as well.
    """

    name: str = ""
    layout: str = ""
    instead_of: tuple[str, ...] = ()

    @abc.abstractmethod
    def detect(self, listing: Listing) -> str:
        """Returns what in a folder shows that it is of this format, as the end of a sentence; empty if it is not.

        Only names of files and the beginnings of a few of them are looked at, and a damaged file is no error here.
        """

    @abc.abstractmethod
    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads the labels of a folder.

        Raises:
          ValueError: a file is missing or damaged, or nothing in it can be used; names it and says what to do.
        """

    def offered_kinds(self, listing: Listing) -> tuple[str, ...]:
        """Returns what can be learned from a folder of this format, the usual kind first."""
        del listing
        return KINDS


_BUILT_IN = {
    "ade20k": "tpuseg.formats.ade20k:Ade20k",
    "cityscapes": "tpuseg.formats.cityscapes:Cityscapes",
    "coco": "tpuseg.formats.coco:Coco",
    "coco_panoptic": "tpuseg.formats.coco_panoptic:CocoPanoptic",
    "cvat": "tpuseg.formats.cvat:Cvat",
    "image_masks": "tpuseg.formats.image_masks:ImageMasks",
    "label_studio": "tpuseg.formats.label_studio:LabelStudio",
    "labelme": "tpuseg.formats.labelme:Labelme",
    "lvis": "tpuseg.formats.lvis:Lvis",
    "via": "tpuseg.formats.via:Via",
    "voc": "tpuseg.formats.voc:Voc",
    "yolo": "tpuseg.formats.yolo:Yolo",
}
label_formats: Registry[type[Format]] = Registry("label format", _BUILT_IN)


def register(cls: type[Format]) -> type[Format]:
    """Makes a format of another package known under its name; a class decorator.

    Raises:
      ValueError: the name is empty or that of another format.
    """
    if not cls.name:
        raise ValueError(f"{cls.__module__}.{cls.__qualname__} needs a name, by which --format calls it")
    return label_formats.register(cls.name)(cls)


def formats() -> dict[str, Format]:
    """Returns all formats by name."""
    return {name: label_formats.get(name)() for name in label_formats.names()}


def find(name: str) -> Format:
    """Returns the format of a name; raises ValueError that lists all names for one that is not known."""
    return label_formats.get(name)()
