"""The train and evaluation steps: under XLA, in bfloat16, and the same on one replica and on two."""

import numpy as np
import pytest
import steps
import tensorflow as tf
import tf_keras
import tiny_backbone

from tpuseg.configs import experiments
from tpuseg.deeplab import model as deeplab_model
from tpuseg.utils import device

SMALL = "task.model.input_size=[65,65],task.evaluation.input_size=[65,65]"
CPUS = ["/cpu:0", "/cpu:1"]


def make(override=""):
    return steps.build("deeplab_shapes", SMALL + ("," + override if override else ""), learning_rate=0.1)


def batch(size=4):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (size, 65, 65, 3)).astype(np.uint8)
    labels = random.choice([0, 1, 2, 3, 4, 5, 255], (size, 65, 65)).astype(np.uint8)
    return {"image": tf.constant(images), "index": tf.range(size, dtype=tf.int64)}, tf.constant(labels)


@pytest.mark.parametrize(
    "override",
    [
        pytest.param("", marks=pytest.mark.slow),
        f"{tiny_backbone.OVERRIDE},task.losses.hard_pixel_fraction=0.5,task.model.aspp.dropout_rate=0.1",
    ],
)
def test_train_step_compiles_with_xla_in_a_tpus_forms_and_gives_the_same_loss(override):
    plain, compiled = [], []
    for losses, jit in ((plain, False), (compiled, True)):
        task, model, optimizer = make(override)
        step = tf.function(lambda i, t=task, m=model, o=optimizer: t.train_step(i, m, o), jit_compile=jit)
        with device.building_for_tpu(jit):
            losses += [float(step(batch())["loss"]) for _ in range(2)]
    np.testing.assert_allclose(plain, compiled, rtol=2e-4)


def test_evaluation_step_compiles_with_xla():
    task, model, _ = make(f"{tiny_backbone.OVERRIDE},task.evaluation.flip=true,task.evaluation.scales=[0.75,1.0]")
    features, _ = batch(2)
    plain = task.validation_step(features, model)["logits"]
    compiled = tf.function(lambda i: task.validation_step(i, model), jit_compile=True)(features)["logits"]
    np.testing.assert_allclose(plain, compiled, atol=1e-4)
    np.testing.assert_allclose(tf.reduce_sum(plain, -1), np.ones(plain.shape[:3]), atol=1e-4)


def test_two_replicas_do_what_one_does():
    override = f"{SMALL},{tiny_backbone.OVERRIDE},task.model.norm.mode=synchronized,task.model.aspp.dropout_rate=0.0"
    one, two = (steps.on_replicas("deeplab_shapes", override, 0.1, batch(4), devices) for devices in (CPUS[:1], CPUS))
    np.testing.assert_allclose(one.losses["loss"], two.losses["loss"], rtol=1e-5)
    # Gradients and moving statistics alike; a gradient that was not added up, or averaged twice, would be off by a factor of two.
    assert np.linalg.norm(one.change - two.change) < 0.01 * np.linalg.norm(one.change)


def test_bfloat16_is_close_to_float32():
    features, _ = batch(2)
    outputs = []
    try:
        for policy in ("float32", "mixed_bfloat16"):
            tf_keras.mixed_precision.set_global_policy(policy)
            task, model, _ = make()
            outputs.append(model(features["image"], training=True)["logits"])
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert outputs[1].dtype == tf.float32
    probabilities = [tf.nn.softmax(logits).numpy() for logits in outputs]
    assert np.abs(probabilities[0] - probabilities[1]).mean() < 0.01


@pytest.mark.parametrize("size", [65, 64])
def test_logits_have_stride_4(size):
    settings = experiments.load("deeplab_shapes", params_override=f"task.model.input_size=[{size},{size}]").config.task.model
    expected = (size + 3) // 4
    assert deeplab_model.build(settings)(tf.zeros([1, size, size, 3], tf.uint8))["logits"].shape == (1, expected, expected, 6)


def test_a_small_norm_batch_is_warned_of(capsys):
    task, _, _ = make()
    task.warn(num_replicas=4)
    assert "batch norm trains on 2 images per replica" in capsys.readouterr().out
    task.warn(num_replicas=1)
    assert capsys.readouterr().out == ""
