"""Images a second of DeepLab's training input, beside the Model Garden's own reader on the same records.

python benchmarks/input_pipeline.py                                  # generated pictures of three sizes
python benchmarks/input_pipeline.py --records='datasets/camvid/train-*.tfrecord' --crop=360,480

Both readers make batches of the same crop with the same random scale (0.5 to 2) and mirroring. Each runs in a process of its own,
so that its peak memory is its own; the rounds alternate, every round is a new iterator with a warm-up, and the table has medians.

The Model Garden's side is `official.vision`'s segmentation Decoder and Parser under `official.core`'s InputReader with the
defaults of its DataConfig for training. Its scale is relative to the output size, so the size is set as its own experiments do:
pictures that hold the crop get `output_size` = the picture's size and `crop_size` = the crop (its Cityscapes experiments),
smaller ones get `output_size` = the crop and a scale range corrected to mean the picture's pixels. It gives normalised float32
pictures where ours are uint8, normalised in the model: that is part of what is compared.
"""

import dataclasses
import functools
import io
import itertools
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

import numpy as np  # noqa: E402
import PIL.Image  # noqa: E402

from tpuseg import cli  # noqa: E402

_RECORDS = flags.DEFINE_string("records", "", "Pattern of records to read; generated pictures if empty.")
_SIZES = flags.DEFINE_list("sizes", ["480x360", "1024x768", "2048x1024"], "WIDTHxHEIGHT of the generated pictures.")
_NUM_PICTURES = flags.DEFINE_integer("num_pictures", 64, "Generated pictures of each size.", lower_bound=1)
_CROP = flags.DEFINE_list("crop", ["513", "513"], "Height and width of the crop.")
_BATCH = flags.DEFINE_integer("batch", 8, "Pictures in a batch.", lower_bound=1)
_BATCHES = flags.DEFINE_integer("batches", 12, "Batches that are timed in a round.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 4, "Batches before the clock starts.", lower_bound=0)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each reader.", lower_bound=1)

_SCALES = (0.5, 2.0)
_NUM_CLASSES = 21
_SHARDS = 4


@dataclasses.dataclass(frozen=True)
class Case:
    """What both readers read.

    Attributes:
      records: pattern.
      size: (height, width) of the pictures.
      crop: (height, width) of the crops.
      batch: pictures in a batch.
    """

    records: str
    size: tuple[int, int]
    crop: tuple[int, int]
    batch: int


def ours(case: Case) -> Any:
    """Returns tpuseg's training batches."""
    from tpuseg.deeplab import config, inputs

    task = config.DeepLabConfig()
    task.model.num_classes, task.model.input_size = 255, list(case.crop)  # Any label that the records may have.
    data = task.train_data
    data.input_path, data.global_batch_size = case.records, case.batch
    data.scale_min, data.scale_max = _SCALES
    return inputs.training_dataset(task, "", None, 0)


def model_garden(case: Case) -> Any:
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


READERS = {"tpuseg": ours, "model_garden": model_garden}


def _work(name: str, case: Case, pipe: Connection) -> None:
    """Runs in a process of its own: a round for every (warm_up, batches) that comes; None ends it."""
    dataset = READERS[name](case)
    for warm_up, batches in iter(pipe.recv, None):
        iterator = iter(dataset)
        for _ in range(warm_up):
            next(iterator)
        started = time.perf_counter()
        for _ in range(batches):
            next(iterator)
        seconds = time.perf_counter() - started
        del iterator  # And with it the threads that would go on to read.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send((batches * case.batch / seconds, peak))


def measure(case: Case) -> dict[str, tuple[float, float]]:
    """Returns images a second (the median) and peak memory in MB of each reader."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for name in READERS:
        pipes[name], theirs = context.Pipe()
        workers.append(context.Process(target=_work, args=(name, case, theirs), daemon=True))
        workers[-1].start()
        theirs.close()  # So that a worker that dies is the end of the file, not a wait for ever.
    speeds: dict[str, list[float]] = {name: [] for name in READERS}
    peaks = {}
    for _ in range(_ROUNDS.value):
        for name, pipe in pipes.items():
            pipe.send((_WARM_UP.value, _BATCHES.value))
            speed, peaks[name] = pipe.recv()
            speeds[name].append(speed)
    for pipe, worker in zip(pipes.values(), workers, strict=True):
        pipe.send(None)
        worker.join()
    return {name: (statistics.median(values), peaks[name]) for name, values in speeds.items()}


def noise_photo(size: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture with a photograph's mix of smooth areas, edges and grain, and labels of some tens of regions."""
    height, width = size

    def smooth(cells: int, channels: int) -> np.ndarray:
        coarse = random.normal(size=(cells, cells, channels)).astype(np.float32)
        bicubic = PIL.Image.Resampling.BICUBIC
        planes = [PIL.Image.fromarray(coarse[..., c]).resize((width, height), bicubic) for c in range(channels)]
        return np.stack([np.asarray(plane) for plane in planes], -1)

    regions = smooth(8, _NUM_CLASSES).argmax(-1)
    colors = random.uniform(0, 255, (_NUM_CLASSES, 3))
    pixels = colors[regions] + 25 * smooth(12, 3) + 15 * smooth(max(height, width) // 8, 3)
    grain = random.normal(size=(height, width, 1)) * 4
    return np.clip(pixels + grain, 0, 255).astype(np.uint8), regions.astype(np.uint8)


def _encoded(image: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def write_noise(folder: str, size: tuple[int, int], number: int) -> str:
    """Writes records of generated pictures and returns their pattern."""
    import tensorflow as tf

    from tpuseg import records

    random = np.random.default_rng(0)
    pattern = os.path.join(folder, f"noise{size[1]}x{size[0]}-{{}}.tfrecord")
    writers = [tf.io.TFRecordWriter(pattern.format(f"{shard:05d}-of-{_SHARDS:05d}")) for shard in range(_SHARDS)]
    for index, writer in zip(range(number), itertools.cycle(writers)):  # noqa: B905 - one of them is endless.
        image, labels = noise_photo(size, random)
        jpeg, png = _encoded(image, "jpeg", quality=90), _encoded(labels, "png")
        example = records.SemanticExample(jpeg, "jpeg", *size, f"noise{index}", f"noise{index}.jpg", png)
        writer.write(records.encode_semantic(example))
    for writer in writers:
        writer.close()
    return pattern.format("*")


def _size_of(pattern: str) -> tuple[int, int]:
    import tensorflow as tf

    from tpuseg import pipeline, records, schema

    paths = pipeline.find_files(schema.DataConfig(input_path=pattern), "")
    raw = next(iter(tf.data.TFRecordDataset(paths[0])))
    height, width = records.decode_labels(records.parse_semantic(raw)["labels"]).shape
    return height, width


def cases(folder: str) -> Iterator[Case]:
    """Yields what to read, making it where no records are given."""
    height, width = map(int, _CROP.value)
    make = functools.partial(Case, crop=(height, width), batch=_BATCH.value)
    if _RECORDS.value:
        yield make(_RECORDS.value, _size_of(_RECORDS.value))
        return
    for text in _SIZES.value:
        columns, _, rows = text.partition("x")
        size = (int(rows), int(columns))
        yield make(write_noise(folder, size, _NUM_PICTURES.value), size)


def main(argv: list[str]) -> None:
    """Prints the table."""
    cli.refuse_arguments(argv)
    print(f"crop {'x'.join(_CROP.value)}, batch {_BATCH.value}, {os.cpu_count()} cores; median of {_ROUNDS.value} rounds")
    print(f"{'pictures':>10}  {'reader':<12}  {'images/s':>8}  {'ratio':>5}  {'peak MB':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(folder):
            results = measure(case)
            baseline = results["model_garden"][0]
            for name, (speed, peak) in results.items():
                pictures = f"{case.size[1]}x{case.size[0]}"
                print(f"{pictures:>10}  {name:<12}  {speed:8.1f}  {speed / baseline:5.2f}  {peak:7.0f}", flush=True)


if __name__ == "__main__":
    cli.run(main)
