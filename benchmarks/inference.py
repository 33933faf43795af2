"""Measures the time from an image to its masks with exported models, compared with other libraries.

python benchmarks/inference.py --model=maskrcnn --torch_python=/path/to/a/python/with/torchvision
python benchmarks/inference.py --model=deeplab --torch_python=/path/to/a/python/with/torchvision

maskrcnn: R50-FPN on an image of 800x1066, compared with torchvision's `maskrcnn_resnet50_fpn` with the same random weights, whose
last layers are chosen so that both find a hundred objects. The input is uint8 pixels, the output masks at the size of the image.

deeplab: R101 on an image of 512x512 with random weights, which do not change the amount of computation, from uint8 pixels to uint8
classes. At output stride 8, it is compared with torchvision's `deeplabv3_resnet101`, at output stride 16 with the Model Garden's
export of `seg_deeplabv3plus_pascal`.

`export` is the time of the command that exports a checkpoint as a SavedModel: `official/export.py`, or the Model Garden's own. Each
model then runs in a separate process that only imports TensorFlow; the models run in turn, and a process waits while the others
run. Because other programs may run, CPU times of all threads are reported in addition to wall-clock times. On a machine with other
load, use `--threads=1` for a fair comparison, because the OpenMP threads of torch wait actively for threads that are not running.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from absl import flags

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(_HERE, os.pardir, "official"))
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contenders  # noqa: E402
import noise_images  # noqa: E402
import numpy as np  # noqa: E402
import operations  # noqa: E402

from tpuseg import cli  # noqa: E402

_MODEL = flags.DEFINE_enum("model", "maskrcnn", ["maskrcnn", "deeplab"], "Model to measure.")
_RUNS = flags.DEFINE_integer("runs", 5, "Measured predictions of each model, after the first one.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 0, "Threads of each model; 0 for the number of cores.", lower_bound=0)
_TORCH_PYTHON = flags.DEFINE_string("torch_python", "", "Python with torchvision; without it, torchvision is left out.")
_ONLY = flags.DEFINE_list("only", [], "Names of the models to run; all by default.")
_PROFILE = flags.DEFINE_bool("profile", False, "Also prints the time of tpuseg's operations by type.")
_SIDE = flags.DEFINE_string("side", "", "Internal: the model that this process runs.")
_FOLDER = flags.DEFINE_string("folder", "", "Internal: folder of weights and models.")

_SIZES = {"maskrcnn": (800, 1066), "deeplab": (512, 512)}
_IMAGE, _WEIGHTS = "image.npy", "weights.pth"
# Pairs of our models and those with which they are compared.
_PAIRS = {
    "maskrcnn": [("tpuseg", "torchvision")],
    "deeplab": [("tpuseg_stride8", "torchvision"), ("tpuseg_stride16", "model_garden")],
}
_OURS = {
    "tpuseg": ("maskrcnn_coco", "task.model.input_size=[832,1088],task.model.short_side=800,task.model.pixel_scaling=imagenet,"
               "task.model.rpn.anchors.rounded=true,task.model.roi_align.aligned=false,task.model.norm.epsilon=1.0e-5,"
               "task.model.backbone.resnet.stride_on=3x3"),
    "tpuseg_stride8": ("deeplab_voc_os8", "task.model.input_size=[512,512],task.evaluation.input_size=[512,512]"),
    "tpuseg_stride16": ("deeplab_voc", "task.model.input_size=[512,512],task.evaluation.input_size=[512,512]"),
}


def write_ours(name: str, folder: str) -> None:
    """Writes a model directory with the weights of torchvision's model if they exist, otherwise with random weights."""
    import tensorflow as tf

    from tpuseg import registry
    from tpuseg.configs import experiments
    from tpuseg.io import files

    experiment, override = _OURS[name]
    settings = experiments.load(experiment, params_override=f"{override},runtime.mixed_precision_dtype=float32").config
    model = registry.architectures.get(settings.architecture).task_class(settings.task).build_model()
    weights = os.path.join(_FOLDER.value, _WEIGHTS)
    if settings.architecture == "maskrcnn" and os.path.exists(weights):
        from tpuseg import weights as readers

        readers.load_initial(model, weights, settings.task.model)
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), folder, 1).save(checkpoint_number=1)
    files.write_text(os.path.join(folder, experiments.CONFIG_FILE), experiments.to_yaml(settings))


def write_model_garden(name: str, folder: str) -> None:
    """Writes a checkpoint of the Model Garden's model with random weights."""
    del name
    import tensorflow as tf
    from official.core import exp_factory
    from official.vision.tasks import semantic_segmentation

    settings = exp_factory.get_exp_config("seg_deeplabv3plus_pascal").task
    settings.init_checkpoint = None
    model = semantic_segmentation.SemanticSegmentationTask(settings).build_model()
    tf.train.Checkpoint(model=model).write(os.path.join(folder, "ckpt"))


def _export_commands(name: str, folder: str) -> list[str]:
    if name != "model_garden":
        script = os.path.join(_HERE, os.pardir, "official", "export.py")
        return [sys.executable, script, f"--model_dir={folder}", f"--output_dir={folder}/saved_model"]
    height, width = _SIZES[_MODEL.value]
    module = "official.vision.serving.export_saved_model"
    return [
        *[sys.executable, "-m", module, "--experiment=seg_deeplabv3plus_pascal", f"--checkpoint_path={folder}/ckpt"],
        *[f"--export_dir={folder}", "--batch_size=1", f"--input_image_size={height},{width}", "--input_type=image_tensor"],
    ]


def export(name: str, folder: str) -> list[float]:
    """Writes a checkpoint and exports it; returns the wall-clock time and the CPU time of the export, in seconds."""
    os.makedirs(folder)
    subprocess.run([sys.executable, *sys.argv, f"--folder={os.path.dirname(folder)}", f"--side=write:{name}"], check=True)
    before, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(_export_commands(name, folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the export of {name} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [time.perf_counter() - before, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime]


def _runner(name: str) -> Callable[[], dict[str, Any]]:
    """Loads a SavedModel with TensorFlow only, and returns a function that predicts the image."""
    import tensorflow as tf

    folder = os.path.join(_FOLDER.value, name, "saved_model")
    image = np.load(os.path.join(_FOLDER.value, _IMAGE))[None]
    # The function below keeps a reference, because the variables are deleted with the loaded object.
    loaded = tf.saved_model.load(folder)
    signature = loaded.signatures["images" if "images" in loaded.signatures else "serving_default"]
    ((argument, _),) = signature.structured_input_signature[1].items()

    def run() -> dict[str, Any]:
        assert loaded is not None
        return {key: value.numpy() for key, value in signature(**{argument: tf.constant(image)}).items()}

    return run


def _serve() -> None:
    """Runs one model: predicts once, and then once for each line of the standard input; answers with lines of JSON."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # Libraries print to the standard error, so that their output does not mix with the answers.
    contenders.limit_threads(_THREADS.value)
    run = _runner(_SIDE.value)
    before = contenders.now()
    found = run().get("num_detections", [1])
    print(json.dumps({"first": (contenders.now() - before).tolist(), "found": int(found[0])}), file=answers)
    for line in sys.stdin:
        if line.strip() == "profile":
            print(json.dumps({"profile": operations.profile(run, num_runs=3)}), file=answers)
            continue
        before = contenders.now()
        run()
        print(json.dumps({"run": (contenders.now() - before).tolist()}), file=answers)


def start(folder: str) -> tuple[list[contenders.Contender], dict[str, list[float]]]:
    """Starts the processes one after the other; returns them and the times of the exports in seconds."""
    random = np.random.default_rng(0)
    path = os.path.join(folder, _IMAGE)
    np.save(path, noise_images.noise_photo(_SIZES[_MODEL.value], random)[0])
    names = dict.fromkeys(name for pair in reversed(_PAIRS[_MODEL.value]) for name in reversed(pair))
    started, exports = [], {}
    for name in names:  # torchvision's model is the first one, because ours uses its weights.
        if (_ONLY.value and name not in _ONLY.value) or (name == "torchvision" and not _TORCH_PYTHON.value):
            continue
        if name == "torchvision":
            script = os.path.join(_HERE, "torch_inference.py")
            command = [_TORCH_PYTHON.value, script, _MODEL.value, path, os.path.join(folder, _WEIGHTS)]
        else:
            exports[name] = export(name, os.path.join(folder, name))
            command = [sys.executable, *sys.argv, f"--folder={folder}", f"--side={name}"]
        started.append(contenders.Contender(name, command, _THREADS.value))
    return started, exports


def main(argv: list[str]) -> None:
    """Measures all models, and prints a table."""
    cli.refuse_arguments(argv)
    writes, _, name = _SIDE.value.rpartition(":")
    if writes:
        write = write_model_garden if name == "model_garden" else write_ours
        write(name, os.path.join(_FOLDER.value, name))
        return
    if _SIDE.value:
        _serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        started, exports = start(folder)
        times: dict[str, list[list[float]]] = {side.name: [] for side in started}
        for _ in range(_RUNS.value):
            for side in started:
                times[side.name].append(side.ask("run"))
        profiled = [side for side in started if side.name in _OURS][:1] if _PROFILE.value else []
        profiles = [side.ask("profile") for side in profiled]
        for side in started:
            side.stop()
    _print(started, exports, times)
    for profile in profiles:
        print(operations.table(profile))


def _print(started: list[contenders.Contender], exports: dict[str, list[float]], times: dict[str, list[list[float]]]) -> None:
    load = f"{_THREADS.value or 'all'} threads, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{_MODEL.value}, an image of {'x'.join(map(str, _SIZES[_MODEL.value]))}, {_RUNS.value} runs each, {load}")
    print(f"{'':16}  export (processor)   found  first    least  median  processor: least  median")
    columns = {name: [f(c) for c in zip(*rows, strict=True) for f in (min, statistics.median)] for name, rows in times.items()}
    for side in started:
        values, exported = columns[side.name], exports.get(side.name)
        shown = f"{exported[0]:6.0f} s {f'({exported[1]:.0f})':>9}" if exported else " " * 18
        print(
            f"{side.name:16}  {shown}  {side.started['found']:6} {side.started['first'][0]:6.1f} {values[0]:8.2f} {values[1]:7.2f}"
            f" {values[2]:17.2f} {values[3]:7.2f}"
        )
    for mine, other in _PAIRS[_MODEL.value]:
        if mine in columns and other in columns:
            ratios = [a / b for a, b in zip(columns[mine], columns[other], strict=True)]
            print(
                f"{mine} / {other}: {ratios[0]:.2f} (least), {ratios[1]:.2f} (median); processor {ratios[2]:.2f} (least),"
                f" {ratios[3]:.2f} (median)"
            )


if __name__ == "__main__":
    cli.run(main)
