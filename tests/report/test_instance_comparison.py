"""The metrics of a comparison as functions of the images' weights, by hand and against evaluations of repeated images."""

from typing import Any

import numpy as np
import pytest

from tpuseg.evaluation.coco import ImageTruth
from tpuseg.ops import masks
from tpuseg.report import average_precision, content, instance_comparison, matching
from tpuseg.report.instance_comparison import ComparedRun


def square(left: int) -> masks.RunLengths:
    mask = np.zeros((20, 60), np.uint8)
    mask[5:15, left : left + 10] = 1
    return masks.encode(mask)


def row(category: int, left: int, score: float | None = None) -> dict[str, Any]:
    entries = {"category_id": category, "bbox": [left, 5, 10, 10], "segmentation": square(left), "area": 100}
    return {**entries, "iscrowd": 0} if score is None else {**entries, "score": score}


TRUTHS = [
    ImageTruth("a", 20, 60, [row(1, 0), row(2, 20)]),
    ImageTruth("b", 20, 60, [row(1, 10)]),
    ImageTruth("c", 20, 60, []),
]
FOUND = {0: [row(1, 0, 0.9), row(1, 40, 0.8), row(2, 20, 0.3)], 1: [row(1, 30, 0.95)], 2: [row(2, 0, 0.6)]}


def match(repeats: list[int]) -> matching.Matches:
    indices = [index for index, count in enumerate(repeats) for _ in range(count)]
    return matching.match([TRUTHS[index] for index in indices], {n: FOUND[index] for n, index in enumerate(indices)}, [1, 2])


def run(name: str = "run", repeats: tuple[int, ...] = (1, 1, 1), names: tuple[str, ...] = ("x", "y")) -> ComparedRun:
    cards = [content.Card(truth.source_id, truth.source_id, (20, 60), "u", 0.5, [], {}, {}, []) for truth in TRUTHS]
    report = content.Report(name, "instances", list(names), [], [], [], cards, [])
    return ComparedRun(name, match(list(repeats)), report, 0.5, {"a": name})


def test_average_precision_by_hand() -> None:
    """Class 1: wrong, right, wrong, of two objects: 1/2 at the recalls up to 0.5. Class 2: wrong, right, of one object: 1/2."""
    expected = (51 / 101 * 0.5 + 0.5) / 2
    assert instance_comparison.average_precision_of(match([1, 1, 1]))(np.array([1, 1, 1])) == pytest.approx(expected)


@pytest.mark.parametrize("repeats", [[2, 1, 0], [0, 2, 1], [3, 0, 0], [1, 1, 1], [1, 0, 2]])
def test_a_weight_counts_like_repeated_images(repeats: list[int]) -> None:
    weighted = instance_comparison.average_precision_of(match([1, 1, 1]))(np.array(repeats))
    repeated = match(repeats)
    counts = np.bincount(repeated.objects.label, minlength=2)
    used = counts[repeated.detections.label] > 0  # Classes without objects do not count.
    found = repeated.detections
    expected = average_precision.mean_average_precision(
        found.label[used], found.score[used], found.right[used], counts
    )
    assert weighted == pytest.approx(expected)


def test_no_objects_have_no_average_precision() -> None:
    assert np.isnan(instance_comparison.average_precision_of(match([1, 1, 1]))(np.array([0, 0, 3])))


def test_f1_by_hand() -> None:
    # Kept at 0.5: right in a (0.9), wrong in a (0.8), b and c. 2 * 1 / (4 detections + 3 objects); with a twice 4 / (6 + 5).
    metric = instance_comparison.f1_of(match([1, 1, 1]), 0.5)
    assert metric(np.array([1, 1, 1])) == pytest.approx(2 / 7) and metric(np.array([2, 1, 1])) == pytest.approx(4 / 11)
    assert metric(np.array([0, 0, 2])) == 0
    assert instance_comparison.f1_of(match([1, 1, 1]), None)(np.array([1, 1, 1])) == 0
    assert np.isnan(instance_comparison.f1_of(match([1, 1, 1]), 0.99)(np.array([0, 0, 1])))


def test_equal_runs_do_not_differ() -> None:
    found = instance_comparison.compare([run("one"), run("two")])
    assert found.runs == ["one", "two"] and not found.differences and found.facts == [("images", "3"), ("instances", "3")]
    for metric in found.metrics:
        assert metric.differences[0] is None and metric.differences[1].value == metric.differences[1].high == 0
        assert metric.values[0].low <= metric.values[0].value <= metric.values[0].high
    assert [(setting.key, setting.values) for setting in found.settings] == [("a", ["one", "two"])]


@pytest.mark.parametrize("other", [run("other", (1, 1, 0)), run("other", (2, 1, 0)), run("other", names=("x", "z"))])
def test_other_data_cannot_be_compared(other: ComparedRun) -> None:
    with pytest.raises(ValueError, match="run and other were evaluated on other images, objects or classes"):
        instance_comparison.compare([run(), other])


def test_one_run_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="a comparison needs at least two runs, and 1 is given"):
        instance_comparison.compare([run()])
