"""The formats there are, by name; one from outside registers itself in the same way as those of this package."""

import abc
import importlib

from tpuseg.formats.dataset import KINDS, Dataset, Options
from tpuseg.formats.listing import Listing

# Modules of this package that register a format.
_MODULES: tuple[str, ...] = (
    "coco",
    "lvis",
    "voc",
    "image_masks",
    "yolo",
    "labelme",
    "cvat",
    "label_studio",
    "via",
    "coco_panoptic",
    "cityscapes",
    "ade20k",
)


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


_formats: dict[str, Format] = {}


def register(cls: type[Format]) -> type[Format]:
    """Makes a format known under its name; a class decorator.

    Raises:
      ValueError: the name is empty or taken by a class of another module.
    """
    before = _formats.get(cls.name)
    if not cls.name or (before is not None and type(before).__module__ != cls.__module__):
        raise ValueError(f"{cls.__module__}.{cls.__name__} has the name `{cls.name}`, which is empty or that of another format")
    _formats[cls.name] = cls()
    return cls


def formats() -> dict[str, Format]:
    """Returns all formats by name, in the order in which they were registered."""
    for module in _MODULES:
        importlib.import_module(f"tpuseg.formats.{module}")
    return dict(_formats)


def find(name: str) -> Format:
    """Returns the format of a name; raises ValueError that lists all names for one that is not known."""
    known = formats()
    if name not in known:
        raise ValueError(f"--format={name} is not known; formats: {', '.join(sorted(known))}")
    return known[name]
