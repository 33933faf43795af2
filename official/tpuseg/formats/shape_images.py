"""Images with shapes, as programs for labelling write them, into a data set of instances.

A reader makes `Shape`s of what a file holds; the rest is the same for all: which shapes are one object, which classes there are,
and which images have no labels.
"""

import collections
import re
from collections.abc import Sequence
from typing import NamedTuple

from tpuseg.convert.objects import Annotation, Finding
from tpuseg.data.examples import Category
from tpuseg.formats import drawn, image_list, shapes
from tpuseg.formats.dataset import INSTANCES, SEMANTIC, Dataset, LabelledFile, LabelledObjects, Options
from tpuseg.formats.listing import Listing
from tpuseg.ops import masks


class Shape(NamedTuple):
    """One shape with an area.

    Attributes:
      name: by which messages call it.
      label: its class.
      polygon: flat corners x0, y0, x1, y1 ...; empty for a mask.
      runs: of a mask, at the image's size.
      group: shapes of one class and group are one object; empty for one that is an object of its own.
      is_box: only a rectangle around the object is known.
      is_ignored: a region that does not count.
    """

    name: str
    label: str
    polygon: list[float]
    runs: masks.RunLengths | None = None
    group: str = ""
    is_box: bool = False
    is_ignored: bool = False


class ShapeImage(NamedTuple):
    """An image and its shapes.

    Attributes:
      path: of the image, relative to the root.
      source_id: its id in the label file, or its path.
      size: height and width; None where they are missing.
      shapes: later ones above earlier ones.
      split: that the label file or the folders say; may be empty.
    """

    path: str
    source_id: str
    size: tuple[int, int] | None
    shapes: Sequence[Shape]
    split: str = ""


class Source(NamedTuple):
    """Where shapes come from.

    Attributes:
      format: name of the format.
      path: the file or folder that names the images, for messages.
      num_images: that it lists.
      names: of the classes, if it lists them.
      notes: for people.
    """

    format: str
    path: str
    num_images: int
    names: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def build(
    listing: Listing, source: Source, images: Sequence[ShapeImage], kind: str, options: Options, findings: list[Finding]
) -> Dataset:
    """Returns the data set of some images with shapes.

    Args:
      listing: of the folder.
      source: where they come from.
      images: whose files are there; of several entries for one file, the shapes are joined.
      kind: of labels to make; for `semantic`, the shapes are drawn in their order.
      options: see `dataset.Options`.
      findings: of the reader; images without labels are added.

    Raises:
      ValueError: there is no shape with an area.
    """
    joined = _join(images)
    labels = [shape.label for image in joined for shape in image.shapes if not shape.is_ignored]
    if not labels:
        reason = f"; {len(findings)} were left out, the first is {findings[0].where}" if findings else ""
        raise ValueError(f"{source.path}: none of the {source.num_images} images has a shape with an area{reason}")
    if all(shape.is_box for image in joined for shape in image.shapes) and not options.boxes_are_masks:
        raise ValueError(
            f"{source.path}: all {len(labels)} shapes are boxes, and masks are learned from outlines; draw polygons, or take the"
            " boxes as masks with --boxes_are_masks"
        )
    names = list(dict.fromkeys([*source.names, *sorted(set(labels), key=_natural)]))
    categories = tuple(Category(number, name) for number, name in enumerate(names, start=1))
    files = [
        LabelledFile(
            listing.path(image.path),
            image.path,
            image.source_id,
            LabelledObjects(_objects(image.shapes, categories, options)),
            image.split or image_list.split_of_folder(image.path),
            image.size,
        )
        for image in joined
    ]
    used = {image.path for image in joined}
    others = [path for path in listing.images() if path not in used]
    dataset = Dataset(
        source.format,
        INSTANCES,
        source.path,
        categories,
        tuple(files),
        (*findings, *(Finding("image_without_labels", path) for path in others)),
        source.num_images + len(others),
        sum(len(_grouped(image.shapes)) for image in joined),
        source.notes,
    )
    return drawn.as_pixels(dataset, by_size=False) if kind == SEMANTIC else dataset


def _join(images: Sequence[ShapeImage]) -> list[ShapeImage]:
    found: dict[str, ShapeImage] = {}
    for image in images:
        before = found.get(image.path)
        found[image.path] = before._replace(shapes=[*before.shapes, *image.shapes]) if before else image
    return list(found.values())


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def _grouped(given: Sequence[Shape]) -> list[list[Shape]]:
    """Returns the shapes of every object, in the order in which the objects begin."""
    objects: dict[tuple[str, str, int], list[Shape]] = collections.defaultdict(list)
    for number, shape in enumerate(given):
        objects[shape.label, shape.group, -1 if shape.group else number].append(shape)
    return list(objects.values())


def _objects(given: Sequence[Shape], categories: Sequence[Category], options: Options) -> list[Annotation]:
    places = {category.name: place for place, category in enumerate(categories)}
    return [_object(parts, categories, places.get(parts[0].label, 0), options) for parts in _grouped(given)]


def _object(parts: Sequence[Shape], categories: Sequence[Category], place: int, options: Options) -> Annotation:
    """Returns the object that some shapes are together; a rectangle counts only where there is nothing else, or as a mask."""
    category, name = categories[place], parts[0].name
    usable = [part for part in parts if options.boxes_are_masks or not part.is_box]
    if not usable:
        annotation = shapes.box(name, category, place, parts[0].polygon, False)
    elif any(part.runs is not None for part in usable):
        annotation = shapes.pixel_mask(name, category, place, _union(usable))
    else:
        annotation = shapes.outline(name, category, place, [part.polygon for part in usable])
    return shapes.as_crowd(annotation) if parts[0].is_ignored else annotation


def _union(parts: Sequence[Shape]) -> masks.RunLengths:
    height, width = next(part.runs["size"] for part in parts if part.runs is not None)
    polygons = [part.polygon for part in parts if part.runs is None]
    drawn_parts = [masks.run_lengths([polygon], height, width) for polygon in map(_checked, polygons) if polygon]
    return masks.union([*(part.runs for part in parts if part.runs is not None), *drawn_parts])


def _checked(polygon: list[float]) -> list[float]:
    try:
        return masks.check_polygon(polygon)
    except ValueError:
        return []
