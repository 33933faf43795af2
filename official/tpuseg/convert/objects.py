"""One picture of a COCO data set and its annotations into an example, with everything that is odd about them.

Worker processes import this module, so it leaves TensorFlow alone: its import would cost each of them several seconds.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from tpuseg import masks
from tpuseg.convert import pictures
from tpuseg.instances import Category, Instance, InstanceExample

# Boxes are annotated with rounding; less than this outside of the picture is not worth a word.
_ROUNDING = 1.0
# A box and a mask that overlap less were not made for the same object, or the box is in another format.
_SAME_OBJECT_IOU = 0.5


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something odd in a data set.

    Attributes:
      kind: a key of `REPAIRS`.
      where: picture, annotation and value.
    """

    kind: str
    where: str


# What can be odd, and what is done about it.
REPAIRS = {
    "image_listed_twice": ("picture ids that occur twice", "the first one is used"),
    "image_missing": ("pictures without a file", "left out, with their annotations"),
    "image_unreadable": ("pictures that cannot be read", "left out, with their annotations"),
    "exif_ambiguous": (
        "images with an EXIF orientation whose annotated size fits the stored and the rotated pixels",
        "read as --exif says; look at some of them on the contact sheet",
    ),
    "exif_not_applied": (
        "images with an EXIF orientation whose annotated size is that of the stored pixels",
        "their stored pixels are used; other images of this file may be annotated so too, see --exif",
    ),
    "image_size_differs": ("pictures of another size than annotated", "left out, with their annotations"),
    "unknown_image": ("annotations of a picture that is not listed", "left out"),
    "mask_by_color": ("masks whose palette has the classes' colours in another order", "read by their colours"),
    "mask_by_number": ("masks whose palette has VOC's colours in another order", "read by their numbers, see --palette"),
    "object_without_class": ("objects none of whose pixels has a class", "left out"),
    "unknown_category": ("annotations of a category that is not listed", "left out"),
    "annotation_twice": ("annotations that repeat another one", "left out"),
    "annotation_id_twice": ("annotation ids that occur twice", "both are used"),
    "outside": ("annotations without any pixel in the picture", "left out"),
    "no_mask": ("annotations without a usable mask", "their box is ignored like a crowd: neither an object nor background"),
    "polygon_unusable": ("polygons without three corners of finite numbers", "left out of their mask"),
    "box_missing": ("annotations without a box", "the box around the mask is used"),
    "box_empty": ("boxes without a height or width", "the box around the mask is used"),
    "box_unlike_mask": ("boxes that are not around their mask", "the box around the mask is used"),
    "box_reaches_out": ("boxes that reach out of the picture", "cut off for training; evaluation keeps them"),
    "area_missing": ("annotations without an area", "the number of pixels is used"),
}


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One annotation of a COCO file.

    Attributes:
      name: by which messages call it.
      category: what it is.
      class_index: place of the category in the order of ids.
      is_crowd: a region instead of an object.
      box: x, y, width, height; None without one.
      area: in pixels; None without one.
      segmentation: as in the file.
    """

    name: str
    category: Category
    class_index: int
    is_crowd: bool
    box: tuple[float, float, float, float] | None
    area: float | None
    segmentation: Any


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of a COCO file.

    Attributes:
      source_id: its id.
      path: of the file.
      filename: as in the COCO file.
      size: height and width as annotated; None where they are missing.
      annotations: of its objects.
      id_type: what the id is in the file, see `instances.image_id`.
    """

    source_id: str
    path: str
    filename: str
    size: tuple[int, int] | None
    annotations: Sequence[Annotation]
    id_type: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to read what can be read in two ways.

    Attributes:
      exif: which pixels are meant where an image's annotated size fits the stored and the rotated ones, see
        `pictures.EXIF_CHOICES`.
    """

    exif: str = "apply"


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a picture became.

    Attributes:
      example: None if the picture was left out.
      findings: everything odd.
      reencoded: why the picture is not the file's own bytes; empty if it is.
    """

    example: InstanceExample | None
    findings: list[Finding]
    reencoded: str = ""


def convert(picture: Picture, options: Options) -> Converted:
    """Reads a picture and makes its annotations into objects."""
    where = f"picture {picture.source_id} ({picture.filename})"
    try:
        image = pictures.read_image(picture.path, options.exif, picture.size)
    except ValueError as error:
        return Converted(None, [Finding("image_unreadable", f"{where}: {error}")])
    size = (image.height, image.width)
    if picture.size and picture.size != size:
        turned = f", {image.reencoded}" if image.reencoded else ""
        told = f"{picture.size[1]}x{picture.size[0]} annotated, the file has {image.width}x{image.height}{turned}"
        return Converted(None, [Finding("image_size_differs", f"{where}: {told}")])
    findings = [Finding(kind, f"{where}: {said}") for kind, said in _exif_findings(image, options)]
    instances = []
    for annotation in picture.annotations:
        found: list[tuple[str, str]] = []
        one = instance(annotation, size, found)
        findings += [Finding(kind, f"{where}, {annotation.name}: {what}") for kind, what in found]
        instances += [one] if one else []
    made = example(image, picture.source_id, picture.filename, instances, picture.id_type)
    return Converted(made, findings, image.reencoded)


def _exif_findings(image: pictures.EncodedImage, options: Options) -> list[tuple[str, str]]:
    """Returns what is worth saying about the EXIF orientation of an image."""
    if image.is_ambiguous:
        return [("exif_ambiguous", f"{image.width}x{image.height}, --exif={options.exif}")]
    return [("exif_not_applied", f"{image.width}x{image.height}")] if image.is_stored else []


def example(
    image: pictures.EncodedImage, source_id: str, filename: str, instances: list[Instance], id_type: str = ""
) -> InstanceExample:
    """Returns a picture and its objects as what a record holds."""
    return InstanceExample(
        image=image.data,
        image_format=image.format,
        height=image.height,
        width=image.width,
        source_id=source_id,
        filename=filename,
        instances=instances,
        id_type=id_type,
    )


def instance(annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]) -> Instance | None:
    """Returns the object, None if there is nothing of it in the picture; appends what is odd."""
    polygons, runs = _mask(annotation, size, found)
    box = _box(annotation, None if runs is None else _extent(polygons, runs), size, found)
    inside = None if box is None else _inside(box, size)
    if box is None or inside is None:
        found.append(("outside", f"box {_shown(annotation.box)}, picture {size[1]}x{size[0]}"))
        return None
    is_crowd = annotation.is_crowd
    if runs is None:
        is_crowd, polygons, runs = True, [], _filled(inside, size)
    area = annotation.area
    if area is None:
        area = float(masks.area(runs))
        found.append(("area_missing", f"{area:.0f} pixels"))
    # A sliver would blow polygons up beyond measure.
    fits = polygons and (inside[2:] - inside[:2]).min() >= 1
    return Instance(
        category=annotation.category,
        class_index=annotation.class_index,
        is_crowd=is_crowd,
        box=inside,
        annotated_box=np.array(box),
        annotated_area=area,
        runs=runs,
        frame=masks.frame_of_polygons(polygons, inside) if fits else masks.frame_of_runs(runs, inside),
        png=pictures.png(PIL.Image.fromarray(masks.decode(runs))),
    )


def _mask(
    annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]
) -> tuple[list[list[float]], masks.RunLengths | None]:
    """Returns the usable polygons (none for run lengths), and the run lengths; None where there is no pixel on the object."""
    segmentation, polygons = annotation.segmentation, []
    if not segmentation:
        found.append(("no_mask", "the segmentation is empty" if segmentation is not None else "there is no segmentation"))
        return [], None
    if isinstance(segmentation, list):
        for polygon in segmentation:
            try:
                polygons.append(masks.checked_polygon(polygon))
            except ValueError as error:
                found.append(("polygon_unusable", str(error)))
        segmentation = polygons
    try:
        runs = masks.run_lengths(segmentation, *size)
    except ValueError as error:
        found.append(("no_mask", str(error)))
        return [], None
    if not masks.area(runs):
        found.append(("no_mask", "it covers no pixel of the picture"))
        return [], None
    return polygons, runs


def _extent(polygons: list[list[float]], runs: masks.RunLengths) -> np.ndarray:
    """Returns the box around a mask, [4] yxyx: COCO's boxes are those around the polygons."""
    if not polygons:
        return masks.bounding_box(runs)
    points = np.concatenate(polygons).reshape(-1, 2)
    return np.concatenate([points.min(0)[::-1], points.max(0)[::-1]])


def _box(
    annotation: Annotation, extent: np.ndarray | None, size: tuple[int, int], found: list[tuple[str, str]]
) -> tuple[float, ...] | None:
    """Returns the box to use, x, y, width, height: the annotated one unless there is a mask that says better."""
    box = annotation.box
    if extent is None:
        return box
    around = (extent[1], extent[0], extent[3] - extent[1], extent[2] - extent[0])
    if box is None:
        found.append(("box_missing", f"{_shown(around)} is used"))
    elif box[2] <= 0 or box[3] <= 0:
        found.append(("box_empty", f"box {_shown(box)}; {_shown(around)} is used"))
    elif _iou(box, around) < _SAME_OBJECT_IOU:
        hint = "; is it x0, y0, x1, y1 instead of x, y, width, height?" if _iou(_from_corners(box), around) > 0.9 else ""
        found.append(("box_unlike_mask", f"box {_shown(box)}{hint}; {_shown(around)} is used"))
    else:
        inside = _inside(box, size)
        if inside is not None and np.abs(inside - _corners(box)).max() > _ROUNDING:
            found.append(("box_reaches_out", f"box {_shown(box)}, picture {size[1]}x{size[0]}"))
        return box
    return around


def _from_corners(box: Sequence[float]) -> tuple[float, ...]:
    return (box[0], box[1], box[2] - box[0], box[3] - box[1])


def _corners(box: Sequence[float]) -> np.ndarray:
    return np.array([box[1], box[0], box[1] + box[3], box[0] + box[2]])


def _iou(box: Sequence[float], other: Sequence[float]) -> float:
    first, second = _corners(box), _corners(other)
    shared = np.prod(np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0))
    union = max(box[2] * box[3], 0) + other[2] * other[3] - shared
    return float(shared / union) if union > 0 else 0.0


def _inside(box: Sequence[float], size: tuple[int, int]) -> np.ndarray | None:
    """Returns the part of a box that lies in the picture, [4] yxyx; None if there is none."""
    inside = np.clip(_corners(box), 0, [*size, *size])
    return inside if (inside[2:] > inside[:2]).all() else None


def _filled(inside: np.ndarray, size: tuple[int, int]) -> masks.RunLengths:
    """Returns a mask that fills a box, at least one pixel."""
    rows, columns = (slice(int(inside[axis]), math.ceil(inside[axis + 2])) for axis in (0, 1))
    filled = np.zeros(size, np.uint8)
    filled[rows, columns] = 1
    return masks.encode(filled)


def _shown(box: Sequence[float] | None) -> str:
    return "missing" if box is None else f"[{', '.join(f'{value:g}' for value in np.round(box, 2))}]"
