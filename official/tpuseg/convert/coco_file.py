"""Reading and checking COCO annotation files; unusual contents are listed as findings."""

import collections
import dataclasses
import math
import os
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from tpuseg.convert import image_files, objects
from tpuseg.convert.objects import AnnotatedImage, Annotation, Finding
from tpuseg.data.examples import Category, id_type
from tpuseg.io import json_files
from tpuseg.ops import masks

# Number of masks, evenly distributed over the file, that are compared to find out whether boxes are given as corners.
_BOXES_TO_COMPARE = 150
# A box matches a mask if their IoU is at least this; the ratio of boxes given as corners to others must be at least 9.
_CORNERS_IOU, _CORNERS_MAJORITY = 0.9, 9
# Boxes with larger coordinates are treated as missing.
_LARGEST_COORDINATE = 1e9
_LARGEST_ID = 10**40
_IS_CROWD = {"0": False, "0.0": False, "false": False, "no": False, "": False, "1": True, "1.0": True, "true": True, "yes": True}


@dataclasses.dataclass(frozen=True)
class Options:
    """Options for ambiguous contents.

    Attributes:
      crowds_are_instances: whether annotations with iscrowd 1 are objects.
      allow_outside: whether file names and symbolic links may lead out of the folder of the images.
    """

    crowds_are_instances: bool = False
    allow_outside: bool = False


@dataclasses.dataclass(frozen=True)
class Contents:
    """The contents of an annotation file.

    Attributes:
      categories: the categories, sorted by id.
      images: the images whose files exist, in the order of the annotation file, with their annotations.
      findings: the findings so far.
      num_images: number of images in the file.
      num_annotations: number of annotations in the file.
    """

    categories: list[Category]
    images: list[AnnotatedImage]
    findings: list[Finding]
    num_images: int
    num_annotations: int


def read_annotations(path: str, images: str, options: Options = Options()) -> Contents:
    """Reads an annotation file.

    Args:
      path: path of the JSON file.
      images: folder of the images.
      options: options for ambiguous contents.

    Raises:
      ValueError: the file is not in COCO format, nothing in it can be used, or a name leads out of the folder; the message names
        the file.
    """
    return read_content(load(path), path, images, options)


def read_content(
    content: dict[str, Any],
    path: str,
    images: str,
    options: Options = Options(),  # noqa: B008 - cannot be changed.
) -> Contents:
    """Reads the contents of an annotation file; see `read_annotations`.

    Args:
      content: content of the JSON file.
      path: path of the file, for messages.
      images: folder of the images.
      options: options for ambiguous contents.
    """
    if not os.path.isdir(images):
        raise ValueError(f"--images={images} is not a folder")
    findings: list[Finding] = []
    rows = {key: rows_of(content, key, path, findings) for key in ("images", "annotations", "categories")}
    used = {id_of(row.get("category_id")) for row in rows["annotations"]}
    categories = read_categories(rows["categories"], used, path, findings)
    annotated = read_images(rows["images"], images, path, options, findings)
    if not annotated:
        lost = [finding for finding in findings if finding.kind in ("image_missing", "image_ambiguous")]
        first = f", the first is {lost[0].where}" if lost else ""
        raise ValueError(f"no image of {path} is there (0 of {len(rows['images'])}){first}; is --images right?")
    given = rows["annotations"]
    if not given:
        raise ValueError(f"{path} has no annotations; training needs objects")
    if not any(row.get("segmentation") for row in given):
        raise ValueError(f"no annotation of {path} has a segmentation (0 of {len(given)}); Mask R-CNN learns from masks")
    known = {id_of(row["id"]) for row in rows["images"]}
    _read_annotations(given, categories, annotated, known, findings)
    if not any(image.annotations for image in annotated.values()):
        raise ValueError(f"no annotation of {path} belongs to an image and a category of the file (0 of {len(given)})")
    found = list(annotated.values())
    _settle_crowds(found, path, options, findings)
    if _boxes_are_corners(found):
        _turn_corners(found, findings)
    return Contents(categories, found, findings, len(rows["images"]), len(given))


def read_image_ids(path: str) -> dict[str, int | str]:
    """Returns the ids of the images in an annotation file by file name, with the type and spelling in the file.

    Raises:
      ValueError: the file is not in COCO format, or a file name has two ids; the message names the file.
    """
    ids: dict[str, int | str] = {}
    for row in rows_of(load(path), "images", path, []):
        name, number = row.get("file_name"), id_of(row.get("id"))
        if not isinstance(name, str) or not name or number is None:
            raise ValueError(f"{path}: an image is {str(row)[:80]}; it needs an id and a file_name")
        own = row["id"] if isinstance(row["id"], str) else number
        if ids.setdefault(name, own) != own:
            raise ValueError(f"{path}: `{name}` has two ids, {ids[name]} and {own}; its predictions would be ambiguous; remove one")
    return ids


def file_names(content: dict[str, Any], path: str) -> list[str]:
    """Returns the names of the images in an annotation file; raises ValueError if it is not in COCO format."""
    return [name for row in rows_of(content, "images", path, []) if (name := _file_name(row))]


def load(path: str) -> dict[str, Any]:
    """Reads an annotation file as a dictionary; raises a ValueError that names the file if it is something else."""
    content = json_files.read(path, "annotation file")
    if isinstance(content, list):
        raise ValueError(f"{path} is a list, as results are; an annotation file has images, annotations and categories")
    if not isinstance(content, dict):
        raise ValueError(f"{path} contains only {str(content)[:40]}; an annotation file has images, annotations and categories")
    return content


def rows_of(content: dict[str, Any], key: str, path: str, findings: list[Finding]) -> list[dict[str, Any]]:
    """Returns one of the lists of an annotation file; raises ValueError if it is none of dictionaries.

    Args:
      content: of the file.
      key: `images`, `annotations` or `categories`.
      path: of the file, for messages.
      findings: gets what is odd.
    """
    rows = content.get(key)
    if isinstance(rows, dict):
        findings.append(Finding("list_as_dictionary", f"{path}: `{key}`"))
        rows = list(rows.values())
    if not isinstance(rows, list):
        hint = "; labelme's own files must be exported to COCO format first" if "shapes" in content else ""
        raise ValueError(f"{path} has no list `{key}`, so it is not in COCO format{hint}")
    what = {"images": "an image", "annotations": "an annotation", "categories": "a category"}[key]
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{path}: {what} is {str(row)[:80]}, not a dictionary")
    return rows


def id_of(value: object) -> int | str | None:
    """Normalizes an id: 12, 12.0 and "12" are the same number; other strings are unchanged; None for invalid ids."""
    if type(value) is int:  # The usual case; a bool is not an id.
        return value if abs(value) < _LARGEST_ID else None
    if isinstance(value, bool) or value == "":
        return None
    if isinstance(value, int | float):
        whole = math.isfinite(value) and value == int(value) and abs(value) < _LARGEST_ID
        return int(value) if whole else None
    if not isinstance(value, str) or not _is_text(value):
        return None
    return int(value) if re.fullmatch("0|[1-9][0-9]{0,39}", value) else value


def _is_text(value: str) -> bool:
    """Returns whether a string can be encoded: JSON may contain unpaired surrogates."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _shown(row: object) -> str:
    return ascii(row)[:80]


def read_categories(
    rows: list[dict[str, Any]], used: set[int | str | None], path: str, findings: list[Finding]
) -> list[Category]:
    """Returns the categories of an annotation file, ordered by id.

    Args:
      rows: its list of categories.
      used: ids that annotations have; a category that is only above others and has no annotation is left out or noted.
      path: of the file, for messages.
      findings: gets what is odd.

    Raises:
      ValueError: a category has no whole number as id, no name, or the id or name of another one; or there are none.
    """
    found: dict[int, str] = {}
    for row in _without_roots(rows, used, findings):
        number, name = id_of(row.get("id")), row.get("name")
        if not isinstance(number, int):
            raise ValueError(f"{path}: a category is {_shown(row)}; it needs a whole number as id, and a name")
        if not -(2**63) <= number < 2**63:
            raise ValueError(f"{path}: category {_shown(row)} has an id beyond 64 bits, which records cannot contain; renumber it")
        name = str(number) if name is None else str(name) if isinstance(name, int | float) else name
        if not isinstance(name, str) or not _is_text(name):
            raise ValueError(f"{path}: category {number} has the name {_shown(name)}, which is not a string")
        if number in found and found[number] != name:
            raise ValueError(f"{path}: categories `{found[number]}` and `{name}` have the same id {number}")
        if name in found.values() and number not in found:
            raise ValueError(f"{path}: two categories are called `{name}`, so their metrics would have the same name; rename one")
        found[number] = name
    if not found:
        raise ValueError(f"{path} lists no categories")
    return [Category(number, found[number]) for number in sorted(found)]


def _without_roots(
    rows: list[dict[str, Any]], used: set[int | str | None], findings: list[Finding]
) -> list[dict[str, Any]]:
    """Removes supercategories that have the name of another category and no annotations.

    Those with a different name are kept, because they could be classes that do not occur in this file, but become findings.
    """
    names = collections.Counter(str(row.get("name")) for row in rows)
    above = {str(row["supercategory"]) for row in rows if row.get("supercategory")}
    kept = []
    for row in rows:
        name = str(row.get("name"))
        is_root = name in above and row.get("supercategory") in (None, "", "none")
        is_unused = is_root and id_of(row.get("id")) not in used
        if is_unused:
            kind = "category_twice" if names[name] > 1 else "category_root"
            findings.append(Finding(kind, f"category {row.get('id')} (`{name}`)"))
        if is_unused and names[name] > 1:
            names[name] -= 1
        else:
            kept.append(row)
    return kept


def read_images(
    rows: list[dict[str, Any]], folder: str, path: str, options: Options, findings: list[Finding]
) -> dict[int | str, AnnotatedImage]:
    """Returns the images of an annotation file whose files are there, by their ids, without annotations.

    Args:
      rows: its list of images.
      folder: of the files.
      path: of the annotation file, for messages.
      options: whether names may lead out of the folder.
      findings: gets what is odd.

    Raises:
      ValueError: an image has no id or name, or its name leads out of the folder.
    """
    listed: dict[int | str, tuple[dict[str, Any], str]] = {}
    for row in rows:
        number, name = id_of(row.get("id")), _file_name(row)
        if number is None or not name:
            raise ValueError(f"{path}: an image is {_shown(row)}; it needs an id and a file_name")
        if number in listed:
            where = f"image {number} ({name})"
            findings.append(Finding("image_listed_twice", f"{where}; the first is {listed[number][1]}"))
            continue
        if not row.get("file_name"):
            findings.append(Finding("image_name_from_url", f"image {number} ({name})"))
        listed[number] = row, name
    try:
        files = image_files.find(folder, [name for _, name in listed.values()], options.allow_outside)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    images: dict[int | str, AnnotatedImage] = {}
    owners: dict[str, int | str] = {}
    for number, (row, name) in listed.items():
        where, file = f"image {number} ({name})", files[name]
        if file.kind:
            findings.append(Finding(file.kind, f"{where}: {file.detail}"))
        if file.path is None:
            continue
        if owners.setdefault(file.path, number) != number:
            findings.append(Finding("file_twice", f"{where}: the first is image {owners[file.path]}"))
        own = row["id"] if isinstance(row["id"], str) else number
        images[number] = AnnotatedImage(str(own), file.path, name, _size(row, where, findings), [], id_type(own))
    return images


def _file_name(row: dict[str, Any]) -> str:
    """Returns the path of an image in the folder; without a file_name, the last part of its URL."""
    name = row.get("file_name")
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    if not name and isinstance(row.get("coco_url"), str):
        name = os.path.basename(urllib.parse.urlparse(row["coco_url"]).path)
    return name if isinstance(name, str) and _is_text(name) else ""


def _size(row: dict[str, Any], where: str, findings: list[Finding]) -> tuple[int, int] | None:
    """Returns the annotated height and width; None if they are missing or invalid."""
    given = (row.get("height"), row.get("width"))
    if given[0] is None and given[1] is None:
        return None
    sides = [_number(side) for side in given]
    detail = f"{where}: width {_shown(given[1])}, height {_shown(given[0])}"
    if any(side is None or not 1 <= side <= _LARGEST_COORDINATE for side in sides):
        findings.append(Finding("image_size_unusable", detail))
        return None
    if any(isinstance(side, str) for side in given):
        findings.append(Finding("number_as_text", detail))
    if any(side != int(side) for side in sides if side is not None):
        findings.append(Finding("image_size_fraction", detail))
    height, width = (int(side) for side in sides if side is not None)
    return height, width


def _number(value: object) -> float | None:
    """Returns a finite number, also if it is a string; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read_annotations(
    rows: list[dict[str, Any]],
    categories: list[Category],
    images: dict[int | str, AnnotatedImage],
    known: set[int | str | None],
    findings: list[Finding],
) -> None:
    """Adds every annotation that can be used to its image."""
    indices: dict[Any, int] = {category.id: index for index, category in enumerate(categories)}
    earlier: dict[int | str, Any] = {}
    for place, row in enumerate(rows):
        image_id, category_id, own_id = (id_of(row.get(key)) for key in ("image_id", "category_id", "id"))
        name = f"annotation {own_id}" if own_id is not None else f"annotation number {place}"
        if image_id is None or image_id not in known:
            findings.append(Finding("unknown_image", f"image {_shown(row.get('image_id'))}, {name}"))
            continue
        image = images.get(image_id)
        if image is None:
            continue  # The image has a finding of its own.
        where = f"image {image_id} ({image.filename}), {name}"
        index = indices.get(category_id)
        if index is None:
            findings.append(Finding("unknown_category", f"{where}: category {_shown(row.get('category_id'))}"))
            continue
        if own_id is not None and own_id in earlier:
            repeated = row == earlier[own_id]
            findings.append(Finding("annotation_twice" if repeated else "annotation_id_twice", where))
            if repeated:
                continue
        elif own_id is not None:
            earlier[own_id] = row
        annotation = _annotation(row, name, categories[index], index, where, findings)
        image.annotations.append(annotation)  # type: ignore[attr-defined]


def _annotation(
    row: dict[str, Any], name: str, category: Category, index: int, where: str, findings: list[Finding]
) -> Annotation:
    box, area = row.get("bbox"), row.get("area")
    numbers = [area, *box] if isinstance(box, list) else [area]
    if str in map(type, numbers):
        findings.append(Finding("number_as_text", f"{where}: bbox {_shown(box)}, area {_shown(area)}"))
        area = _number(area) if isinstance(area, str) else area
    return Annotation(
        name=name,
        category=category,
        class_index=index,
        is_crowd=_is_crowd(row.get("iscrowd"), where, findings),
        box=_box(box),
        area=_area(area),
        segmentation=row.get("segmentation"),
    )


def _area(value: object) -> float | None:
    """Returns the annotated area, NaN if it is not a number, and None if it is missing."""
    if value is None:
        return None
    try:
        return math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        return math.nan


def _is_crowd(value: object, where: str, findings: list[Finding]) -> bool:
    if value is None or (isinstance(value, int | float) and value in (0, 1)):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _IS_CROWD:
        findings.append(Finding("iscrowd_text", f"{where}: {_shown(value)}"))
        return _IS_CROWD[value.strip().lower()]
    findings.append(Finding("iscrowd_unclear", f"{where}: {_shown(value)}"))
    return True


def _box(box: object) -> tuple[float, float, float, float] | None:
    """Returns a box if it consists of four valid numbers, otherwise None."""
    try:
        x, y, width, height = map(float, box if isinstance(box, list) else ())
    except (TypeError, ValueError, OverflowError):
        return None
    # For NaN, the comparisons are False.
    if abs(x) <= _LARGEST_COORDINATE and abs(y) <= _LARGEST_COORDINATE:
        if abs(width) <= _LARGEST_COORDINATE and abs(height) <= _LARGEST_COORDINATE:
            return x, y, width, height
    return None


def _all_annotations(images: list[AnnotatedImage]) -> Iterator[tuple[AnnotatedImage, int, Annotation]]:
    """Yields every annotation with its image and its index among the annotations of the image."""
    for image in images:
        for place, annotation in enumerate(list(image.annotations)):
            yield image, place, annotation


def _settle_crowds(images: list[AnnotatedImage], path: str, options: Options, findings: list[Finding]) -> None:
    """Converts ignored regions to objects if the options say so; raises ValueError if only ignored regions would be left."""
    crowds = [row for row in _all_annotations(images) if row[2].is_crowd]
    if options.crowds_are_instances:
        for image, place, annotation in crowds:
            findings.append(Finding("crowd_as_instance", f"image {image.source_id} ({image.filename}), {annotation.name}"))
            image.annotations[place] = dataclasses.replace(annotation, is_crowd=False)  # type: ignore[index]
    elif len(crowds) == sum(len(image.annotations) for image in images):
        raise ValueError(
            f"{path}: every annotation has iscrowd 1 ({len(crowds)} of {len(crowds)}), so they would be ignored and nothing be"
            " learned; CVAT and pycococreator write 1 for every brush mask: read them as instances with --crowds=instances, or"
            " set iscrowd to 0"
        )


def _boxes_are_corners(images: list[AnnotatedImage]) -> bool:
    """Returns whether boxes are given as x0, y0, x1, y1: whether this holds for nearly all boxes that fit only one of the forms."""
    corners = sizes = 0
    annotations = [annotation for _, _, annotation in _all_annotations(images)]
    for annotation in annotations[:: max(1, len(annotations) // _BOXES_TO_COMPARE)]:
        around = _around(annotation.segmentation) if annotation.box else None
        if annotation.box is None or around is None:
            continue
        is_size = objects.iou(annotation.box, around) >= _CORNERS_IOU
        is_corners = objects.iou(objects.from_corners(annotation.box), around) >= _CORNERS_IOU
        corners += is_corners and not is_size
        sizes += is_size and not is_corners
    return corners > 0 and corners >= _CORNERS_MAJORITY * sizes


def _around(segmentation: Any) -> tuple[float, float, float, float] | None:
    """Returns the bounding box of a mask in COCO's form, x, y, width, height; None for other forms."""
    try:
        if isinstance(segmentation, dict):
            y0, x0, y1, x1 = masks.bounding_box(masks.run_lengths(segmentation, *segmentation["size"])).tolist()
        else:
            values = [value for polygon in segmentation for value in masks.check_polygon(polygon)]
            x0, y0, x1, y1 = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def _turn_corners(images: list[AnnotatedImage], findings: list[Finding]) -> None:
    for image, place, annotation in _all_annotations(images):
        if annotation.box:
            where = f"image {image.source_id} ({image.filename}), {annotation.name}"
            findings.append(Finding("boxes_as_corners", f"{where}: {[round(value, 2) for value in annotation.box]}"))
            box = objects.from_corners(annotation.box)
            image.annotations[place] = dataclasses.replace(annotation, box=box)  # type: ignore[index]
