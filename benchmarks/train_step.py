"""Measures the time of a train step on the CPU without the input pipeline, compared with other libraries.

python benchmarks/train_step.py --model=deeplab --size=513
python benchmarks/train_step.py --model=maskrcnn --size=512 --torch_python=/path/to/a/python/with/torchvision
python benchmarks/train_step.py --model=maskrcnn --params_override=task.model.norm.mode=trainable,task.model.num_frozen_stages=0

deeplab: `deeplab_voc` compared with the Model Garden's `seg_deeplabv3plus_pascal`, both ResNet-101 at output stride 16 with trained
batch norm, on the same generated images and labels.

maskrcnn: our defaults (detectron2's R50-FPN) compared with the Model Garden's `maskrcnn_resnetfpn_coco` and torchvision's
`maskrcnn_resnet50_fpn`, on the same generated images and objects. The models have different settings: ours and torchvision's freeze
the norm and the first two stages; the Model Garden trains everything, and has four more convolutions in the box head and a mask
head that always computes 128 rois per image. The mask heads of the others compute only rois on objects, of which an untrained
network proposes few. With `--params_override`, the settings of our model can be changed to be more similar to another.

All models use float32 without XLA, and run the forward pass, the backward pass and the update of stochastic gradient descent with
momentum. Each model runs in a separate process; the models run in turn, and a process waits while the others run. `first step` is
the time from the start of building the model to the end of its first step. Because other programs may run, CPU times of all
threads are reported in addition to wall-clock times. On a machine with other load, use `--threads=1` for a fair comparison, because
the OpenMP threads of torch wait actively for threads that are not running.
"""

import glob
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contenders  # noqa: E402
import noise_images  # noqa: E402
import numpy as np  # noqa: E402
import operations  # noqa: E402

from tpuseg import cli  # noqa: E402

_MODEL = flags.DEFINE_enum("model", "deeplab", ["deeplab", "maskrcnn"], "Model to measure.")
_SIZE = flags.DEFINE_integer("size", 512, "Height and width of the images.", lower_bound=64)
_BATCH = flags.DEFINE_integer("batch", 2, "Images per step.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 5, "Measured steps of each model, after the first one.", lower_bound=1)
_OBJECTS = flags.DEFINE_integer("num_objects", 8, "Objects per image, for maskrcnn.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 0, "Threads of each model; 0 for the number of cores.", lower_bound=0)
_OVERRIDE = flags.DEFINE_string("params_override", "", "key.key=value,...: changes of our experiment's settings.")
_TORCH_PYTHON = flags.DEFINE_string("torch_python", "", "Python with torchvision; without it, torchvision is left out.")
_ONLY = flags.DEFINE_list("only", [], "Names of the models to run; all by default.")
_PROFILE = flags.DEFINE_bool("profile", False, "Also prints the time of tpuseg's operations by type.")
_SIDE = flags.DEFINE_string("side", "", "Internal: the model that this process runs.")
_FOLDER = flags.DEFINE_string("folder", "", "Internal: folder of the generated images.")

_NUM_CLASSES = {"deeplab": 21, "maskrcnn": 80}
# Small, so that no untrained network diverges, which would change the amount of computation.
_LEARNING_RATE = 1e-6


def _deeplab_batch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    drawn = [noise_images.noise_photo((_SIZE.value, _SIZE.value), random) for _ in range(_BATCH.value)]
    return np.stack([image for image, _ in drawn]), np.stack([labels for _, labels in drawn])


def deeplab_ours() -> tuple[Any, Any]:
    """Returns tpuseg's task and a batch."""
    import tensorflow as tf

    from tpuseg import registry
    from tpuseg.configs import experiments

    override = f"task.model.input_size=[{_SIZE.value},{_SIZE.value}],task.train_data.global_batch_size={_BATCH.value}"
    settings = experiments.load("deeplab_voc", params_override=",".join(filter(None, [override, _OVERRIDE.value]))).config.task
    images, labels = map(tf.constant, _deeplab_batch())
    return registry.architectures.get("deeplab").task_class(settings), ({"image": images}, labels)


def deeplab_model_garden() -> tuple[Any, Any]:
    """Returns the Model Garden's task and a batch in the form of its reader, which normalises images."""
    import tensorflow as tf
    from official.core import exp_factory
    from official.vision.ops import preprocess_ops
    from official.vision.tasks import semantic_segmentation

    side = float(_SIZE.value)
    settings = exp_factory.get_exp_config("seg_deeplabv3plus_pascal").task
    settings.init_checkpoint = None
    settings.model.input_size = [_SIZE.value, _SIZE.value, 3]
    settings.train_data.output_size = [_SIZE.value, _SIZE.value]
    images, labels = map(tf.constant, _deeplab_batch())
    normalized = tf.stack([preprocess_ops.normalize_image(tf.cast(image, tf.float32)) for image in images])
    masks = tf.cast(labels, tf.float32)[..., None]
    info = tf.tile(tf.constant([[[side, side], [side, side], [1.0, 1.0], [0.0, 0.0]]]), [_BATCH.value, 1, 1])
    batch = (normalized, {"masks": masks, "valid_masks": tf.ones_like(masks, tf.bool), "image_info": info})
    return semantic_segmentation.SemanticSegmentationTask(settings), batch


def _records() -> str:
    return os.path.join(_FOLDER.value, "objects*.tfrecord")


def maskrcnn_ours() -> tuple[Any, Any]:
    """Returns tpuseg's task and the first batch of the generated records."""
    from tpuseg import registry
    from tpuseg.configs import experiments

    path = os.path.join(_FOLDER.value, "maskrcnn.yaml")
    values = {
        "model": {"input_size": [_SIZE.value, _SIZE.value], "num_classes": _NUM_CLASSES["maskrcnn"]},
        "train_data": {"input_path": _records(), "global_batch_size": _BATCH.value, "scale_min": 1, "scale_max": 1, "flip": False},
        "validation_data": {"input_path": _records(), "global_batch_size": _BATCH.value},
    }
    # Not used here, but an experiment must have these settings.
    rate = {"type": "constant", "constant": {"learning_rate": _LEARNING_RATE}}
    trainer = {"train_steps": 1, "optimizer_config": {"optimizer": {"type": "sgd"}, "learning_rate": rate}}
    with open(path, "w") as file:
        json.dump({"architecture": "maskrcnn", "task": values, "trainer": trainer}, file)
    task = registry.architectures.get("maskrcnn").task_class(experiments.load(path, params_override=_OVERRIDE.value).config.task)
    return task, next(iter(task.training_inputs(None, 0)))


def maskrcnn_model_garden() -> tuple[Any, Any]:
    """Returns the Model Garden's task and the first batch of the same records; its reader also matches the anchors."""
    from official.core import exp_factory
    from official.vision.tasks import maskrcnn

    settings = exp_factory.get_exp_config("maskrcnn_resnetfpn_coco").task
    settings.init_checkpoint = None
    settings.model.input_size = [_SIZE.value, _SIZE.value, 3]
    data = settings.train_data
    data.input_path, data.global_batch_size, data.dtype = _records(), _BATCH.value, "float32"
    data.parser.aug_rand_hflip, data.parser.aug_scale_min, data.parser.aug_scale_max = False, 1.0, 1.0
    task = maskrcnn.MaskRCNNTask(settings)
    return task, next(iter(task.build_inputs(data)))


SIDES: dict[str, dict[str, Callable[[], tuple[Any, Any]]]] = {
    "deeplab": {"tpuseg": deeplab_ours, "model_garden": deeplab_model_garden},
    "maskrcnn": {"tpuseg": maskrcnn_ours, "model_garden": maskrcnn_model_garden},
}


def write_for_torch(path: str) -> None:
    """Writes a batch of the generated records as NumPy arrays."""
    from tpuseg.data import instance_records, records
    from tpuseg.io import image_files
    from tpuseg.ops import masks

    shards = sorted(glob.glob(_records()))
    examples = [instance_records.read_instances(next(iter(records.read_raw(shards[n % len(shards)])))) for n in range(_BATCH.value)]
    arrays: dict[str, Any] = {"images": np.stack([image_files.read_rgb(example.image) for example in examples])}
    for number, example in enumerate(examples):
        found = example.instances
        arrays[f"boxes{number}"] = np.array([row.box for row in found], np.float32)
        arrays[f"classes{number}"] = np.array([row.class_index for row in found])
        arrays[f"masks{number}"] = np.stack([masks.decode(row.runs) for row in found])
    np.savez(path, **arrays, num_classes=_NUM_CLASSES["maskrcnn"], learning_rate=_LEARNING_RATE)


def _serve() -> None:
    """Runs one model: the first step, and then one step for each line of the standard input; answers with lines of JSON."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # Libraries print to the standard error, so that their output does not mix with the answers.
    contenders.limit_threads(_THREADS.value)
    task, batch = SIDES[_MODEL.value][_SIDE.value]()
    started = contenders.now()
    step, parameters = _first_step(task, batch)
    print(json.dumps({"parameters": parameters, "first": (contenders.now() - started).tolist()}), file=answers)
    for line in sys.stdin:
        before = contenders.now()
        if line.strip() == "profile":
            print(json.dumps({"profile": operations.profile(step, num_runs=3)}), file=answers)
            continue
        step()
        print(json.dumps({"step": (contenders.now() - before).tolist()}), file=answers)


def _first_step(task: Any, batch: Any) -> tuple[Callable[[], None], int]:
    """Builds the model of a task and runs a step; returns a function that runs another step, and the number of trained values."""
    import tensorflow as tf
    import tf_keras

    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = task.build_model()
        optimizer = tf_keras.optimizers.legacy.SGD(_LEARNING_RATE, momentum=0.9)

    @tf.function
    def step(inputs: Any) -> Any:
        return strategy.run(lambda inputs: task.train_step(inputs, model, optimizer, metrics=None)["loss"], args=(inputs,))

    def run() -> None:
        loss = float(step(batch))
        if not np.isfinite(loss):
            raise ArithmeticError(f"the loss is {loss}")

    run()
    return run, sum(int(tf.size(variable)) for variable in model.trainable_variables)


def start(folder: str) -> list[contenders.Contender]:
    """Starts the processes one after the other; each runs its first step."""
    if _MODEL.value == "maskrcnn":
        noise_images.write_objects(folder, (_SIZE.value, _SIZE.value), _BATCH.value, _OBJECTS.value, _NUM_CLASSES["maskrcnn"])
    own = [sys.executable, *sys.argv, f"--folder={folder}"]
    commands = {name: [*own, f"--side={name}"] for name in SIDES[_MODEL.value]}
    if _MODEL.value == "maskrcnn" and _TORCH_PYTHON.value:
        arrays, script = os.path.join(folder, "batch.npz"), os.path.join(os.path.dirname(__file__), "torch_step.py")
        # `write_for_torch` reads `--folder`, which is otherwise only set in the processes of the other models.
        flags.FLAGS.folder = folder
        write_for_torch(arrays)
        commands["torchvision"] = [_TORCH_PYTHON.value, script, arrays]
    chosen = {name: command for name, command in commands.items() if not _ONLY.value or name in _ONLY.value}
    return [contenders.Contender(name, command, _THREADS.value) for name, command in chosen.items()]


def main(argv: list[str]) -> None:
    """Measures all models, and prints a table."""
    cli.refuse_arguments(argv)
    if _SIDE.value:
        _serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        started = start(folder)
        times: dict[str, list[list[float]]] = {side.name: [] for side in started}
        for _ in range(_STEPS.value):
            for side in started:
                times[side.name].append(side.ask())
        profile = started[0].ask("profile") if _PROFILE.value and started[0].name == "tpuseg" else {}
        for side in started:
            side.stop()
    _print(started, times)
    if profile:
        print(operations.table(profile))


def _print(compared: list[contenders.Contender], times: dict[str, list[list[float]]]) -> None:
    load = f"{_THREADS.value or 'all'} threads, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{_MODEL.value}, {_BATCH.value} images of {_SIZE.value}x{_SIZE.value}, {_STEPS.value} steps each, {load}")
    print(f"{'':12}  trained  first step (processor)    step: least  median  processor: least  median")
    columns = {name: [f(c) for c in zip(*rows, strict=True) for f in (min, statistics.median)] for name, rows in times.items()}
    for side in compared:
        first, values = side.started["first"], columns[side.name]
        print(
            f"{side.name:12} {side.started['parameters'] / 1e6:6.1f} M  {first[0]:8.1f} s {f'({first[1]:.1f})':>11}"
            f" {values[0]:15.2f} {values[1]:7.2f} {values[2]:17.2f} {values[3]:7.2f}"
        )
    for side in compared[1:]:
        ratios = [mine / other for mine, other in zip(columns[compared[0].name], columns[side.name], strict=True)]
        firsts = [mine / other for mine, other in zip(compared[0].started["first"], side.started["first"], strict=True)]
        print(
            f"{compared[0].name} / {side.name}: first step {firsts[0]:.2f} (processor {firsts[1]:.2f}); step {ratios[0]:.2f}"
            f" (least), {ratios[1]:.2f} (median); processor {ratios[2]:.2f} (least), {ratios[3]:.2f} (median)"
        )


if __name__ == "__main__":
    cli.run(main)
