"""Images a second of the training input, beside the Model Garden's own reader on the same images.

python benchmarks/input_pipeline.py                                  # DeepLab, generated images of three sizes
python benchmarks/input_pipeline.py --records='datasets/camvid/train-*.tfrecord' --crop=360,480
python benchmarks/input_pipeline.py --model=maskrcnn --crop=1024,1024 --records='datasets/coco/train2017-*.tfrecord'

Both readers make batches of the same size with the same augmentation. Each runs in a process of its own, so that its peak memory
is its own; the rounds alternate, every round is a new iterator with a warm-up, and the table has medians. As other programs may
run, there are also images a second of the processor's time (all threads). Our images are uint8, normalised in the model; the
Model Garden's are normalised. That is part of what is compared.

deeplab: random scale (0.5 to 2) and mirroring. The Model Garden's side is `official.vision`'s segmentation Decoder and Parser under
`official.core`'s InputReader with the defaults of its DataConfig for training, float32. Its scale is relative to the output size,
so the size is set as its own experiments do: images that hold the crop get `output_size` = the image's size and `crop_size` =
the crop (its Cityscapes experiments), smaller ones get `output_size` = the crop and a scale range corrected to mean the image's
pixels.

maskrcnn: random scale (0.8 to 1.25), mirroring, at most 100 objects. The Model Garden's side is the reader of its experiment
`maskrcnn_resnetfpn_coco`, bfloat16, at the same canvas. It also matches the anchors of the RPN, which our model does in the train
step, so there is a row without that, `unmatched`. Its masks have 112x112 cells, ours 56x56. `--other_records` can name the same
images as its own converter (official/vision/data/create_coco_tf_record.py --include_masks) wrote them; without it, all read our
records.

`--profile` adds what our operations take. `--preflight` names what `official/preflight.py --json` wrote: then it also says how many
cores of a TPU's host must read to keep pace with the step, had they this machine's speed. Reading from the network and copying
to the TPU come on top.
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

_MODEL = flags.DEFINE_enum("model", "deeplab", ["deeplab", "maskrcnn"], "Whose input.")
_RECORDS = flags.DEFINE_string("records", "", "Pattern of records to read; generated images if empty.")
_OTHER_RECORDS = flags.DEFINE_string("other_records", "", "Pattern of the Model Garden's own records of the same images.")
_SIZES = flags.DEFINE_list("sizes", ["480x360", "1024x768", "2048x1024"], "WIDTHxHEIGHT of the generated images.")
_NUM_PICTURES = flags.DEFINE_integer("num_pictures", 64, "Generated images of each size.", lower_bound=1)
_CROP = flags.DEFINE_list("crop", ["513", "513"], "Height and width of the crop.")
_BATCH = flags.DEFINE_integer("batch", 8, "Images in a batch.", lower_bound=1)
_BATCHES = flags.DEFINE_integer("batches", 12, "Batches that are timed in a round.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 4, "Batches before the clock starts.", lower_bound=0)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each reader.", lower_bound=1)

_PROFILE = flags.DEFINE_bool("profile", False, "Also prints what tpuseg's operations take for an image, by type.")

_PREFLIGHT = flags.DEFINE_multi_string("preflight", [], "JSON of a preflight, to say what its TPU's hosts need; may be repeated.")

_SCALES = (0.5, 2.0)
_CANVAS_SCALES = (0.8, 1.25)
_MAX_OBJECTS = 100


@dataclasses.dataclass(frozen=True)
class Case:
    """What both readers read.

    Attributes:
      model: whose input.
      records: pattern.
      other_records: pattern of what the Model Garden reads.
      size: (height, width) of the images.
      crop: (height, width) of the crops.
      batch: images in a batch.
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
    """Returns the Model Garden's training batches without the targets of the anchors."""
    from official.vision.ops import anchor

    anchor.RpnAnchorLabeler.label_anchors = lambda *_: ({}, {})
    return maskrcnn_model_garden(case)


READERS = {
    "deeplab": {"tpuseg": deeplab_ours, "model_garden": deeplab_model_garden},
    "maskrcnn": {"tpuseg": maskrcnn_ours, "model_garden": maskrcnn_model_garden, "unmatched": maskrcnn_unmatched},
}


def _work(name: str, case: Case, pipe: Connection) -> None:
    """Runs in a process of its own: a round for every (warm_up, batches) that comes; None ends it."""
    dataset = READERS[case.model][name](case)
    for warm_up, batches in iter(pipe.recv, None):
        iterator = iter(dataset)
        for _ in range(warm_up):
            next(iterator)
        started = np.array([time.perf_counter(), time.process_time()])
        for _ in range(batches):
            next(iterator)
        seconds = [time.perf_counter(), time.process_time()] - started
        del iterator  # And with it the threads that would go on to read.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send((*(batches * case.batch / seconds), peak))


def measure(case: Case) -> dict[str, tuple[float, float, float]]:
    """Returns of each reader images a second, of the clock and of the processor (medians), and peak memory in MB."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for name in READERS[case.model]:
        pipes[name], theirs = context.Pipe()
        workers.append(context.Process(target=_work, args=(name, case, theirs), daemon=True))
        workers[-1].start()
        theirs.close()  # So that a worker that dies is the end of the file, not a wait for ever.
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
    """Returns seconds and number a batch of our operations, by type."""
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
    """Yields what to read, making it where no records are given."""
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
    """Returns the checks of `--preflight` that have a speed."""
    found: list[dict[str, Any]] = []
    for path in _PREFLIGHT.value:
        with open(path) as file:
            content = json.load(file)
        found += content if isinstance(content, list) else [content]
    return [check for check in found if check["images_per_second"]]


def needed(check: dict[str, Any], per_core: float) -> str:
    """Returns a line: the cores that read what each host of a TPU consumes.

    Args:
      check: of a preflight.
      per_core: images a second of the processor's time.
    """
    speed = check["images_per_second"] / check["num_hosts"]
    return (
        f"  {check['experiment']} on a {check['tpu_type']}: {speed:.0f} images/s for each host, {speed / per_core:.1f} cores"
        f" of its {check['host_cores']}"
    )


def main(argv: list[str]) -> None:
    """Prints the table."""
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
