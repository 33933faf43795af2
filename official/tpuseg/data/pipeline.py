"""The input pipeline in tf.data: from files to numbered examples, and from examples to batches.

The training stream is endless, and a function of its seed alone: the example at a position, and its augmentation, depend on nothing
else. A run that is resumed at step N therefore continues with exactly the batches that it would have had without the interruption.

Example: 5 records, a to e, in one shard, and batches of 2. Every epoch has its own order, and a batch may contain the end of one
epoch and the start of the next:

    epoch        0                   1
    record       c   b   e   a   d   a   d   b   c   e
    position     0   1   2   3   4   5   6   7   8   9
    step         0   0   1   1   2   2   3   3   4   4

To resume at step 3, the stream starts at position 3 * 2 = 6, which is epoch 6 // 5 = 1 without its first 6 % 5 = 1 record. The
augmentation of the example at position p is seeded by (seed, p).

With several input pipelines (one for each worker), a pipeline reads its own shards if their number is divisible by the number of
pipelines, and every n-th record of all shards otherwise. Its positions are counted separately: the example at position p of
pipeline i of n has the number p * n + i (`index`), which replaces p as the seed of the augmentation. With n = 2:

    pipeline 0   position  0 1 2 3 ...   index  0 2 4 6 ...
    pipeline 1   position  0 1 2 3 ...   index  1 3 5 7 ...
"""

import concurrent.futures
import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.configs import schema
from tpuseg.data import records
from tpuseg.io import path_patterns
from tpuseg.ops import images, windows
from tpuseg.utils.error_text import first_line
from tpuseg.utils.messages import format_count

# A raw record: `record`, the serialized example, or its parsed parts; `file`, its file, and `number`, its position in the file.
Raw = dict[str, tf.Tensor]
# A function from a record to the id of the image and one sentence for each fault.
Inspect = Callable[[bytes], tuple[str, list[str]]]
_PADDING_INDEX = -1
_READ_BYTES = 8 << 20
_READERS = 8
# The part of TensorFlow's error message that names the operation of a failed iterator.
_FROM_ITERATOR = re.compile(r"\[\[[^\]]*GetNext|\[Op:[^\]]*GetNext")
_FROM_REQUIRE = re.compile(r"assertion failed: \[(?P<path>[^\n]*): record (?P<number>\d+)(?P<fault>[^\n]*)\]")


def patterns(data: schema.DataConfig, data_dir: str) -> list[str]:
    """Returns the input patterns; relative ones are joined to the data directory."""
    return [_from(data_dir, pattern) for pattern in _given_patterns(data)]


def _given_patterns(data: schema.DataConfig) -> list[str]:
    given = data.input_path.split(",") if isinstance(data.input_path, str) else list(data.input_path)
    return [pattern.strip() for pattern in given if pattern.strip()]


def _from(data_dir: str, pattern: str) -> str:
    return pattern if os.path.isabs(pattern) or "://" in pattern else os.path.join(data_dir, pattern)


def find_files(data: schema.DataConfig, data_dir: str) -> list[str]:
    """Returns the files that match the input patterns, without duplicates, sorted within each pattern.

    Raises:
      ValueError: a pattern matches no file; the message lists files in the folder.
    """
    found: list[str] = []
    for given in _given_patterns(data):
        pattern = _from(data_dir, given)
        matches = path_patterns.find(given, data_dir if pattern != given else "")
        if not matches:
            raise ValueError(f"no file matches {pattern} (input_path from --data_dir={data_dir}); {_describe_folder(pattern)}")
        found += matches
    return list(dict.fromkeys(found))


def stamps(data: schema.DataConfig, data_dir: str) -> dict[str, tuple[int, int]]:
    """Returns the size and modification time of each local file of an input, to detect whether files were replaced."""
    if data.tfds_name:
        return {}
    found = {}
    for path in find_files(data, data_dir):
        if "://" not in path:
            status = os.stat(path)
            found[path] = (status.st_size, status.st_mtime_ns)
    return found


def _describe_folder(pattern: str) -> str:
    folder = os.path.dirname(pattern) or "."
    while not tf.io.gfile.isdir(folder) and os.path.dirname(folder) not in ("", folder):
        folder = os.path.dirname(folder)
    names = sorted(tf.io.gfile.listdir(folder)) if tf.io.gfile.isdir(folder) else []
    near = difflib.get_close_matches(os.path.basename(pattern), names, n=3, cutoff=0.3) or names[:3]
    inside = f"{folder} is empty or missing"
    if names:
        inside = f"{folder} has {format_count(len(names), 'file')}, such as {', '.join(near)}"
    return f"{inside}; convert a data set there with data/coco_to_tfrecord.py or data/voc_to_tfrecord.py, or set --data_dir"


def read_summary(data: schema.DataConfig, data_dir: str) -> dict[str, Any] | None:
    """Returns the summary of the records, or None if there is none."""
    for pattern in patterns(data, data_dir):
        summary = records.read_summary(pattern)
        if summary:
            return summary
    return None


def read_summaries(data: schema.DataConfig, data_dir: str) -> dict[str, dict[str, Any]]:
    """Returns the summaries of all files of the records, by the path of the summary.

    Raises:
      ValueError: a pattern matches no file, or a summary is damaged.
    """
    one_of_each = {records.summary_path(path): path for path in find_files(data, data_dir)}
    found = {path: records.read_summary(file) for path, file in one_of_each.items()}
    return {path: summary for path, summary in found.items() if summary}


def count_examples(data: schema.DataConfig, data_dir: str) -> int:
    """Returns the number of examples of an input.

    Raises:
      ValueError: there are no examples.
    """
    if data.tfds_name:
        return int(_tfds_builder(data).info.splits[data.tfds_split].num_examples)
    return sum(examples_per_file(find_files(data, data_dir)))


def examples_per_file(paths: Sequence[str]) -> list[int]:
    """Returns the number of records of each file: from the summary, or otherwise by reading the file once per process.

    Raises:
      ValueError: there are no records, or a file is empty or truncated.
    """
    known = _counts_from_summaries(paths)

    def count(path: str) -> int:
        size = tf.io.gfile.stat(path).length
        if not size and known.get(path):
            were = format_count(known[path], "record was", "records were")
            raise ValueError(f"{path} is empty, but {were} written to it; copy or convert it again")
        return known[path] if path in known else _count_records(path, size)

    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        counts = list(pool.map(count, paths))
    if not sum(counts):
        files = paths[0] if len(paths) == 1 else f"{paths[0]} and {format_count(len(paths) - 1, 'more file')}"
        raise ValueError(f"there are no records in {files}; the conversion found no images, or was stopped: convert again")
    return counts


def _counts_from_summaries(paths: Sequence[str]) -> dict[str, int]:
    """Returns the numbers of records of the files that have a summary."""
    counts: dict[str, int] = {}
    one_of_each = {records.summary_path(path): path for path in paths}
    for path in one_of_each.values():
        summary = records.read_summary(path)
        if summary and "examples_per_shard" in summary:
            shards = (os.path.join(os.path.dirname(path), shard) for shard in summary["shards"])
            counts.update(zip(shards, summary["examples_per_shard"], strict=True))
    return counts


@functools.cache
def _count_records(path: str, size: int) -> int:
    del size  # Part of the cache's key, so that a file that was rewritten is counted again.
    dataset = tf.data.TFRecordDataset(path, buffer_size=_READ_BYTES)
    try:
        return int(dataset.reduce(tf.constant(0, tf.int64), lambda total, _: total + 1))
    except tf.errors.DataLossError as error:
        raise ValueError(f"{path} is truncated, or is not a file of records ({error.message}); copy or convert it again") from error


def _read_file(path: tf.Tensor) -> tf.data.Dataset:
    numbered = tf.data.TFRecordDataset(path, buffer_size=_READ_BYTES).enumerate()
    return numbered.map(lambda number, record: {"record": record, "file": path, "number": number})


def _tfds_builder(data: schema.DataConfig) -> Any:
    import tensorflow_datasets as tfds  # Seconds to import, and only needed here.

    try:
        # The variable is read at every call, and not only when the library is imported.
        builder = tfds.builder(data.tfds_name, data_dir=os.environ.get("TFDS_DATA_DIR"))
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"tensorflow-datasets has no data set `{data.tfds_name}`: {str(error).splitlines()[0]}") from error
    if data.tfds_split.partition("[")[0] not in builder.info.splits:
        raise ValueError(f"{data.tfds_name} has no split `{data.tfds_split}`, only {', '.join(builder.info.splits)}")
    return builder


def _read_tfds(data: schema.DataConfig) -> tf.data.Dataset:
    """Reads a data set of tensorflow-datasets in the form of parsed records, without decoding images."""
    import tensorflow_datasets as tfds

    builder = _tfds_builder(data)
    features = builder.info.features
    mask = next((name for name in ("segmentation_mask", "segmentation_label") if name in features), None)
    if mask is None or "image" not in features:
        raise ValueError(
            f"{data.tfds_name} has the features {', '.join(features)}; segmentation needs `image`, and `segmentation_mask` or"
            " `segmentation_label`"
        )
    undecoded = {name: tfds.decode.SkipDecoding() for name in ("image", mask)}
    dataset = builder.as_dataset(split=data.tfds_split, decoders=undecoded)

    def parse(number: tf.Tensor, example: dict[str, tf.Tensor]) -> Raw:
        return {
            "image": example["image"],
            "labels": example[mask],
            # -1 becomes 255; adding it in 8 bits subtracts 1.
            "label_offset": tf.constant(data.tfds_label_offset % 256, tf.uint8),
            "source_id": example.get("file_name", tf.strings.as_string(number)),
            "file": tf.constant(f"{data.tfds_name} {data.tfds_split}"),
            "number": number,
        }

    return dataset.enumerate().map(parse)


def parse(raw: Raw, parser: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Raw:
    """Parses a record, and keeps its file and number. Examples of tensorflow-datasets are already parsed."""
    if "record" not in raw:
        return raw
    return {**parser(raw["record"]), "file": raw["file"], "number": raw["number"]}


def _source_id(raw: Raw) -> tf.Tensor:
    return records.parse_source_id(raw["record"]) if "record" in raw else raw["source_id"]


class _Part:
    """One input pipeline's part of the training data.

    If the number of files is divisible by the number of pipelines, a pipeline reads only its own files. Otherwise every pipeline
    reads all files and keeps every n-th record of the shuffled epoch.

    Attributes:
      per_epoch: number of records of this pipeline in one epoch.
    """

    def __init__(self, data: schema.TrainDataConfig, data_dir: str, pipeline: int, num_pipelines: int) -> None:
        self._data = data
        self._paths = [] if data.tfds_name else find_files(data, data_dir)
        if self._paths and len(self._paths) % num_pipelines == 0:
            self._paths, pipeline, num_pipelines = self._paths[pipeline::num_pipelines], 0, 1
        total = sum(examples_per_file(self._paths)) if self._paths else count_examples(data, data_dir)
        if total < num_pipelines:
            where = data.tfds_name or data.input_path
            raise ValueError(
                f"{where}: {total} training examples are too few for {num_pipelines} input pipelines; use fewer workers, or more"
                " images"
            )
        self._keep = (num_pipelines, pipeline)
        self.per_epoch = total // num_pipelines
        self._buffer = data.shuffle_buffer_size
        if data.tfds_name:
            self._source = _read_tfds(data)
        else:
            self._source = tf.data.Dataset.from_tensor_slices(self._paths).flat_map(_read_file)
        if data.cache:
            # All records are in memory, so the buffer can shuffle all of them, which replaces shuffling the files. It has one
            # element more than there are records, so that it reads to the end of the data: only then is the cache complete.
            self._source, self._paths, self._buffer = self._source.cache(), [], total + 1

    def epoch(self, number: tf.Tensor) -> tf.data.Dataset:
        """Returns one epoch, whose order is a function of the seed and the epoch's number (scalar int64)."""
        # Otherwise the order would also depend on the program's global seed. This sets the seed only for this function's graph.
        tf.random.set_seed(1)
        seed = tf.constant(self._data.seed, tf.int64) * 1_000_003 + number
        source = self._source
        if self._paths:
            order = tf.random.experimental.stateless_shuffle(tf.constant(self._paths), tf.stack([seed, 0]))
            source = tf.data.Dataset.from_tensor_slices(order).interleave(
                _read_file, cycle_length=min(16, len(self._paths)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
            )
        shuffled = source.shuffle(self._buffer, seed=seed, reshuffle_each_iteration=False)
        return shuffled.shard(*self._keep).take(self.per_epoch)


def training_stream(
    data: schema.TrainDataConfig,
    data_dir: str,
    example_fn: Callable[[Raw, tf.Tensor], Any],
    context: tf.distribute.InputContext | None,
    start_step: int,
    with_next: bool = False,
) -> tf.data.Dataset:
    """Returns the endless stream of training batches; see the module's docstring.

    Args:
      data: files, batch size, seed.
      data_dir: folder for relative input patterns.
      example_fn: creates (features, labels) from a raw record and a seed ([2] int32); it must not depend on anything else.
      context: the input pipeline, if there are several; each reads its own part of the records.
      start_step: number of batches that have been consumed.
      with_next: gives `example_fn` every record together with the next one in the stream: all values of the raw record are [2].

    Returns:
      Batches of one replica with a static shape: (features, labels). `index`, int64, is added to the features: the number of the
      example among those of all pipelines.

    Raises:
      ValueError: a pattern matches no file, or there are no records.
    """
    batch, share, pipeline, num_pipelines = _shares(data, context)
    part = _Part(data, data_dir, pipeline, num_pipelines)
    start = start_step * share
    start_epoch, skip = divmod(start, part.per_epoch)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        return part.epoch(number).skip(tf.where(number == start_epoch, tf.constant(skip, tf.int64), 0))

    def example(position: tf.Tensor, raw: Raw) -> Any:
        index = position * num_pipelines + pipeline
        features, labels = example_fn(raw, tf.stack([tf.constant(data.seed), tf.cast(index, tf.int32)]))
        return {**features, "index": index}, labels

    stream = tf.data.Dataset.range(start_epoch, tf.int64.max).flat_map(epoch)
    if with_next:
        stream = stream.window(2, shift=1).flat_map(lambda window: tf.data.Dataset.zip(window).batch(2))
    stream = stream.enumerate(start=start)
    stream = stream.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return _with_options(stream.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE))


def _shares(data: schema.DataConfig, context: tf.distribute.InputContext | None) -> tuple[int, int, int, int]:
    """Returns the batch size of a replica, the examples per step and pipeline, the pipeline's number, and how many there are."""
    if context is None:
        return data.global_batch_size, data.global_batch_size, 0, 1
    batch = context.get_per_replica_batch_size(data.global_batch_size)
    # One pipeline provides a batch for each replica of its host.
    replicas = context.num_replicas_in_sync // context.num_input_pipelines
    return batch, batch * replicas, context.input_pipeline_id, context.num_input_pipelines


def training_source_ids(data: schema.TrainDataConfig, data_dir: str, step: int, num_pipelines: int = 1) -> list[str]:
    """Returns the source ids of the global batch of a step, by creating the stream again at this step.

    Args:
      data: files, batch size, seed.
      data_dir: folder for relative input patterns.
      step: number of the step, from 0.
      num_pipelines: number of input pipelines of the run.
    """
    ids: list[str] = []
    for number in range(num_pipelines):
        # The order does not depend on the number of replicas that share a pipeline.
        context = tf.distribute.InputContext(num_pipelines, number, num_pipelines)
        stream = training_stream(data, data_dir, lambda raw, _: ({"source_id": _source_id(raw)}, 0), context, step)
        features, _ = next(iter(stream))
        ids += [source_id.decode(errors="replace") for source_id in features["source_id"].numpy()]
    return ids


def _raw_records(data: schema.DataConfig, data_dir: str) -> tf.data.Dataset:
    if data.tfds_name:
        source = _read_tfds(data)
    else:
        source = tf.data.Dataset.from_tensor_slices(find_files(data, data_dir)).flat_map(_read_file)
    return source.cache() if data.cache else source


@dataclasses.dataclass
class Pipelines:
    """The input pipelines that this process runs: one of them on a worker, all of them on the host of a TPU.

    Attributes:
      total: number of pipelines of the run.
      own: numbers of the pipelines of this process.
    """

    total: int = 1
    own: set[int] = dataclasses.field(default_factory=lambda: {0})

    def add(self, context: tf.distribute.InputContext | None) -> None:
        """Adds a pipeline that was requested."""
        if context is not None and context.num_input_pipelines != self.total:
            self.total, self.own = context.num_input_pipelines, set()
        self.own.add(context.input_pipeline_id if context else 0)


def evaluated_records(data: schema.DataConfig, data_dir: str, pipelines: Pipelines) -> tf.data.Dataset:
    """Returns the records that `evaluation_stream` gives to some pipelines, in order: (position in the data, raw record)."""
    numbered = _raw_records(data, data_dir).enumerate()
    own = tf.constant(sorted(pipelines.own), tf.int64)
    return numbered.filter(lambda index, _: tf.reduce_any(index % pipelines.total == own))


def evaluation_stream(
    data: schema.DataConfig,
    data_dir: str,
    features_fn: Callable[[Raw], dict[str, tf.Tensor]],
    context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    """Returns one pass over all examples, in order; the last batches are padded.

    Args:
      data: files and batch size.
      data_dir: folder for relative input patterns.
      features_fn: creates the network's input, tensors of static shapes, from a raw record.
      context: the input pipeline, if there are several; all of them have the same number of batches.

    Returns:
      Batches of the features and `index`: the position of the example in the data, -1 for padding rows.
    """
    batch, share, pipeline, num_pipelines = _shares(data, context)
    total = count_examples(data, data_dir)
    steps = -(-total // (share * num_pipelines))
    missing = steps * share - len(range(pipeline, total, num_pipelines))
    examples = _raw_records(data, data_dir).enumerate().shard(num_pipelines, pipeline)
    examples = examples.map(
        lambda index, raw: {**features_fn(raw), "index": index}, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return _pad_and_batch(examples, missing, batch)


def window_grids(data: schema.DataConfig, data_dir: str, tiling: windows.Tiling, num_channels: int) -> list[windows.Grid]:
    """Returns the windows of every image, in the order of the data.

    Args:
      data: files.
      data_dir: folder for relative input patterns.
      tiling: how images are divided.
      num_channels: number of channels of the images.
    """
    sizes = _raw_records(data, data_dir).map(
        lambda raw: records.encoded_size(_encoded_image(raw), num_channels), num_parallel_calls=tf.data.AUTOTUNE
    )
    return [windows.Grid((int(height), int(width)), tiling) for height, width in sizes.as_numpy_iterator()]


def evaluation_windows(
    data: schema.DataConfig,
    data_dir: str,
    grids: Sequence[windows.Grid],
    num_channels: int,
    features_fn: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    """Returns one pass over the windows of all images, in order; the last batches are padded.

    Args:
      data: files and batch size.
      data_dir: folder for relative input patterns.
      grids: the windows of every image, from `window_grids`.
      num_channels: number of channels of the images.
      features_fn: creates the network's input, tensors of static shapes, from the pixels of a window, [h, w, C] uint8.
      context: see `evaluation_stream`; the windows of an image belong to the same pipeline.

    Returns:
      Batches of the features, `index`, the position of the image in the data, -1 for padding rows, and `window`, the number of the
      window.
    """
    batch, share, pipeline, num_pipelines = _shares(data, context)
    totals = [sum(map(len, grids[number::num_pipelines])) for number in range(num_pipelines)]
    steps = max(-(-total // share) for total in totals)
    corners = np.array([window for grid in grids for window in grid], np.int32)
    by_image = tf.RaggedTensor.from_row_lengths(corners, [len(grid) for grid in grids])

    def divide(index: tf.Tensor, raw: Raw) -> tf.data.Dataset:
        image = records.decode_image(_encoded_image(raw), num_channels)
        numbered = tf.data.Dataset.from_tensor_slices(by_image[index]).enumerate()
        return numbered.map(
            lambda number, window: (image[window[0] : window[2], window[1] : window[3]], {"index": index, "window": number})
        )

    rows = _raw_records(data, data_dir).enumerate().shard(num_pipelines, pipeline).flat_map(divide)
    scale = grids[0].tiling.scale
    examples = rows.map(
        lambda pixels, numbers: {**features_fn(images.rescale(pixels, scale)), **numbers},
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return _pad_and_batch(examples, steps * share - totals[pipeline], batch)


def evaluation_images(
    data: schema.DataConfig,
    data_dir: str,
    encoded_fn: Callable[[Raw], tf.Tensor],
    num_channels: int,
    place_fn: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    grids: Sequence[windows.Grid] | None,
    context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    """Returns one pass over all images, or over their windows.

    Args:
      data: files and batch size.
      data_dir: folder for relative input patterns.
      encoded_fn: returns the JPEG or PNG of a raw record; only used for whole images.
      num_channels: number of channels of the images.
      place_fn: creates the network's input, tensors of static shapes, from [h, w, C] uint8 pixels.
      grids: the windows of every image; None for whole images.
      context: the input pipeline, if there are several.

    Returns:
      See `evaluation_stream` and `evaluation_windows`.
    """
    if grids is not None:
        return evaluation_windows(data, data_dir, grids, num_channels, place_fn, context)
    return evaluation_stream(
        data, data_dir, lambda raw: place_fn(records.decode_image(encoded_fn(raw), num_channels)), context
    )


def _encoded_image(raw: Raw) -> tf.Tensor:
    return records.parse_encoded_image(raw["record"]) if "record" in raw else raw["image"]


def _pad_and_batch(examples: tf.data.Dataset, missing: int, batch: int) -> tf.data.Dataset:
    """Returns batches of examples and a number of padding rows."""
    nothing = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in examples.element_spec.items()}
    filler = tf.data.Dataset.from_tensors({**nothing, "index": tf.constant(_PADDING_INDEX, tf.int64)})
    full = examples.concatenate(filler.repeat(missing))
    return _with_options(full.batch(batch, drop_remainder=True).prefetch(2))


def _with_options(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # The data was already divided among the pipelines, so tf.distribute must not shard it again.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


def require(condition: tf.Tensor, raw: Raw, fault: Callable[[], Sequence[str | tf.Tensor]]) -> tf.Tensor:
    """Checks a record in the graph; the error names file, record and image.

    Args:
      condition: scalar bool; false is an error.
      raw: the record.
      fault: returns the parts of the error message, strings and scalar string tensors; only evaluated if the condition is false.

    Returns:
      A scalar bool that is true; use it as a control dependency of operations that depend on the check.

    Raises:
      InvalidArgumentError: at run time, if the condition is false.
    """

    def fail() -> tf.Tensor:
        where = [raw["file"], ": record ", tf.strings.as_string(raw["number"]), " (", raw["source_id"], "): "]
        with tf.control_dependencies([tf.debugging.Assert(False, [tf.strings.join([*where, *fault()])])]):
            return tf.constant(False)

    return tf.cond(condition, lambda: True, fail)


def require_size(image_size: tf.Tensor, labelled_size: tf.Tensor, raw: Raw, what: str) -> tf.Tensor:
    """Checks in the graph that an image has the size of its labels; see `require`.

    Args:
      image_size: [2] int32, height and width.
      labelled_size: [2] int32, height and width.
      raw: the record.
      what: name of the labels in the message.
    """

    def text(size: tf.Tensor) -> tf.Tensor:
        return tf.strings.reduce_join(tf.strings.as_string(size[::-1]), separator="x")

    return require(
        tf.reduce_all(image_size == labelled_size),
        raw,
        lambda: [f"{what} is ", text(labelled_size), ", the image ", text(image_size), "; convert this image again"],
    )


def explain(error: Exception, data: schema.DataConfig, data_dir: str, inspect: Inspect) -> str | None:
    """Finds the record that caused an error.

    Args:
      error: the error that TensorFlow raised.
      data: the input that may have failed.
      data_dir: folder for relative input patterns.
      inspect: finds the faults of one record.

    Returns:
      A line that names file, record and fault; None if the error was not caused by the input, or no record has a fault.
    """
    message = str(getattr(error, "message", ""))
    if isinstance(error, tf.errors.NotFoundError) and _FROM_ITERATOR.search(message):
        return f"a file of records was removed: {first_line(error)}\n  restore it; then the same command resumes the run"
    # TensorFlow quotes a record that it cannot parse in its message, whose bytes are not valid UTF-8.
    quotes = isinstance(error, UnicodeDecodeError)
    if not quotes and not isinstance(error, tf.errors.InvalidArgumentError | tf.errors.DataLossError | tf.errors.InternalError):
        return None
    named = _FROM_REQUIRE.search(message)
    if not named and not quotes and not isinstance(error, tf.errors.DataLossError) and not _FROM_ITERATOR.search(message):
        return None
    if data.tfds_name:
        return named and f"{named['path']}: record {named['number']}{named['fault']}"
    paths = find_files(data, data_dir)
    if named:
        paths = [path for path in paths if path == named["path"]]
    elif isinstance(error, tf.errors.DataLossError):
        # Decompressing box masks raises the same error in files that are not truncated.
        paths = [path for path in paths if _is_truncated(path)] or (paths if _FROM_ITERATOR.search(message) else [])
    fault = records.find_fault(paths, inspect) if paths else None
    if named and paths and not fault:  # The record is not damaged, but does not match the settings.
        return f"{named['path']}: record {named['number']}{named['fault']}"
    return fault and f"{fault}\n  data/inspect_records.py lists all faults"


def _is_truncated(path: str) -> bool:
    try:
        _count_records.__wrapped__(path, 0)  # Without the cache.
    except ValueError:
        return True
    return False
