"""Grouping the operations of a program by layer and by pass (forward, backward, update)."""

import dataclasses
import re
from collections.abc import Iterable

from tpuseg.tpu.hlo import Operation

# Operations whose names are in lower case. The names of other operations begin with a capital letter, those of layers do not.
_SMALL = (
    "add|sub|mul|truediv|floordiv|mod|pow|neg|concat|stack|unstack|split|strided_slice|range|ones|zeros|ones_like"
    "|zeros_like|eye|fill|transpose|sort|argsort|batchnorm|moments|depthwise|separable_conv2d|logical_and|logical_or|matmul|cond|while|map|body"
    "|stateless_dropout|dropout|resize|norm|l2_loss|weighted_loss"
)
_OPERATION = re.compile(rf"^([A-Z]\w*|({_SMALL})(_\d+)?)$")
_OPTIMIZERS = {"SGD", "Adam", "AdamW", "LAMB", "RMSprop", "SGDTorch", "Adagrad", "ExponentialMovingAverage"}
SUMS = "sums over replicas"
_COMPILER = "the compiler's own"


@dataclasses.dataclass(frozen=True)
class Layer:
    """Estimated time of a layer in one pass.

    Attributes:
      name: name of the layer in the model, or of an operation outside of layers.
      direction: the pass, `forward`, `backward`, `update` (of the optimizer) or `sums` (over the replicas).
      cycles: cycles per step.
    """

    name: str
    direction: str
    cycles: float


def layer_of(op_name: str, opcode: str = "") -> tuple[str, str]:
    """Returns the names of the layer and of the pass (see `Layer`) that an operation belongs to.

    Args:
      op_name: TensorFlow's name of the operation, for example `gradient_tape/model/conv/Conv2D/Conv2DBackpropInput`.
      opcode: opcode of the instruction.
    """
    if opcode.startswith("all-reduce"):
        return SUMS, "sums"
    parts = [part for part in op_name.split("/") if part]
    if not parts:
        return _COMPILER, "forward"
    backward = "gradient_tape" in parts
    parts = [part for part in parts if part not in ("gradient_tape", "XLA_Retvals", "XLA_Args")]
    if parts and parts[0] in _OPTIMIZERS:
        return parts[0], "update"
    name: list[str] = []
    for part in parts:
        if _OPERATION.match(part):
            break
        name.append(part)
    if len(name) < 2 and len(parts) > len(name):
        # For an operation of the model outside of its layers, the model's name alone would not identify it.
        name.append(re.sub(r"_\d+$", "", parts[len(name)]))
    return "/".join(name) or _COMPILER, "backward" if backward else "forward"


def by_layer(operations: Iterable[Operation]) -> list[Layer]:
    """Returns the layers of a program, those with the most cycles first."""
    cycles: dict[tuple[str, str], float] = {}
    for operation in operations:
        key = layer_of(operation.op_name, operation.opcode)
        cycles[key] = cycles.get(key, 0.0) + operation.cycles
    rows = [Layer(name, direction, total) for (name, direction), total in cycles.items()]
    return sorted(rows, key=lambda row: -row.cycles)
