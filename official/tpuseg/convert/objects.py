"""One image of a COCO data set and its annotations into an example, with everything that is odd about them.

Worker processes import this module, so it leaves TensorFlow alone: its import would cost each of them several seconds.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from tpuseg.convert import images, segmentations
from tpuseg.convert.channel_values import ChannelValues
from tpuseg.data.examples import Category, Instance, InstanceExample
from tpuseg.io import image_channels
from tpuseg.io.image_channels import WrongChannelsError
from tpuseg.io.image_files import WideValues
from tpuseg.ops import masks

# Boxes are annotated with rounding; less than this outside of the image is not worth a word.
_ROUNDING = 1.0
# In pixels; records hold areas in 32 bits.
_LARGEST_AREA = 1e15
# A box and a mask that overlap less were not made for the same object, or the box is in another format.
_SAME_OBJECT_IOU = 0.5


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something odd in a data set.

    Attributes:
      kind: a key of `REPAIRS`.
      where: image, annotation and value.
    """

    kind: str
    where: str


# What can be odd, and what is done about it.
REPAIRS = {
    "image_listed_twice": ("image ids that occur twice", "the first one is used"),
    "file_twice": ("image files that are listed under two ids", "both are used; remove one, with its annotations"),
    "list_as_dictionary": ("lists that are dictionaries by id, as LIVECell's", "their values are used"),
    "image_name_from_url": ("images without a file_name, as in LVIS", "the end of their coco_url is used"),
    "image_in_other_folder": (
        "images that are not in the folder of their file_name",
        "the file of that name directly in --images is used",
    ),
    "image_spelled_otherwise": (
        "images whose file is spelled otherwise (percent-encoding, Unicode form, upper and lower case)",
        "that file is used",
    ),
    "image_ambiguous": ("images that more than one file or id could stand for", "left out, with their annotations"),
    "image_size_unusable": ("images whose annotated width or height is no number above 0", "the file's own size is used"),
    "image_size_fraction": ("images whose annotated width or height is no whole number", "the fraction is left out"),
    "image_missing": ("images without a file", "left out, with their annotations"),
    "image_unreadable": ("images that cannot be read", "left out, with their annotations"),
    "image_without_labels": ("images without labels", "left out"),
    "labels_without_image": ("labels without an image", "left out"),
    "pair_unclear": ("images or masks whose names are the same but for their endings", "left out; remove all but one"),
    "label_file_missing": ("images without a label file", "kept as images without objects"),
    "label_line_unusable": ("lines of label files that are no class and polygon", "left out"),
    "coordinates_not_relative": ("lines of label files whose coordinates are pixels, not shares of width and height", "left out"),
    "shape_unusable": ("shapes whose class, points or mask cannot be read", "left out"),
    "shape_of_background": ("shapes of the class _background_", "left out, as they are no objects"),
    "task_without_annotation": ("tasks that nobody has labelled, or only as drafts", "left out"),
    "annotation_of_others": ("images with several annotations", "the ground truth is used, or the first one"),
    "mask_missing": ("images whose mask is not there", "left out"),
    "segment_missing": ("segments without a pixel in their mask", "left out"),
    "segment_unknown": ("masks with pixels of segments that are not listed", "ignored like a crowd"),
    "segment_unusable": ("segments whose id is no whole number below 2^24", "left out"),
    "shape_without_area": ("points, lines and other shapes without an area", "left out"),
    "exif_ambiguous": (
        "images with an EXIF orientation whose annotated size fits the stored and the rotated pixels",
        "read as --exif says; look at some of them on the contact sheet",
    ),
    "exif_not_applied": (
        "images with an EXIF orientation whose annotated size is that of the stored pixels",
        "their stored pixels are used; other images of this file may be annotated so too, see --exif",
    ),
    "image_size_differs": ("images of another size than annotated", "left out, with their annotations"),
    "unknown_image": ("annotations of an image that is not listed", "left out"),
    "mask_by_color": ("masks whose palette has the classes' colours in another order", "read by their colours"),
    "mask_by_number": ("masks whose palette has VOC's colours in another order", "read by their numbers, see --palette"),
    "object_without_class": ("objects none of whose pixels has a class", "left out"),
    "category_twice": ("categories without annotations that have the name of another one, as Roboflow's root", "left out"),
    "category_root": (
        "categories without annotations that are the supercategory of others, as Roboflow's root",
        "kept as a class that never occurs; delete it from all annotation files if it is none",
    ),
    "unknown_category": ("annotations of a category that is not listed", "left out"),
    "annotation_twice": ("annotations that repeat another one", "left out"),
    "annotation_id_twice": ("annotation ids that occur twice", "both are used"),
    "outside": ("annotations without any pixel in the image", "left out"),
    "number_as_text": ("annotations and images with a number as text", "the number is used"),
    "iscrowd_text": ("annotations whose iscrowd is text", "read as 0 or 1"),
    "iscrowd_unclear": ("annotations whose iscrowd is neither 0 nor 1", "ignored like a crowd: neither an object nor background"),
    "crowd_as_instance": ("annotations with iscrowd 1", "read as instances, as --crowds=instances says"),
    "boxes_as_corners": ("boxes that are x0, y0, x1, y1, as most of the file's boxes", "read as such"),
    "segmentation_form": ("masks in a form that differs from COCO's but can be read in one way only", "read"),
    "runs_transposed": ("run lengths whose size is width and height, not height and width", "read as they fit the box"),
    "relative_coordinates": (
        "masks whose coordinates are all between 0 and 1, shares of width and height it seems",
        "their box is ignored like a crowd; multiply the coordinates by the image's width and height",
    ),
    "no_mask": ("annotations without a usable mask", "their box is ignored like a crowd: neither an object nor background"),
    "polygon_unusable": ("polygons without three corners of finite numbers within any image's size", "left out of their mask"),
    "box_missing": ("annotations without a box", "the box around the mask is used"),
    "box_empty": ("boxes without a height or width", "the box around the mask is used"),
    "box_unlike_mask": ("boxes that are not around their mask", "the box around the mask is used"),
    "box_reaches_out": ("boxes that reach out of the image", "cut off for training; evaluation keeps them"),
    "area_unusable": ("annotations whose area is negative, not finite or no number", "the number of pixels is used"),
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
      area: in pixels, whatever the file says; None without one.
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
class AnnotatedImage:
    """One image of a COCO file.

    Attributes:
      source_id: its id.
      path: of the file.
      filename: as in the COCO file.
      size: height and width as annotated; None where they are missing.
      annotations: of its objects.
      id_type: what the id is in the file, see `examples.image_id`.
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
        `images.EXIF_CHOICES`.
      pixel_range: of images of more than 8 bits, the values that become black and white.
      num_channels: that each image must have.
    """

    exif: str = "apply"
    pixel_range: tuple[float, ...] = ()
    num_channels: int = 3


@dataclasses.dataclass(frozen=True)
class Converted:
    """What an image became.

    Attributes:
      example: None if the image was left out.
      findings: everything odd.
      reencoded: why the image is not the file's own bytes; empty if it is.
      num_ignored: annotations that should have been objects and became ignored regions.
      wide: the values of an image of more than 8 bits; otherwise None.
      channels: see `images.EncodedImage`.
    """

    example: InstanceExample | None
    findings: list[Finding]
    reencoded: str = ""
    num_ignored: int = 0
    wide: WideValues | None = None
    channels: ChannelValues | None = None


def convert(annotated: AnnotatedImage, options: Options) -> Converted:
    """Reads an image and makes its annotations into objects.

    Raises:
      WrongChannelsError: the image has another number of channels than all should have; other faults are findings.
    """
    where = f"image {annotated.source_id} ({annotated.filename})"
    try:
        image = images.read_image(annotated.path, options.exif, annotated.size, options.pixel_range, options.num_channels)
    except WrongChannelsError:
        raise
    except ValueError as error:
        return Converted(None, [Finding("image_unreadable", f"{where}: {error}")])
    size = (image.height, image.width)
    if annotated.size and annotated.size != size:
        turned = f", {image.reencoded}" if image.reencoded else ""
        swapped = "; are width and height swapped?" if annotated.size == size[::-1] else ""
        detail = f"{annotated.size[1]}x{annotated.size[0]} annotated, the file has {image.width}x{image.height}{turned}{swapped}"
        return Converted(None, [Finding("image_size_differs", f"{where}: {detail}")])
    findings = [Finding(kind, f"{where}: {said}") for kind, said in exif_findings(image, options.exif)]
    instances: list[Instance] = []
    num_ignored = 0
    for annotation in annotated.annotations:
        found: list[tuple[str, str]] = []
        one = instance(annotation, size, found)
        num_ignored += one is not None and one.is_crowd and not annotation.is_crowd
        findings += [Finding(kind, f"{where}, {annotation.name}: {what}") for kind, what in found]
        instances += [one] if one else []
    made = example(image, annotated.source_id, annotated.filename, instances, annotated.id_type)
    return Converted(made, findings, image.reencoded, num_ignored, image.wide, image.channels)


def exif_findings(image: images.EncodedImage, exif: str) -> list[tuple[str, str]]:
    """Returns what is worth saying about the EXIF orientation of an image."""
    if image.is_ambiguous:
        return [("exif_ambiguous", f"{image.width}x{image.height}, --exif={exif}")]
    return [("exif_not_applied", f"{image.width}x{image.height}")] if image.is_stored else []


def example(
    image: images.EncodedImage, source_id: str, filename: str, instances: list[Instance], id_type: str = ""
) -> InstanceExample:
    """Returns an image and its objects as what a record holds."""
    return InstanceExample(
        image=image.data,
        image_format=image.format,
        height=image.height,
        width=image.width,
        source_id=source_id,
        filename=filename,
        instances=instances,
        id_type=id_type,
        num_channels=image_channels.RGB if image.channels is None else len(image.channels.sums),
    )


def instance(annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]) -> Instance | None:
    """Returns the object, None if there is nothing of it in the image; appends what is odd."""
    polygons, runs = _mask(annotation, size, found)
    box = _box(annotation, None if runs is None else _extent(polygons, runs), size, found)
    inside = None if box is None else _inside(box, size)
    if box is None or inside is None:
        found.append(("outside", f"box {_shown(annotation.box)}, image {size[1]}x{size[0]}"))
        return None
    is_crowd = annotation.is_crowd
    if runs is None:
        is_crowd, polygons, runs = True, [], _filled(inside, size)
    area = annotation.area
    if area is None:
        area = float(masks.area(runs))
        found.append(("area_missing", f"{area:.0f} pixels"))
    elif not 0 <= area <= _LARGEST_AREA:
        found.append(("area_unusable", f"area {area:g}; {masks.area(runs)} pixels"))
        area = float(masks.area(runs))
    fits = polygons and masks.fit_frame(polygons, inside)
    return Instance(
        category=annotation.category,
        class_index=annotation.class_index,
        is_crowd=is_crowd,
        box=inside,
        annotated_box=np.array(box),
        annotated_area=area,
        runs=runs,
        frame=masks.frame_of_polygons(polygons, inside) if fits else masks.frame_of_runs(runs, inside),
        png=images.png(PIL.Image.fromarray(masks.decode(runs))),
    )


def pixels(
    annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]
) -> tuple[masks.RunLengths | None, bool]:
    """Returns the pixels of an annotation, and whether they are those of its mask.

    Args:
      annotation: as in the data set.
      size: height and width of the image.
      found: gets what is odd.

    Returns:
      Run lengths at the image's size, and True; where there is no usable mask those of the box, and False; None without either.
    """
    _, runs = _mask(annotation, size, found)
    if runs is not None:
        return runs, True
    inside = None if annotation.box is None else _inside(annotation.box, size)
    if inside is None:
        found.append(("outside", f"box {_shown(annotation.box)}, image {size[1]}x{size[0]}"))
        return None, False
    return _filled(inside, size), False


def _mask(
    annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]
) -> tuple[list[list[float]], masks.RunLengths | None]:
    """Returns the usable polygons (none for run lengths), and the run lengths; None where there is no pixel on the object."""
    segmentation = annotation.segmentation
    if not segmentation:
        found.append(("no_mask", "the segmentation is empty" if segmentation is not None else "there is no segmentation"))
        return [], None
    if not segmentations.is_ordinary(segmentation):
        segmentation, form = segmentations.standard_form(segmentation)
        found += [("segmentation_form", form)] if form else []
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    polygons: list[list[float]] = []
    try:
        if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
            runs = masks.union([_run_lengths(part, annotation, size, found) for part in parts])
        else:
            if segmentations.is_bitmap(parts, size):
                raise ValueError("it is a bitmap, a list a row; write it as run lengths (pycocotools.mask.encode)")
            polygons = _usable_polygons(parts, found) if isinstance(parts, list) else []
            if segmentations.are_relative(polygons, size):
                found.append(("relative_coordinates", f"the largest is {max(map(max, polygons)):g}"))
                return [], None
            if isinstance(parts, list) and not polygons:
                raise ValueError("none of its polygons can be used")
            runs = masks.run_lengths(polygons if isinstance(parts, list) else parts, *size)
    except ValueError as error:
        found.append(("no_mask", str(error)))
        return [], None
    if not masks.area(runs):
        found.append(("no_mask", "it covers no pixel of the image"))
        return [], None
    return polygons, runs


def _usable_polygons(parts: list[Any], found: list[tuple[str, str]]) -> list[list[float]]:
    polygons = []
    for polygon in parts:
        try:
            polygons.append(masks.check_polygon(polygon))
        except ValueError as error:
            found.append(("polygon_unusable", str(error)))
    return polygons


def _run_lengths(
    part: dict[str, Any], annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]
) -> masks.RunLengths:
    """Returns run lengths of the image's size; raises ValueError if they cannot be used."""
    swapped = segmentations.swapped_runs(part, size, annotation.box)
    if swapped is None:
        return masks.run_lengths(part, *size)
    found.append(("runs_transposed", f"size {part['size']}, image {size[1]}x{size[0]}"))
    return swapped


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
    elif iou(box, around) < _SAME_OBJECT_IOU:
        hint = "; is it x0, y0, x1, y1 instead of x, y, width, height?" if iou(from_corners(box), around) > 0.9 else ""
        found.append(("box_unlike_mask", f"box {_shown(box)}{hint}; {_shown(around)} is used"))
    else:
        inside = _inside(box, size)
        if inside is not None and np.abs(inside - _corners(box)).max() > _ROUNDING:
            found.append(("box_reaches_out", f"box {_shown(box)}, image {size[1]}x{size[0]}"))
        return box
    return around


def from_corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    """Returns a box x0, y0, x1, y1 as x, y, width, height."""
    return (box[0], box[1], box[2] - box[0], box[3] - box[1])


def _corners(box: Sequence[float]) -> np.ndarray:
    return np.array([box[1], box[0], box[1] + box[3], box[0] + box[2]])


def iou(box: Sequence[float], other: Sequence[float]) -> float:
    """Returns the overlap of two boxes x, y, width, height."""
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = max(box[2] * box[3], 0.0) + other[2] * other[3] - shared
    return float(shared / union) if union > 0 else 0.0


def _inside(box: Sequence[float], size: tuple[int, int]) -> np.ndarray | None:
    """Returns the part of a box that lies in the image, [4] yxyx; None if there is none."""
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
