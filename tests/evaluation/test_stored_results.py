"""Reading detections that this or another program wrote in COCO's results format."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tpuseg.data.examples import Category
from tpuseg.evaluation.coco import CocoEvaluator, ImageTruth
from tpuseg.ops import masks


def square(top: int, left: int, side: int) -> masks.RunLengths:
    mask = np.zeros((40, 50), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return masks.encode(mask)


def annotation(category_id: int, top: int, left: int, side: int) -> dict[str, Any]:
    box = [left, top, side, side]
    return {"category_id": category_id, "bbox": box, "area": side**2, "iscrowd": 0, "segmentation": square(top, left, side)}


@pytest.fixture
def evaluator() -> CocoEvaluator:
    """Two images, with a number and a text as ids, of two categories whose ids are not their classes."""
    truths = [
        ImageTruth("7", 40, 50, [annotation(3, 2, 2, 10), annotation(9, 20, 20, 12)], "int"),
        ImageTruth("b", 40, 50, [annotation(9, 5, 30, 9)], "str"),
    ]
    return CocoEvaluator([Category(3, "cup"), Category(9, "plate")], truths)


@pytest.fixture
def results(evaluator: CocoEvaluator, tmp_path: pathlib.Path) -> pathlib.Path:
    boxes = np.array([[2, 2, 12, 12], [20, 21, 32, 33]], float)
    evaluator.add_runs(0, boxes, np.array([0.9, 0.8]), np.array([0, 1]), [square(2, 2, 10), square(20, 21, 12)])
    evaluator.add_runs(1, np.array([[5, 31, 14, 40.0]]), np.array([0.7]), np.array([1]), [square(5, 31, 9)])
    evaluator.write_results(str(tmp_path / "detections.json"))
    return tmp_path


@pytest.mark.parametrize("name", ["detections.json", "detections_segm.json"])
def test_what_was_written_is_read(name: str, evaluator: CocoEvaluator, results: pathlib.Path) -> None:
    again = CocoEvaluator(evaluator.categories, evaluator.truths)
    again.read_results(str(results / name))
    assert again.metrics() == evaluator.metrics() and again.metrics()["segm"]["AP50"] == pytest.approx(1.0)
    assert again.detections == evaluator.detections


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 8}, "detection 0 is of image 8, which the evaluation data do not have"),
        ({"image_id": "7"}, "detection 0 is of image '7'"),
        ({"category_id": 1}, "category 1 is not one of the data set, which has [3, 9]"),
        ({"segmentation": {"size": [50, 40], "counts": "abc"}}, "image 7: the run lengths are of size [50, 40]"),
        ({"score": None}, "detection 0 has no `score`"),
    ],
)
def test_wrong_detections_are_one_line(
    change: dict[str, Any], message: str, evaluator: CocoEvaluator, results: pathlib.Path
) -> None:
    rows = json.loads((results / "detections.json").read_text())
    rows[0] = {key: value for key, value in {**rows[0], **change}.items() if value is not None}
    path = results / "changed.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError) as error:
        evaluator.read_results(str(path))
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_without_masks(evaluator: CocoEvaluator, results: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="detection 0 has no `segmentation`; results with masks have image_id"):
        evaluator.read_results(str(results / "detections_bbox.json"))


def test_another_kind_of_file(evaluator: CocoEvaluator, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="a.json is not a list of detections"):
        evaluator.read_results(str(tmp_path / "a.json"))
