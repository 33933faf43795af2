"""Images/s of DeepLab's training input beside the Model Garden's own reader, on the same records, alternating in one run.

python benchmarks/input_pipeline.py --records='datasets/camvid/train-*.tfrecord' --num_classes=11 --crop=360,480
python benchmarks/input_pipeline.py --generate=1024x768     (pictures of smooth noise, made on the spot)
"""

import io
import os
import statistics
import sys
import tempfile
import time

from absl import app, flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

_RECORDS = flags.DEFINE_string("records", "", "Pattern of record files.")
_GENERATE = flags.DEFINE_string("generate", "480x360", "WIDTHxHEIGHT of generated pictures, without --records.")
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 21, "Of the records.")
_CROP = flags.DEFINE_list("crop", ["512", "512"], "HEIGHT,WIDTH of the training crop.")
_BATCH = flags.DEFINE_integer("batch", 8, "Pictures a batch.")
_BATCHES = flags.DEFINE_integer("batches", 25, "Batches timed a round.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds of each; the median counts.")


def generate(folder, size, count=64):
    """Writes records of smooth noise, whose JPEGs are about as large as photographs'."""
    import numpy as np
    import PIL.Image
    import tensorflow as tf

    from tpuseg import records

    width, height = map(int, size.split("x"))
    random = np.random.default_rng(0)
    path = os.path.join(folder, "train-00000-of-00001.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(count):
            coarse = PIL.Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
            labels = PIL.Image.fromarray(random.integers(0, 21, (height // 40, width // 40), dtype=np.uint8))
            encoded = []
            pictures = (
                (coarse.resize((width, height), PIL.Image.Resampling.BICUBIC), "JPEG"),
                (labels.resize((width, height), PIL.Image.Resampling.NEAREST), "PNG"),
            )
            for picture, kind in pictures:
                buffer = io.BytesIO()
                picture.save(buffer, kind)
                encoded.append(buffer.getvalue())
            example = records.SemanticExample(encoded[0], "jpeg", height, width, str(number), f"{number}.jpg", encoded[1])
            writer.write(records.encode_semantic(example))
    return path


def ours(pattern, crop):
    """Returns this project's training batches."""
    from tpuseg.deeplab import config, inputs

    task = config.DeepLabConfig()
    task.model.num_classes, task.model.input_size = _NUM_CLASSES.value, crop
    task.train_data.input_path, task.train_data.global_batch_size = pattern, _BATCH.value
    return inputs.training_dataset(task, "", None, 0)


def model_garden(pattern, crop):
    """Returns the Model Garden's training batches: the same augmentation, its default settings otherwise."""
    from official.vision.configs import semantic_segmentation as config
    from official.vision.tasks import semantic_segmentation as task

    data = config.DataConfig(
        input_path=pattern,
        global_batch_size=_BATCH.value,
        is_training=True,
        output_size=crop,
        crop_size=crop,
        aug_scale_min=0.5,
        aug_scale_max=2.0,
        aug_rand_hflip=True,
    )
    settings = config.SemanticSegmentationTask(train_data=data)
    return task.SemanticSegmentationTask(settings).build_inputs(data)


def measure(iterator):
    """Returns images/s of a round."""
    started = time.perf_counter()
    for _ in range(_BATCHES.value):
        next(iterator)
    return _BATCHES.value * _BATCH.value / (time.perf_counter() - started)


def main(argv):
    """Prints the table."""
    del argv
    import tpuseg  # noqa: F401

    crop = [int(side) for side in _CROP.value]
    with tempfile.TemporaryDirectory() as folder:
        pattern = _RECORDS.value or generate(folder, _GENERATE.value)
        iterators = {"tpuseg": iter(ours(pattern, crop)), "Model Garden": iter(model_garden(pattern, crop))}
        rates = {name: [] for name in iterators}
        for iterator in iterators.values():
            for _ in range(5):
                next(iterator)  # Buffers fill, threads start.
        for _ in range(_ROUNDS.value):
            for name, iterator in iterators.items():
                rates[name].append(measure(iterator))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{_RECORDS.value or _GENERATE.value}, crop {crop}, batch {_BATCH.value}, {os.cpu_count()} cores")
    for name, values in rates.items():
        print(f"{name:14} {medians[name]:7.1f} images/s   (rounds: {', '.join(f'{value:.1f}' for value in values)})")
    print(f"ratio {medians['tpuseg'] / medians['Model Garden']:.2f}")


if __name__ == "__main__":
    app.run(main)
