"""Graphs with constants for variables and reshapes for slices, as converters for small devices take them."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tpuseg.utils import private_apis


def freeze(function: tf.types.experimental.ConcreteFunction) -> tf.types.experimental.ConcreteFunction:
    """Returns a concrete function whose variables are constants, and in which nothing has its axes added by slicing.

    `values[:, None]` is a strided slice, of which TFLite has none with six axes; where nothing is cut off it is a reshape.

    Args:
      function: a concrete function with static shapes.
    """
    constant = private_apis.freeze_variables(function)
    graph = constant.graph
    definition = graph.as_graph_def()
    for node in list(definition.node):
        operation = graph.get_operation_by_name(node.name)
        if node.op == "StridedSlice" and _only_adds_axes(operation):
            _make_reshape(node, operation.outputs[0].shape, definition.node.add())
    names = [tensor.name for tensor in constant.inputs], [tensor.name for tensor in constant.outputs]
    imported = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(definition, name=""), [])
    pruned = imported.prune(*names)
    keys = sorted(function.structured_outputs)  # As TensorFlow flattens dictionaries.

    def call(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(keys, pruned(*inputs), strict=True))

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.op.name) for tensor in constant.inputs]
    return tf.function(_with_arguments(call), input_signature=specs).get_concrete_function()


def _with_arguments(call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function; `tf.function` wants a plain one for a signature of several arguments."""
    return lambda *inputs: call(*inputs)


def _only_adds_axes(operation: tf.Operation) -> bool:
    """Returns whether a strided slice has as many values as its input, in the same order."""
    given, made = operation.inputs[0].shape, operation.outputs[0].shape
    if not (given.is_fully_defined() and made.is_fully_defined() and given.num_elements() == made.num_elements()):
        return False
    strides = tf.get_static_value(operation.inputs[3])
    return strides is not None and bool((strides == 1).all())


def _make_reshape(node: tf.compat.v1.NodeDef, shape: tf.TensorShape, constant: tf.compat.v1.NodeDef) -> None:
    """Turns a node into a reshape to a constant shape."""
    constant.name, constant.op = node.name + "/reshaped", "Const"
    constant.attr["dtype"].type = tf.int32.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(shape.as_list(), tf.int32))
    kind, source = node.attr["T"].type, node.input[0]
    node.op = "Reshape"
    del node.input[:]
    node.input.extend([source, constant.name])
    node.attr.clear()
    node.attr["T"].type = kind
    node.attr["Tshape"].type = tf.int32.as_datatype_enum
