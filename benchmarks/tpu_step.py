"""Estimates cycles and memory of a step on one TPU core with the TPU's compiler, compared with the Model Garden; needs no TPU.

python benchmarks/tpu_step.py --model=deeplab --size=512
python benchmarks/tpu_step.py --model=maskrcnn --size=1024 --tpu_type=v3-8,v5e-8,v6e-8
python benchmarks/tpu_step.py --model=maskrcnn --mode=eval --only=tpuseg

deeplab: `deeplab_voc` compared with the Model Garden's `seg_deeplabv3plus_pascal`, both ResNet-101 at output stride 16.

maskrcnn: `maskrcnn_coco` compared with the Model Garden's `maskrcnn_resnetfpn_coco`. Their settings differ, so the row
`like_for_like` is our model with the Model Garden's box head of four convolutions and one fully connected layer, trained batch
norm with synchronised statistics, and no frozen stages.

All models compute in bfloat16, use stochastic gradient descent with momentum, and have the same number of images per core. Each
step is lowered in a separate process, and compiled as the program of one replica without the sums over replicas. Cycles are counted
with the same rules for all models (`tpuseg/tpu/hlo.py`): the compiler's estimate if there is one, otherwise the bytes that an
operation moves divided by the memory bandwidth; the cycles in loops are multiplied by the number of iterations. By default, loops
whose number of iterations depends on the data (suppression) count once, which favours the Model Garden, because it has more of
them: its loops have no useful bound, ours have at most 129 iterations. `--loop_trips` counts more iterations. Input, host and
network are not included.

`--keep` keeps the programs; an existing lowered program is compiled again without lowering. Remove it after changing the code.
"""

import collections
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tpuseg import cli  # noqa: E402

_MODEL = flags.DEFINE_enum("model", "deeplab", ["deeplab", "maskrcnn"], "Model to compile.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "Step to compile; for the Model Garden only `train`.")
_TPU_TYPES = flags.DEFINE_list("tpu_type", ["v3-8"], "One or several TPU types, for example v3-8,v5e-8.")
_SIZE = flags.DEFINE_integer("size", 0, "Height and width of the images; 0 for those of our experiment.", lower_bound=0)
_BATCH = flags.DEFINE_integer("batch", 8, "Images per core.", lower_bound=1)
_TOP = flags.DEFINE_integer("top", 15, "Number of listed layers of each model; 0 for none.", lower_bound=0)
_ONLY = flags.DEFINE_list("only", [], "Names of the rows to compile; all by default.")
_OVERRIDE = flags.DEFINE_string("params_override", "", "key.key=value,...: changes of our experiment's settings.")
_PLAIN = flags.DEFINE_bool("plain_forms", False, "Whether our model uses the forms of computations for other devices than TPUs.")
_LOOP_TRIPS = flags.DEFINE_integer("loop_trips", 1, "Counted iterations of loops that depend on the data.", lower_bound=1)
_JSON = flags.DEFINE_string("json", "", "JSON file to which the results are written.")
_KEEP = flags.DEFINE_string("keep", "", "Folder in which lowered and optimized programs are kept.")
_SIDE = flags.DEFINE_string("side", "", "Internal: the row whose program this process lowers.")
_PROGRAM = flags.DEFINE_string("program", "", "Internal: path of the lowered program.")

_EXPERIMENTS = {"deeplab": "deeplab_voc", "maskrcnn": "maskrcnn_coco"}
_LIKE_FOR_LIKE = (
    "task.model.box_head.num_convs=4,task.model.box_head.num_dense=1,task.model.norm.mode=synchronized,"
    "task.model.num_frozen_stages=0"
)


def _experiment(override: str = "") -> Any:
    from tpuseg.configs import experiments

    size = f"task.model.input_size=[{_SIZE.value},{_SIZE.value}]" if _SIZE.value else ""
    parts = ",".join(filter(None, [size, override, _OVERRIDE.value]))
    return experiments.load(_EXPERIMENTS[_MODEL.value], params_override=parts)


def lower_ours(override: str = "") -> bytes:
    """Returns the program of our experiment's step."""
    from tpuseg.tpu import program

    experiment = _experiment(override).config
    return program.build(experiment, num_replicas=1, batch_size=_BATCH.value, mode=_MODE.value, tpu_forms=not _PLAIN.value).hlo


def lower_model_garden() -> bytes:
    """Returns the program of the Model Garden's train step."""
    import tf_keras

    from tpuseg.tpu import lowering

    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    side = _SIZE.value or _experiment().config.task.model.input_size[0]
    task, labels = {"deeplab": _garden_deeplab, "maskrcnn": _garden_maskrcnn}[_MODEL.value](side)
    model = task.build_model()
    optimizer = tf_keras.optimizers.legacy.SGD(0.01, momentum=0.9)
    # The optimizer's variables must exist before the step is traced.
    optimizer._create_all_weights(model.trainable_variables)

    def step(images: Any, labels: Any) -> Any:
        return task.train_step((images, labels), model, optimizer, metrics=None)["loss"]

    return lowering.lower(step, [_spec(side, side, 3, dtype="bfloat16"), labels])


def _spec(*shape: int, dtype: str = "float32") -> Any:
    import tensorflow as tf

    return tf.TensorSpec([_BATCH.value, *shape], dtype)


def _garden_deeplab(side: int) -> tuple[Any, Any]:
    from official.core import exp_factory
    from official.vision.tasks import semantic_segmentation

    settings = exp_factory.get_exp_config("seg_deeplabv3plus_pascal").task
    settings.init_checkpoint = None
    settings.model.input_size = [side, side, 3]
    settings.train_data.output_size = [side, side]
    # The random generator of its dropout cannot be lowered here; our model keeps its dropout.
    settings.model.decoder.aspp.dropout_rate = 0.0
    labels = {"masks": _spec(side, side, 1), "valid_masks": _spec(side, side, 1, dtype="bool"), "image_info": _spec(4, 2)}
    return semantic_segmentation.SemanticSegmentationTask(settings), labels


def _garden_maskrcnn(side: int) -> tuple[Any, Any]:
    from official.core import exp_factory
    from official.vision.tasks import maskrcnn

    settings = exp_factory.get_exp_config("maskrcnn_resnetfpn_coco").task
    settings.init_checkpoint, settings.annotation_file = None, None
    settings.model.input_size = [side, side, 3]

    def by_level(num_values: int, dtype: str = "float32") -> dict[str, Any]:
        return {str(level): _spec(side >> level, side >> level, num_values, dtype=dtype) for level in range(2, 7)}

    labels = {
        "anchor_boxes": by_level(12),
        "image_info": _spec(4, 2),
        "rpn_score_targets": by_level(3, "int32"),
        "rpn_box_targets": by_level(12),
        "gt_boxes": _spec(100, 4),
        "gt_classes": _spec(100, dtype="int32"),
        "gt_outer_boxes": _spec(100, 4),
        "gt_masks": _spec(100, 112, 112),
    }
    return maskrcnn.MaskRCNNTask(settings), labels


SIDES: dict[str, dict[str, Callable[[], bytes]]] = {
    "deeplab": {"tpuseg": lower_ours, "model_garden": lower_model_garden},
    "maskrcnn": {
        "tpuseg": lower_ours,
        "like_for_like": lambda: lower_ours(_LIKE_FOR_LIKE),
        "model_garden": lower_model_garden,
    },
}


def _sides() -> list[str]:
    known = [name for name in SIDES[_MODEL.value] if _MODE.value == "train" or name != "model_garden"]
    unknown = sorted(set(_ONLY.value) - set(known))
    if unknown:
        raise ValueError(f"--only={','.join(unknown)}: --model={_MODEL.value} --mode={_MODE.value} has {', '.join(known)}")
    return [name for name in known if not _ONLY.value or name in _ONLY.value]


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    if _KEEP.value:
        os.makedirs(_KEEP.value, exist_ok=True)
        yield _KEEP.value
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def _lowered(side: str, folder: str) -> bytes:
    """Returns the lowered program of a row; it is lowered in a separate process, so that the memory is free for the compiler."""
    form = "plain" if _PLAIN.value else "tpu"
    path = os.path.join(folder, f"{_MODEL.value}_{_MODE.value}_{side}_{_SIZE.value}_{_BATCH.value}_{form}.hlo")
    if not os.path.exists(path):
        subprocess.run([sys.executable, *sys.argv, f"--side={side}", f"--program={path}"], check=True)
    with open(path, "rb") as file:
        return file.read()


def figures(side: str, compiled: Any) -> dict[str, Any]:
    """Returns the results of a row for one TPU, which are printed and written to the file of `--json`."""
    from tpuseg.tpu import layers

    memory = compiled.memory
    found = {
        "side": side,
        "tpu_type": compiled.tpu.name,
        "compiler": compiled.compiler,
        "fits": compiled.fits,
        "hbm_bytes": memory.arguments + memory.temporaries if compiled.fits else memory.peak,
        "hbm_capacity_bytes": memory.capacity,
    }
    if not compiled.fits:
        return found
    directions: dict[str, float] = collections.Counter()
    rows = layers.by_layer(compiled.estimate.operations)
    for row in rows:
        directions[row.direction] += row.cycles
    return {
        **found,
        "flops": compiled.flops,
        "estimated_cycles": compiled.cycles,
        "cycles_by_bytes": compiled.estimate.cycles_by("bytes"),
        "estimated_step_seconds": compiled.seconds,
        "peak_flops_share": compiled.peak_flops_share,
        "directions": dict(directions),
        "layers": [{"name": row.name, "pass": row.direction, "cycles": row.cycles} for row in rows],
    }


def _line(row: dict[str, Any], reference: dict[str, Any] | None) -> str:
    if not row["fits"]:
        return f"  {row['side']:14} does not fit: {row['hbm_bytes'] / 1e9:.1f} GB of {row['hbm_capacity_bytes'] / 1e9:.1f}"
    shares = ""
    if reference and reference["fits"] and reference is not row:
        cycles = row["estimated_cycles"] / reference["estimated_cycles"]
        shares = f"  {cycles:.3f} of its cycles, {row['hbm_bytes'] / reference['hbm_bytes']:.2f} of its memory"
    passes = ", ".join(f"{name} {cycles / 1e6:.0f}" for name, cycles in sorted(row["directions"].items()) if cycles > 5e5)
    return (
        f"  {row['side']:14} {row['estimated_cycles'] / 1e6:7.1f} M cycles ({row['cycles_by_bytes'] / 1e6:.1f} by bytes; {passes})"
        f" {row['estimated_step_seconds'] * 1e3:7.1f} ms {row['hbm_bytes'] / 1e9:6.2f} GB {row['flops'] / 1e12:6.2f} TFLOP"
        f" {100 * row['peak_flops_share']:4.0f}% of peak{shares}"
    )


def _hours(row: dict[str, Any], experiment: Any) -> str:
    steps, seconds = experiment.config.trainer.train_steps, row["estimated_step_seconds"]
    return f"  {experiment.name}: {steps} steps of {seconds * 1e3:.0f} ms are {steps * seconds / 3600:.2f} hours"


def by_part(found: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the cycles of a model's parts (backbone, heads) and of operations outside of it, the largest first."""
    cycles: dict[str, float] = collections.Counter()
    for layer in found:
        cycles["/".join(layer["name"].split("/")[:2])] += layer["cycles"]
    return dict(sorted(cycles.items(), key=lambda item: -item[1]))


def _print(rows: list[dict[str, Any]]) -> None:
    experiment = _experiment()
    height, width = experiment.config.task.model.input_size
    for tpu_type in _TPU_TYPES.value:
        mine = [row for row in rows if row["tpu_type"] == tpu_type]
        reference = next((row for row in mine if row["side"] == "model_garden"), None)
        print(f"{_MODEL.value}, {_MODE.value} step, {_BATCH.value} images of {height}x{width} on one core of a {tpu_type}:")
        for row in mine:
            print(_line(row, reference))
        ours = next((row for row in mine if row["side"] == "tpuseg" and row["fits"]), None)
        if ours and _MODE.value == "train":
            print(_hours(ours, experiment))
    for row in rows:
        parts = [f"{name} {cycles / 1e6:.1f}" for name, cycles in by_part(row.get("layers", [])).items() if cycles >= 5e4]
        if parts:
            print(f"  {row['tpu_type']} {row['side']}, M cycles by part: {', '.join(parts)}")
    for row in rows:
        for layer in row.get("layers", [])[: _TOP.value]:
            print(f"  {row['tpu_type']} {row['side']:14} {layer['cycles'] / 1e6:8.2f} M  {layer['pass']:8} {layer['name']}")
    if rows:
        print(f"estimates of {rows[0]['compiler']}, without input, host and network")


def main(argv: list[str]) -> None:
    """Prints the comparison, or lowers one program with `--side`."""
    cli.refuse_arguments(argv)
    if _SIDE.value:
        with open(_PROGRAM.value + ".part", "wb") as file:
            file.write(SIDES[_MODEL.value][_SIDE.value]())
        os.replace(_PROGRAM.value + ".part", _PROGRAM.value)
        return
    from tpuseg.io import files
    from tpuseg.tpu import compiler, topology

    compiler.require_installed()
    for tpu_type in _TPU_TYPES.value:
        topology.parse(tpu_type)
    rows = []
    with _folder() as folder:
        for side in _sides():
            program = _lowered(side, folder)
            for tpu_type in _TPU_TYPES.value:
                compiled = compiler.compile_program(program, tpu_type, _LOOP_TRIPS.value)
                with open(os.path.join(folder, f"{_MODEL.value}_{_MODE.value}_{side}_{tpu_type}.txt"), "w") as file:
                    file.write(compiled.optimized)
                rows.append(figures(side, compiled))
                print(f"compiled {side} for a {tpu_type} in {compiled.compile_seconds:.0f} s", flush=True)
                # Written after each program, because compiling takes minutes and results should not be lost.
                if _JSON.value:
                    files.write_json(_JSON.value, rows)
    _print(rows)


if __name__ == "__main__":
    cli.run(main)
