"""Reports and comparisons from the stored detections of runs, by the program `report.py`."""

import json
import pathlib
import runpy
import sys

import labelled_by_model
import numpy as np
import pytest
import tensorflow as tf
import untrained_runs
from absl import flags

from tpuseg import cli
from tpuseg.inference import predictors
from tpuseg.maskrcnn import evaluation
from tpuseg.training import stored_report


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two runs with stored detections: the second one found only the first three objects of each image. And a semantic run."""
    root = tmp_path_factory.mktemp("stored")
    override = f",task.validation_data.input_path={root}/val.tfrecord,task.validation_data.generate=''"
    found = {name: untrained_runs.write_run("maskrcnn", root / name, override) for name in ("first", "second")}
    found["semantic"] = untrained_runs.write_run("deeplab", root / "semantic", override)
    model = predictors.Predictor(found["first"])
    images = [untrained_runs.blobs((120, 160), seed) for seed in (1, 2, 3)]
    with tf.io.TFRecordWriter(f"{root}/val.tfrecord") as writer:
        for number, image in enumerate(images):
            writer.write(labelled_by_model.write_instances(model, image, number))
    for name, count in (("first", None), ("second", 3)):
        task = model.task
        state = evaluation.Evaluation(
            model.config.task, evaluation.read_truth(model.config.task, "", task.classes.categories), task.predictions, None, "", ""
        )
        for index, image in enumerate(images):
            state.add(index, model(image).take(np.arange(len(model(image)))[:count]))
        state.evaluator.write_results(f"{found[name]}/{evaluation.RESULTS_FILE}")
    return found


def call(repository: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    before = set(flags.FLAGS)
    main = runpy.run_path(str(repository / "official/report.py"), run_name="binary")["main"]
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    try:
        with pytest.raises(SystemExit) as done:
            cli.run(main)
    finally:
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
        flags.FLAGS.unparse_flags()
    return done.value.code or 0


def test_a_report_of_a_run(runs: dict[str, str], repository: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(repository, monkeypatch, f"--model_dir={runs['first']}") == 0
    folder = pathlib.Path(runs["first"], "report")
    assert "Images (3)" in (folder / "index.html").read_text() and len(list((folder / "images").glob("*.jpg"))) == 3
    thresholds = json.loads((folder / "score_thresholds.json").read_text())
    assert 0 < thresholds["overall"] < 1 and len(thresholds["by_class"]) == 5


def test_a_comparison_of_two_runs(
    runs: dict[str, str], repository: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    arguments = [f"--model_dir={runs['first']}", f"--model_dir={runs['second']}", f"--output_dir={tmp_path}"]
    assert call(repository, monkeypatch, *arguments) == 0
    page = (tmp_path / "index.html").read_text()
    assert "Comparison of runs" in page and len(list((tmp_path / "images").glob("*.jpg"))) == 3
    data = next(tmp_path.glob("data-*/report.js")).read_text()
    assert '"first"' in data and '"second"' in data


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model_dir"),
        (["--model_dir={first}", "--model_dir={second}"], "--output_dir"),
        (["--model_dir={first}", "--model_dir={second}", "--output_dir=x", "--detections=y"], "--detections is the file of one"),
        (["--model_dir=missing"], "missing has no config.yaml, so it is not a model directory"),
        (["--model_dir={first}", "--detections=missing.json"], "missing.json"),
        (["--model_dir={first}", "--model_dir={semantic}", "--output_dir=x"], "the architectures deeplab and maskrcnn"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str],
    message: str,
    runs: dict[str, str],
    repository: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(repository, monkeypatch, *(argument.format(**runs) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_runs_of_the_same_name_are_named_by_their_paths() -> None:
    assert stored_report._name_runs(["runs/a", "runs/b/"]) == ["a", "b"]
    assert stored_report._name_runs(["x/a", "y/a"]) == ["x/a", "y/a"]
