"""From a TensorFlow function to the program that XLA compiles, on a machine without a TPU.

Everything private to TensorFlow that this needs is in `utils/private_apis.py`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tpuseg.utils import private_apis

# Operations of HLO whose operands may differ in type (float32 times bfloat16) although StableHLO's may not.
_ELEMENTWISE = {"add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "compare"}
# Names of kernels in TensorFlow's table: those that all wheels have, and those of tensorflow-tpu.
CPU, TPU = "XLA_CPU_JIT", "XLA_TPU_JIT"
# Nothing of these is left when XLA compiles a graph.
_STRUCTURE = {"Placeholder", "NoOp", "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall", "SymbolicGradient"}


@dataclasses.dataclass(frozen=True)
class UnsupportedOp:
    """An operation that XLA has no kernel for.

    Attributes:
      op: type of the operation, for example `Unique`.
      name: name of the node in the graph.
      source: file and line that made it; empty where TensorFlow does not know.
    """

    op: str
    name: str
    source: str


class LoweringError(ValueError):
    """A function cannot become a program for a TPU.

    Attributes:
      unsupported: the operations that stand in the way, if it is these.
    """

    def __init__(self, message: str, unsupported: Sequence[UnsupportedOp] = ()) -> None:
        super().__init__(message)
        self.unsupported = list(unsupported)


def lower(step: Callable[..., Any], specs: Sequence[Any], platform: str = "") -> bytes:
    """Traces a function and lowers it for XLA: with everything that it calls, and the variables that it changes.

    Args:
      step: a Python function, a tf.function or a concrete function. Its variables must exist already.
      specs: its arguments as (nests of) `tf.TensorSpec` of static shapes; ignored for a concrete function.
      platform: `TPU` lowers with a TPU's own kernels, which TensorFlow only has where tensorflow-tpu is installed; otherwise
        those that all platforms share.

    Returns:
      A serialized HloModuleProto. Its parameters are the arguments, then the captured variables; changed variables are aliased.

    Raises:
      LoweringError: an operation has no kernel, or a shape is not static; names operations and source lines.
    """
    function = trace(step, specs)
    unsupported = [] if platform else unsupported_ops(function)
    if unsupported:
        listed = "; ".join(f"{op.op} `{op.name}`{f' at {op.source}' if op.source else ''}" for op in unsupported)
        raise LoweringError(f"XLA cannot compile {len(unsupported)} operation(s) of the step: {listed}", unsupported)
    try:
        program = private_apis.lower_for_xla(function, platform or None)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise LoweringError(f"the step cannot be lowered for XLA: {_first_lines(error)}") from error
    return _with_equal_types(program)


def trace(step: Callable[..., Any], specs: Sequence[Any]) -> tf.types.experimental.ConcreteFunction:
    """Returns the concrete function of a step; arguments as for `lower`."""
    if hasattr(step, "captured_inputs"):
        return step
    if hasattr(step, "get_concrete_function"):
        return step.get_concrete_function(*specs)
    # Not the function itself, whose further parameters would be taken for arguments too.
    return tf.function(lambda *arguments: step(*arguments), jit_compile=True, autograph=False).get_concrete_function(*specs)


def _first_lines(error: Exception, count: int = 3) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:count])[:1000]


def unsupported_ops(function: tf.types.experimental.ConcreteFunction, device: str = CPU) -> list[UnsupportedOp]:
    """Returns the operations of a concrete function, and of all that it calls, that XLA has no kernel for.

    Args:
      function: a concrete function.
      device: `CPU`, or `TPU` where tensorflow-tpu is installed.

    Raises:
      LoweringError: TensorFlow has no kernels for that device at all.
    """
    _register_kernels()
    if not private_apis.has_kernel("MatMul", device):
        raise LoweringError(f"this TensorFlow has no kernels for {device}")
    supported: dict[str, bool] = {}
    found = []
    for operation in _operations(function.graph):
        kind = operation.type
        if kind not in supported:
            supported[kind] = kind in _STRUCTURE or kind in _CALLS or private_apis.has_kernel(kind, device)
        if not supported[kind]:
            found.append(UnsupportedOp(kind, operation.name, _source(operation)))
    return found


def _register_kernels() -> None:
    """Has TensorFlow enter XLA's kernels into its table, which it does when it lowers something for the first time."""
    if not private_apis.has_kernel("MatMul", CPU):
        function = tf.function(lambda x: x + 1.0, jit_compile=True).get_concrete_function(tf.TensorSpec([]))
        private_apis.lower_for_xla(function)


def _operations(graph: tf.Graph) -> Iterator[tf.Operation]:
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


def _source(operation: tf.Operation) -> str:
    """Returns the innermost line of the stack that is not in a library."""
    frames = list(operation.traceback or ())
    for frame in reversed(frames):
        if "site-packages" not in frame.filename and "/lib/python" not in frame.filename:
            return f"{frame.filename}:{frame.lineno}"
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _with_equal_types(program: bytes) -> bytes:
    """Converts operands to the type of the result where an elementwise operation mixes types.

    Gradients under mixed_bfloat16 can contain such operations, which HLO allows and StableHLO, through which the TPU's compiler is
    reached, does not.
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
                        kept.append(_conversion(instruction.operand_ids[place], shape, wider, fresh))
                        instruction.operand_ids[place] = fresh
                        fresh += 1
                changed = True
            kept.append(instruction)
        if len(kept) != len(computation.instructions):
            copies = [type(row).FromString(row.SerializeToString()) for row in kept]
            del computation.instructions[:]
            computation.instructions.extend(copies)
    return module.SerializeToString() if changed else program


def _conversion(operand: int, shape: Any, kind: int, number: int) -> Any:
    conversion = private_apis.hlo_instruction(opcode="convert", id=number, name=f"convert.{number}", operand_ids=[operand])
    conversion.shape.CopyFrom(shape)
    conversion.shape.element_type = kind
    return conversion
