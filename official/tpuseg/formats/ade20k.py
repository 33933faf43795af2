"""ADE20K's scene parsing benchmark: 150 classes with the values 1 to 150; 0 is ignored."""

import re

from tpuseg.convert.mask_values import LabelRules, ValueRules
from tpuseg.convert.objects import Finding
from tpuseg.data.examples import Category
from tpuseg.formats.dataset import SEMANTIC, Dataset, LabelledFile, Options, require_kind
from tpuseg.formats.labels import IGNORE_LABEL
from tpuseg.formats.listing import Listing
from tpuseg.formats.mask_files import MaskFile
from tpuseg.formats.registry import Format
from tpuseg.formats.split_names import split_of
from tpuseg.io import text_files

_NUM_CLASSES = 150
_NAMES_FILE = "objectInfo150.txt"
_IMAGE = re.compile(r"(?P<root>.*?)images/(?P<rest>(training|validation)/ADE_[^/]*)\.jpg")
_COLUMNS = re.compile(r"\t|\s{2,}")


class Ade20k(Format):
    """The folder ADEChallengeData2016, or a folder that contains it."""

    name = "ade20k"
    layout = "images/training/ADE_*.jpg and annotations/training/ADE_*.png of ADEChallengeData2016"
    instead_of = ("image_masks",)

    def detect(self, listing: Listing) -> str:
        """Looks for images and masks with the names of the benchmark."""
        for path in listing.images():
            mask = _mask_of(path)
            if mask and listing.has(mask):
                return f"{path} and {mask} belong to ADE20K"
        return ""

    def offered_kinds(self, listing: Listing) -> tuple[str, ...]:
        """Returns `semantic`: the masks have classes and no objects."""
        return (SEMANTIC,)

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Pairs images and masks; the names of the classes are those of objectInfo150.txt."""
        require_kind(options.kind, self.offered_kinds(listing), listing.root)
        names, note = _names(listing)
        rules = LabelRules(_NUM_CLASSES, IGNORE_LABEL, (), ValueRules(offset=-1, ignored=(0,)), "index")
        images, findings = [], []
        for path in listing.images():
            mask = _mask_of(path)
            if mask and listing.has(mask):
                stem = path.rpartition("/")[2].removesuffix(".jpg")
                labels = MaskFile(listing.path(mask), rules)
                images.append(LabelledFile(listing.path(path), path, stem, labels, split_of(path.rpartition("/")[0])))
            elif mask:
                findings.append(Finding("image_without_labels", path))
        if not images:
            raise ValueError(
                f"{listing.root} has no images/training/ADE_*.jpg with a mask in annotations; it holds {listing.describe()}"
            )
        categories = tuple(Category(place, name) for place, name in enumerate(names))
        num_images = len(images) + len(findings)
        return Dataset(self.name, SEMANTIC, listing.root, categories, tuple(images), tuple(findings), num_images, None, (note,))


def _mask_of(path: str) -> str:
    """Returns the path of an image's mask; empty if the path is not one of the benchmark's images."""
    found = _IMAGE.fullmatch(path)
    return f"{found['root']}annotations/{found['rest']}.png" if found else ""


def _names(listing: Listing) -> tuple[list[str], str]:
    """Returns the names of the classes, and a note about where they come from."""
    files = [path for path in listing.files if path.rpartition("/")[2] == _NAMES_FILE]
    if not files:
        names = [f"class_{number}" for number in range(1, _NUM_CLASSES + 1)]
        return names, f"there is no {_NAMES_FILE}, so the classes are called class_1 to class_{_NUM_CLASSES}"
    path = listing.path(files[0])
    rows = [_COLUMNS.split(line) for line in text_files.read_lines(path, "list of classes") if line[:1].isdigit()]
    if [row[0] for row in rows] != [str(number) for number in range(1, _NUM_CLASSES + 1)]:
        raise ValueError(f"{path} must have a line for each of the classes 1 to {_NUM_CLASSES}, in this order; download it again")
    full = [row[-1].strip() for row in rows]
    short = [re.split("[,;]", name)[0].strip() for name in full]
    names = [one if short.count(one) == 1 else name for one, name in zip(short, full, strict=True)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path} has the class `{twice}` twice; download it again")
    return names, f"the class names come from {files[0]}"
