"""The numbers of instances in the images of records, from which static shapes are derived.

Converters write these counts to the summary. Records without such a summary are read once.
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
from tpuseg.utils.messages import format_count

_READ_BYTES = 8 << 20


class Excess(NamedTuple):
    """The images and instances that exceed a cap.

    Attributes:
      images: number of images with more instances than the cap.
      instances: number of instances beyond the cap, in all of these images together.
    """

    images: int
    instances: int


@dataclasses.dataclass(frozen=True)
class InstanceCounts:
    """The numbers of instances in a data set.

    Attributes:
      per_image: number of images (the value) by number of instances (the key), without ignored regions.
      most_crowds: largest number of ignored regions in an image.
      num_crowds: number of ignored regions in all images.
    """

    per_image: dict[int, int]
    most_crowds: int
    num_crowds: int

    @classmethod
    def of(cls, counts: Iterable[int]) -> "InstanceCounts":
        """Creates the counts from the number of instances of each image, without ignored regions."""
        return cls(dict(collections.Counter(counts)), 0, 0)

    @property
    def num_images(self) -> int:
        """Number of images."""
        return sum(self.per_image.values())

    @property
    def num_instances(self) -> int:
        """Number of instances in all images."""
        return sum(count * images for count, images in self.per_image.items())

    @property
    def most_instances(self) -> int:
        """Largest number of instances in an image."""
        return max(self.per_image, default=0)

    def beyond(self, limit: int) -> Excess:
        """Returns the images and instances that exceed a cap of `limit` instances per image."""
        rows = [(count - limit, images) for count, images in self.per_image.items() if count > limit]
        return Excess(sum(images for _, images in rows), sum(excess * images for excess, images in rows))


def count(paths: Sequence[str]) -> InstanceCounts:
    """Returns the counts of records: from the summaries beside them, or otherwise by reading the files.

    The counts of a summary are those of the whole split, also if `paths` are only some of its shards.

    Raises:
      ValueError: a file or summary is damaged; the message names it.
    """
    parts = []
    for summary_path, own in _by_summary(paths):
        summary = records.read_summary(own[0])
        if summary and {"instances_per_image", "most_crowds"} <= set(summary):
            parts.append(InstanceCounts(dict(summary["instances_per_image"]), summary["most_crowds"], summary.get("num_crowds", 0)))
            continue
        if summary:
            of_files = format_count(len(own), "file")
            print(f"counting the instances of {of_files}; {summary_path} is of an older converter, without them", flush=True)
        parts += [_read(path, tf.io.gfile.stat(path).length) for path in own]
    per_image: collections.Counter[int] = collections.Counter()
    for part in parts:
        per_image.update(part.per_image)
    most_crowds = max((part.most_crowds for part in parts), default=0)
    return InstanceCounts(dict(per_image), most_crowds, sum(part.num_crowds for part in parts))


def most_instances(paths: Sequence[str]) -> int:
    """Returns the largest number of instances in an image, which summaries of older converters also contain.

    Raises:
      ValueError: a file or summary is damaged; the message names it.
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
    """Counts the instances of a file, once per process; `size` is a part of the cache's key, in case the file is rewritten."""
    del size
    crowds_of = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)

    def counts(record: tf.Tensor) -> tf.Tensor:
        is_crowd = tf.io.parse_single_example(record, {instance_records.IS_CROWD: crowds_of})[instance_records.IS_CROWD] > 0
        return tf.stack([tf.reduce_sum(tf.cast(~is_crowd, tf.int32)), tf.reduce_sum(tf.cast(is_crowd, tf.int32))])

    dataset = tf.data.TFRecordDataset(path, buffer_size=_READ_BYTES).map(counts, num_parallel_calls=tf.data.AUTOTUNE)
    try:
        rows: list[Any] = list(dataset.as_numpy_iterator())
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        # TensorFlow quotes a record that it cannot parse in its message, whose bytes are not valid UTF-8.
        fault = records.find_fault([path], lambda record: instance_records.inspect_instances(record, None))
        reason = first_line(error)[:200] if isinstance(error, tf.errors.OpError) else "a record is not a tf.Example"
        raise ValueError(fault or f"{os.fspath(path)} cannot be read ({reason}); convert it again") from error
    crowds = [int(row[1]) for row in rows]
    return InstanceCounts(dict(collections.Counter(int(row[0]) for row in rows)), max(crowds, default=0), sum(crowds))
