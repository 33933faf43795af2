"""The formats by name: those of this package, and those that other packages register."""

import abc

from tpuseg.formats.dataset import KINDS, Dataset, Options
from tpuseg.formats.listing import Listing
from tpuseg.registry import Registry


class Format(abc.ABC):
    """A format of images and their labels.

    Attributes:
      name: name of the format for `--format`.
      layout: description of its files, for the message about a folder that does not have them.
      instead_of: names of more general formats that also match the folders of this one, and are not used for them.
    """

    name: str = ""
    layout: str = ""
    instead_of: tuple[str, ...] = ()

    @abc.abstractmethod
    def detect(self, listing: Listing) -> str:
        """Returns the reason why a folder is of this format, as a sentence for messages; empty if it is not.

        This only examines the names of files and searches some of them for words. A damaged file is not an error here.
        """

    @abc.abstractmethod
    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads the labels of a folder.

        Raises:
          ValueError: a file is missing or damaged, or nothing in it can be used; the message names it and says what to do.
        """

    def offered_kinds(self, listing: Listing) -> tuple[str, ...]:
        """Returns the kinds of labels that a folder of this format has, the default kind first."""
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
    """Registers a format of another package under its name; a class decorator.

    Raises:
      ValueError: the name is empty, or another format has it.
    """
    if not cls.name:
        raise ValueError(f"{cls.__module__}.{cls.__qualname__} needs a `name`, which --format uses")
    return label_formats.register(cls.name)(cls)


def formats() -> dict[str, Format]:
    """Returns all formats by name."""
    return {name: label_formats.get(name)() for name in label_formats.names()}


def find(name: str) -> Format:
    """Returns the format with a name; raises ValueError that lists all names if it does not exist."""
    return label_formats.get(name)()
