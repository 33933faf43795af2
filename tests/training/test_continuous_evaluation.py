"""Continuous evaluation: every checkpoint of another process's training, each once, up to the last or until none comes."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tiny_backbone

from tpuseg.configs import experiments
from tpuseg.training import runs

TINY = (
    f"{tiny_backbone.OVERRIDE},task.model.input_size=[64,64],task.evaluation.num_pictures=0,task.train_data.global_batch_size=4,"
    "trainer.train_steps=3,trainer.checkpoint_interval=1,trainer.summary_interval=3,trainer.continuous_eval_timeout=1,"
    "trainer.optimizer_config.warmup.linear.warmup_steps=1"
)


def run(model_dir, data_dir, mode, override=""):
    runs.run(experiments.load("deeplab_shapes", params_override=TINY + override), mode, str(model_dir), data_dir)


@pytest.fixture(scope="module")
def trained(shapes_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(folder, shapes_dir, "train")
    return folder


@pytest.fixture
def model_dir(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def values(path):
    """The bytes of everything that a checkpoint holds, but for TensorFlow's own count of saves."""
    reader = tf.train.load_checkpoint(str(path))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith(("save_counter", "_CHECKPOINTABLE"))]
    return {name: reader.get_tensor(name).tobytes() for name in names}


def evaluated(model_dir):
    return [json.loads(line)["step"] for line in (model_dir / "metrics.jsonl").read_text().splitlines()]


def test_every_checkpoint_is_evaluated_up_to_the_last(model_dir, shapes_dir, capsys):
    assert not (model_dir / "metrics.jsonl").exists()  # Training alone evaluates nothing.
    run(model_dir, shapes_dir, "continuous_eval")
    said = capsys.readouterr().out
    assert evaluated(model_dir) == [1, 2, 3] and json.loads((model_dir / "metrics.json").read_text())["step"] == 3
    assert [line.rpartition("-")[2] for line in said.splitlines() if line.startswith("evaluating ")] == ["1", "2", "3"]
    assert "no new checkpoint" not in said and "done in" in said
    info = json.loads((model_dir / "best_checkpoint/info.json").read_text())
    assert info["metric"] == "mean_iou"
    # This process never trained, and its best checkpoint still has the optimizer's step count and all the rest.
    best, saved = (values(folder / f"ckpt-{info['step']}") for folder in (model_dir / "best_checkpoint", model_dir))
    assert best == saved and best["optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE"] == np.int64(info["step"]).tobytes()

    run(model_dir, shapes_dir, "continuous_eval")
    said = capsys.readouterr().out
    assert "evaluating" not in said and "no new checkpoint" not in said and "done in" in said  # All was done: no waiting.


def test_what_was_done_is_skipped_and_waiting_ends(model_dir, shapes_dir, capsys):
    (model_dir / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    run(model_dir, shapes_dir, "continuous_eval", ",trainer.train_steps=4")
    said = capsys.readouterr().out
    assert evaluated(model_dir) == [1, 2, 3] and said.count("evaluating ") == 1
    assert f"no new checkpoint in {model_dir} within 1 s" in said


def test_a_checkpoint_that_training_removes_meanwhile_is_no_error(model_dir, shapes_dir, monkeypatch):
    evaluate = runs.Run.evaluate

    def remove_the_next(self, path):
        for file in model_dir.glob("ckpt-2.*"):
            file.unlink()
        tf.compat.v1.train.update_checkpoint_state(str(model_dir), "ckpt-3", ["ckpt-3"])
        return evaluate(self, path)

    monkeypatch.setattr(runs.Run, "evaluate", remove_the_next)
    run(model_dir, shapes_dir, "continuous_eval")
    assert evaluated(model_dir) == [1, 3]


def test_a_folder_without_checkpoints(shapes_dir, tmp_path, capsys):
    run(tmp_path / "none", shapes_dir, "continuous_eval")
    assert f"no new checkpoint in {tmp_path / 'none'} within 1 s" in capsys.readouterr().out
