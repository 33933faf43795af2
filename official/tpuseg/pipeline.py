"""From files to numbered examples, and from examples to batches, in tf.data.

A training stream is a function of its seed and of an example's position in it, and of nothing else: a run that starts again at
step N goes on with exactly the batches that it would have seen.
"""

import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tpuseg import records, schema

# A raw record: the serialized example, the file it is from, and its number there.
Raw = dict[str, tf.Tensor]
_FILLER_INDEX = -1


def patterns(data: schema.DataConfig, data_dir: str) -> list[str]:
    """Returns the input patterns, relative ones from the data directory."""
    given = data.input_path.split(",") if isinstance(data.input_path, str) else list(data.input_path)
    stripped = [pattern.strip() for pattern in given]
    return [p if os.path.isabs(p) or "://" in p else os.path.join(data_dir, p) for p in stripped if p]


def find_files(data: schema.DataConfig, data_dir: str) -> list[str]:
    """Returns the files of the input patterns, sorted.

    Raises:
      ValueError: a pattern matches nothing; says what lies there instead.
    """
    found: list[str] = []
    for pattern in patterns(data, data_dir):
        matches = sorted(tf.io.gfile.glob(pattern))
        if not matches:
            raise ValueError(f"no file matches {pattern} (input_path from --data_dir={data_dir}); {_what_is_there(pattern)}")
        found += matches
    return found


def _what_is_there(pattern: str) -> str:
    folder = os.path.dirname(pattern) or "."
    while folder and not tf.io.gfile.isdir(folder):
        missing, folder = folder, os.path.dirname(folder) or "."
        if missing == folder:
            break
    names = sorted(tf.io.gfile.listdir(folder))
    near = difflib.get_close_matches(os.path.basename(pattern), names, n=3, cutoff=0.3) or names[:3]
    inside = f"{folder} has {len(names)} files, such as {', '.join(near)}" if names else f"{folder} is empty"
    return f"{inside}; convert a data set there with data/voc_to_tfrecord.py, or set --data_dir"


def read_summary(data: schema.DataConfig, data_dir: str) -> dict[str, Any] | None:
    """Returns what the converter wrote about the records, or None."""
    for pattern in patterns(data, data_dir):
        summary = records.read_summary(pattern)
        if summary:
            return summary
    return None


def count_examples(data: schema.DataConfig, data_dir: str) -> int:
    """Returns the number of examples: from the converters' summaries, else by reading the files once.

    Raises:
      ValueError: there are none.
    """
    if data.tfds_name:
        return int(_tfds_builder(data).info.splits[data.tfds_split].num_examples)
    summaries = [records.read_summary(pattern) for pattern in patterns(data, data_dir)]
    if summaries and all(summary is not None for summary in summaries):
        count = sum(summary["num_examples"] for summary in summaries if summary)
    else:
        dataset = tf.data.TFRecordDataset(find_files(data, data_dir), num_parallel_reads=4)
        count = int(dataset.reduce(tf.constant(0, tf.int64), lambda total, _: total + 1))
    if not count:
        raise ValueError(f"{', '.join(patterns(data, data_dir))}: the files hold no records")
    return count


def _read_file(path: tf.Tensor) -> tf.data.Dataset:
    numbered = tf.data.TFRecordDataset(path, buffer_size=8 << 20).enumerate()
    return numbered.map(lambda number, record: {"record": record, "file": path, "number": number})


def _tfds_builder(data: schema.DataConfig) -> Any:
    import tensorflow_datasets as tfds  # Seconds to import, and only needed here.

    try:
        builder = tfds.builder(data.tfds_name)
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"tensorflow-datasets has no data set `{data.tfds_name}`: {str(error).splitlines()[0]}") from error
    if data.tfds_split.partition("[")[0] not in builder.info.splits:
        raise ValueError(f"{data.tfds_name} has no split `{data.tfds_split}`, only {', '.join(builder.info.splits)}")
    return builder


def _read_tfds(data: schema.DataConfig) -> tf.data.Dataset:
    """Reads a tensorflow-datasets data set as if it were records that are already parsed."""
    import tensorflow_datasets as tfds

    builder = _tfds_builder(data)
    mask = next((name for name in ("segmentation_mask", "segmentation_label") if name in builder.info.features), None)
    if mask is None or "image" not in builder.info.features:
        raise ValueError(f"{data.tfds_name} is no segmentation data set: its features are {', '.join(builder.info.features)}")
    dataset = builder.as_dataset(split=data.tfds_split, decoders={"image": tfds.decode.SkipDecoding()})

    def parse(number: tf.Tensor, example: dict[str, tf.Tensor]) -> Raw:
        offset = tf.cast(data.tfds_label_offset, tf.uint8)  # -1 is 255 in 8 bits, and wraps around as it should.
        labels = tf.io.encode_png(tf.cast(example[mask], tf.uint8) + offset)
        name = example.get("file_name", tf.strings.as_string(number))
        return {
            "image": example["image"],
            "labels": labels,
            "source_id": name,
            "file": tf.constant(data.tfds_name),
            "number": number,
        }

    return dataset.enumerate().map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def _parse_record(raw: Raw) -> Raw:
    parsed = records.parse_semantic(raw["record"])
    return {**parsed, "file": raw["file"], "number": raw["number"]}


def _epoch(data: schema.TrainDataConfig, paths: Sequence[str], source: tf.data.Dataset, seed: tf.Tensor) -> tf.data.Dataset:
    """One pass over the data in an order of its own."""
    if paths:
        order = tf.random.experimental.stateless_shuffle(tf.constant(paths), tf.stack([seed, 0]))
        source = tf.data.Dataset.from_tensor_slices(order).interleave(
            _read_file, cycle_length=min(16, len(paths)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
    return source.shuffle(data.shuffle_buffer_size, seed=seed, reshuffle_each_iteration=False)


def training_stream(
    data: schema.TrainDataConfig,
    data_dir: str,
    example_fn: Callable[[Raw, tf.Tensor], Any],
    context: tf.distribute.InputContext | None,
    start_step: int,
) -> tf.data.Dataset:
    """The endless stream of training batches.

    Args:
      data: files, batch size, seed.
      data_dir: where relative patterns start.
      example_fn: makes an example from a parsed record and a seed ([2] int32), a function of nothing else.
      context: of this input pipeline among several; each gets its own part of the records.
      start_step: batches that have been consumed.

    Returns:
      Batches of this pipeline's share of the global batch, with a static shape: (features, labels) where features get the
      example's `index` in this pipeline's stream, int64.

    Raises:
      ValueError: a pattern matches nothing.
    """
    batch = context.get_per_replica_batch_size(data.global_batch_size) if context else data.global_batch_size
    share = (context.num_replicas_in_sync // context.num_input_pipelines if context else 1) * batch
    number, pipelines = (context.input_pipeline_id, context.num_input_pipelines) if context else (0, 1)
    paths = [] if data.tfds_name else find_files(data, data_dir)
    total = count_examples(data, data_dir)
    if total < pipelines:
        raise ValueError(f"{total} examples are too few for {pipelines} input pipelines")
    source = _read_tfds(data) if data.tfds_name else tf.data.Dataset.from_tensor_slices(paths).flat_map(_read_file)
    if data.cache:
        source, paths = source.cache(), []
    # Each pipeline takes every n-th record of the shuffled epoch, up to the same number, so that all of them agree on where an
    # epoch ends whatever the files' sizes are.
    per_epoch = total // pipelines
    start_epoch, skip = divmod(start_step * share, per_epoch)
    base = tf.constant(data.seed, tf.int64) * 1_000_003

    def epoch(epoch_number: tf.Tensor) -> tf.data.Dataset:
        shuffled = _epoch(data, paths, source, base + epoch_number)
        mine = shuffled.shard(pipelines, number).take(per_epoch)
        return mine.skip(tf.where(epoch_number == start_epoch, tf.constant(skip, tf.int64), 0))

    def example(index: tf.Tensor, raw: Raw) -> Any:
        parsed = raw if "image" in raw else _parse_record(raw)
        seed = tf.stack([tf.cast(data.seed, tf.int32), tf.cast(index * pipelines + number, tf.int32)])
        features, labels = example_fn(parsed, seed)
        return {**features, "index": index}, labels

    epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
    stream = epochs.flat_map(epoch).enumerate(start=start_step * share)
    stream = stream.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return _with_options(stream.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE))


def training_source_ids(data: schema.TrainDataConfig, data_dir: str, step: int) -> list[str]:
    """Returns the source ids of the global batch of a step, by going to that place of the stream again."""
    stream = training_stream(data, data_dir, lambda raw, _: ({"source_id": raw["source_id"]}, 0), None, step)
    features, _ = next(iter(stream))
    return [source_id.decode(errors="replace") for source_id in features["source_id"].numpy()]


def parsed_records(data: schema.DataConfig, data_dir: str) -> tf.data.Dataset:
    """One pass over all records in order, parsed but not decoded."""
    if data.tfds_name:
        return _read_tfds(data)
    source = tf.data.Dataset.from_tensor_slices(find_files(data, data_dir)).flat_map(_read_file)
    return source.map(_parse_record)


def evaluation_stream(
    data: schema.DataConfig,
    data_dir: str,
    image_fn: Callable[[Raw], tf.Tensor],
    context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    """One pass over all examples, in order; the last batches are filled up.

    Args:
      data: files and batch size.
      data_dir: where relative patterns start.
      image_fn: makes the network's input, uint8 of a static shape, from a parsed record.
      context: of this input pipeline among several; all of them have the same number of batches.

    Returns:
      Batches {`image`, `index`}: the example's position in the data, -1 in rows that only fill up a batch.
    """
    batch = context.get_per_replica_batch_size(data.global_batch_size) if context else data.global_batch_size
    number, pipelines = (context.input_pipeline_id, context.num_input_pipelines) if context else (0, 1)
    # What one step of all replicas of this pipeline takes.
    share = batch * (context.num_replicas_in_sync // pipelines if context else 1)
    total = count_examples(data, data_dir)
    steps = -(-total // (share * pipelines))
    source = parsed_records(data, data_dir).enumerate()
    images = source.shard(pipelines, number).map(
        lambda index, raw: {"image": image_fn(raw), "index": index}, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    spec = images.element_spec["image"]
    filler = tf.data.Dataset.from_tensors(
        {"image": tf.zeros(spec.shape, spec.dtype), "index": tf.constant(_FILLER_INDEX, tf.int64)}
    )
    full = images.concatenate(filler.repeat()).take(steps * share)
    return _with_options(full.batch(batch, drop_remainder=True).prefetch(2))


def _with_options(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Pipelines are cut by hand above: tf.distribute must not do it again.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


def explain(
    error: Exception, data: schema.DataConfig, data_dir: str, num_classes: int, ignore_label: int
) -> str | None:
    """Finds the record behind a failed read.

    Args:
      error: what TensorFlow raised.
      data: the input that may have failed.
      data_dir: where relative patterns start.
      num_classes: allowed label values are below it.
      ignore_label: also allowed.

    Returns:
      A line that names file, record and fault; None if all records are whole.
    """
    if data.tfds_name or not isinstance(error, tf.errors.InvalidArgumentError | tf.errors.DataLossError | tf.errors.InternalError):
        return None
    fault = records.find_fault(find_files(data, data_dir), num_classes, ignore_label)
    return fault and f"{fault}\n  data/inspect_records.py lists all faults"
