"""Lowering a TensorFlow function to the program that XLA compiles, on a machine without a TPU.

All private functions of TensorFlow that this needs are in `utils/private_apis.py`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tpuseg.utils import private_apis

# Operations whose operands may have different types in HLO (float32 times bfloat16), but not in StableHLO.
_ELEMENTWISE = {"add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "compare"}
# Names of devices in TensorFlow's table of kernels: all wheels have the first, only tensorflow-tpu has the second.
CPU, TPU = "XLA_CPU_JIT", "XLA_TPU_JIT"
# Operations that have no kernel, because lowering a graph replaces them.
_STRUCTURE = {"Placeholder", "NoOp", "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall", "SymbolicGradient"}


@dataclasses.dataclass(frozen=True)
class UnsupportedOp:
    """An operation without a kernel for XLA.

    Attributes:
      op: type of the operation, for example `Unique`.
      name: name of the node in the graph.
      source: file and line that created it; empty if TensorFlow has no stack trace.
    """

    op: str
    name: str
    source: str


class LoweringError(ValueError):
    """A function cannot be lowered to a program for a TPU.

    Attributes:
      unsupported: the operations without a kernel, if these are the reason.
    """

    def __init__(self, message: str, unsupported: Sequence[UnsupportedOp] = ()) -> None:
        super().__init__(message)
        self.unsupported = list(unsupported)


def lower(step: Callable[..., Any], specs: Sequence[Any], platform: str = "") -> bytes:
    """Traces a function and lowers it for XLA, including all functions that it calls and the variables that it changes.

    Args:
      step: a Python function, a tf.function or a concrete function. Its variables must already exist.
      specs: its arguments as (nested) `tf.TensorSpec` with static shapes; ignored for a concrete function.
      platform: platform whose kernels are used: `TPU`, which only exists if tensorflow-tpu is installed; by default, the kernels
        that all platforms share.

    Returns:
      A serialized HloModuleProto. Its parameters are the arguments, then the captured variables; changed variables are aliased.

    Raises:
      LoweringError: an operation has no kernel, or a shape is not static; the message names operations and source lines.
    """
    function = trace(step, specs)
    unsupported = [] if platform else unsupported_ops(function)
    if unsupported:
        listed = "; ".join(f"{op.op} `{op.name}`{f' at {op.source}' if op.source else ''}" for op in unsupported)
        raise LoweringError(f"XLA cannot compile {len(unsupported)} operation(s) of the step: {listed}", unsupported)
    try:
        program = private_apis.lower_for_xla(function, platform or None)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise LoweringError(f"the step cannot be lowered for XLA: {_join_first_lines(error)}") from error
    return _equalize_types(program)


def trace(step: Callable[..., Any], specs: Sequence[Any]) -> tf.types.experimental.ConcreteFunction:
    """Returns the concrete function of a step; for the arguments, see `lower`."""
    if hasattr(step, "captured_inputs"):
        return step
    if hasattr(step, "get_concrete_function"):
        return step.get_concrete_function(*specs)
    # The lambda hides optional parameters of the function, which would become arguments too.
    return tf.function(lambda *arguments: step(*arguments), jit_compile=True, autograph=False).get_concrete_function(*specs)


def _join_first_lines(error: Exception, count: int = 3) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:count])[:1000]


def unsupported_ops(function: tf.types.experimental.ConcreteFunction, device: str = CPU) -> list[UnsupportedOp]:
    """Returns the operations without a kernel for XLA in a concrete function and all functions that it calls.

    Args:
      function: a concrete function.
      device: `CPU`, or `TPU` if tensorflow-tpu is installed.

    Raises:
      LoweringError: TensorFlow has no kernels for this device.
    """
    _register_kernels()
    if not private_apis.has_kernel("MatMul", device):
        raise LoweringError(f"this TensorFlow has no kernels for {device}")
    supported: dict[str, bool] = {}
    found = []
    for operation in _iterate_operations(function.graph):
        kind = operation.type
        if kind not in supported:
            supported[kind] = kind in _STRUCTURE or kind in _CALLS or private_apis.has_kernel(kind, device)
        if not supported[kind]:
            found.append(UnsupportedOp(kind, operation.name, _find_source(operation)))
    return found


def _register_kernels() -> None:
    """Lowers a small function if necessary, because TensorFlow registers XLA's kernels when it lowers the first function."""
    if not private_apis.has_kernel("MatMul", CPU):
        function = tf.function(lambda x: x + 1.0, jit_compile=True).get_concrete_function(tf.TensorSpec([]))
        private_apis.lower_for_xla(function)


def _iterate_operations(graph: tf.Graph) -> Iterator[tf.Operation]:
    """Yields the operations of a graph and of the functions in it, each function once."""
    seen: set[str] = set()
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        for operation in current.get_operations():
            yield operation
            for value in operation.node_def.attr.values():
                for called in [value.func, *value.list.func]:
                    if called.name and called.name not in seen:
                        seen.add(called.name)
                        definition = private_apis.function_in_graph(current, called.name)
                        if definition is not None and hasattr(definition, "graph"):
                            waiting.append(definition.graph)


def _find_source(operation: tf.Operation) -> str:
    """Returns the innermost source line of the stack trace that is not in a library."""
    frames = list(operation.traceback or ())
    for frame in reversed(frames):
        if "site-packages" not in frame.filename and "/lib/python" not in frame.filename:
            return f"{frame.filename}:{frame.lineno}"
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _equalize_types(program: bytes) -> bytes:
    """Converts operands to the type of the result where an elementwise operation mixes types.

    Gradients under mixed_bfloat16 can contain such operations. HLO allows them, but StableHLO, which the TPU's compiler receives,
    does not.
    """
    module, float32 = private_apis.hlo_module(program), private_apis.hlo_float32()
    fresh = max(instruction.id for computation in module.computations for instruction in computation.instructions) + 1
    changed = False
    for computation in module.computations:
        types = {instruction.id: instruction.shape for instruction in computation.instructions}
        kept = []
        for instruction in computation.instructions:
            operands = [types[number] for number in instruction.operand_ids]
            if instruction.opcode in _ELEMENTWISE and len({shape.element_type for shape in operands}) > 1:
                wider = max((shape.element_type for shape in operands), key=lambda kind: kind == float32)
                for place, shape in enumerate(operands):
                    if shape.element_type != wider:
                        kept.append(_create_conversion(instruction.operand_ids[place], shape, wider, fresh))
                        instruction.operand_ids[place] = fresh
                        fresh += 1
                changed = True
            kept.append(instruction)
        if len(kept) != len(computation.instructions):
            copies = [type(row).FromString(row.SerializeToString()) for row in kept]
            del computation.instructions[:]
            computation.instructions.extend(copies)
    return module.SerializeToString() if changed else program


def _create_conversion(operand: int, shape: Any, kind: int, number: int) -> Any:
    conversion = private_apis.hlo_instruction(opcode="convert", id=number, name=f"convert.{number}", operand_ids=[operand])
    conversion.shape.CopyFrom(shape)
    conversion.shape.element_type = kind
    return conversion
