"""The TPU's compiler, asked: a tiny model for a v3-8."""

import pytest
import tensorflow as tf

from tpuseg.tpu import compiler, lowering, topology
from tpuseg.utils import private_apis


def test_flops_memory_and_time_of_a_tiny_model():
    strategy = private_apis.described_replicas(8)
    with strategy.scope():
        weights = [tf.Variable(tf.zeros([256, 512])), tf.Variable(tf.zeros([512, 128]))]

    def replica(x):
        with tf.GradientTape() as tape:
            hidden = tf.matmul(x, weights[0], name="first/MatMul")
            loss = tf.reduce_sum(tf.matmul(hidden, weights[1], name="second/MatMul"))
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(tf.distribute.get_replica_context().all_reduce("SUM", gradient))
        return loss

    program = lowering.lower(lambda x: strategy.run(replica, args=(x,)), [tf.TensorSpec([1024, 256])])
    found = compiler.compile_program(program, "v3-8")
    assert found.fits and "libtpu 0.0.21" in found.compiler
    # Two products forward; backward three: both weights' gradients, and the hidden layer's. The loss is a sum: its gradient is
    # ones, and the compiler may replace products with it by sums. What is not a product is far below a percent.
    products = 2 * 1024 * (256 * 512 + 512 * 128)
    fewest, most = products + 2 * 1024 * 256 * 512, 2 * products + 2 * 1024 * 512 * 128
    assert 0.99 * fewest < found.flops < 1.02 * most
    # Arguments: the batch and both weights, which are updated where they lie.
    assert found.memory.arguments == 4 * (1024 * 256 + 256 * 512 + 512 * 128)
    assert found.memory.aliased == 4 * (256 * 512 + 512 * 128)
    # Not faster than the peak of a core, and not slower than a thousandth of it.
    assert 1e-3 < found.peak_flops_share < 1
    assert found.estimate.cycles_by("wires") > 0


def test_a_matmul_is_near_the_peak():
    spec = tf.TensorSpec([2048, 2048], tf.bfloat16)
    found = compiler.compile_program(lowering.lower(tf.matmul, [spec, spec]), "v3-8")
    assert found.flops == 2 * 2048**3
    # 61.5 TFLOP/s, of which the compiler expects nearly all.
    assert 0.8 < found.peak_flops_share <= 1.0


def test_what_does_not_fit_is_an_answer_with_the_figures():
    # 12 GB and 12 GB in, of 15.48 GiB that the compiler gives to a program.
    specs = [tf.TensorSpec([3 * 2**10, 2**20])] * 2
    found = compiler.compile_program(lowering.lower(lambda x, y: x[0] + y[0], specs), "v3-8")
    assert not found.fits and found.memory.capacity == round(15.48 * 2**30)
    assert found.memory.peak >= 24 * 2**30
    assert "hbm" in found.reason


def test_a_refusal_has_the_compilers_reason(monkeypatch):
    spec = tf.TensorSpec([4])
    program = lowering.lower(lambda x: x + 1, [spec])
    with pytest.raises(compiler.CompilerError, match="v3-8"):
        compiler.compile_program(program[: len(program) // 2], "v3-8")
    monkeypatch.setenv(compiler.PYTHON_VARIABLE, "/bin/false")
    with pytest.raises(compiler.CompilerError, match="exit code 1"):
        compiler.compile_program(program, "v3-8")


def test_without_the_compiler_one_line_says_what_to_install(monkeypatch):
    monkeypatch.delenv(compiler.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="requirements-tpu-preflight.txt") as error:
        compiler.require_installed()
    assert "\n" not in str(error.value)


def test_another_memory_than_hbm_is_no_matter_of_the_batch():
    message = "RESOURCE_EXHAUSTED: Allocation (size=33554432) would exceed memory (size=16777216) :: [space=vmem, size = 0x2000000]"
    assert compiler._find_exceeded_memory(message, topology.parse("v3-8")) is None
    hbm = compiler._find_exceeded_memory(message.replace("vmem", "hbm"), topology.parse("v3-8"))
    assert hbm is not None and hbm.peak == 33554432
