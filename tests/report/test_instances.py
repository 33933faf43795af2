"""The report of a small evaluation with real masks."""

import dataclasses
import json

import numpy as np
import pytest

from tpuseg.data.examples import Category
from tpuseg.evaluation.coco import CocoEvaluator, ImageTruth
from tpuseg.ops import masks
from tpuseg.report import content, instance_cards, instances

SIZE = (40, 60)


def row(box, category_id, **values):
    y0, x0, y1, x1 = box
    mask = np.zeros(SIZE)
    mask[y0:y1, x0:x1] = 1
    common = {"category_id": category_id, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (y1 - y0) * (x1 - x0)}
    return {**common, "segmentation": masks.encode(mask), **values}


def truth(name, *rows):
    return ImageTruth(name, *SIZE, [{**values, "iscrowd": 0} for values in rows])


A, B = 3, 8


@pytest.fixture
def evaluator():
    """Image 0 is right, image 1 has a missed object and a detection without a label, image 2 is empty."""
    first, second = row((0, 0, 20, 20), A), row((20, 30, 40, 60), B)
    result = CocoEvaluator(
        [Category(A, "cat"), Category(B, "<b>")],
        [truth("10", first, second), truth("11", row((0, 0, 5, 5), A, id=77)), truth("12")],
    )
    result.detections = {
        0: [{**second, "score": 0.7}, {**first, "score": 0.9}, {**first, "score": 0.1}],
        1: [row((20, 20, 30, 30), A, score=0.8)],
    }
    return result


def analyse(evaluator, **options):
    return instances.analyse(evaluator, lambda index: f"images/{index}.jpg", **options)


def part(report, key):
    return next(part for section in report.sections for part in section.parts if part.key == key)


def test_cards(evaluator):
    report = analyse(evaluator, image_names=["a.jpg", "b.jpg", "c.jpg"])
    bad, *rest = report.cards
    assert (bad.image_id, bad.name, bad.image, bad.size, bad.score) == ("11", "b.jpg", "images/1.jpg", SIZE, 0)
    assert bad.errors == {"background": 1, "missed": 1} and bad.labels == [0]
    missed, wrong = bad.marks
    assert (missed.kind, missed.error, missed.box, missed.score, missed.partner) == ("truth", "missed", (0, 0, 5, 5), None, None)
    assert (wrong.kind, wrong.error, wrong.box, wrong.score) == ("prediction", "background", (20, 20, 30, 30), 0.8)
    assert len(wrong.outline[0]) == 8
    assert [card.image_id for card in rest] == ["10", "12"] and [card.score for card in rest] == [1, 1]
    # The detection with score 0.1 is below the threshold.
    assert [(mark.kind, mark.label, mark.error, mark.partner) for mark in rest[0].marks] == [
        ("truth", 0, "", 2), ("truth", 1, "", 3), ("prediction", 0, "", 0), ("prediction", 1, "", 1)
    ]  # fmt: skip
    assert rest[0].labels == [0, 1] and not rest[0].errors and not rest[1].marks


def test_many_outlines_have_fewer_points():
    assert [instance_cards.outline_points(count) for count in (0, 33_333, 40_000, 1_000_000)] == [60, 60, 50, 12]


def test_numbers(evaluator):
    report = analyse(evaluator)
    assert report.kind == "instances" and report.class_names == ["cat", "<b>"]
    facts = dict(report.facts)
    # Class 0: two objects, the first detection is right; 51 of 101 recalls. The best threshold is between 0.7 and 0.1: F1 4 / 6.
    assert facts["mask AP50"] == f"{(51 / 101 + 1) / 2:.3f}" and facts["score threshold"] == "0.400 (best F1, 0.667)"
    assert [facts[name] for name in ("images", "instances", "detections", "shown")] == ["3", "3", "4", "3 detections"]
    classes = part(report, "ap_by_class")
    assert classes.rows[0] == ["cat", 2, 0.505, 0.505, 0.505, 0.85, 0.6667]
    assert classes.rows[1] == ["<b>", 1, 1.0, 1.0, 1.0, 0.35, 1.0]
    assert part(report, "confusion").values == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert part(report, "lost_ap").x_names == list(content.ERRORS)
    types = {cells[0]: cells[2:] for cells in part(report, "error_types").rows}
    assert types["missed"] == [pytest.approx(50 / 101 / 2, abs=1e-4), 1] and types["false positives"][1] is None
    sizes = part(report, "recall_by_size")
    assert dict(zip(sizes.x_names, sizes.series[0].y, strict=True))["below 8 px"] == 0
    assert part(report, "ap_by_size").series[0].y == [pytest.approx(0.7525, abs=1e-4)] * 2 + [None] * 2


def test_ap_is_that_of_the_evaluation(evaluator):
    metrics = evaluator.metrics()
    report = analyse(evaluator)
    assert [cells[2] for cells in part(report, "ap_by_class").rows] == [
        pytest.approx(metrics["per_class"][name]["segm"], abs=1e-4) for name in report.class_names
    ]
    assert dict(report.facts)["mask AP"] == f"{metrics['segm']['AP']:.3f}"
    assert evaluator.precisions("segm").shape == (10, 101, 2, 4)
    evaluator.add(2, np.array([[0, 0, 9, 9.0]]), np.array([0.99]), np.array([0]), np.ones((1, 28, 28)))
    assert part(analyse(evaluator), "ap_by_class").rows[0][2] < 0.5


def test_labels_and_their_ids(evaluator):
    report = analyse(evaluator)
    found = {label.kind: label for label in report.labels_to_check}
    assert found["label without prediction"].annotation_id == "77" and found["label without prediction"].image_id == "11"
    assert found["missing label"].annotation_id == "" and found["missing label"].box == (20, 20, 30, 30)
    assert part(report, "label_kinds").rows[:2] == [["missing label", 1, 0], ["label without prediction", 1, 0]]


def test_labels_that_are_left_out_are_counted(evaluator, monkeypatch):
    monkeypatch.setattr(instances, "MAX_LABELS", 1)
    report = analyse(evaluator)
    assert len(report.labels_to_check) == 1
    assert "1 more with lower scores are not listed." in report.sections[-1].text


def test_the_best_thresholds(evaluator):
    matches = instances.match_evaluation(evaluator)
    overall, by_class = instances.best_thresholds(matches, ["cat", "<b>"])
    assert overall == pytest.approx(0.4) and by_class == pytest.approx({"cat": 0.85, "<b>": 0.35})


def test_advice_needs_what_is_known(evaluator):
    assert not any("drawn_score" in found.text for found in analyse(evaluator).advice)
    report = analyse(evaluator, context=instances.Context(drawn_score=0.85, max_detections=2))
    assert [found.setting for found in report.advice[:2]] == ["task.model.detection.max_detections", "task.evaluation.drawn_score"]
    assert "1 image has at least as many instances" in report.advice[0].text


@pytest.mark.parametrize("rows", [[], [row((0, 0, 5, 5), A)]])
def test_without_detections(rows):
    report = analyse(CocoEvaluator([Category(A, "cat")], [truth("1", *rows)]))
    assert dict(report.facts)["score threshold"] == "0.500" and len(report.labels_to_check) == len(rows)
    assert report.cards[0].errors == ({"missed": 1} if rows else {})


def test_without_images():
    report = analyse(CocoEvaluator([Category(A, "cat")], []))
    assert not report.cards and dict(report.facts)["mask AP"] == "-"


def test_the_content_is_plain(evaluator):
    report = dataclasses.asdict(analyse(evaluator))
    assert json.loads(json.dumps(report, allow_nan=False))["cards"][0]["marks"][0]["kind"] == "truth"
    keys = [part["key"] for section in report["sections"] for part in section["parts"]]
    assert len(set(keys)) == len(keys)


def test_ap_is_that_of_masks():
    # The box is that of the object; the mask covers three quarters of it, so that 6 of 10 thresholds are reached, the last at 0.75.
    result = CocoEvaluator([Category(A, "cat")], [truth("1", row((0, 0, 20, 20), A))])
    result.detections = {0: [row((0, 0, 15, 20), A, score=0.9, bbox=[0, 0, 20, 20])]}
    report = analyse(result)
    assert part(report, "ap_by_class").rows[0][2:5] == [0.6, 1, 1]
    assert part(report, "ap_by_iou").series[0].y == [1] * 6 + [0] * 4


def test_of_equally_bad_images_the_one_with_more_errors_is_first():
    objects = [row((0, 0, 5, 5), A), row((10, 10, 15, 15), A)]
    result = CocoEvaluator([Category(A, "cat")], [truth("1", *objects[:1]), truth("2", *objects)])
    assert [card.image_id for card in analyse(result).cards] == ["2", "1"]


def test_high_scores_without_an_object():
    objects = [row((10 * place, 0, 10 * place + 8, 8), A) for place in range(4)]
    result = CocoEvaluator([Category(A, "cat")], [truth("1", *objects)])
    scored = [{**values, "score": score} for values, score in zip(objects, (0.85, 0.6, 0.6, 0.6), strict=True)]
    result.detections = {0: [row((0, 40, 8, 50), A, score=0.9), *scored]}
    assert any(found.text.startswith("50% of the detections with a score of at least 0.8") for found in analyse(result).advice)
