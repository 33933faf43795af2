"""Seconds of a CPU train step of `deeplab_voc` beside the Model Garden's `seg_deeplabv3plus_pascal`, alternating in one run.

python benchmarks/train_step.py --size=512 --batch=2 --steps=3

Both are ResNet-101 at output stride 16, float32, stochastic gradient descent with momentum, without the input pipeline.
"""

import os
import statistics
import sys
import time

from absl import app, flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

_SIZE = flags.DEFINE_integer("size", 512, "Height and width of the pictures, for both.")
_BATCH = flags.DEFINE_integer("batch", 2, "Pictures a step.")
_STEPS = flags.DEFINE_integer("steps", 3, "Steps timed of each, after one that compiles.")


def ours():
    """Returns a function that runs one step of this project."""
    import tensorflow as tf

    from tpuseg import config, zoo

    override = f"task.model.input_size=[{_SIZE.value},{_SIZE.value}],task.train_data.global_batch_size={_BATCH.value}"
    settings = config.load("deeplab_voc", params_override=override).config.task
    task = zoo.task_class("deeplab")(settings)
    return _runner(task, tf.uint8, lambda labels: labels[..., 0])


def model_garden():
    """Returns a function that runs one step of the Model Garden."""
    import tensorflow as tf
    from official.core import exp_factory
    from official.vision.tasks import semantic_segmentation

    settings = exp_factory.get_exp_config("seg_deeplabv3plus_pascal").task
    settings.init_checkpoint = None
    settings.model.input_size = [_SIZE.value, _SIZE.value, 3]
    settings.train_data.output_size = [_SIZE.value, _SIZE.value]
    task = semantic_segmentation.SemanticSegmentationTask(settings)

    def labels(values):
        side = float(_SIZE.value)
        info = tf.tile(tf.constant([[[side, side], [side, side], [1.0, 1.0], [0.0, 0.0]]]), [_BATCH.value, 1, 1])
        return {"masks": tf.cast(values, tf.float32), "valid_masks": tf.ones_like(values, tf.bool), "image_info": info}

    return _runner(task, tf.float32, labels)


def _runner(task, image_type, make_labels):
    """Builds a task's model and returns a function for its train step, with the seconds that building took."""
    import tensorflow as tf
    import tf_keras

    started = time.perf_counter()
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = task.build_model()
        optimizer = tf_keras.optimizers.legacy.SGD(0.01, momentum=0.9)
    shape = [_BATCH.value, _SIZE.value, _SIZE.value, 3]
    images = tf.cast(tf.random.uniform(shape, 0, 255), image_type)
    labels = make_labels(tf.cast(tf.random.uniform([*shape[:3], 1], 0, 21, tf.int32), tf.uint8))
    inputs = ({"image": images}, labels) if image_type == tf.uint8 else (images / 255, labels)

    @tf.function
    def step():
        return strategy.run(lambda batch: task.train_step(batch, model, optimizer, metrics=None)["loss"], args=(inputs,))

    def run():
        before = time.perf_counter()
        float(step())
        return time.perf_counter() - before

    count = sum(int(tf.size(variable)) for variable in model.trainable_variables)
    return run, time.perf_counter() - started, count


def main(argv):
    """Prints the table."""
    del argv
    import tpuseg  # noqa: F401

    runs, rows = {}, {}
    for name, make in (("tpuseg", ours), ("Model Garden", model_garden)):
        run, build, count = make()
        runs[name], rows[name] = run, [count, build, build + run()]
    times = {name: [] for name in runs}
    for _ in range(_STEPS.value):
        for name, run in runs.items():
            times[name].append(run())
    print(f"{_BATCH.value} pictures of {_SIZE.value}x{_SIZE.value}, float32, {os.cpu_count()} cores")
    for name, (count, build, first) in rows.items():
        step = statistics.median(times[name])
        size = f"{count / 1e6:5.1f} M parameters"
        print(f"{name:14} {size}  build {build:5.1f} s  first step done {first:5.1f} s  step {step:6.2f} s")
    print(f"ratio of a step {statistics.median(times['tpuseg']) / statistics.median(times['Model Garden']):.2f}")


if __name__ == "__main__":
    app.run(main)
