"""Whole runs on a few generated images: what they write, and that stopping and resuming changes nothing."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
import tiny_backbone

from tpuseg.configs import experiments
from tpuseg.data import pipeline
from tpuseg.inference import predictors
from tpuseg.io import checkpoints
from tpuseg.training import distribution, runs, trainer

TINY = (
    f"{tiny_backbone.OVERRIDE},task.model.input_size=[64,64],task.evaluation.input_size=[128,160],task.model.aspp.dropout_rate=0.1,"
    "task.train_data.global_batch_size=4,trainer.train_steps=6,trainer.checkpoint_interval=2,trainer.validation_interval=3,"
    "trainer.optimizer_config.warmup.linear.warmup_steps=2,trainer.summary_interval=1"
)


def run(model_dir, data_dir, mode="train_and_eval", override="", checkpoint=""):
    experiment = experiments.load("deeplab_shapes", params_override=TINY + override)
    runs.run(experiment, mode, str(model_dir), data_dir, checkpoint)


def values(path):
    reader = tf.train.load_checkpoint(path)
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if key.startswith(("model", "optimizer"))}


@pytest.fixture(scope="module")
def finished(shapes_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run(folder, shapes_dir)
    return folder


def test_what_a_run_writes(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    resources = metrics["resources"]
    assert resources["seconds"] > 0 and resources["peak_memory_bytes"] > 10**8
    assert metrics["step"] == 6 and set(metrics["per_class_iou"]) == {"background", "circle", "square", "triangle", "star", "ring"}
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6] and not any("resources" in row for row in rows)
    assert experiments.load(str(finished / "config.yaml")).config.trainer.train_steps == 6
    assert tf.train.latest_checkpoint(str(finished)).endswith("ckpt-6")
    assert json.loads((finished / "best_checkpoint/info.json").read_text())["metric"] == "mean_iou"
    assert len(list((finished / "pictures").glob("*.png"))) == 8
    assert list((finished / "train").glob("events.*")) and list((finished / "validation").glob("events.*"))


def test_a_stopped_run_goes_on_to_the_bit(finished, shapes_dir, tmp_path, monkeypatch, capsys):
    check = runs.StopRequest.check
    steps = []

    def stop_after_three(self):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        check(self)

    monkeypatch.setattr(runs.StopRequest, "check", stop_after_three)
    run(tmp_path, shapes_dir)
    assert "which is saved; the same command resumes from it" in capsys.readouterr().out
    stopped = checkpoints.step_of(tf.train.latest_checkpoint(str(tmp_path)))
    assert 2 <= stopped < 6
    monkeypatch.undo()
    run(tmp_path, shapes_dir)
    assert f"resuming from {tmp_path}/ckpt-{stopped}" in capsys.readouterr().out
    expected, actual = values(str(finished / "ckpt-6")), values(str(tmp_path / "ckpt-6"))
    assert expected.keys() == actual.keys()
    for key in expected:
        np.testing.assert_array_equal(actual[key], expected[key], err_msg=key)


def test_a_broken_checkpoint_is_passed_over(finished, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    data = next(folder.glob("ckpt-6.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    model = predictors.Predictor(str(finished), str(finished / "ckpt-6")).model
    saved = checkpoints.Checkpoints(tf.train.Checkpoint(model=model), str(folder), max_to_keep=3)
    assert saved.restore_newest() == str(folder / "ckpt-4")
    assert "ckpt-6 is damaged" in capsys.readouterr().out


def test_evaluation_alone_gives_the_same_metrics(finished, shapes_dir, tmp_path):
    run(tmp_path, shapes_dir, "eval", checkpoint=str(finished / "ckpt-6"))
    alone, trained = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, finished))
    assert trained.pop("resources") and alone == trained


def test_prediction_agrees_with_evaluation(finished, shapes_dir):
    from tpuseg.deeplab import inputs
    from tpuseg.evaluation import miou

    predictor = predictors.Predictor(str(finished), str(finished / "ckpt-6"))
    matrix = miou.ConfusionMatrix(6, 255)
    for truth in inputs.ground_truths(experiments.load("deeplab_shapes").config.task, shapes_dir, pipeline.Pipelines()):
        matrix.add(truth.labels, predictor.predict([truth.image])[0])
    expected = json.loads((finished / "metrics.json").read_text())
    assert matrix.metrics(predictor.task.classes.names)["mean_iou"] == pytest.approx(expected["mean_iou"], abs=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_images(shapes_dir, tmp_path):
    override = ",task.losses.class_weights=[1e38,1e38,1e38,1e38,1e38,1e38]"
    with pytest.raises(trainer.NonFiniteLossError, match=r"not finite at step \d+ .*Images of the batch: train_\d+, train_\d+"):
        run(tmp_path, shapes_dir, "train", override + ",trainer.checkpoint_interval=6")
    assert tf.train.latest_checkpoint(str(tmp_path)) is None


def test_records_with_another_number_of_classes(shapes_dir, tmp_path):
    with pytest.raises(ValueError, match="num_classes is 9, but the records of .* have 6 classes"):
        run(tmp_path, shapes_dir, override=",task.model.num_classes=9,task.losses.class_weights=[]")


def test_a_checkpoint_that_is_not_there(shapes_dir, tmp_path):
    with pytest.raises(ValueError, match="there is no checkpoint no/ckpt-7"):
        run(tmp_path, shapes_dir, "eval", checkpoint="no/ckpt-7")
    with pytest.raises(ValueError, match="init_checkpoint: there is no checkpoint or file nowhere"):
        run(tmp_path, shapes_dir, override=",task.init_checkpoint=nowhere")


def test_the_wait_for_input_is_measured_before_the_step(shapes_dir, tmp_path):
    """Otherwise an executor with one thread computes first, and the computation counts as waiting."""
    experiment = experiments.load("deeplab_shapes", params_override=TINY)
    strategy = distribution.make_strategy(experiment.config.runtime)
    run = runs.Run(experiment, strategy, str(tmp_path), shapes_dir, train=True)
    with strategy.scope():
        run.initialize()
        run.trainer.start_input()
        graph = tf.function(run.trainer.train_step).get_concrete_function(iter(run.trainer.train_dataset)).graph

    def ancestors(operation):
        found, left = set(), [operation]
        while left:
            one = left.pop()
            inputs = {tensor.op for tensor in one.inputs} | set(one.control_inputs)
            left += inputs - found
            found |= inputs
        return found

    convolutions = [operation for operation in graph.get_operations() if operation.type == "Conv2D"]
    assert convolutions
    for convolution in convolutions:
        assert sum(operation.type == "Timestamp" for operation in ancestors(convolution)) == 2
