"""The moving average of the weights: what is evaluated, what is saved, and that a resumed run stays the same."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny_backbone
from official.modeling import optimization

from tpuseg.configs import experiments
from tpuseg.inference import predictors
from tpuseg.training import distribution, runs, trainer

TINY = (
    f"{tiny_backbone.OVERRIDE},task.model.input_size=[64,64],task.evaluation.num_pictures=0,task.train_data.global_batch_size=4,"
    "trainer.train_steps=4,trainer.checkpoint_interval=2,trainer.validation_interval=2,trainer.summary_interval=4,"
    "trainer.optimizer_config.warmup.linear.warmup_steps=1,trainer.optimizer_config.ema.average_decay=0.9"
)
AVERAGE = "/.OPTIMIZER_SLOT/optimizer/average"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def run(model_dir, data_dir, mode="train_and_eval", override="", checkpoint=""):
    runs.run(experiments.load("deeplab_shapes", params_override=TINY + override), mode, str(model_dir), data_dir, checkpoint)


def tensors(path):
    reader = tf.train.load_checkpoint(str(path))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if key.startswith(("model", "optimizer"))}


def averages(values):
    """The moving averages of a checkpoint, by the names of their weights."""
    return {key.removesuffix(AVERAGE + VALUE): value for key, value in values.items() if key.endswith(AVERAGE + VALUE)}


@pytest.fixture(scope="module")
def averaged(shapes_dir, tmp_path_factory):
    """A finished run, and the first kernel as it was in the model in every evaluation."""
    folder, seen = tmp_path_factory.mktemp("averaged"), []
    reduce = trainer.Evaluator.eval_reduce

    def spy(self, state=None, step_outputs=None):
        seen.append(self.model.trainable_variables[0].numpy())
        return reduce(self, state, step_outputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Evaluator, "eval_reduce", spy)
        run(folder, shapes_dir)
    return folder, seen


def test_the_average_is_evaluated_and_kept_as_the_best(averaged):
    folder, seen = averaged
    step = json.loads((folder / "best_checkpoint/info.json").read_text())["step"]
    newest, best = tensors(folder / f"ckpt-{step}"), tensors(folder / f"best_checkpoint/ckpt-{step}")
    assert len(averages(newest)) > 20
    for name, average in averages(newest).items():
        np.testing.assert_array_equal(best[name + VALUE], average, err_msg=name)
    evaluated = [value for value in seen if any(np.array_equal(value, average) for average in averages(newest).values())]
    assert evaluated
    first = next(name for name, average in averages(newest).items() if np.array_equal(average, evaluated[0]))
    assert not np.array_equal(newest[first + VALUE], evaluated[0])  # The weights themselves are others.


def test_prediction_takes_the_average_from_both_kinds_of_checkpoints(averaged):
    folder, _ = averaged
    step = json.loads((folder / "best_checkpoint/info.json").read_text())["step"]
    names = (f"ckpt-{step}", f"best_checkpoint/ckpt-{step}")
    plain, best = (predictors.Predictor(str(folder), str(folder / name)) for name in names)
    for value, expected in zip(plain.model.variables, best.model.variables, strict=True):
        np.testing.assert_array_equal(value, expected, err_msg=expected.name)
    values = averages(tensors(folder / f"ckpt-{step}")).values()
    first = plain.model.trainable_variables[0].numpy()
    assert any(np.array_equal(value, first) for value in values)


@pytest.mark.parametrize("kind", ["", "best_checkpoint/"])
def test_both_kinds_of_checkpoints_are_evaluated_alike(averaged, shapes_dir, tmp_path, kind, monkeypatch):
    folder, _ = averaged
    step = json.loads((folder / "best_checkpoint/info.json").read_text())["step"]
    expected = averages(tensors(folder / f"ckpt-{step}"))
    after_evaluation = runs.Run._after_evaluation

    def keep_what_was_evaluated(self, logs):
        self.checkpoint.write(str(tmp_path / "evaluated"))
        after_evaluation(self, logs)

    monkeypatch.setattr(runs.Run, "_after_evaluation", keep_what_was_evaluated)
    run(tmp_path, shapes_dir, "eval", checkpoint=str(folder / f"{kind}ckpt-{step}"))
    evaluated = tensors(tmp_path / "evaluated")
    for name, average in expected.items():
        np.testing.assert_array_equal(evaluated[name + VALUE], average, err_msg=name)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert json.loads((tmp_path / f"metrics-ckpt-{step}.json").read_text()) in rows


def test_a_resumed_run_is_the_same_to_the_bit(averaged, shapes_dir, tmp_path):
    folder, _ = averaged
    # As after a kill behind the evaluation of step 2, which is not repeated: in the other run it must have left no trace.
    for path in folder.glob("ckpt-2.*"):
        shutil.copy(path, tmp_path)
    tf.compat.v1.train.update_checkpoint_state(str(tmp_path), "ckpt-2", ["ckpt-2"])
    (tmp_path / "metrics.jsonl").write_text((folder / "metrics.jsonl").read_text().splitlines()[0] + "\n")
    run(tmp_path, shapes_dir)
    expected, actual = tensors(folder / "ckpt-4"), tensors(tmp_path / "ckpt-4")
    assert expected.keys() == actual.keys()
    for key in expected:
        np.testing.assert_array_equal(actual[key], expected[key], err_msg=key)
    assert (tmp_path / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


def test_the_average_is_found_within_loss_scaling_and_nowhere_else():
    average = optimization.ExponentialMovingAverage(tf_keras.optimizers.legacy.SGD())
    assert trainer.moving_average(average) is average
    assert trainer.moving_average(tf_keras.mixed_precision.LossScaleOptimizer(average)) is average
    assert trainer.moving_average(tf_keras.optimizers.legacy.SGD()) is None


@pytest.mark.parametrize("devices", [["cpu:0"], ["cpu:0", "cpu:1"]])
def test_evaluation_leaves_the_weights_as_they_were(devices):
    strategy = distribution.create_mirrored(devices)
    with strategy.scope():
        model = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(5,))])
        average = optimization.ExponentialMovingAverage(tf_keras.optimizers.legacy.SGD())
        average.shadow_copy(model)
        slot = average.get_slot(model.trainable_variables[0], "average")
        slot.assign(tf.fill(slot.shape, 1e6))  # Far from the weights: sums and differences would be rounded.
        weights, means = model.trainable_variables[0].numpy(), slot.numpy()
        trainer.swap_weights(average)
        for replica in strategy.experimental_local_results(model.trainable_variables[0]):
            np.testing.assert_array_equal(replica, means)
        trainer.swap_weights(average)
        for variable, expected in ((model.trainable_variables[0], weights), (slot, means)):
            for replica in strategy.experimental_local_results(variable):
                np.testing.assert_array_equal(replica, expected)


@pytest.mark.parametrize("dynamic_decay", [True, False])
@pytest.mark.parametrize("devices", [["cpu:0"], ["cpu:0", "cpu:1"]])
def test_averages_start_at_the_weights(devices, dynamic_decay):
    strategy = distribution.create_mirrored(devices)
    with strategy.scope():
        model = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(5,))])
        sgd = tf_keras.optimizers.legacy.SGD(0.0)
        average = optimization.ExponentialMovingAverage(sgd, average_decay=0.9998, dynamic_decay=dynamic_decay)
        average.shadow_copy(model)
        trainer.start_average(average)

        @tf.function
        def step():
            average.apply_gradients([(tf.zeros_like(weight), weight) for weight in model.trainable_variables])

        for _ in range(3):
            strategy.run(step)
        for weight in model.trainable_variables:
            np.testing.assert_allclose(average.get_slot(weight, "average"), weight, rtol=1e-6)
