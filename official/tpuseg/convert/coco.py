"""A data set in COCO's format, people's own ones too, into records."""

import collections
import functools
import json
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

from tpuseg import files, instance_records, parallel
from tpuseg.convert import objects, shards
from tpuseg.convert.objects import REPAIRS, Annotation, Finding, Picture
from tpuseg.instances import Category, id_type

# Of each kind of finding, so many are listed.
_LISTED = 5


def convert_coco(
    images: str,
    annotations: str,
    output: str,
    *,
    split: str = "",
    num_shards: int = 8,
    num_workers: int = 1,
    strict: bool = False,
    exif: str = "apply",
) -> dict[str, Any]:
    """Converts an annotation file and its pictures.

    The records' labels are the category ids of the file, as in the Model Garden's own records, so that its readers and its AP
    come out right; beside them stands each category's place in the order of the ids, which this package trains on (see
    `instance_records`). Pictures without objects are records too.

    Args:
      images: folder of the pictures; file names in the annotations start there.
      annotations: the JSON file.
      output: folder of the shards and of `{split}.json`, the summary; local or gs://.
      split: first part of the files' names; by default that of the annotation file (`instances_val2017.json`: `val2017`).
      num_shards: files.
      num_workers: processes that read and check; the files do not depend on it.
      strict: everything odd is an error instead of being repaired, counted and listed; see `objects.REPAIRS`.
      exif: which pixels of an image with an EXIF orientation are annotated where its annotated size fits both: `apply`, the
        rotated ones, or `ignore`, the stored ones.

    Returns:
      The summary, as it is written.

    Raises:
      ValueError: the file is not in COCO's format, nothing in it can be used, or something is odd and `strict` is set.
    """
    split = split or os.path.splitext(os.path.basename(annotations))[0].removeprefix("instances_")
    categories, pictures, findings = read_annotations(annotations, images)
    if strict:
        refuse(findings)
    tally = Tally(categories, findings)

    def checked() -> Iterator[objects.Converted]:
        convert = functools.partial(objects.convert, options=objects.Options(exif=exif))
        for converted in parallel.map_in_processes(convert, pictures, min(num_workers, len(pictures))):
            if strict:
                refuse(converted.findings)
            yield converted

    return write(checked(), len(pictures), tally, output, split, num_shards)


def write(
    pictures: Iterable[objects.Converted], num_pictures: int, tally: "Tally", output: str, split: str, num_shards: int
) -> dict[str, Any]:
    """Writes converted pictures into shards, and their summary beside them.

    Args:
      pictures: in the order of the records; those without an example are only counted.
      num_pictures: how many there are.
      tally: counts them.
      output: folder of the shards and of `{split}.json`.
      split: first part of the files' names.
      num_shards: files.

    Returns:
      The summary.
    """

    def serialized() -> Iterator[bytes]:
        for converted in pictures:
            tally.add(converted)
            if converted.example:
                yield instance_records.encode_instances(converted.example)

    written = shards.write(serialized(), num_pictures, output, split, num_shards)
    summary = {
        "kind": "instances",
        "split": split,
        **tally.summary(),
        "shards": list(written),
        "examples_per_shard": list(written.values()),
    }
    files.write_json(os.path.join(output, f"{split}.json"), summary)
    return summary


def refuse(findings: Iterable[Finding]) -> None:
    """Raises ValueError for the first finding."""
    for finding in findings:
        raise ValueError(f"{finding.where} ({REPAIRS[finding.kind][0]}); without --strict: {REPAIRS[finding.kind][1]}")


class Tally:
    """Counts what goes into the summary of records of objects."""

    def __init__(self, categories: list[Category], findings: list[Finding]) -> None:
        self._categories = categories
        self._findings: dict[str, list[str]] = collections.defaultdict(list)
        self._counts: collections.Counter[str] = collections.Counter()
        self._objects = [0] * len(categories)
        self._reencoded: collections.Counter[str] = collections.Counter()
        self._num_examples = self._num_crowds = self._most_crowds = 0
        # How many images have how many instances.
        self._per_image: collections.Counter[int] = collections.Counter()
        self._note(findings)

    def _note(self, findings: list[Finding]) -> None:
        for finding in findings:
            self._counts[finding.kind] += 1
            if len(self._findings[finding.kind]) < _LISTED:
                self._findings[finding.kind].append(finding.where)

    def add(self, converted: objects.Converted) -> None:
        """Counts a picture."""
        self._note(converted.findings)
        if converted.example is None:
            return
        instances = [instance for instance in converted.example.instances if not instance.is_crowd]
        for instance in instances:
            self._objects[instance.class_index] += 1
        num_crowds = len(converted.example.instances) - len(instances)
        self._num_examples += 1
        self._num_crowds += num_crowds
        self._most_crowds = max(self._most_crowds, num_crowds)
        self._per_image[len(instances)] += 1
        self._reencoded.update([converted.reencoded] if converted.reencoded else [])

    def summary(self) -> dict[str, Any]:
        """Returns the counts, and the first findings of each kind."""
        names = [category.name for category in self._categories]
        return {
            "num_examples": self._num_examples,
            "num_classes": len(names),
            "class_names": names,
            "categories": [{"id": category.id, "name": category.name} for category in self._categories],
            "num_objects": sum(self._objects),
            "num_crowds": self._num_crowds,
            "most_objects": max(self._per_image, default=0),
            "most_crowds": self._most_crowds,
            "pictures_without_objects": self._per_image[0],
            "instances_per_image": [[count, self._per_image[count]] for count in sorted(self._per_image)],
            "objects_per_class": dict(zip(names, self._objects, strict=True)),
            "findings": {
                kind: {"what": what, "done": done, "count": self._counts[kind], "first": self._findings[kind]}
                for kind, (what, done) in REPAIRS.items()
                if self._counts[kind]
            },
            "reencoded": dict(self._reencoded),
        }


def describe(summary: dict[str, Any]) -> str:
    """Returns the summary of a conversion as lines for people."""
    counts, total = summary["objects_per_class"], max(summary["num_objects"], 1)
    width = max(len(name) for name in counts)
    lines = [
        f"{summary['num_examples']} pictures in {len(summary['shards'])} shards, {summary['num_classes']} classes,"
        f" {summary['num_objects']} objects (at most {summary['most_objects']} a picture), {summary['num_crowds']} ignored regions,"
        f" {summary['pictures_without_objects']} pictures without objects"
    ]
    for category in summary["categories"]:
        count = counts[category["name"]]
        lines.append(f"  {category['id']:4d} {category['name']:{width}} {count:10,d} objects {count / total:7.2%}")
    for finding in summary["findings"].values():
        lines.append(f"  {finding['count']} {finding['what']}: {finding['done']}")
        lines += [f"      {where}" for where in finding["first"]]
        if finding["count"] > len(finding["first"]):
            lines.append("      ...")
    lines += [f"  {count} pictures re-encoded: {reason}" for reason, count in summary["reencoded"].items()]
    return "\n".join(lines)


def read_annotations(path: str, images: str) -> tuple[list[Category], list[Picture], list[Finding]]:
    """Reads an annotation file.

    Args:
      path: of the JSON file.
      images: folder of the pictures.

    Returns:
      The categories, ordered by id; the pictures whose files are there, in the order of the file; and what is odd so far.

    Raises:
      ValueError: it is not in COCO's format, or nothing in it can be used.
    """
    content = _load(path)
    if not os.path.isdir(images):
        raise ValueError(f"--images={images} is no folder")
    findings: list[Finding] = []
    categories = _read_categories(content["categories"], path)
    pictures = _read_pictures(content["images"], images, path, findings)
    if not pictures:
        first = f", the first is {findings[0].where}" if findings else ""
        raise ValueError(f"none of the {len(content['images'])} pictures of {path} is there{first}; is --images right?")
    given = content["annotations"]
    if given and not any(isinstance(row, dict) and row.get("segmentation") for row in given):
        raise ValueError(f"none of the {len(given)} annotations of {path} has a segmentation; Mask R-CNN learns from masks")
    for image_id, annotation in _read_annotations(given, categories, set(pictures), content["images"], path, findings):
        pictures[image_id].annotations.append(annotation)  # type: ignore[attr-defined]
    if given and not any(picture.annotations for picture in pictures.values()):
        raise ValueError(f"none of the {len(given)} annotations of {path} belongs to a picture and a category of the file")
    return categories, list(pictures.values()), findings


def _load(path: str) -> dict[str, list[Any]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise ValueError(f"there is no annotation file {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if isinstance(content, list):
        raise ValueError(f"{path} is a list, as results are; annotations are a file with images, annotations and categories")
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(content.get(key), list)]
    if missing:
        hint = "; labelme's own files must be exported to COCO's format first" if "shapes" in content else ""
        raise ValueError(f"{path} has no list called `{missing[0]}`, so it is not in COCO's format{hint}")
    return content


def _id(value: Any) -> int | str | None:
    """Returns an id as people write them: 12, 12.0 and "12" are the same number; other strings stay what they are."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    if isinstance(value, int | float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else text


def _read_categories(rows: list[Any], path: str) -> list[Category]:
    found: dict[int, str] = {}
    for row in rows:
        number = _id(row.get("id")) if isinstance(row, dict) else None
        if not isinstance(number, int):
            raise ValueError(f"{path}: a category is {str(row)[:80]}; it needs a whole number as id, and a name")
        name = str(row.get("name", number))
        if number in found and found[number] != name:
            raise ValueError(f"{path}: categories `{found[number]}` and `{name}` have the same id {number}")
        if name in found.values() and number not in found:
            raise ValueError(f"{path}: two categories are called `{name}`; metrics by class could not tell them apart")
        found[number] = name
    if not found:
        raise ValueError(f"{path} lists no categories")
    return [Category(number, found[number]) for number in sorted(found)]


def _read_pictures(rows: list[Any], folder: str, path: str, findings: list[Finding]) -> dict[int | str, Picture]:
    pictures: dict[int | str, Picture] = {}
    for row in rows:
        number, name = (_id(row.get("id")), row.get("file_name")) if isinstance(row, dict) else (None, None)
        if number is None or not name:
            raise ValueError(f"{path}: a picture is {str(row)[:80]}; it needs an id and a file_name")
        where = f"picture {number} ({name})"
        if number in pictures:
            findings.append(Finding("image_listed_twice", f"{where}; the first is {pictures[number].filename}"))
            continue
        file = _find(folder, str(name))
        if file is None:
            findings.append(Finding("image_missing", f"{where}: there is no {os.path.join(folder, str(name))}"))
            continue
        sides = (row.get("height"), row.get("width"))
        size = (int(sides[0]), int(sides[1])) if all(isinstance(side, int | float) for side in sides) else None
        own = row["id"] if isinstance(row["id"], str) else number
        pictures[number] = Picture(str(own), file, str(name), size, [], id_type(own))
    return pictures


def _find(folder: str, name: str) -> str | None:
    """Returns the path of a picture: its name in the folder, or without the folders that other programs put before it."""
    name = name.replace("\\", "/")
    for candidate in (name, os.path.basename(name)):
        path = os.path.join(folder, candidate)
        if os.path.isfile(path):
            return path
    return None


def _read_annotations(
    rows: list[Any], categories: list[Category], there: set[int | str], listed: list[Any], path: str, findings: list[Finding]
) -> Iterator[tuple[int | str, Annotation]]:
    """Yields the annotations that can be used, with their pictures' ids."""
    indices = {category.id: index for index, category in enumerate(categories)}
    known = {_id(row["id"]) for row in listed}
    earlier: dict[int | str, Any] = {}
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"{path}: an annotation is {str(row)[:80]}, not a dictionary")
        image_id, category_id, own_id = (_id(row.get(key)) for key in ("image_id", "category_id", "id"))
        name = f"annotation {own_id}" if own_id is not None else f"annotation number {place}"
        where = f"picture {image_id}, {name}"
        if image_id not in known:
            findings.append(Finding("unknown_image", where))
            continue
        if image_id not in there or image_id is None:
            continue  # Told with the picture.
        if category_id not in indices:
            findings.append(Finding("unknown_category", f"{where}: category {category_id}"))
            continue
        if own_id is not None and own_id in earlier:
            repeated = row == earlier[own_id]
            findings.append(Finding("annotation_twice" if repeated else "annotation_id_twice", where))
            if repeated:
                continue
        elif own_id is not None:
            earlier[own_id] = row
        index = indices[category_id]  # type: ignore[index]
        yield image_id, _annotation(row, name, categories[index], index)


def _annotation(row: dict[str, Any], name: str, category: Category, index: int) -> Annotation:
    area = row.get("area")
    return Annotation(
        name=name,
        category=category,
        class_index=index,
        is_crowd=bool(row.get("iscrowd", 0)),
        box=_numbers(row.get("bbox")),
        area=float(area) if isinstance(area, int | float) and math.isfinite(area) else None,
        segmentation=row.get("segmentation"),
    )


def _numbers(box: Any) -> tuple[float, float, float, float] | None:
    """Returns a box of four finite numbers, or None."""
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError):
        return None
    return (x, y, width, height) if all(map(math.isfinite, (x, y, width, height))) else None
