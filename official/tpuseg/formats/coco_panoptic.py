"""COCO's panoptic format: JSON files with the segments of every image, and PNGs whose colours are the numbers of the segments."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from tpuseg.convert import coco_file
from tpuseg.convert.objects import AnnotatedImage, Finding
from tpuseg.data.examples import Category
from tpuseg.formats import coco, image_folders, merging
from tpuseg.formats.dataset import INSTANCES, SEMANTIC, Dataset, LabelledFile, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format
from tpuseg.formats.segment_files import Segment, SegmentClasses, SegmentObjects

_KEYS = ("images", "annotations", "categories", "segments_info")


class _Part(NamedTuple):
    """The contents of one file.

    Attributes:
      file: path and split of the file.
      categories: categories of the file, ordered by id.
      things: names of the categories that are objects.
      images: the images whose files exist, by id.
      masks: path of each image's PNG, by the image's id.
      segments: segments of each image, by the image's id; their `place` is an index of `categories`.
      num_images: number of listed images.
    """

    file: coco.Part
    categories: Sequence[Category]
    things: frozenset[str]
    images: dict[int | str, AnnotatedImage]
    masks: dict[int | str, str]
    segments: dict[int | str, list[Segment]]
    num_images: int


class CocoPanoptic(Format):
    """One or more files with segments, each with a folder of PNGs."""

    name = "coco_panoptic"
    layout = "panoptic_*.json with segments_info, a folder of PNGs of the same name, and the images"
    instead_of = ("image_masks",)

    def detect(self, listing: Listing) -> str:
        """Looks for JSON files with segments."""
        files = listing.json_with(_KEYS)
        return f"{files[0]} has images, annotations, categories and segments_info" if files else ""

    def offered_kinds(self, listing: Listing) -> tuple[str, ...]:
        """Returns both kinds: every pixel has a class, and things are objects."""
        return (SEMANTIC, INSTANCES)

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads the files; categories with isthing 1 are objects, and pixels outside of all segments are ignored."""
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        files = listing.require(listing.json_with(_KEYS), f"JSON file with {', '.join(_KEYS)}")
        findings: list[Finding] = []
        parts = [_read_part(listing, part, options, findings) for part in coco.find_parts(listing, files)]
        things = frozenset[str]().union(*(part.things for part in parts))
        wanted = [(part.file.path, [one for one in part.categories if kind == SEMANTIC or one.name in things]) for part in parts]
        merged = merging.merge_categories(wanted)
        if not merged.categories:
            raise ValueError(f"{listing.path(files[0])}: no category has isthing 1, so there are no objects")
        place_of = {category.name: place for place, category in enumerate(merged.categories)}
        categories = merged.categories
        if kind == SEMANTIC:
            categories = tuple(Category(place, category.name) for place, category in enumerate(categories))
        images = [image for part in parts for image in _label_images(listing, part, place_of, categories, kind, findings)]
        if not images:
            reason = f", the first of the reasons is {findings[0].where}" if findings else ""
            raise ValueError(f"{listing.path(files[0])}: no image exists together with its PNG{reason}")
        num_images = sum(part.num_images for part in parts)
        notes = tuple(filter(None, [merged.note]))
        source = listing.source_of(files)
        return Dataset(self.name, kind, source, categories, tuple(images), tuple(findings), num_images, None, notes)


def _read_part(listing: Listing, part: coco.Part, options: Options, findings: list[Finding]) -> _Part:
    path = listing.path(part.path)
    content = coco_file.load(path)
    rows = {key: coco_file.rows_of(content, key, path, findings) for key in ("images", "annotations", "categories")}
    given = [(row, _segments_info(row, path)) for row in rows["annotations"]]
    used = {coco_file.id_of(segment.get("category_id")) for _, segments in given for segment in segments}
    categories = coco_file.read_categories(rows["categories"], used, path, findings)
    pngs = [str(row.get("file_name")) for row, _ in given]
    png_folder = _png_folder(listing, part.path, pngs)
    folder = image_folders.find_image_folder(listing, part.path, coco_file.file_names(content, path), png_folder)
    allowed = coco_file.Options(allow_outside=options.allow_outside)
    images = coco_file.read_images(rows["images"], listing.path(folder), path, allowed, findings)
    places = {category.id: place for place, category in enumerate(categories)}
    masks: dict[int | str, str] = {}
    segments: dict[int | str, list[Segment]] = {}
    for (row, infos), png in zip(given, pngs, strict=True):
        image_id = coco_file.id_of(row.get("image_id"))
        where = f"{part.path}: annotation of image {ascii(row.get('image_id'))[:40]}"
        if image_id not in images:
            findings.append(Finding("unknown_image", where))
        elif not listing.has(f"{png_folder}/{png}".lstrip("/")):
            findings.append(Finding("mask_missing", f"{where}: there is no {png[:80]}"))
        elif image_id in masks:
            findings.append(Finding("annotation_twice", where))
        else:
            masks[image_id] = listing.path(f"{png_folder}/{png}".lstrip("/"))
            segments[image_id] = _segments(infos, places, where, findings)
    things = frozenset(str(row.get("name")) for row in rows["categories"] if row.get("isthing") not in (0, False))
    return _Part(part, categories, things, images, masks, segments, len(rows["images"]))


def _png_folder(listing: Listing, path: str, pngs: Sequence[str]) -> str:
    """Returns the folder of the PNGs: the one with the name of the file, otherwise the one that contains files of these names."""
    stem = path.rpartition("/")[2].removesuffix(".json")
    named = [folder for folder in listing.folders() if folder.rpartition("/")[2] == stem and listing.images(folder)]
    return named[0] if len(named) == 1 else image_folders.find_image_folder(listing, path, pngs)


def _segments_info(row: dict[str, Any], path: str) -> list[dict[str, Any]]:
    infos = row.get("segments_info")
    if not isinstance(infos, list) or not all(isinstance(info, dict) for info in infos):
        raise ValueError(f"{path}: the annotation of image {ascii(row.get('image_id'))[:40]} has no list called `segments_info`")
    return infos


def _segments(infos: Sequence[dict[str, Any]], places: dict[int, int], where: str, findings: list[Finding]) -> list[Segment]:
    found = []
    for info in infos:
        number, category = coco_file.id_of(info.get("id")), coco_file.id_of(info.get("category_id"))
        if not isinstance(number, int) or not 0 < number < 1 << 24:
            findings.append(Finding("segment_unusable", f"{where}: segment {ascii(info)[:80]}"))
        elif not isinstance(category, int) or category not in places:
            findings.append(
                Finding("unknown_category", f"{where}: segment {number}, category {ascii(info.get('category_id'))[:40]}")
            )
        else:
            found.append(Segment(number, places[category], info.get("iscrowd") in (1, True, "1")))
    return found


def _label_images(
    listing: Listing,
    part: _Part,
    place_of: dict[str, int],
    categories: tuple[Category, ...],
    kind: str,
    findings: list[Finding],
) -> list[LabelledFile]:
    """Returns the images of a file that have a PNG, with their segments."""
    found = []
    for image_id, image in part.images.items():
        if image_id not in part.masks:
            findings.append(Finding("image_without_labels", f"{part.file.path}: image {image_id} ({image.filename})"))
            continue
        segments = tuple(
            segment._replace(place=place_of[name])
            for segment in part.segments[image_id]
            if (name := part.categories[segment.place].name) in place_of
        )
        labels = (
            SegmentClasses(part.masks[image_id], segments)
            if kind == SEMANTIC
            else SegmentObjects(part.masks[image_id], segments, categories)
        )
        name = os.path.relpath(image.path, listing.root).replace(os.sep, "/")
        found.append(LabelledFile(image.path, name, image.source_id, labels, part.file.split, image.size, image.id_type))
    return found
