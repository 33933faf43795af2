"""Cityscapes: images in leftImg8bit and labels in gtFine, with the 19 classes of the benchmark and the objects of 8 of them."""

from typing import NamedTuple

from tpuseg.convert.mask_values import LabelRules, ValueRules
from tpuseg.convert.objects import Finding
from tpuseg.data.examples import Category
from tpuseg.formats.dataset import INSTANCES, SEMANTIC, TEST, Dataset, LabelledFile, Options, require_kind
from tpuseg.formats.labels import IGNORE_LABEL
from tpuseg.formats.listing import Listing
from tpuseg.formats.mask_files import MaskFile, NumberedObjects
from tpuseg.formats.registry import Format
from tpuseg.formats.split_names import split_of

_IMAGES, _LABELS = "leftImg8bit", "gtFine"
_CLASS_IDS, _TRAIN_IDS, _OBJECTS = "_labelIds.png", "_labelTrainIds.png", "_instanceIds.png"


class _Label(NamedTuple):
    """A label of the benchmark; its index in the table is its train id.

    Attributes:
      number: label id.
      name: name of the class.
      is_object: whether objects of this class are annotated individually.
    """

    number: int
    name: str
    is_object: bool = False


# All other label ids are ignored, as in the benchmark: 9 and 10, 14 to 16, 18, 29, 30, and those below 7.
_CLASSES = (
    _Label(7, "road"),
    _Label(8, "sidewalk"),
    _Label(11, "building"),
    _Label(12, "wall"),
    _Label(13, "fence"),
    _Label(17, "pole"),
    _Label(19, "traffic light"),
    _Label(20, "traffic sign"),
    _Label(21, "vegetation"),
    _Label(22, "terrain"),
    _Label(23, "sky"),
    _Label(24, "person", True),
    _Label(25, "rider", True),
    _Label(26, "car", True),
    _Label(27, "truck", True),
    _Label(28, "bus", True),
    _Label(31, "train", True),
    _Label(32, "motorcycle", True),
    _Label(33, "bicycle", True),
)
_OBJECT_CATEGORIES = tuple(Category(label.number, label.name) for label in _CLASSES if label.is_object)


class Cityscapes(Format):
    """The folder of the data set in its original layout."""

    name = "cityscapes"
    layout = "leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png"
    instead_of = ("image_masks",)

    def detect(self, listing: Listing) -> str:
        """Looks for both folders."""
        images, labels = _find_images(listing), _labels(listing)
        return f"{_IMAGES} has {len(images)} images and {_LABELS} labels" if images and labels else ""

    def offered_kinds(self, listing: Listing) -> tuple[str, ...]:
        """Returns the kinds for which there are masks."""
        endings = {path[path.rindex("_") :] for path in _labels(listing)}
        semantic = (SEMANTIC,) if endings & {_CLASS_IDS, _TRAIN_IDS} else ()
        return (*semantic, *((INSTANCES,) if _OBJECTS in endings else ()))

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Pairs images and labels; images of `test`, whose labels are not published, are left out."""
        if not _find_images(listing) or not _labels(listing):
            raise ValueError(
                f"{listing.root} has no {_IMAGES} with images and {_LABELS} with labels; it contains {listing.describe()}"
            )
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        images, findings, tests = [], [], 0
        for path in _find_images(listing):
            split = split_of(path.rpartition("/")[0])
            if split == TEST:
                tests += 1
                continue
            labels = _find_labels(listing, path, kind)
            if labels is None:
                findings.append(Finding("image_without_labels", path))
            else:
                images.append(
                    LabelledFile(listing.path(path), path, path.rpartition("/")[2].removesuffix(f"_{_IMAGES}.png"), labels, split)
                )
        if not images:
            reason = f", such as {findings[0].where}" if findings else ""
            raise ValueError(f"{listing.path(_LABELS)} has no labels of the images{reason}; their names must match")
        notes = (f"{tests} images of test are left out, as their labels are not published",) if tests else ()
        categories = _OBJECT_CATEGORIES
        if kind == SEMANTIC:
            categories = tuple(Category(place, label.name) for place, label in enumerate(_CLASSES))
        num_images = len(images) + len(findings)
        return Dataset(self.name, kind, listing.root, categories, tuple(images), tuple(findings), num_images, None, notes)


def _find_images(listing: Listing) -> list[str]:
    return [path for path in listing.ending_with(f"_{_IMAGES.lower()}.png") if f"{_IMAGES}/" in path]


def _labels(listing: Listing) -> list[str]:
    endings = (_CLASS_IDS, _TRAIN_IDS, _OBJECTS)
    return [path for path in listing.ending_with(".png") if f"{_LABELS}/" in path and path.endswith(endings)]


def _find_labels(listing: Listing, image: str, kind: str) -> MaskFile | NumberedObjects | None:
    start = image.replace(f"{_IMAGES}/", f"{_LABELS}/", 1).removesuffix(f"_{_IMAGES}.png") + f"_{_LABELS}"
    if kind == INSTANCES:
        exists = listing.has(start + _OBJECTS)
        return NumberedObjects(listing.path(start + _OBJECTS), _OBJECT_CATEGORIES) if exists else None
    mapped = tuple((label.number, place) for place, label in enumerate(_CLASSES))
    by_ending = {_CLASS_IDS: ValueRules(mapped=mapped, ignores_others=True), _TRAIN_IDS: ValueRules()}
    for ending, values in by_ending.items():
        if listing.has(start + ending):
            return MaskFile(listing.path(start + ending), LabelRules(len(_CLASSES), IGNORE_LABEL, (), values, "index"))
    return None
