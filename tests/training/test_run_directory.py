"""A model directory's configuration is never lost, a run starts over only when asked, and what is optional ends no run."""

import os
import types

import pytest
import tensorflow as tf

from tpuseg.configs import experiments
from tpuseg.export import folders
from tpuseg.io import files
from tpuseg.training import event_files, run_directory


@pytest.fixture(scope="module")
def experiment():
    return experiments.load("deeplab_shapes").config


@pytest.fixture(scope="module")
def longer():
    return experiments.load("deeplab_shapes", params_override="trainer.train_steps=7000,trainer.max_to_keep=9").config


def test_what_changes_is_said_and_the_earlier_file_kept(experiment, longer, tmp_path, capsys):
    run_directory.update_config(experiment, str(tmp_path), None)
    first = (tmp_path / "config.yaml").read_text()
    run_directory.update_config(experiment, str(tmp_path), 20)
    assert os.listdir(tmp_path) == ["config.yaml"] and not capsys.readouterr().out
    run_directory.update_config(longer, str(tmp_path), 20)
    said = capsys.readouterr().out
    assert "trainer.max_to_keep: 3 -> 9" in said and "-> 7000" in said and "config-until-step-20.yaml" in said
    assert (tmp_path / "config-until-step-20.yaml").read_text() == first
    # From the same step with other settings once more: the first ones led to that step.
    run_directory.update_config(experiment, str(tmp_path), 20)
    assert (tmp_path / "config-until-step-20.yaml").read_text() == first == (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b"[1]", b"a: [", b"\xff", b"trainer: 5"])
def test_a_configuration_that_is_none_is_kept_and_written_anew(content, experiment, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content)
    run_directory.update_config(experiment, str(tmp_path), 4)
    assert (tmp_path / "config-until-step-4.yaml").read_bytes() == content
    assert run_directory.changed_settings(str(tmp_path / "config.yaml"), experiment) == []


def test_keys_of_a_later_version_are_added_without_a_list(experiment, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(line for line in experiments.to_yaml(experiment).splitlines() if "max_to_keep" not in line))
    run_directory.update_config(experiment, str(tmp_path), 4)
    assert "max_to_keep" in path.read_text() and not capsys.readouterr().out


def test_starting_over_moves_the_run_and_nothing_else(tmp_path):
    own = ["ckpt-2.index", "ckpt-2.data-00000-of-00001", "checkpoint", "metrics.json", "metrics-ckpt-2.json", "config.yaml"]
    others = ["notes.txt", "train.lock", "predictions.png", "my_config.yaml"]
    for name in own + others:
        (tmp_path / name).write_text(name)
    for folder in ("best_checkpoint", "pictures", "train", "validation", "images"):
        (tmp_path / folder).mkdir()
    run_directory.start_over(str(tmp_path))
    (moved,) = tmp_path.glob("earlier-run-*")
    assert sorted(path.name for path in moved.iterdir()) == sorted(
        [*own, "best_checkpoint", "pictures", "train", "validation"]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "images", moved.name])
    run_directory.start_over(str(tmp_path))
    assert len(list(tmp_path.glob("earlier-run-*"))) == 1


def test_another_architecture_is_refused_before_a_model_is_built(experiment, tmp_path):
    run_directory.require_same_architecture(str(tmp_path), "maskrcnn")
    run_directory.write_config(experiment, str(tmp_path))
    run_directory.require_same_architecture(str(tmp_path), "maskrcnn")  # There is no checkpoint yet.
    (tmp_path / "ckpt-2.index").write_text("")
    with pytest.raises(ValueError, match="is the model directory of a deeplab run, but this experiment is for maskrcnn"):
        run_directory.require_same_architecture(str(tmp_path), "maskrcnn")


def test_what_is_optional_is_said_once(capsys, monkeypatch):
    monkeypatch.setattr(files, "_failed", set())
    for error in (OSError("no space"), tf.errors.ResourceExhaustedError(None, None, "no space")):
        with files.optional("images"):
            raise error
    assert capsys.readouterr().out == "warning: cannot write images (no space); the run continues without them\n"
    with pytest.raises(KeyError), files.optional("images"):
        raise KeyError


class Broken:
    """A summary manager, or a writer, on a full disk."""

    def __init__(self, fails_at):
        self.fails_at = fails_at

    def _do(self, name):
        if name in self.fails_at:
            raise tf.errors.ResourceExhaustedError(None, None, "no space left")

    def summary_writer(self, relative_path=""):
        self._do("summary_writer")
        return self

    def as_default(self, step=None):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._do("exit")

    def write_summaries(self, values):
        self._do("write_summaries")

    def flush(self):
        self._do("flush")


@pytest.mark.parametrize("fails_at", ["summary_writer", "exit", "write_summaries", "flush"])
def test_event_files_that_cannot_be_written_end_no_run(fails_at, capsys, monkeypatch):
    monkeypatch.setattr(files, "_failed", set())
    controller = types.SimpleNamespace(summary_manager=Broken(fails_at), eval_summary_manager=Broken(fails_at))
    event_files.tolerate_failures(controller)
    for manager in (controller.summary_manager, controller.eval_summary_manager):
        with manager.summary_writer().as_default():
            pass
        manager.write_summaries({})
        manager.flush()
    assert capsys.readouterr().out.count("cannot write TensorBoard's event files (no space left)") == 1
    with pytest.raises(KeyError), controller.summary_manager.summary_writer().as_default():
        raise KeyError  # What the block itself raises is not hidden.


def test_a_killed_export_leaves_nothing_behind_the_next_one(tmp_path):
    dead, out = 2**22 + 7, tmp_path / "out"
    (tmp_path / f"out.{dead}.tmp").mkdir()
    (tmp_path / f"out.{dead}.old").mkdir()  # Killed between moving the earlier one away and putting the new one there.
    (tmp_path / f"out.{dead}.old/model").write_text("earlier")
    (tmp_path / f"other.{dead}.tmp").mkdir()
    with pytest.raises(KeyError), folders.replace_folder(str(out), lambda folder: True):
        assert (out / "model").read_text() == "earlier"
        raise KeyError
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", f"other.{dead}.tmp"])
    with folders.replace_folder(str(out), lambda folder: True) as unfinished:
        (tmp_path / unfinished / "model").write_text("new")
    assert (out / "model").read_text() == "new" and len(list(tmp_path.iterdir())) == 2
