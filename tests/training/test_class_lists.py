"""Inputs, initial weights and resumed runs that number their classes differently are refused before the first step."""

import json
import os
import shutil

import pytest

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.training import class_lists
from tpuseg.training.class_lists import ClassList

KINDS = pytest.mark.parametrize("kind", ["semantic", "instances"])
EXPERIMENTS = {"semantic": "deeplab_shapes", "instances": "maskrcnn_shapes"}


def names(*values, source="a.json"):
    return ClassList(source, values)


def test_where_two_lists_differ():
    first = names("bg", "a", "b")
    assert class_lists.difference(first, names("bg", "a", "b", source="b.json")) is None
    assert class_lists.difference(first, names("bg", "b", "a", source="b.json")) == (
        "the classes of b.json are in another order than those of a.json: class 1 is `b` in the former and `a` in the latter"
    )
    assert class_lists.difference(first, names("bg", "a", "c", source="b.json")) == (
        "the classes of b.json are others than those of a.json: class 2 is `c` in the former and `b` in the latter"
    )
    assert class_lists.difference(first, names("bg", "a", source="b.json")) == (
        "b.json has 2 classes, a.json 3: class 2 is missing in the former and `b` in the latter"
    )
    assert class_lists.difference(first, names("a", "b", source="b.json")) == (
        "b.json has 2 classes, a.json 3: class 0 is `a` in the former and `bg` in the latter"
    )


def test_numbers_stand_for_any_names():
    assert class_lists.difference(names("0", "1"), names("a", "b")) is None
    assert class_lists.difference(names("a", "b"), names("0", "1", "2", source="b.json")) == "b.json has 3 classes, a.json 2"


@pytest.fixture
def data(shapes_dir, tmp_path):
    """A copy of the generated records, whose summaries a test may change."""
    shutil.copytree(os.path.join(shapes_dir, "shapes"), tmp_path / "data/shapes")
    return tmp_path / "data"


def turn(data, kind, split, change=None):
    """Gives a split another order of its classes, as another conversion would; returns the names."""
    path = data / "shapes" / kind / f"{split}.json"
    summary = json.loads(path.read_text())
    order = list(range(summary["num_classes"]))
    order[-2:] = reversed(order[-2:])
    for key in ("class_names", "categories"):
        if key in summary:
            summary[key] = [summary[key][place] for place in order]
    if change:
        change(summary)
    path.write_text(json.dumps(summary))
    return summary["class_names"]


def task(kind, data, logging_dir="", override=""):
    settings = experiments.load(EXPERIMENTS[kind], params_override=override).config
    task_class = registry.architectures.get(settings.architecture).task_class
    return task_class(settings.task, logging_dir=str(logging_dir), data_dir=str(data))


def written(kind, data, folder):
    """Writes what a run on some data writes about its classes."""
    run = task(kind, data)
    run.prepare_data()
    run.classes.write(str(folder))
    return run.classes.names


@KINDS
def test_train_and_val_in_another_order(kind, data):
    turn(data, kind, "val")
    with pytest.raises(ValueError, match=r"val.json are in another order than those of .*train.json: class \d is .*convert"):
        task(kind, data).prepare_data()


@KINDS
def test_val_with_fewer_classes_than_train(kind, data):
    def fewer(summary):
        summary.update({key: summary[key][:-1] for key in ("class_names", "categories") if key in summary})
        summary["num_classes"] -= 1

    turn(data, kind, "val", fewer)
    with pytest.raises(ValueError, match=r"val.json has \d classes, .*train.json \d: class \d is `.*` in the former and"):
        task(kind, data).prepare_data()


@KINDS
@pytest.mark.parametrize("patterns", ["shapes/{0}/train-*,shapes/{0}/more-*", "shapes/{0}/*.tfrecord"])
def test_two_sources_of_one_input(kind, data, patterns):
    folder = data / "shapes" / kind
    for path in folder.glob("train*"):
        shutil.copy(path, folder / path.name.replace("train", "more"))
    summary = json.loads((folder / "more.json").read_text())
    summary["shards"] = [name.replace("train", "more") for name in summary["shards"]]
    (folder / "more.json").write_text(json.dumps(summary))
    override = f"task.train_data.input_path='{patterns.format(kind)}',task.train_data.generate=''"
    task(kind, data, override=override).prepare_data()
    turn(data, kind, "more")
    with pytest.raises(ValueError, match="are in another order than those of"):
        task(kind, data, override=override).prepare_data()


@KINDS
def test_a_resumed_run_keeps_its_classes(kind, data, tmp_path):
    trained = written(kind, data, tmp_path / "run")
    run = task(kind, data, tmp_path / "run")
    run.prepare_data()
    run.classes.check(resumes=True)
    assert run.classes.names == trained
    turned = [turn(data, kind, split) for split in ("train", "val")][0]
    run = task(kind, data, tmp_path / "run")
    run.prepare_data()
    with pytest.raises(ValueError, match=r"train.json are in another order than those of .*run/classes.json.* another --model_dir"):
        run.classes.check(resumes=True)
    assert run.classes.names == trained
    # Nothing to go on from: what an earlier run left says nothing about the new one.
    run = task(kind, data, tmp_path / "run")
    run.prepare_data()
    run.classes.check(resumes=False)
    assert run.classes.names == turned
    if kind == "instances":
        assert [category.name for category in run.classes.categories] == turned


@KINDS
def test_prediction_uses_the_runs_own_names(kind, data, tmp_path):
    trained = written(kind, data, tmp_path / "run")
    for split in ("train", "val"):
        turn(data, kind, split)
    predicting = task(kind, data, tmp_path / "run")
    assert predicting.classes.names == trained
    if kind == "instances":
        assert [category.name for category in predicting.classes.categories] == trained


@KINDS
def test_initial_weights_of_other_classes(kind, data, tmp_path):
    written(kind, data, tmp_path / "weights")
    (tmp_path / "weights/ckpt-5.index").write_bytes(b"")
    override = f"task.init_checkpoint={tmp_path}/weights/ckpt-5"
    run = task(kind, data, override=override)
    run.prepare_data()
    run.classes.check(resumes=False)
    for split in ("train", "val"):
        turn(data, kind, split)
    run = task(kind, data, override=override)
    run.prepare_data()
    with pytest.raises(ValueError, match=r"than those of .*weights/classes.json: .* with task.init_classifier=false"):
        run.classes.check(resumes=False)
    run = task(kind, data, override=override + ",task.init_classifier=false")
    run.prepare_data()
    run.classes.check(resumes=False)


def test_initial_weights_of_another_number_of_classes_bring_no_classifier(data, tmp_path):
    (tmp_path / "classes.json").write_text('["cat", "dog"]')
    (tmp_path / "ckpt-5.index").write_bytes(b"")
    run = task("semantic", data, override=f"task.init_checkpoint={tmp_path}/ckpt-5")
    run.prepare_data()
    run.classes.check(resumes=False)


@KINDS
def test_evaluated_weights_of_other_classes(kind, data, capsys):
    run = task(kind, data)
    run.prepare_data(train=False)
    own = run.classes.names
    run.classes.check_evaluated(None)
    run.classes.check_evaluated(names(*own))
    assert capsys.readouterr().out == ""
    run.classes.check_evaluated(names("other", *own[1:]))
    assert "warning: the classes of" in capsys.readouterr().out
    for wrong in (names(*own[1:], own[0]), names(*own, "more")):
        with pytest.raises(ValueError, match="convert"):
            run.classes.check_evaluated(wrong)


def test_what_is_beside_a_checkpoint(tmp_path):
    assert class_lists.beside(str(tmp_path / "nothing/ckpt-1")) is None and class_lists.of_run("") is None
    (tmp_path / "best_checkpoint").mkdir()
    (tmp_path / "best_checkpoint/ckpt-5.index").write_bytes(b"")
    (tmp_path / "classes.json").write_text('["a", "b"]')
    assert class_lists.beside(str(tmp_path / "best_checkpoint/ckpt-5")).names == ("a", "b")
    assert class_lists.beside("imagenet") is None
    (tmp_path / "classes.json").write_text("5")
    with pytest.raises(ValueError, match="classes.json: holds a number"):
        class_lists.of_run(str(tmp_path))
