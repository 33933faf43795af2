"""Writing serialized records to shards; they get their final names only when all of them are complete."""

import itertools
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
import tqdm

from tpuseg.io import files
from tpuseg.utils.messages import format_count


def shard_names(split: str, num_shards: int) -> list[str]:
    """Returns the file names of the shards: `{split}-00000-of-00008.tfrecord` and so on."""
    return [f"{split}-{number:05d}-of-{num_shards:05d}.tfrecord" for number in range(num_shards)]


def write(
    records: Iterable[bytes],
    num_records: int,
    output: str,
    split: str,
    num_shards: int,
    check: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Writes records to shards, in order.

    The files get their final names when all of them are complete, so a failed conversion does not change an earlier one. The shards
    of an earlier conversion of the split, also if their number was different, and its summary are removed.

    Args:
      records: the serialized examples.
      num_records: maximum number of records.
      output: folder, local or gs://; created if it does not exist.
      split: first part of the names.
      num_shards: number of shards, reduced to the number of records.
      check: called when all records are written and before the files get their final names; if it raises, nothing is changed.

    Returns:
      The number of records of each shard, by the name of the shard.

    Raises:
      OSError: a file cannot be written.
      Exception: any exception raised by `records` or `check`.
    """
    num_shards = max(1, min(num_shards, num_records))
    names = shard_names(split, num_shards)
    temporaries = [os.path.join(output, f"{name}.{os.getpid()}.tmp") for name in names]
    bounds = [round(number * num_records / num_shards) for number in range(num_shards + 1)]
    written = dict.fromkeys(names, 0)
    try:
        tf.io.gfile.makedirs(output)
        files.remove_left_over(output, f"{split}-")
        with tqdm.tqdm(records, f"writing {split}", num_records, unit="image", disable=None) as bar:
            iterator = iter(bar)
            for name, temporary, start, stop in zip(names, temporaries, bounds, bounds[1:], strict=False):
                with tf.io.TFRecordWriter(temporary) as writer:
                    for record in itertools.islice(iterator, stop - start):
                        writer.write(record)
                        written[name] += 1
        check()
        _remove_earlier(output, split, keep={os.path.basename(path) for path in temporaries})
        for temporary, name in zip(temporaries, names, strict=True):
            tf.io.gfile.rename(temporary, os.path.join(output, name), overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"cannot write to {output}: {error.message}") from error
    finally:
        for temporary in temporaries:
            if tf.io.gfile.exists(temporary):
                tf.io.gfile.remove(temporary)
    return written


def write_summary(
    output: str, split: str, kind: str, counts: dict[str, Any], more: dict[str, Any] | None, written: dict[str, int]
) -> dict[str, Any]:
    """Writes the summary beside the shards of a split.

    Args:
      output: folder of the shards and of `{split}.json`.
      split: first part of the shards' names.
      kind: `instances` or `semantic`.
      counts: counts of the conversion.
      more: additional entries.
      written: number of records of each shard, as `write` returns it.

    Returns:
      The summary.
    """
    summary = {
        "kind": kind,
        "split": split,
        **counts,
        **(more or {}),
        "shards": list(written),
        "examples_per_shard": list(written.values()),
    }
    files.write_json(os.path.join(output, f"{split}.json"), summary)
    return summary


def _remove_earlier(output: str, split: str, keep: set[str]) -> None:
    """Removes the shards and the summary of earlier conversions of a split, and temporary files of killed ones."""
    shard = re.compile(re.escape(split) + r"-\d{5}-of-\d{5}\.tfrecord(\.\d+\.tmp)?$")
    earlier = [name for name in tf.io.gfile.listdir(output) if (shard.match(name) or name == f"{split}.json") and name not in keep]
    for name in earlier:
        tf.io.gfile.remove(os.path.join(output, name))
    num_shards = sum(name.endswith(".tfrecord") for name in earlier)
    if num_shards:
        print(f"removed {format_count(num_shards, 'file')} of an earlier conversion of `{split}` from {output}", flush=True)
