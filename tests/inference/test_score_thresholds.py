"""The score threshold `best`: that of the last evaluation's report."""

import json
import os
import pathlib

import pytest
import untrained_runs

from tpuseg.inference import predictors


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return untrained_runs.write_run("maskrcnn", tmp_path_factory.mktemp("thresholds") / "run")


def write(run_dir: str, content: str) -> None:
    path = pathlib.Path(run_dir, "report", "score_thresholds.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)


def test_best_is_the_threshold_of_the_report(run_dir: str) -> None:
    image = untrained_runs.blobs((128, 192), 1)
    scores = predictors.load(run_dir)(image).scores
    middle = float(scores[len(scores) // 2])
    write(run_dir, json.dumps({"overall": middle, "by_class": {}}))
    found = predictors.load(run_dir, score_threshold="best")(image)
    assert found.scores.tolist() == scores[scores >= middle].tolist() and 0 < len(found) < len(scores)


@pytest.mark.parametrize(
    ("content", "threshold", "message"),
    [
        ("", "best", "score_thresholds.json does not exist; official/evaluate.py writes it"),
        ('{"overall": null, "by_class": {}}', "best", "no detection of the evaluation is right"),
        ("", "bset", "the score threshold is `bset`, but must be a number between 0 and 1, or `best`"),
        ("", 1.5, "the score threshold is 1.5"),
    ],
)
def test_a_wrong_threshold_is_one_line(content: str, threshold: float | str, message: str, run_dir: str) -> None:
    path = os.path.join(run_dir, "report", "score_thresholds.json")
    if os.path.exists(path):
        os.remove(path)
    if content:
        write(run_dir, content)
    with pytest.raises(ValueError, match=message) as error:
        predictors.load(run_dir, score_threshold=threshold)
    assert "\n" not in str(error.value)
