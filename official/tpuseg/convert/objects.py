"""Converting one image of a COCO data set and its annotations to an example, with all findings.

Worker processes import this module, so it does not import TensorFlow, which would take several seconds in each of them.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from tpuseg.convert import images, segmentations
from tpuseg.convert.channel_values import ChannelValues
from tpuseg.data.examples import Category, Instance, InstanceExample, Origin
from tpuseg.io import image_channels
from tpuseg.io.image_channels import WrongChannelsError
from tpuseg.io.image_files import WideValues
from tpuseg.ops import masks

# Annotated boxes are rounded; a box is only reported if it reaches farther out of the image than this, in pixels.
_ROUNDING = 1.0
# In square pixels; records store areas in 32 bits.
_LARGEST_AREA = 1e15
# If the IoU of box and mask is lower, they belong to different objects, or the box is in another format.
_SAME_OBJECT_IOU = 0.5


@dataclasses.dataclass(frozen=True)
class Finding:
    """A fault or an unusual value in a data set.

    Attributes:
      kind: a key of `REPAIRS`.
      where: image, annotation and value.
    """

    kind: str
    where: str


# The kinds of findings: what was found, and what is done about it.
REPAIRS = {
    "image_listed_twice": ("image ids that occur twice", "the first one is used"),
    "file_twice": ("image files that are listed under two ids", "both are used; remove one, with its annotations"),
    "list_as_dictionary": ("lists that are dictionaries by id, as in LIVECell", "their values are used"),
    "image_name_from_url": ("images without a file_name, as in LVIS", "the end of their coco_url is used"),
    "image_in_other_folder": (
        "images that are not in the folder of their file_name",
        "the file of that name directly in --images is used",
    ),
    "image_spelled_otherwise": (
        "images whose file name is spelled differently (percent-encoding, Unicode form, upper and lower case)",
        "that file is used",
    ),
    "image_ambiguous": ("images that match more than one file or id", "left out, with their annotations"),
    "image_size_unusable": ("images whose annotated width or height is not a number above 0", "the size of the file is used"),
    "image_size_fraction": ("images whose annotated width or height is not a whole number", "the fraction is dropped"),
    "image_missing": ("images without a file", "left out, with their annotations"),
    "image_unreadable": ("images that cannot be read", "left out, with their annotations"),
    "image_without_labels": ("images without labels", "left out"),
    "image_unused": ("images beside those of the data set that no label file or list names, or that it leaves out", "not used"),
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
        "read as set by --exif; look at some of them on the contact sheet",
    ),
    "exif_not_applied": (
        "images with an EXIF orientation whose annotated size is that of the stored pixels",
        "their stored pixels are used; this may also hold for other images of this file, see --exif",
    ),
    "image_size_differs": ("images whose size differs from the annotated size", "left out, with their annotations"),
    "unknown_image": ("annotations of an image that is not listed", "left out"),
    "mask_by_color": ("masks whose palette has the classes' colours in another order", "read by their colours"),
    "mask_by_number": ("masks whose palette has VOC's colours in another order", "read by their indices, see --palette"),
    "object_without_class": ("objects without a pixel that has a class", "left out"),
    "category_twice": ("categories without annotations with the name of another one, as in Roboflow's exports", "left out"),
    "category_root": (
        "categories without annotations that are the supercategory of others, as in Roboflow's exports",
        "kept as a class without objects; delete it from all annotation files if it is not a class",
    ),
    "unknown_category": ("annotations of a category that is not listed", "left out"),
    "annotation_twice": ("annotations that repeat another one", "left out"),
    "annotation_id_twice": ("annotation ids that occur twice", "both are used"),
    "outside": ("annotations without pixels in the image", "left out"),
    "number_as_text": ("annotations and images in which a number is a string", "the number is used"),
    "iscrowd_text": ("annotations whose iscrowd is a string", "read as 0 or 1"),
    "iscrowd_unclear": ("annotations whose iscrowd is neither 0 nor 1", "read as ignored regions"),
    "crowd_as_instance": ("annotations with iscrowd 1", "read as instances because of --crowds=instances"),
    "boxes_as_corners": ("boxes that are x0, y0, x1, y1, like most boxes of the file", "read in this form"),
    "segmentation_form": ("masks in a form that differs from COCO's but has only one possible meaning", "read"),
    "runs_transposed": ("run lengths whose size is width and height, not height and width", "read in the form that fits the box"),
    "relative_coordinates": (
        "masks whose coordinates are all between 0 and 1, which are probably fractions of width and height",
        "their box becomes an ignored region; multiply the coordinates by the image's width and height",
    ),
    "no_mask": ("annotations without a usable mask", "their box becomes an ignored region"),
    "polygon_unusable": ("polygons with fewer than three corners or with invalid coordinates", "left out of their mask"),
    "box_missing": ("annotations without a box", "the bounding box of the mask is used"),
    "box_empty": ("boxes without height or width", "the bounding box of the mask is used"),
    "box_unlike_mask": ("boxes that do not match their mask", "the bounding box of the mask is used"),
    "box_reaches_out": ("boxes that reach out of the image", "clipped for training and unchanged in evaluation"),
    "area_unusable": ("annotations whose area is not a finite number from 0", "the number of pixels is used"),
    "area_missing": ("annotations without an area", "the number of pixels is used"),
}


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One annotation of a COCO file.

    Attributes:
      name: name of the annotation in messages.
      category: the category.
      class_index: rank of the category id.
      is_crowd: whether it is an ignored region.
      box: x, y, width, height in pixels; None if it is missing.
      area: area in square pixels as in the file; None if it is missing.
      segmentation: segmentation as in the file.
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
      source_id: id of the image, as text.
      path: path of the image file.
      filename: file name in the COCO file.
      size: annotated height and width; None if they are missing.
      annotations: annotations of its objects.
      id_type: type of the id in the file, see `examples.image_id`.
    """

    source_id: str
    path: str
    filename: str
    size: tuple[int, int] | None
    annotations: Sequence[Annotation]
    id_type: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options for reading images.

    Attributes:
      exif: which pixels were annotated if the annotated size of an image fits both the stored and the upright pixels, see
        `images.read_image`.
      pixel_range: values that become black and white, for images with more than 8 bits.
      num_channels: required number of channels of every image.
      with_digest: whether the digests of the pixels are computed.
    """

    exif: str = "apply"
    pixel_range: tuple[float, ...] = ()
    num_channels: int = 3
    with_digest: bool = False


@dataclasses.dataclass(frozen=True)
class TileCounts:
    """Counts of a window of a large image.

    Attributes:
      num_cut: number of objects that the window cuts and that are instances.
      num_ignored: number of objects that are ignored regions because too little of them is visible.
      num_annotations: number of annotations of the image that have pixels; only in the counts of its first window, otherwise 0.
      num_crowds: number of these that are ignored regions in the data set, also only in the first window.
      is_first: whether it is the first result for the image.
    """

    num_cut: int = 0
    num_ignored: int = 0
    num_annotations: int = 0
    num_crowds: int = 0
    is_first: bool = False


@dataclasses.dataclass(frozen=True)
class Converted:
    """The result of converting an image, or a window of one.

    Attributes:
      example: the example; None if the image was left out.
      findings: all findings.
      reencoded: why the image was re-encoded; empty if it was not.
      num_ignored: number of annotations of objects that became ignored regions.
      wide: range of the values of an image with more than 8 bits; otherwise None.
      channels: see `images.EncodedImage`.
      digest: see `images.EncodedImage`.
      tile: counts of a window; None for a whole image.
    """

    example: InstanceExample | None
    findings: list[Finding]
    reencoded: str = ""
    num_ignored: int = 0
    wide: WideValues | None = None
    channels: ChannelValues | None = None
    digest: bytes = b""
    tile: TileCounts | None = None


def convert(annotated: AnnotatedImage, options: Options) -> Converted:
    """Reads an image and converts its annotations to objects.

    Raises:
      WrongChannelsError: the image does not have the required number of channels; other faults are findings.
    """
    where = name_of(annotated)
    try:
        image = images.read_image(
            annotated.path, options.exif, annotated.size, options.pixel_range, options.num_channels, options.with_digest
        )
    except WrongChannelsError:
        raise
    except ValueError as error:
        return Converted(None, [Finding("image_unreadable", f"{where}: {error}")])
    size = (image.height, image.width)
    if annotated.size and annotated.size != size:
        return Converted(None, [size_finding(annotated, image)])
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
    return Converted(made, findings, image.reencoded, num_ignored, image.wide, image.channels, image.digest)


def name_of(annotated: AnnotatedImage) -> str:
    """Returns how findings call an image."""
    return f"image {annotated.source_id} ({annotated.filename})"


def size_finding(annotated: AnnotatedImage, image: images.EncodedImage) -> Finding:
    """Returns the finding about an image whose size is not the annotated one."""
    height, width = annotated.size or (0, 0)
    turned = f", {image.reencoded}" if image.reencoded else ""
    swapped = "; are width and height swapped?" if (width, height) == (image.height, image.width) else ""
    detail = f"{width}x{height} annotated, the file has {image.width}x{image.height}{turned}{swapped}"
    return Finding("image_size_differs", f"{name_of(annotated)}: {detail}")


def exif_findings(image: images.EncodedImage, exif: str) -> list[tuple[str, str]]:
    """Returns the findings about the EXIF orientation of an image."""
    if image.is_ambiguous:
        return [("exif_ambiguous", f"{image.width}x{image.height}, --exif={exif}")]
    return [("exif_not_applied", f"{image.width}x{image.height}")] if image.is_stored else []


def example(
    image: images.EncodedImage,
    source_id: str,
    filename: str,
    instances: list[Instance],
    id_type: str = "",
    origin: Origin | None = None,
) -> InstanceExample:
    """Creates the example of an image and its objects."""
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
        origin=origin,
    )


@dataclasses.dataclass(frozen=True)
class Outline:
    """An annotation after all checks, in pixels of the image.

    Attributes:
      annotation: the annotation.
      is_crowd: whether it is an ignored region.
      polygons: usable polygons; empty if the mask has another form.
      runs: run lengths of the mask at the size of the image.
      box: [4] float64 x, y, width, height, which may reach out of the image.
      inside: [4] float64 yxyx box in the image.
      area: area in square pixels.
    """

    annotation: Annotation
    is_crowd: bool
    polygons: list[list[float]]
    runs: masks.RunLengths
    box: np.ndarray
    inside: np.ndarray
    area: float


def instance(annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]) -> Instance | None:
    """Converts an annotation to an object, and adds findings to `found`; returns None if no part is in the image."""
    read = outline(annotation, size, found)
    if read is None:
        return None
    return draw(read, images.png(PIL.Image.fromarray(_decode_rows(read.runs))))


def draw(read: Outline, png: bytes) -> Instance:
    """Creates the object of an outline; `png` is its mask."""
    fits = read.polygons and masks.fit_frame(read.polygons, read.inside)
    return Instance(
        category=read.annotation.category,
        class_index=read.annotation.class_index,
        is_crowd=read.is_crowd,
        box=read.inside,
        annotated_box=read.box,
        annotated_area=read.area,
        runs=read.runs,
        frame=masks.frame_of_polygons(read.polygons, read.inside) if fits else masks.frame_of_runs(read.runs, read.inside),
        png=png,
    )


def outline(annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]) -> Outline | None:
    """Checks an annotation, and adds findings to `found`; returns None if no part is in the image."""
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
    return Outline(annotation, is_crowd, polygons, runs, np.array(box), inside, area)


def _decode_rows(runs: masks.RunLengths) -> np.ndarray:
    """Returns the mask, [H, W] uint8, whose rows are contiguous in memory, as a PNG needs them.

    `masks.decode` returns contiguous columns. Only the bounding box is copied, which is much faster than all pixels.
    """
    columns = masks.decode(runs)
    top, left, bottom, right = masks.bounding_box(runs).astype(int)
    rows = np.zeros(columns.shape, np.uint8)
    rows[top:bottom, left:right] = columns[top:bottom, left:right]
    return rows


def pixels(
    annotation: Annotation, size: tuple[int, int], found: list[tuple[str, str]]
) -> tuple[masks.RunLengths | None, bool]:
    """Returns the pixels of an annotation, and whether they are those of its mask.

    Args:
      annotation: annotation in the data set.
      size: height and width of the image.
      found: list to which findings are added.

    Returns:
      Run lengths at the image's size and True; without a usable mask the run lengths of the box and False; None and False if there
      is neither.
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
    """Returns the usable polygons (none for run lengths), and the run lengths; None if the mask has no pixels."""
    segmentation = annotation.segmentation
    if not segmentation:
        found.append(("no_mask", "the segmentation is empty" if segmentation is not None else "there is no segmentation"))
        return [], None
    if not segmentations.is_standard(segmentation):
        segmentation, form = segmentations.standard_form(segmentation)
        found += [("segmentation_form", form)] if form else []
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    polygons: list[list[float]] = []
    try:
        if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
            runs = masks.union([_run_lengths(part, annotation, size, found) for part in parts])
        else:
            if segmentations.is_bitmap(parts, size):
                raise ValueError("it is a bitmap with one list per row; write it as run lengths (pycocotools.mask.encode)")
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
    swapped = segmentations.read_swapped_runs(part, size, annotation.box)
    if swapped is None:
        return masks.run_lengths(part, *size)
    found.append(("runs_transposed", f"size {part['size']}, image {size[1]}x{size[0]}"))
    return swapped


def _extent(polygons: list[list[float]], runs: masks.RunLengths) -> np.ndarray:
    """Returns the bounding box of a mask, [4] yxyx; as in COCO, that of the polygons if there are any."""
    if not polygons:
        return masks.bounding_box(runs)
    points = np.concatenate(polygons).reshape(-1, 2)
    return np.concatenate([points.min(0)[::-1], points.max(0)[::-1]])


def _box(
    annotation: Annotation, extent: np.ndarray | None, size: tuple[int, int], found: list[tuple[str, str]]
) -> tuple[float, ...] | None:
    """Returns the box, x, y, width, height: the annotated box if it matches the mask, otherwise that of the mask."""
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
    """Converts a box x0, y0, x1, y1 to x, y, width, height."""
    return (box[0], box[1], box[2] - box[0], box[3] - box[1])


def _corners(box: Sequence[float]) -> np.ndarray:
    return np.array([box[1], box[0], box[1] + box[3], box[0] + box[2]])


def iou(box: Sequence[float], other: Sequence[float]) -> float:
    """Returns the IoU of two boxes x, y, width, height."""
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = max(box[2] * box[3], 0.0) + other[2] * other[3] - shared
    return float(shared / union) if union > 0 else 0.0


def _inside(box: Sequence[float], size: tuple[int, int]) -> np.ndarray | None:
    """Returns a box clipped to the image, [4] yxyx; None if it is outside."""
    inside = np.clip(_corners(box), 0, [*size, *size])
    return inside if (inside[2:] > inside[:2]).all() else None


def _filled(inside: np.ndarray, size: tuple[int, int]) -> masks.RunLengths:
    """Returns a mask that fills a box, at least one pixel."""
    (top, bottom), (left, right) = ((int(inside[axis]), math.ceil(inside[axis + 2])) for axis in (0, 1))
    return masks.run_lengths([[left, top, right, top, right, bottom, left, bottom]], *size)


def _shown(box: Sequence[float] | None) -> str:
    return "missing" if box is None else f"[{', '.join(f'{value:g}' for value in np.round(box, 2))}]"
