"""Measures the images per second of the training input, compared with the Model Garden's reader on the same images.

python benchmarks/input_pipeline.py                                  # DeepLab, generated images of three sizes
python benchmarks/input_pipeline.py --records='datasets/camvid/train-*.tfrecord' --crop=360,480
python benchmarks/input_pipeline.py --model=maskrcnn --crop=1024,1024 --records='datasets/coco/train2017-*.tfrecord'

Both readers create batches of the same size with the same augmentation. Each runs in a separate process, so that its peak memory
can be measured. The readers run in turn; every round creates a new iterator and begins with a warm-up, and the table contains
medians. Because other programs may run, the images per second of CPU time (all threads) are reported too. Our images are uint8 and
are normalised in the model; the Model Garden's reader normalises them, which is part of the comparison.

deeplab: random scale (0.5 to 2) and mirroring. The Model Garden's reader consists of `official.vision`'s segmentation Decoder and
Parser and `official.core`'s InputReader with the defaults of its DataConfig for training, float32. Its scale is relative to the
output size, so the size is set as in its experiments: for images that are at least as large as the crop, `output_size` is the size
of the image and `crop_size` is the crop (as in its Cityscapes experiments); for smaller images, `output_size` is the crop, and the
range of scales is corrected to be relative to the image.

maskrcnn: random scale (0.8 to 1.25), mirroring, at most 100 objects. The Model Garden's reader is that of its experiment
`maskrcnn_resnetfpn_coco`, bfloat16, with the same canvas. It also matches the anchors of the RPN, which our model does in the train
step, so the row `unmatched` is without this. Its masks have 112x112 cells, ours 56x56. `--other_records` can name records of the
same images that the Model Garden's converter wrote (official/vision/data/create_coco_tf_record.py --include_masks); without it, all
readers read our records.

`--profile` adds the time of our operations. With `--preflight`, a JSON file of `official/preflight.py --json`, the output includes
the number of cores of a TPU's host that are needed to read as fast as the TPU computes steps, if they have the speed of this
machine's cores. Reading from the network and copying to the TPU need additional time.
"""

import dataclasses
import functools
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import noise_images  # noqa: E402
import numpy as np  # noqa: E402
import operations  # noqa: E402

from tpuseg import cli  # noqa: E402

_MODEL = flags.DEFINE_enum("model", "deeplab", ["deeplab", "maskrcnn"], "Model whose input is read.")
_RECORDS = flags.DEFINE_string("records", "", "Pattern of records to read; generated images if empty.")
_OTHER_RECORDS = flags.DEFINE_string("other_records", "", "Pattern of the Model Garden's records of the same images.")
_SIZES = flags.DEFINE_list("sizes", ["480x360", "1024x768", "2048x1024"], "Sizes of the generated images, WIDTHxHEIGHT.")
_NUM_PICTURES = flags.DEFINE_integer("num_pictures", 64, "Generated images of each size.", lower_bound=1)
_CROP = flags.DEFINE_list("crop", ["513", "513"], "Height and width of the crop.")
_BATCH = flags.DEFINE_integer("batch", 8, "Images in a batch.", lower_bound=1)
_BATCHES = flags.DEFINE_integer("batches", 12, "Measured batches per round.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 4, "Batches before the measurement.", lower_bound=0)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each reader.", lower_bound=1)

_PROFILE = flags.DEFINE_bool("profile", False, "Also prints the time of tpuseg's operations per image by type.")

_PREFLIGHT = flags.DEFINE_multi_string("preflight", [], "JSON file of a preflight, to print the needed cores; may be repeated.")

_SCALES = (0.5, 2.0)
_CANVAS_SCALES = (0.8, 1.25)
_MAX_OBJECTS = 100


@dataclasses.dataclass(frozen=True)
class Case:
    """The input of the readers.

    Attributes:
      model: name of the model whose input is read.
      records: pattern of the records.
      other_records: pattern of the records for the Model Garden's reader.
      size: (height, width) of the images.
      crop: (height, width) of the crops.
      batch: number of images per batch.
    """

    model: str
    records: str
    other_records: str
    size: tuple[int, int]
    crop: tuple[int, int]
    batch: int


def deeplab_ours(case: Case) -> Any:
    """Returns tpuseg's training batches."""
    from tpuseg.deeplab import config, inputs

    task = config.DeepLabConfig()
    task.model.num_classes, task.model.input_size = 255, list(case.crop)  # Any label that the records may have.
    data = task.train_data
    data.input_path, data.global_batch_size = case.records, case.batch
    data.scale_min, data.scale_max = _SCALES
    return inputs.training_dataset(task, "", None, 0)


def deeplab_model_garden(case: Case) -> Any:
    """Returns the Model Garden's training batches."""
    from official.core import input_reader
    from official.vision.configs import semantic_segmentation
    from official.vision.dataloaders import segmentation_input

    holds_crop = all(side >= crop for side, crop in zip(case.size, case.crop, strict=True))
    fitting = 1.0 if holds_crop else min(crop / side for side, crop in zip(case.size, case.crop, strict=True))
    params = semantic_segmentation.DataConfig(
        input_path=case.records,
        is_training=True,
        global_batch_size=case.batch,
        output_size=list(case.size if holds_crop else case.crop),
        crop_size=list(case.crop) if holds_crop else [],
        aug_scale_min=_SCALES[0] / fitting,
        aug_scale_max=_SCALES[1] / fitting,
    )
    parser = segmentation_input.Parser(
        output_size=params.output_size,
        crop_size=params.crop_size,
        aug_rand_hflip=params.aug_rand_hflip,
        aug_scale_min=params.aug_scale_min,
        aug_scale_max=params.aug_scale_max,
        dtype=params.dtype,
    )
    reader = input_reader.InputReader(
        params, decoder_fn=segmentation_input.Decoder().decode, parser_fn=parser.parse_fn(params.is_training)
    )
    return reader.read()


def _maskrcnn_config(case: Case) -> Any:
    from tpuseg.maskrcnn import config

    task = config.MaskRcnnConfig()
    task.model.input_size = list(case.crop)
    data = task.train_data
    data.input_path, data.global_batch_size, data.max_instances = case.records, case.batch, _MAX_OBJECTS
    data.scale_min, data.scale_max = _CANVAS_SCALES
    return task


def maskrcnn_ours(case: Case) -> Any:
    """Returns tpuseg's training batches."""
    from tpuseg.maskrcnn import inputs

    return inputs.training_dataset(_maskrcnn_config(case), "", None, 0)


def maskrcnn_model_garden(case: Case) -> Any:
    """Returns the Model Garden's training batches."""
    from official.core import exp_factory
    from official.vision.tasks import maskrcnn

    task = exp_factory.get_exp_config("maskrcnn_resnetfpn_coco").task
    task.model.input_size = [*case.crop, 3]
    data = task.train_data
    data.input_path, data.global_batch_size, data.parser.max_num_instances = case.other_records, case.batch, _MAX_OBJECTS
    data.parser.aug_scale_min, data.parser.aug_scale_max = _CANVAS_SCALES
    return maskrcnn.MaskRCNNTask(task).build_inputs(data)


def maskrcnn_unmatched(case: Case) -> Any:
    """Returns the Model Garden's training batches without matching the anchors."""
    from official.vision.ops import anchor

    anchor.RpnAnchorLabeler.label_anchors = lambda *_: ({}, {})
    return maskrcnn_model_garden(case)


READERS = {
    "deeplab": {"tpuseg": deeplab_ours, "model_garden": deeplab_model_garden},
    "maskrcnn": {"tpuseg": maskrcnn_ours, "model_garden": maskrcnn_model_garden, "unmatched": maskrcnn_unmatched},
}


def _work(name: str, case: Case, pipe: Connection) -> None:
    """Reads in a separate process: one round for each pair (warm_up, batches) that is received; None ends the process."""
    dataset = READERS[case.model][name](case)
    for warm_up, batches in iter(pipe.recv, None):
        iterator = iter(dataset)
        for _ in range(warm_up):
            next(iterator)
        started = np.array([time.perf_counter(), time.process_time()])
        for _ in range(batches):
            next(iterator)
        seconds = [time.perf_counter(), time.process_time()] - started
        del iterator  # This ends its threads, which would continue to read.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send((*(batches * case.batch / seconds), peak))


def measure(case: Case) -> dict[str, tuple[float, float, float]]:
    """Returns for each reader the medians of images per second of wall-clock time and of CPU time, and the peak memory in MB."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for name in READERS[case.model]:
        pipes[name], theirs = context.Pipe()
        workers.append(context.Process(target=_work, args=(name, case, theirs), daemon=True))
        workers[-1].start()
        theirs.close()  # So that receiving raises EOFError if the worker dies, instead of waiting endlessly.
    answers: dict[str, list[tuple[float, float, float]]] = {name: [] for name in pipes}
    for _ in range(_ROUNDS.value):
        for name, pipe in pipes.items():
            pipe.send((_WARM_UP.value, _BATCHES.value))
            answers[name].append(pipe.recv())
    for pipe, worker in zip(pipes.values(), workers, strict=True):
        pipe.send(None)
        worker.join()
    return {name: (_median(rows, 0), _median(rows, 1), max(row[2] for row in rows)) for name, rows in answers.items()}


def profile(case: Case) -> dict[str, tuple[float, float]]:
    """Returns seconds and number per batch of our operations by type."""
    iterator = iter(READERS[case.model]["tpuseg"](case))
    for _ in range(_WARM_UP.value):
        next(iterator)
    return operations.profile(lambda: next(iterator), num_runs=_BATCHES.value)


def _median(rows: list[tuple[float, float, float]], column: int) -> float:
    return statistics.median(row[column] for row in rows)


def _size_of(pattern: str) -> tuple[int, int]:
    import tensorflow as tf

    from tpuseg.configs import schema
    from tpuseg.data import pipeline, records

    paths = pipeline.find_files(schema.DataConfig(input_path=pattern), "")
    raw = next(iter(tf.data.TFRecordDataset(paths[0])))
    parsed = tf.io.parse_single_example(raw, {records.IMAGE: tf.io.FixedLenFeature([], tf.string)})
    height, width = records.encoded_size(parsed[records.IMAGE])
    return int(height), int(width)


def cases(folder: str) -> Iterator[Case]:
    """Yields the inputs of the readers; if no records are given, they are generated."""
    height, width = map(int, _CROP.value)
    make = functools.partial(Case, _MODEL.value, crop=(height, width), batch=_BATCH.value)
    if _RECORDS.value:
        yield make(_RECORDS.value, _OTHER_RECORDS.value or _RECORDS.value, _size_of(_RECORDS.value))
        return
    for text in _SIZES.value:
        columns, _, rows = text.partition("x")
        size = (int(rows), int(columns))
        if _MODEL.value == "deeplab":
            written = noise_images.write_regions(folder, size, _NUM_PICTURES.value)
        else:
            written = noise_images.write_objects(folder, size, _NUM_PICTURES.value, num_objects=7, num_classes=80)
        yield make(written, written, size)


def checks() -> list[dict[str, Any]]:
    """Returns the checks in the files of `--preflight` that contain a speed."""
    found: list[dict[str, Any]] = []
    for path in _PREFLIGHT.value:
        with open(path) as file:
            content = json.load(file)
        found += content if isinstance(content, list) else [content]
    return [check for check in found if check["images_per_second"]]


def needed(check: dict[str, Any], per_core: float) -> str:
    """Returns a line with the number of cores that are needed to read the images for each host of a TPU.

    Args:
      check: check of a preflight.
      per_core: images per second of CPU time.
    """
    speed = check["images_per_second"] / check["num_hosts"]
    return (
        f"  {check['experiment']} on a {check['tpu_type']}: {speed:.0f} images/s for each host, {speed / per_core:.1f} cores"
        f" of its {check['host_cores']}"
    )


def main(argv: list[str]) -> None:
    """Measures all readers, and prints a table."""
    cli.refuse_arguments(argv)
    known = checks()
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{_MODEL.value}, {'x'.join(_CROP.value)}, batch {_BATCH.value}, {load}; median of {_ROUNDS.value} rounds")
    print(f"{'pictures':>10}  {'reader':<12}  {'images/s':>8}  {'ratio':>5}  {'per processor-s':>15}  {'ratio':>5}  {'peak MB':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(folder):
            results = measure(case)
            baseline = results["model_garden"]
            for name, (speed, thrift, peak) in results.items():
                size = f"{case.size[1]}x{case.size[0]}"
                ratios = f"{speed:8.1f}  {speed / baseline[0]:5.2f}  {thrift:15.1f}  {thrift / baseline[1]:5.2f}"
                print(f"{size:>10}  {name:<12}  {ratios}  {peak:7.0f}", flush=True)
            for check in known:
                print(needed(check, results["tpuseg"][1]))
            if _PROFILE.value:
                print(operations.table(profile(case), runs=case.batch))


if __name__ == "__main__":
    cli.run(main)
