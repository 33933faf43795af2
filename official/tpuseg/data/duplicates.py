"""Finding duplicate images in records, within a split and between splits, and duplicate objects in one image."""

import dataclasses
import glob
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image
import tensorflow as tf

from tpuseg.data import instance_records, records
from tpuseg.io import files, image_files

# Number of findings of each kind that are listed.
_LISTED = 5
# Modes that Pillow converts to RGB without loss; pixels in other modes are compared as they are stored.
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")


class Twin(NamedTuple):
    """An object with the mask and the category of an earlier object of the same image.

    Attributes:
      earlier: number of the first object with this mask, from 0.
      number: number of the object.
      category: id of the category of both.
    """

    earlier: int
    number: int
    category: int


@dataclasses.dataclass(frozen=True)
class Entry:
    """The properties of a record that are compared.

    Attributes:
      where: file, number and id of the record, for messages.
      filename: file name of the image in the data set.
      pixels: digest of the image's size and pixels; empty if it cannot be decoded.
      twins: duplicate objects of this image.
    """

    where: str
    filename: str
    pixels: bytes
    twins: tuple[Twin, ...]


def scan(path: str) -> list[Entry]:
    """Reads a file of records of any kind, up to the first damaged record.

    Args:
      path: path of the file.

    Returns:
      One entry for every record that is a tf.Example.
    """
    entries = []
    try:
        for number, record in enumerate(records.read_raw(path)):
            try:
                feature = tf.train.Example.FromString(record).features.feature
            except Exception:  # Protobuf's own error; the inspection of the record reports it.
                continue
            source_id, filename = (_text(feature, key) for key in (records.SOURCE_ID, records.FILENAME))
            where = records.place(path, number, source_id or filename)
            entries.append(Entry(where, filename, _pixels(feature), tuple(_twins(feature))))
    except tf.errors.DataLossError:
        pass
    return entries


def _text(feature: dict[str, tf.train.Feature], key: str) -> str:
    values = feature[key].bytes_list.value if key in feature else ()
    return values[0].decode(errors="replace") if values else ""


def _pixels(feature: dict[str, tf.train.Feature]) -> bytes:
    try:
        with PIL.Image.open(io.BytesIO(feature[records.IMAGE].bytes_list.value[0]), formats=image_files.formats()) as image:
            # With other numbers of channels, the stored pixels are compared.
            plain = image.convert("RGB") if image.mode in _PLAIN_MODES and records.CHANNELS not in feature else image
            return image_files.digest(np.asarray(plain))
    except Exception:  # Pillow raises many kinds of errors; the inspection of the record reports the fault.
        return b""


def _twins(feature: dict[str, tf.train.Feature]) -> Iterator[Twin]:
    """Yields every object with the mask and category of an earlier one, except for ignored regions."""
    keys = (instance_records.LABEL, instance_records.IS_CROWD, instance_records.COUNTS)
    if not all(key in feature for key in keys):
        return
    labels, crowds = (feature[key].int64_list.value for key in keys[:2])
    yield from find_twins(zip(labels, feature[keys[2]].bytes_list.value, crowds, strict=False))


def find_twins(objects: Iterable[tuple[int, bytes, bool]]) -> Iterator[Twin]:
    """Yields the objects with the mask and category of an earlier one, except for ignored regions.

    Args:
      objects: category, run lengths of the mask, and whether it is an ignored region, for each object of an image.
    """
    first: dict[tuple[int, bytes], int] = {}
    for number, (category, counts, is_crowd) in enumerate(objects):
        earlier = first.setdefault((category, counts), number)
        if earlier != number and not is_crowd:
            yield Twin(earlier, number, category)


def findings(entries: Sequence[Entry], others: Sequence[Entry] = ()) -> list[str]:
    """Returns one sentence for each duplicate.

    Args:
      entries: the records of one split.
      others: the records of other splits, which should have no image in common with this one.
    """
    first: dict[bytes, Entry] = {}
    repeated = []
    for entry in entries:
        earlier = first.setdefault(entry.pixels, entry) if entry.pixels else entry
        if earlier is not entry:
            repeated.append(f"{entry.where}: has the same pixels as {earlier.where}{_file(entry, earlier)}")
    shared = [
        f"{other.where}: has the same pixels as {first[other.pixels].where}{_file(other, first[other.pixels])}, which is in another"
        " split: evaluation would use images that were used for training"
        for other in others
        if other.pixels in first
    ]
    twins = [
        f"{entry.where}: objects {twin.earlier} and {twin.number} have the same mask and category {twin.category}"
        for entry in entries
        for twin in entry.twins
    ]
    kinds = ((repeated, "duplicate images"), (shared, "images that are in two splits"), (twins, "duplicate objects"))
    return [line for lines, what in kinds for line in _shortened(lines, what)]


def _file(entry: Entry, other: Entry) -> str:
    return f" (both are {entry.filename})" if entry.filename and entry.filename == other.filename else ""


def _shortened(lines: list[str], what: str) -> list[str]:
    more = len(lines) - _LISTED
    return lines if more <= 0 else [*lines[:_LISTED], f"... and {more} more {what}"]


def sibling_files(pattern: str, paths: Sequence[str]) -> list[str]:
    """Returns the files of the other splits that were converted into the same folder.

    Splits that overlap on purpose are excluded: `trainval`, and `train_small` if there is also `train`.

    Args:
      pattern: the pattern for the files of one split.
      paths: the files that match it.
    """
    summary = records.summary_path(pattern)
    own = _role(os.path.splitext(os.path.basename(summary))[0])
    siblings: list[str] = []
    for path in sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(summary)), "*.json"))):
        other = _role(os.path.splitext(os.path.basename(path))[0])
        if os.path.basename(path) == os.path.basename(summary) or "" in (own, other) or own == other:
            continue
        siblings += _shards(path)
    return [path for path in siblings if path not in paths]


def _role(split: str) -> str:
    """Returns the purpose of a split, derived from its name; empty for a split that contains other splits."""
    words = {word: word in split.lower() for word in ("train", "val", "test")}
    named = [word for word, occurs in words.items() if occurs]
    return "" if len(named) > 1 or split.lower() in ("all", "full") else named[0] if named else split


def _shards(summary_path: str) -> list[str]:
    """Returns the files that a summary lists; none if the file is not a summary."""
    try:
        summary = files.read_json(summary_path)
    except (OSError, ValueError):
        return []
    names = summary.get("shards") if isinstance(summary, dict) else None
    names = names if isinstance(names, list) else []
    paths = [os.path.join(os.path.dirname(summary_path), name) for name in names if _is_shard(name)]
    return [path for path in paths if os.path.isfile(path)]


def _is_shard(name: object) -> bool:
    return isinstance(name, str) and bool(re.fullmatch(r"[^/\\]+\.tfrecord", name))
