"""From a folder to an experiment: what is written, what is refused, and that the experiment trains."""

import dataclasses
import functools
import json
import pathlib
import re
import shutil
import types

import pytest
import tiny_backbone  # noqa: F401 - Registers it.
import yaml

import tpuseg
from tpuseg.configs import experiments
from tpuseg.convert import shapes
from tpuseg.formats import dataset, splits
from tpuseg.formats.classes import Options as ClassOptions
from tpuseg.planning import conversion, planner, selection
from tpuseg.training.timing import Timing

WRITING = conversion.Options(num_shards=1)
OBJECTS = planner.Options("coco", writing=WRITING, device="cpu")
PIXELS = planner.Options("voc", dataset.Options(kind="semantic", class_names=shapes.CLASS_NAMES), writing=WRITING, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten images with two lists, in the formats of COCO and VOC."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    shapes.make_shapes(str(folder), shapes.ShapesConfig(num_train=7, num_val=3))
    return str(folder)


@pytest.fixture
def plan(data, tmp_path):
    """Plans into a folder of the test; returns the lines that were said."""

    def run(options=OBJECTS, data=data, output="mine"):
        said = []
        is_new = planner.plan(data, str(tmp_path / output), options, said.append)
        return said if is_new else None

    return run


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def test_everything_is_written(plan, tmp_path):
    said = plan()
    assert names(tmp_path) == ["mine"]
    records = [f"{split}{end}" for split in ("train", "val") for end in ("-00000-of-00001.tfrecord", ".json")]
    assert set(names(tmp_path / "mine")) >= {"experiment.yaml", "fingerprint.json", "splits", *records}
    assert any(line.startswith("anchor recall at IoU 0.7: ") for line in said)
    found = json.loads((tmp_path / "mine" / "fingerprint.json").read_text())
    assert found["format"] == "coco" and found["num_images"] == {"train": 7, "val": 3} and found["image_sizes"] == [[128, 160, 10]]
    summary = json.loads((tmp_path / "mine" / "train.json").read_text())
    assert found["objects_per_class"]["train"] == summary["objects_per_class"]
    counts = [row["most_objects"] for row in (summary, json.loads((tmp_path / "mine" / "val.json").read_text()))]
    assert found["instances_per_image"][-1][0] == max(counts)


def test_the_experiment_is_commented_and_loads(plan, tmp_path):
    plan()
    path = tmp_path / "mine" / "experiment.yaml"
    text = path.read_text()
    assert "    num_classes: 5  # circle, square, triangle, star, ring\n" in text
    experiment = experiments.load(str(path))
    assert experiment.name == "mine" and experiment.config.task.model.num_classes == 5
    assert experiment.config.task.train_data.input_path == f"{tmp_path}/mine/train-*.tfrecord"
    assert experiment.config.task.model.fpn.num_filters == 64  # Of maskrcnn_custom_small.
    lines = text.splitlines()
    for above, line in zip(lines, lines[1:], strict=False):
        assert "#" in line or line.endswith(":") or above.lstrip().startswith("#"), f"{line} has no reason"


def test_records_in_the_default_folder_have_a_relative_pattern(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planner.plan(data, "datasets/mine/", PIXELS, lambda line: None)
    values = yaml.safe_load((tmp_path / "datasets" / "mine" / "experiment.yaml").read_text())
    assert values["task"]["train_data"]["input_path"] == "mine/train-*.tfrecord"
    assert values["task"]["model"]["num_classes"] == 6 and values["extends"] == "deeplab_custom"


def test_a_second_run(plan, tmp_path):
    assert plan()
    path = tmp_path / "mine" / "fingerprint.json"
    before = path.stat().st_mtime_ns
    assert plan() is None and path.stat().st_mtime_ns == before
    other = planner.Options("coco", writing=WRITING, device="gpu")
    wanted = "mine exists already, but it was planned with another value of --device; replace it with --overwrite"
    with pytest.raises(ValueError, match=wanted):
        plan(other)
    assert plan(planner.Options("coco", writing=WRITING, device="gpu", overwrite=True))
    assert "extends: maskrcnn_custom " in (tmp_path / "mine" / "experiment.yaml").read_text() and names(tmp_path) == ["mine"]
    assert plan(other) is None


def test_a_second_run_after_files_changed(plan, data, tmp_path):
    """Labels, images and lists that change make another plan; a copy of the same arguments does not."""
    mine = tmp_path / "data"
    shutil.copytree(data, mine)
    lists = tmp_path / "lists"
    assert plan(data=str(mine))
    assert plan(data=str(mine)) is None
    shutil.copytree(tmp_path / "mine" / "splits", lists)
    (mine / "annotations" / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="but files in --data were added, removed or changed since; replace it with --overwrite"):
        plan(data=str(mine))
    listed = dataclasses.replace(OBJECTS, lists=str(lists), overwrite=True)
    assert plan(listed, str(mine))
    listed = dataclasses.replace(listed, overwrite=False)
    assert plan(listed, str(mine)) is None
    with (lists / "val.txt").open("a") as file:
        file.write("# A comment.\n")
    with pytest.raises(ValueError, match="but files in --splits were added"):
        plan(listed, str(mine))


def test_a_plan_inside_the_data_folder_is_no_part_of_it(data, tmp_path):
    mine = tmp_path / "data"
    shutil.copytree(data, mine)
    run = functools.partial(planner.plan, str(mine), str(mine / "plan"), OBJECTS, lambda line: None)
    assert run() and not run()


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_never_replaced(plan, tmp_path, overwrite):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(ValueError, match="mine has `notes.txt`, which is no part of a plan"):
        plan(planner.Options("coco", writing=WRITING, device="cpu", overwrite=overwrite))
    assert names(tmp_path / "mine") == ["notes.txt"]


@pytest.mark.parametrize("stage", ["_write_experiment", "_replace"])
def test_an_interrupted_run_leaves_nothing(plan, tmp_path, monkeypatch, stage):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(planner, stage, interrupt)
    with pytest.raises(KeyboardInterrupt):
        plan()
    assert names(tmp_path) == []


def test_folders_of_killed_runs_are_removed(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(planner, "_replace", lambda *arguments: None)
    monkeypatch.setattr(planner.shutil, "rmtree", lambda *arguments, **more: None)
    plan()
    monkeypatch.undo()
    (left,) = names(tmp_path)
    assert left.startswith("mine.") and left.endswith(".tmp")
    monkeypatch.setattr(planner.files, "is_alive", lambda pid: False)
    (tmp_path / "mine.notes").touch()
    plan()
    assert names(tmp_path) == ["mine", "mine.notes"]


def test_an_interrupted_replacement_keeps_the_earlier_plan(plan, tmp_path, monkeypatch):
    plan()
    before = (tmp_path / "mine" / "experiment.yaml").read_text()
    monkeypatch.setattr(planner.conversion, "write", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plan(planner.Options("coco", writing=WRITING, device="gpu", overwrite=True))
    assert names(tmp_path) == ["mine"] and (tmp_path / "mine" / "experiment.yaml").read_text() == before


def test_lists_can_be_edited_and_used_again(plan, tmp_path):
    plan()
    lists = tmp_path / "mine" / "splits"
    train = (lists / "train.txt").read_text().splitlines()
    (lists / "train.txt").write_text("\n".join(train[:-1]) + "\n")
    (lists / "val.txt").write_text((lists / "val.txt").read_text() + train[-1] + "\n")
    plan(planner.Options("coco", writing=WRITING, device="cpu", lists=str(lists)), output="again")
    found = json.loads((tmp_path / "again" / "fingerprint.json").read_text())
    assert found["num_images"] == {"train": 6, "val": 4}
    assert train[-1] in (tmp_path / "again" / "splits" / "val.txt").read_text().splitlines()


def test_classes_and_split(plan, tmp_path):
    chosen = ClassOptions(classes=("ring", "round"), renamed=(("circle", "round"),))
    plan(planner.Options("coco", chosen=chosen, splitting=splits.Options(val_share=0.5), writing=WRITING, device="cpu"))
    assert json.loads((tmp_path / "mine" / "train.json").read_text())["class_names"] == ["ring", "round"]


def test_a_data_set_of_tensorflow_datasets(plan, data, tmp_path, monkeypatch):
    written = []

    def write_folder(name, folder):
        written.append(name)
        shutil.copytree(data, folder)

    monkeypatch.setattr(planner.tfds, "write_folder", write_folder)
    assert plan(data="tfds:tiny/small:1.0.0") and written == ["tiny/small:1.0.0"] and names(tmp_path) == ["mine"]
    assert json.loads((tmp_path / "mine" / "fingerprint.json").read_text())["arguments"]["data"] == "tfds:tiny/small:1.0.0"
    assert plan(data="tfds:tiny/small:1.0.0") is None


def test_a_remote_folder_is_refused(data):
    with pytest.raises(ValueError, match="gs://bucket/mine must be a local folder"):
        planner.plan(data, "gs://bucket/mine", OBJECTS, print)


def test_a_budget_is_measured(plan, tmp_path):
    """One real measurement; its experiment has the steps that fit, and says what is expected."""
    said = plan(dataclasses.replace(PIXELS, budget_seconds=600))
    last = [line for line in said if "are usual" in line][-1]
    measured = re.search(r": ([0-9.]+) s a step; (\d+) steps fit into the budget, 2000 are usual", last)
    config = experiments.load(str(tmp_path / "mine" / "experiment.yaml")).config
    assert measured and config.trainer.train_steps == int(measured[2]) and config.trainer.train_steps % 10 == 0
    assert said[-1].startswith(f"expected: {measured[2]} steps of {measured[1]} s and ")
    assert f"# expected:  {measured[2]} steps" in (tmp_path / "mine" / "experiment.yaml").read_text()
    assert names(tmp_path) == ["mine"]


def test_a_budget_that_is_too_short(plan, tmp_path, monkeypatch):
    costs = Timing(30.0, 0.5, 4.0, 10.0, 3, 1.0, 10**9, 0)
    monkeypatch.setattr(selection.budget, "measure", lambda path, folder: costs)
    with pytest.raises(ValueError, match="--budget=45s is too short: 50 steps of the fastest model and one evaluation need 1m10s"):
        plan(dataclasses.replace(PIXELS, budget_seconds=45))
    assert names(tmp_path) == []


def test_a_budget_needs_the_device_here(plan):
    with pytest.raises(ValueError, match="--budget measures steps on this computer, which has no GPU; leave out --device=gpu"):
        plan(dataclasses.replace(PIXELS, budget_seconds=600, device="gpu"))


def test_an_unknown_device(plan):
    with pytest.raises(ValueError, match="--device=v9-8 is not a type of TPU; write one of v2, v3, .*; or cpu, or gpu"):
        plan(dataclasses.replace(PIXELS, device="v9-8"))


class _Fits:
    """A preflight in which up to two images per replica fit."""

    def __init__(self, experiment, tpu, mode):
        batch = experiment.config.task.train_data.global_batch_size
        self.fits = batch // tpu.num_replicas <= 2
        self.step_seconds = 0.1 if self.fits else None
        self.compiled = types.SimpleNamespace(memory=types.SimpleNamespace(peak=8e9, capacity=16e9))


def test_a_tpu_gets_the_batch_that_fits(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(selection.preflight, "check", _Fits)
    monkeypatch.setattr(selection.compiler, "require_installed", lambda: None)
    with pytest.raises(ValueError, match="--device=v3-8 has 8 replicas, and there are 7 images to train on"):
        plan(dataclasses.replace(OBJECTS, device="v3-8"))
    # One replica; its batch of 8 is 4 for 7 images, and then 2.
    said = plan(dataclasses.replace(OBJECTS, device="v5e-1"))
    config = experiments.load(str(tmp_path / "mine" / "experiment.yaml")).config
    assert config.task.train_data.global_batch_size == 2 and config.runtime.mixed_precision_dtype == "bfloat16"
    assert "with 4 images per replica for a v5e-1" in "".join(said) and "8.0 of 16.0 GB of a replica's memory" in said[-1]
    said = plan(dataclasses.replace(OBJECTS, device="v5e-1", budget_seconds=60), output="short")
    assert said[-1].startswith("expected: 600 steps of 0.100 s in 1m00s without evaluations and waiting for input, 8.0 of 16.0 GB")
    config = experiments.load(str(tmp_path / "short" / "experiment.yaml")).config
    assert config.trainer.train_steps == 600
    # The warm-up for the fewer steps without a budget is replaced too.
    assert config.trainer.optimizer_config.warmup.linear.warmup_steps == 60
    with pytest.raises(ValueError, match="--budget=4s is too short: 50 steps are estimated to take 5s on a v5e-1"):
        plan(dataclasses.replace(OBJECTS, device="v5e-1", budget_seconds=4), output="shorter")
    plan(dataclasses.replace(OBJECTS, device="v5e-1", budget_seconds=10**7), output="long")
    text = (tmp_path / "long" / "experiment.yaml").read_text()
    assert "train_steps: 30000  # more are not expected to help: 3000 are usual" in text


@pytest.mark.parametrize("options", [OBJECTS, PIXELS], ids=["instances", "semantic"])
def test_the_experiment_trains(plan, tmp_path, options):
    plan(options)
    fewer = {"task.init_checkpoint": "", "trainer.train_steps": 1, "trainer.validation_interval": 1}
    small = {"task.train_data.global_batch_size": 1, "task.validation_data.global_batch_size": 1, "task.evaluation.num_pictures": 0}
    overrides = fewer | small | {"task.model.backbone": {"type": "tiny", "tiny.num_filters": 8}}
    metrics = tpuseg.train(str(tmp_path / "mine" / "experiment.yaml"), model_dir=tmp_path / "run", overrides=overrides)
    assert metrics and (tmp_path / "run" / "metrics.json").exists()
