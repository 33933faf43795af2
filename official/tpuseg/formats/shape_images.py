"""Converting images with shapes from annotation programs to a data set.

The reader of each format converts the contents of a file to `Shape`s. The rest is the same for all formats: grouping shapes to
objects, listing the classes, and finding images without labels.
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
      name: name of the shape in messages.
      label: name of its class.
      polygon: flat list of corners x0, y0, x1, y1 ... in pixels; empty for a mask.
      runs: run lengths of a mask at the image's size; None for a polygon.
      group: shapes with the same class and group are one object; empty for a shape that is an object of its own.
      is_box: whether the shape is only a rectangle around the object.
      is_ignored: whether the shape is an ignored region.
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
      path: path of the image relative to the root.
      source_id: id of the image in the label file, or its path.
      size: height and width in pixels; None if they are missing.
      shapes: the shapes, later ones above earlier ones.
      split: the split according to the label file or the folders; may be empty.
    """

    path: str
    source_id: str
    size: tuple[int, int] | None
    shapes: Sequence[Shape]
    split: str = ""


class Source(NamedTuple):
    """The origin of the shapes.

    Attributes:
      format: name of the format.
      path: path of the file or folder that lists the images, for messages.
      num_images: number of listed images.
      names: class names, if they are listed.
      notes: notes for the user.
    """

    format: str
    path: str
    num_images: int
    names: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def build(
    listing: Listing, source: Source, images: Sequence[ShapeImage], kind: str, options: Options, findings: list[Finding]
) -> Dataset:
    """Creates a data set from images with shapes.

    Args:
      listing: files of the data set's folder.
      source: origin of the shapes.
      images: the images whose files exist; the shapes of several entries for one file are merged.
      kind: kind of labels to create; for `semantic`, the shapes are drawn in their order.
      options: see `dataset.Options`.
      findings: findings of the reader; images without labels are added in the data set.

    Raises:
      ValueError: there is no shape with an area, or there are only boxes.
    """
    joined = _join(images)
    labels = [shape.label for image in joined for shape in image.shapes if not shape.is_ignored]
    if not labels:
        reason = f"; {len(findings)} were left out, the first is {findings[0].where}" if findings else ""
        raise ValueError(f"{source.path}: none of the {source.num_images} images has a shape with an area{reason}")
    if all(shape.is_box for image in joined for shape in image.shapes) and not options.boxes_are_masks:
        raise ValueError(
            f"{source.path}: all {len(labels)} shapes are boxes, and masks are learned from outlines; draw polygons, or use the"
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
        sum(len(_group_shapes(image.shapes)) for image in joined),
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


def _group_shapes(given: Sequence[Shape]) -> list[list[Shape]]:
    """Returns the shapes of every object, in the order of the objects' first shapes."""
    objects: dict[tuple[str, str, int], list[Shape]] = collections.defaultdict(list)
    for number, shape in enumerate(given):
        objects[shape.label, shape.group, -1 if shape.group else number].append(shape)
    return list(objects.values())


def _objects(given: Sequence[Shape], categories: Sequence[Category], options: Options) -> list[Annotation]:
    places = {category.name: place for place, category in enumerate(categories)}
    return [_object(parts, categories, places.get(parts[0].label, 0), options) for parts in _group_shapes(given)]


def _object(parts: Sequence[Shape], categories: Sequence[Category], place: int, options: Options) -> Annotation:
    """Returns the object that several shapes form; rectangles are only used if there are no other shapes, or if they are masks."""
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
    drawn_parts = [masks.run_lengths([polygon], height, width) for polygon in map(_check_polygon, polygons) if polygon]
    return masks.union([*(part.runs for part in parts if part.runs is not None), *drawn_parts])


def _check_polygon(polygon: list[float]) -> list[float]:
    """Returns a polygon, or an empty list if it cannot be used."""
    try:
        return masks.check_polygon(polygon)
    except ValueError:
        return []
