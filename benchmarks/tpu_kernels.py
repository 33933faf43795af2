"""Checks that every operation of both models' train and evaluation steps has a TPU kernel.

It runs in an environment with tensorflow-tpu instead of tensorflow, which contains the table of TPU kernels even without a TPU:

  .ci/check_tpu_kernels        creates this environment, and runs this script

There are two checks: every operation of each step, and of all functions in it, must be in TensorFlow's table of TPU kernels; and
the forward computation of each evaluation step, with its weights as constants, must be lowered with these kernels. (Without a TPU,
TensorFlow cannot lower a step that changes variables for a TPU.)
"""

import importlib.metadata
import os
import sys
from typing import Any

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

from tpuseg import cli  # noqa: E402

_EXPERIMENTS = flags.DEFINE_list(
    "experiments",
    ["maskrcnn_coco", "maskrcnn_mobilenetv2_coco", "deeplab_voc", "deeplab_mobilenetv2_voc", "deeplab_xception65_voc"],
    "Experiments whose steps are checked.",
)
_NUM_REPLICAS, _BATCH_SIZE = 8, 2


def check(name: str, mode: str) -> list[str]:
    """Returns one line for each operation of a step without a TPU kernel.

    Args:
      name: name of the experiment.
      mode: `train` or `eval`.
    """
    import tensorflow as tf

    from tpuseg.configs import experiments
    from tpuseg.tpu import lowering, program

    traced = program.trace(experiments.load(name).config, _NUM_REPLICAS, _BATCH_SIZE, mode)
    missing = lowering.unsupported_ops(traced.function, lowering.TPU)
    lines = [f"{op.op} `{op.name}`{f' at {op.source}' if op.source else ''}" for op in missing]
    if mode == "eval" and not lines:
        try:
            frozen = _frozen(traced.function)
            specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in frozen.inputs]
            lowering.lower(lambda *inputs: frozen(*inputs), specs, platform="TPU")
        except lowering.LoweringError as error:
            lines.append(str(error))
    return lines


def _frozen(function: Any) -> Any:
    """Returns a concrete function in which the values of variables are constants."""
    from tensorflow.python.framework import convert_to_constants

    return convert_to_constants.convert_variables_to_constants_v2(function)


def main(argv: list[str]) -> int:
    """Prints a line about each step; returns the exit code, 1 if a kernel is missing."""
    cli.refuse_arguments(argv)
    try:
        version = importlib.metadata.version("tensorflow-tpu")
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError("tensorflow-tpu is not installed here; .ci/check_tpu_kernels makes an environment with it") from error
    wrong = 0
    for name in _EXPERIMENTS.value:
        for mode in ("train", "eval"):
            lines = check(name, mode)
            wrong += len(lines)
            print(f"{name}, {mode}: {'every operation has a TPU kernel' if not lines else ''}", flush=True)
            for line in lines:
                print(f"  no TPU kernel: {line}", flush=True)
    print(f"checked with tensorflow-tpu {version}")
    return 1 if wrong else 0


if __name__ == "__main__":
    cli.run(main)
