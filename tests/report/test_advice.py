"""One test for each rule of the advice: when it speaks, with which number, and when it is silent."""

import numpy as np
import pytest

from tpuseg.report import advice, scores
from tpuseg.report.content import Advice


def test_at_most_five_and_the_largest_first():
    findings = [advice.Finding(weight / 10, Advice(str(weight), "")) for weight in (3, 7, 1, 5, 2, 6)]
    assert [found.text for found in advice.choose([None, *findings])] == ["7", "6", "5", "3", "2"]
    assert advice.choose([None]) == []


def test_small_objects():
    sides = np.array([15.9] * 6 + [16.0] * 4)
    found = advice.small_objects(sides, lost=0.2)
    assert found.weight == pytest.approx(0.12) and found.advice.setting == "task.model.input_size"
    assert "60% of the 10 missed instances are smaller than 16 pixels on the canvas" in found.advice.text
    assert advice.small_objects(sides[1:], 0.2) is None  # Nine are too few.
    assert advice.small_objects(np.array([15.0] * 3 + [16.0] * 7), 0.2) is None


def test_missed_objects():
    found = advice.missed_objects(20, 80, lost=0.1)
    assert "25% of the instances are missed, which costs 0.100 AP50" in found.advice.text
    assert found.advice.setting == "trainer.train_steps"
    assert advice.missed_objects(20, 80, 0.04) is None and advice.missed_objects(9, 80, 0.1) is None


def test_rare_class():
    counts, accuracy = {"pole": 12, "car": 500, "sign": 99}, {"pole": 0.1, "car": 0.6, "sign": 0.2}
    found = advice.rare_class(counts, accuracy, "instances")
    assert found.advice.text.startswith("class `pole` has 12 training instances:")
    assert found.weight == pytest.approx(0.2 / 3)
    counts["sign"] = 50
    assert "instances, and 1 other class has fewer than 100:" in advice.rare_class(counts, accuracy, "instances").advice.text
    # A rare class that is not worse than others, similar counts, and unknown accuracies.
    assert advice.rare_class(counts, {"pole": 0.9, "car": 0.6, "sign": 0.8}, "instances") is None
    assert advice.rare_class({"pole": 12, "car": 100}, accuracy, "instances") is None
    assert advice.rare_class(counts, {"pole": 0.1, "car": None, "sign": None}, "instances") is None


def test_duplicates():
    found = advice.duplicates(3, 0.05, nms_iou=0.6)
    assert "3 objects are detected again, and duplicates cost 0.050 AP50" in found.advice.text
    assert "nms_iou, now 0.6" in found.advice.text and found.advice.setting == "task.model.detection.nms_iou"
    assert "now" not in advice.duplicates(3, 0.05, None).advice.text
    assert advice.duplicates(3, 0.009, 0.6) is None


def test_background_errors():
    found = advice.background_errors(100, 10, lost=0.02)
    assert "10% of the detections with a score of at least 0.8 have no label near" in found.advice.text
    assert advice.background_errors(100, 4, 0.02) is None and advice.background_errors(100, 10, 0.001) is None
    assert advice.background_errors(0, 0, 0.02) is None


def test_localization():
    found = advice.localization(0.03, 40)
    assert "40 detections overlap an object" in found.advice.text and "costs 0.030 AP50" in found.advice.text
    assert advice.localization(0.019, 40) is None


def test_confused_classes():
    counts = np.array([[60, 20, 20], [12, 88, 0], [0, 0, 0]])
    found = advice.confused_classes(counts, ["car", "truck"], "instances")
    assert "20% of the instances of `car` are predicted as `truck`" in found.advice.text and found.weight == pytest.approx(0.1)
    assert advice.confused_classes(counts // 2, ["car", "truck"], "instances") is not None
    assert advice.confused_classes(counts // 3, ["car", "truck"], "instances") is None  # Six are too few.
    assert advice.confused_classes(np.array([[91, 10], [0, 5]]), ["car", "truck"], "instances") is None  # Below 10 %.
    assert advice.confused_classes(np.zeros((1, 1)), ["car"], "instances") is None


def test_detection_limit():
    found = advice.detection_limit(2, 10, 100)
    assert "2 images have at least as many instances as an image can have detections (100)" in found.advice.text
    assert found.weight == 0.2
    assert advice.detection_limit(0, 10, 100) is None and advice.detection_limit(2, 10, None) is None


def test_score_threshold():
    best = scores.Best(0.31, 0.75)
    found = advice.score_threshold(best, 0.5, 0.6)
    assert found.advice.text.startswith("F1 is 0.750 with the score threshold 0.31, and 0.600 with 0.50")
    assert found.weight == pytest.approx(0.15)
    assert advice.score_threshold(best, 0.5, 0.745) is None
    assert advice.score_threshold(None, 0.5, 0.1) is None and advice.score_threshold(best, None, 0.1) is None


def test_calibration():
    high = scores.calibration(np.full(10, 0.9), np.arange(10) < 7)
    found = advice.calibration(high, "task.evaluation.drawn_score")
    assert "by 0.20 on average, and most are higher" in found.advice.text
    assert "lower" in advice.calibration(scores.calibration(np.full(10, 0.5), np.ones(10, bool)), "").advice.text
    assert advice.calibration(scores.calibration(np.full(10, 0.75), np.arange(10) < 7), "") is None
    assert advice.calibration(scores.calibration(np.zeros(0), np.zeros(0, bool)), "") is None


def test_overfitting():
    rows = [{"step": 100, "loss": 0.8}, {"step": 200, "loss": 0.5}, {"step": 300, "loss": 0.6}]
    found = advice.overfitting(rows)
    assert "lowest at step 200 (0.500) and is 0.600 now" in found.advice.text and found.advice.setting == "trainer.early_stopping"
    assert advice.overfitting([*rows, {"step": 400, "loss": 0.54}]) is None
    assert advice.overfitting(rows[:1]) is None and advice.overfitting([{"step": 1}, {"step": 2, "loss": None}]) is None


def test_wrong_labels():
    found = advice.wrong_labels(12, 1000, "labels")
    assert found.advice.text.startswith("12 of 1000 labels are probably wrong") and found.weight == 0.012
    assert advice.wrong_labels(9, 1000, "labels") is None and advice.wrong_labels(4, 10, "labels") is None


def test_rare_pixels():
    found = advice.rare_pixels(np.array([9990, 10, 0]), np.array([0.9, 0.1, np.nan]), ["road", "pole", "none"])
    assert found.advice.text.startswith("class `pole` has 0.10% of the pixels and IoU 0.10")
    assert found.weight == pytest.approx(0.4 / 3)
    assert advice.rare_pixels(np.array([9000, 1000]), np.array([0.9, 0.1]), ["road", "pole"]) is None
    assert advice.rare_pixels(np.array([9990, 10]), np.array([0.2, 0.9]), ["road", "pole"]) is None
    assert advice.rare_pixels(np.zeros(2), np.full(2, np.nan), ["road", "pole"]) is None


def test_coarse_outlines():
    found = advice.coarse_outlines(0.8, 0.5)
    assert found.advice.text.startswith("mean IoU is 0.800, but only 0.500 near outlines")
    assert found.weight == pytest.approx(0.06)
    assert advice.coarse_outlines(0.8, 0.56) is None and advice.coarse_outlines(None, None) is None
