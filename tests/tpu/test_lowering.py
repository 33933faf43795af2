"""Functions become programs, and what cannot is named."""

import pytest
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from tpuseg.tpu import lowering
from tpuseg.utils import private_apis


def opcodes(program):
    module = hlo_pb2.HloModuleProto.FromString(program)
    return [row.opcode for computation in module.computations for row in computation.instructions]


def test_variables_are_parameters_and_aliased():
    weight = tf.Variable(tf.ones([4, 3]))

    def step(x):
        weight.assign_sub(tf.matmul(x, tf.matmul(x, weight), transpose_a=True))
        return tf.reduce_sum(weight)

    module = hlo_pb2.HloModuleProto.FromString(lowering.lower(step, [tf.TensorSpec([2, 4])]))
    assert [entry.parameter_number for entry in module.input_output_alias.entries] == [1]
    # Nothing was computed.
    assert weight.numpy().sum() == 12


def test_what_xla_has_no_kernel_for_is_named_with_its_line():
    def step(x):
        return tf.strings.length(tf.strings.as_string(x))

    with pytest.raises(lowering.LoweringError, match="StringLength.*test_lowering.py") as error:
        lowering.lower(step, [tf.TensorSpec([3])])
    assert [op.op for op in error.value.unsupported] == ["AsString", "StringLength"]


def test_functions_inside_are_looked_into():
    @tf.function
    def inner(x):
        return tf.strings.as_string(x)

    def step(x):
        return tf.cond(x[0] > 0, lambda: tf.strings.length(inner(x)), lambda: tf.zeros([3], tf.int32))

    function = lowering.trace(step, [tf.TensorSpec([3])])
    assert {op.op for op in lowering.unsupported_ops(function)} == {"AsString", "StringLength"}


def test_a_shape_that_is_not_static_is_refused():
    with pytest.raises(lowering.LoweringError, match="static"):
        lowering.lower(lambda x: x + 1, [tf.TensorSpec([None, 3])])


def test_sums_over_replicas_are_in_the_program():
    strategy = private_apis.described_replicas(8)
    with strategy.scope():
        weight = tf.Variable(tf.ones([4]))

    def replica(x):
        context = tf.distribute.get_replica_context()
        assert context.num_replicas_in_sync == 8
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(context.all_reduce("SUM", x * weight) ** 2)
        (gradient,) = tape.gradient(loss, [weight])
        weight.assign_sub(context.all_reduce("MEAN", gradient))
        return loss

    program = lowering.lower(lambda x: strategy.run(replica, args=(x,)), [tf.TensorSpec([4])])
    # The sum, its gradient and the mean of the gradient.
    assert opcodes(program).count("all-reduce") == 3


def test_types_are_made_equal():
    # Of a module like those that gradients under mixed_bfloat16 can give: float32 times bfloat16.
    module = hlo_pb2.HloModuleProto.FromString(
        lowering.lower(lambda x, y: x * tf.cast(y, tf.float32), [tf.TensorSpec([2]), tf.TensorSpec([2], tf.bfloat16)])
    )
    main = next(c for c in module.computations if any(row.opcode == "multiply" for row in c.instructions))
    rows = {row.id: row for row in main.instructions}
    product = next(row for row in main.instructions if row.opcode == "multiply")
    converted = next(rows[number] for number in product.operand_ids if rows[number].opcode == "convert")
    product.operand_ids[list(product.operand_ids).index(converted.id)] = converted.operand_ids[0]
    mixed = module.SerializeToString()
    assert opcodes(lowering._equalize_types(mixed)).count("convert") == opcodes(mixed).count("convert") + 1
    # Without one nothing changes.
    untouched = lowering.lower(lambda x: x + x, [tf.TensorSpec([2])])
    assert lowering._equalize_types(untouched) is untouched
