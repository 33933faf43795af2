"""COCO's format of instances: one JSON file, or one for each split, in any of the folders that programs use."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from tpuseg.convert import coco_file
from tpuseg.convert.objects import Finding
from tpuseg.formats import drawn, image_folders, merging, split_names
from tpuseg.formats.dataset import INSTANCES, SEMANTIC, TEST, Dataset, LabelledFile, LabelledObjects, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format

_KEYS = ("images", "annotations", "categories")
_KEYS_OF_OTHERS = ("segments_info", "neg_category_ids", "not_exhaustive_category_ids")


@dataclasses.dataclass(frozen=True)
class Part:
    """One annotation file.

    Attributes:
      path: path of the file relative to the root.
      split: the split in the name of the file or its folder; may be empty.
    """

    path: str
    split: str


class Coco(Format):
    """One or more files with images, annotations and categories."""

    name = "coco"
    layout = "a JSON file with images, annotations and categories, one for all or one for each split, and the images"

    def detect(self, listing: Listing) -> str:
        """Looks for JSON files with the three lists."""
        files = self.annotation_files(listing)
        return f"{files[0]} has images, annotations and categories" if files else ""

    def annotation_files(self, listing: Listing) -> list[str]:
        """Returns the files to read; if there are COCO's own `instances_*`, files with captions and key points are left out."""
        files = listing.json_with(_KEYS, _KEYS_OF_OTHERS)
        own = [path for path in files if path.rpartition("/")[2].startswith("instances_")]
        return own or files

    def load(self, listing: Listing, part: Part) -> dict[str, Any]:
        """Returns the content of an annotation file."""
        return coco_file.load(listing.path(part.path))

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads and merges the annotation files."""
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        files = listing.require(self.annotation_files(listing), f"JSON file with {', '.join(_KEYS)}")
        parts = find_parts(listing, files)
        notes: list[str] = []
        read = []
        for part in parts:
            content = self.load(listing, part)
            if part.split == TEST and content.get("annotations") == []:
                notes.append(f"{part.path} has no annotations and is left out")
                continue
            read.append((part, _read_part(listing, part, content, options)))
        if not read:
            raise ValueError(f"{listing.path(files[0])} has no annotations; training needs objects")
        merged = merging.merge_categories([(part.path, contents.categories) for part, contents in read])
        images, findings = [], []
        for (part, contents), places in zip(read, merged.places, strict=True):
            start = f"{part.path}: " if len(read) > 1 else ""
            findings += [Finding(finding.kind, start + finding.where) for finding in contents.findings]
            for image in contents.images:
                annotations = merging.replace_categories(image.annotations, places, merged.categories)
                name = os.path.relpath(image.path, listing.root).replace(os.sep, "/")
                images.append(
                    LabelledFile(
                        image.path, name, image.source_id, LabelledObjects(annotations), part.split, image.size, image.id_type
                    )
                )
        dataset = Dataset(
            self.name,
            INSTANCES,
            listing.path(read[0][0].path) if len(read) == 1 else listing.root,
            merged.categories,
            tuple(images),
            tuple(findings),
            sum(contents.num_images for _, contents in read),
            sum(contents.num_annotations for _, contents in read),
            tuple([*notes, *filter(None, [merged.note])]),
        )
        return drawn.as_pixels(dataset, by_size=True) if kind == SEMANTIC else dataset


def find_parts(listing: Listing, files: Sequence[str]) -> list[Part]:
    """Returns the files with their splits.

    Raises:
      ValueError: two files are of the same split, or the name of one of several files contains no split.
    """
    if len(files) == 1:
        return [Part(files[0], split_names.split_of(files[0]))]
    of_split: dict[str, str] = {}
    for path in files:
        split = split_names.split_of(path)
        if not split:
            raise ValueError(
                f"{listing.root} has {len(files)} annotation files, and the name of {path} contains neither train, val nor test;"
                " rename it (train.json), or move files that are not part of the data set out of the folder"
            )
        if split in of_split:
            raise ValueError(f"{listing.root}: {of_split[split]} and {path} are both for {split}; move one out of the folder")
        of_split[split] = path
    return [Part(path, split) for split, path in of_split.items()]


def _read_part(listing: Listing, part: Part, content: dict[str, Any], options: Options) -> coco_file.Contents:
    path = listing.path(part.path)
    folder = image_folders.find_image_folder(listing, part.path, coco_file.file_names(content, path))
    allowed = coco_file.Options(options.crowds_are_instances, options.allow_outside)
    return coco_file.read_content(content, path, listing.path(folder), allowed)
