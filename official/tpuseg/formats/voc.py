"""Pascal VOC's layout: JPEGImages, SegmentationClass, optionally SegmentationObject, and lists in ImageSets/Segmentation."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from tpuseg.convert import voc, voc_files, voc_objects
from tpuseg.convert.label_masks import Files
from tpuseg.convert.objects import Finding
from tpuseg.data.examples import Category
from tpuseg.formats import mask_classes
from tpuseg.formats.dataset import INSTANCES, SEMANTIC, TEST, TRAIN, VAL, Dataset, LabelledFile, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.mask_files import MaskFile, VocObjects
from tpuseg.formats.registry import Format

_IMAGES, _LISTS = "JPEGImages", "ImageSets/Segmentation"
# The second name is that of labelme's converter.
_MASK_FOLDERS = ("SegmentationClass", "SegmentationClassPNG")
_OBJECT_FOLDERS = ("SegmentationObject", "SegmentationObjectPNG")


class _Root(NamedTuple):
    """A folder in VOC's layout.

    Attributes:
      path: path of the folder relative to the listing's root.
      masks: name of the folder with the masks of classes.
      objects: name of the folder with the masks of objects; empty if it does not exist.
    """

    path: str
    masks: str
    objects: str


class Voc(Format):
    """A folder with JPEGImages and SegmentationClass, or a folder that contains it."""

    name = "voc"
    layout = "JPEGImages, SegmentationClass (and SegmentationObject), and lists in ImageSets/Segmentation"
    instead_of = ("image_masks",)

    def detect(self, listing: Listing) -> str:
        """Looks for the folders."""
        roots = _roots(listing)
        return f"{_join(roots[0].path, _IMAGES)} has images and {_join(roots[0].path, roots[0].masks)} masks" if roots else ""

    def offered_kinds(self, listing: Listing) -> tuple[str, ...]:
        """Returns the kinds for which there are masks."""
        roots = _roots(listing)
        return (SEMANTIC, INSTANCES) if roots and roots[0].objects == _OBJECT_FOLDERS[0] else (SEMANTIC,)

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads the lists; class names come from the user, a labelmap.txt, VOC's own classes, or the values of the masks."""
        root = _only_root(listing)
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        rows, findings, notes = _find_files(listing, root, options, kind == INSTANCES)
        files = [row for _, row in rows]
        classes = mask_classes.find_classes(
            listing, [row.mask for row in files], options, lambda: _own_names(listing.path(root.path), files)
        )
        rules = voc_objects.Rules(classes.names, classes.rules)
        images = []
        for split, row in rows:
            name = os.path.relpath(row.image, listing.root).replace(os.sep, "/")
            labels = VocObjects(row, rules) if kind == INSTANCES else MaskFile(row.mask, classes.rules)
            images.append(LabelledFile(row.image, name, row.name, labels, split))
        categories = rules.categories() if kind == INSTANCES else [Category(*pair) for pair in enumerate(classes.names)]
        source = listing.path(root.path)
        all_notes = (*classes.notes, *notes)
        num_images = len(rows) + sum(finding.kind == "image_without_labels" for finding in findings)
        return Dataset(self.name, kind, source, tuple(categories), tuple(images), tuple(findings), num_images, None, all_notes)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _roots(listing: Listing) -> list[_Root]:
    found = []
    for folder in listing.folders():
        path, _, name = folder.rpartition("/")
        if name == _IMAGES and listing.images(folder):
            masks = [one for one in _MASK_FOLDERS if listing.ending_with(".png", below=_join(path, one))]
            objects = [one for one in _OBJECT_FOLDERS if listing.ending_with(".png", below=_join(path, one))]
            found += [_Root(path, masks[0], objects[0] if objects else "")] if masks else []
    return found


def _only_root(listing: Listing) -> _Root:
    roots = _roots(listing)
    if not roots:
        raise ValueError(f"{listing.root} has no {_IMAGES} with images beside {_MASK_FOLDERS[0]} with masks")
    if len(roots) > 1:
        raise ValueError(
            f"{listing.root} contains {len(roots)} VOC folders: {', '.join(root.path for root in roots)}; give one of them"
        )
    return roots[0]


def _find_files(
    listing: Listing, root: _Root, options: Options, with_objects: bool
) -> tuple[list[tuple[str, Files]], list[Finding], list[str]]:
    """Returns the images with their splits, findings about images that were left out, and notes."""
    lists = [name[:-4] for name in listing.names(_join(root.path, _LISTS)) if name.endswith(".txt")]
    splits = [split for split in (TRAIN, VAL, TEST) if split in lists]
    layout = voc_files.Layout(root.masks, allow_outside=options.allow_outside)
    folder = listing.path(root.path)
    if TRAIN in splits:
        unused = sorted(set(lists) - set(splits))
        notes = [f"the lists {', '.join(splits)} are used, {', '.join(unused)} are not"] if unused else []
        rows = [(split, row) for split in splits for row in voc_files.find(folder, split, layout, with_objects)]
        return rows, [], [*notes, *_require_once(rows, listing, root)]
    if len(lists) == 1:
        return [("", row) for row in voc_files.find(folder, lists[0], layout, with_objects)], [], [f"the list {lists[0]} is used"]
    if lists:
        raise ValueError(
            f"{listing.path(_join(root.path, _LISTS))} has the lists {', '.join(sorted(lists))}; rename one to train and one to val"
        )
    return _without_lists(listing, root, with_objects)


def _require_once(rows: Sequence[tuple[str, Files]], listing: Listing, root: _Root) -> list[str]:
    of_name: dict[str, str] = {}
    for split, row in rows:
        if of_name.setdefault(row.name, split) != split:
            path = listing.path(_join(root.path, _LISTS))
            raise ValueError(f"{path}: `{row.name}` is in the lists {of_name[row.name]} and {split}; remove it from one")
    return []


def _without_lists(listing: Listing, root: _Root, with_objects: bool) -> tuple[list[tuple[str, Files]], list[Finding], list[str]]:
    """Returns all images that have masks, for folders without lists, for example those of labelme's converter."""
    images, masks, objects = _join(root.path, _IMAGES), _join(root.path, root.masks), _join(root.path, root.objects)
    rows, findings, used = [], [], set()
    for path in listing.images(images):
        name = os.path.splitext(path[len(images) + 1 :])[0]
        mask, object_mask = f"{masks}/{name}.png", f"{objects}/{name}.png"
        if not listing.has(mask) or (with_objects and not listing.has(object_mask)):
            missing = mask if not listing.has(mask) else object_mask
            findings.append(Finding("image_without_labels", f"{path}: {missing} does not exist"))
            continue
        used.add(mask)
        rows.append(("", Files(name, listing.path(path), listing.path(mask), listing.path(object_mask) if with_objects else "")))
    rest = [path for path in listing.ending_with(".png", below=masks) if path not in used]
    findings += [Finding("labels_without_image", path) for path in rest]
    if not rows:
        raise ValueError(f"{listing.path(images)}: none of the images has a mask of the same name in {listing.path(masks)}")
    return rows, findings, ["there are no lists of images: all images that have a mask are used"]


def _own_names(folder: str, files: Sequence[Files]) -> Sequence[str]:
    """Returns VOC's class names if the folder contains the images of VOC; otherwise none."""
    try:
        return voc.default_names(folder, [row.name for row in files])
    except ValueError:
        return ()
