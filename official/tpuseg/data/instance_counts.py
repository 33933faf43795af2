"""How many instances the images of records have: what static shapes are sized by.

Converters count while they write, and their summaries hold the counts. Records without such a summary are read once.
"""

import collections
import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tpuseg.data import instance_records, records
from tpuseg.utils.error_text import first_line
from tpuseg.utils.messages import counted

_READ_BYTES = 8 << 20


class Excess(NamedTuple):
    """What exceeds a cap.

    Attributes:
      images: with more instances than the cap.
      instances: beyond it, of all of these images together.
    """

    images: int
    instances: int


@dataclasses.dataclass(frozen=True)
class InstanceCounts:
    """The instances of a data set.

    Attributes:
      per_image: how many images (the value) have so many instances (the key); ignored regions do not count.
      most_crowds: ignored regions of the image that has most of them.
      num_crowds: ignored regions of all images.
    """

    per_image: dict[int, int]
    most_crowds: int
    num_crowds: int

    @classmethod
    def of(cls, counts: Iterable[int]) -> "InstanceCounts":
        """Returns the counts of images that have so many instances each, and no ignored regions."""
        return cls(dict(collections.Counter(counts)), 0, 0)

    @property
    def num_images(self) -> int:
        """All images."""
        return sum(self.per_image.values())

    @property
    def num_instances(self) -> int:
        """The instances of all images."""
        return sum(count * images for count, images in self.per_image.items())

    @property
    def most_instances(self) -> int:
        """The instances of the image that has most of them."""
        return max(self.per_image, default=0)

    def beyond(self, limit: int) -> Excess:
        """Returns what exceeds a cap of so many instances an image."""
        rows = [(count - limit, images) for count, images in self.per_image.items() if count > limit]
        return Excess(sum(images for _, images in rows), sum(excess * images for excess, images in rows))


def count(paths: Sequence[str]) -> InstanceCounts:
    """Returns the counts of records: those of the summaries beside them, or else by reading the files.

    A summary speaks for its whole data set, also where `paths` are only some of its files.

    Raises:
      ValueError: a file or summary is damaged; names it.
    """
    parts = []
    for summary_path, own in _by_summary(paths):
        summary = records.read_summary(own[0])
        if summary and {"instances_per_image", "most_crowds"} <= set(summary):
            parts.append(InstanceCounts(dict(summary["instances_per_image"]), summary["most_crowds"], summary.get("num_crowds", 0)))
            continue
        if summary:
            of_files = counted(len(own), "file")
            print(f"counting the instances of {of_files}; {summary_path} is of an older converter, without them", flush=True)
        parts += [_read(path, tf.io.gfile.stat(path).length) for path in own]
    per_image: collections.Counter[int] = collections.Counter()
    for part in parts:
        per_image.update(part.per_image)
    most_crowds = max((part.most_crowds for part in parts), default=0)
    return InstanceCounts(dict(per_image), most_crowds, sum(part.num_crowds for part in parts))


def most_instances(paths: Sequence[str]) -> int:
    """Returns the instances of the fullest image; also older summaries hold this number.

    Raises:
      ValueError: a file or summary is damaged; names it.
    """
    most = 0
    for _, own in _by_summary(paths):
        summary = records.read_summary(own[0])
        most = max(most, summary["most_objects"] if summary and "most_objects" in summary else count(own).most_instances)
    return most


def _by_summary(paths: Sequence[str]) -> Iterable[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(records.summary_path(path), []).append(path)
    return groups.items()


@functools.cache
def _read(path: str, size: int) -> InstanceCounts:
    """Counts the instances of a file, once in a process; `size` tells a file that was written anew."""
    del size
    crowds_of = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)

    def counts(record: tf.Tensor) -> tf.Tensor:
        is_crowd = tf.io.parse_single_example(record, {instance_records.IS_CROWD: crowds_of})[instance_records.IS_CROWD] > 0
        return tf.stack([tf.reduce_sum(tf.cast(~is_crowd, tf.int32)), tf.reduce_sum(tf.cast(is_crowd, tf.int32))])

    dataset = tf.data.TFRecordDataset(path, buffer_size=_READ_BYTES).map(counts, num_parallel_calls=tf.data.AUTOTUNE)
    try:
        rows: list[Any] = list(dataset.as_numpy_iterator())
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        # TensorFlow quotes a record that it cannot parse, whose bytes are no text.
        fault = records.find_fault([path], lambda record: instance_records.inspect_instances(record, None))
        reason = first_line(error)[:200] if isinstance(error, tf.errors.OpError) else "a record is not a tf.Example"
        raise ValueError(fault or f"{os.fspath(path)} cannot be read ({reason}); convert it again") from error
    crowds = [int(row[1]) for row in rows]
    return InstanceCounts(dict(collections.Counter(int(row[0]) for row in rows)), max(crowds, default=0), sum(crowds))
