"""Records into shards: several processes, every file complete or not there at all."""

import glob
import multiprocessing
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tqdm

# The worker processes' encoder, set once in each instead of being sent with every shard.
_encode: Callable[[Any], tuple[bytes, Any]] | None = None


def _start_worker(encode: Callable[[Any], tuple[bytes, Any]]) -> None:
    global _encode
    _encode = encode


def _write_shard(task: tuple[str, Sequence[Any]]) -> tuple[str, list[Any]]:
    path, items = task
    assert _encode is not None  # noqa: S101 - set by _start_worker.
    temporary = f"{path}.{os.getpid()}.tmp"
    notes = []
    try:
        with tf.io.TFRecordWriter(temporary) as writer:
            for item in items:
                record, note = _encode(item)
                writer.write(record)
                notes.append(note)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    return path, notes


def shard_names(output: str, split: str, num_shards: int) -> list[str]:
    """Returns the shards' paths: `{output}/{split}-00000-of-00008.tfrecord` and so on."""
    return [os.path.join(output, f"{split}-{number:05d}-of-{num_shards:05d}.tfrecord") for number in range(num_shards)]


def write(
    items: Sequence[Any],
    encode: Callable[[Any], tuple[bytes, Any]],
    output: str,
    split: str,
    num_shards: int,
    num_workers: int,
) -> tuple[list[str], list[Any]]:
    """Encodes items and writes them into shards, in order.

    Every shard is written under a temporary name and renamed when it is whole. The bytes do not depend on `num_workers`. Shards of
    an earlier conversion with another number of shards are removed when all new ones are there.

    Args:
      items: what `encode` takes; picklable.
      encode: a picklable function from an item to its serialized record and a note about it.
      output: folder; made if it is not there.
      split: first part of the names.
      num_shards: at most as many as there are items.
      num_workers: processes.

    Returns:
      The shards' paths, and the notes in the items' order.

    Raises:
      ValueError: whatever `encode` found wrong.
    """
    os.makedirs(output, exist_ok=True)
    num_shards = max(1, min(num_shards, len(items)))
    names = shard_names(output, split, num_shards)
    bounds = [round(number * len(items) / num_shards) for number in range(num_shards + 1)]
    tasks = [(name, items[bounds[i] : bounds[i + 1]]) for i, name in enumerate(names)]
    notes: list[Any] = []
    with tqdm.tqdm(total=len(items), desc=f"writing {split}", unit="picture", disable=None) as bar:
        for _, shard_notes in _run(tasks, encode, num_workers):
            notes += shard_notes
            bar.update(len(shard_notes))
    _remove_stale(output, split, set(names))
    return names, notes


def _run(tasks: list[tuple[str, Sequence[Any]]], encode: Callable[[Any], Any], num_workers: int) -> Any:
    if num_workers <= 1 or len(tasks) == 1:
        _start_worker(encode)
        yield from map(_write_shard, tasks)
        return
    # Forked workers would share TensorFlow's threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(num_workers, len(tasks)), _start_worker, (encode,)) as pool:
        yield from pool.imap(_write_shard, tasks)


def _remove_stale(output: str, split: str, names: set[str]) -> None:
    pattern = re.compile(re.escape(split) + r"-\d{5}-of-\d{5}\.tfrecord(\.\d+\.tmp)?$")
    found = glob.glob(os.path.join(glob.escape(output), f"{glob.escape(split)}-*"))
    stale = [path for path in found if pattern.match(os.path.basename(path)) and path not in names]
    for path in stale:
        os.remove(path)
    if stale:
        print(f"removed {len(stale)} files of an earlier conversion of `{split}` from {output}", flush=True)
