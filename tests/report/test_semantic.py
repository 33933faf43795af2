import dataclasses
import json

import numpy as np
import pytest

from tpuseg.report import semantic
from tpuseg.report.semantic import Context, SemanticAnalysis

NAMES = ["background", "road", "pole"]


def analysis(names=NAMES):
    return SemanticAnalysis(names, 255, lambda index: f"{index}.jpg", lambda index: {"truth": f"{index}_truth.png"})


def part(report, key):
    return next(part for section in report.sections for part in section.parts if part.key == key)


def example():
    """Ten pixels: one is ignored, of the others 6 are right."""
    truth = np.array([[0, 0, 0, 0, 1], [1, 1, 1, 2, 255]], np.uint8)
    prediction = np.array([[0, 0, 0, 1, 1], [1, 1, 0, 1, 1]], np.uint8)
    return truth, prediction


def test_numbers_by_hand():
    result = analysis()
    result.add(4, "id 4", *example(), name="a.jpg")
    assert result.counts.tolist() == [[3, 1, 0], [1, 3, 0], [0, 1, 0]]
    report = result.report("title")
    assert (report.title, report.kind, report.class_names) == ("title", "semantic", NAMES)
    rows = {row[0]: row[1:] for row in part(report, "classes").rows}
    # IoU, precision and recall; all pixels are near the outlines, so that boundary IoU is IoU.
    assert rows["road"] == [0.5, 0.6, 0.75, 0.5, pytest.approx(4 / 9, abs=1e-6)]
    assert rows["pole"] == [0.0, None, 0.0, 0.0, pytest.approx(1 / 9, abs=1e-6)]
    assert part(report, "confusion").values == [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 1, 0]]
    mean = f"{(0.6 + 0.5) / 3:.3f}"
    assert report.facts == [("mean IoU", mean), ("pixel accuracy", "0.667"), ("mean boundary IoU", mean), ("images", "1")]
    (card,) = report.cards
    assert (card.image_id, card.name, card.size, card.image) == ("id 4", "a.jpg", (2, 5), "4.jpg")
    assert card.layers == {"truth": "4_truth.png"} and card.labels == [0, 1, 2] and not card.marks
    assert card.errors == {"classification": 1, "background": 1, "missed": 1} and card.score == pytest.approx(1.1 / 3, abs=1e-4)


def test_without_background_all_errors_are_confusions():
    result = analysis(["sky", "road", "pole"])
    result.add(0, "0", *example())
    assert result.report().cards[0].errors == {"classification": 3}


def test_the_worst_images_are_first():
    truth, prediction = example()
    result = analysis()
    result.add(0, "right", truth, np.where(truth == 255, 0, truth))
    result.add(1, "wrong", truth, prediction)
    result.add(2, "ignored", np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    report = result.report()
    assert [card.image_id for card in report.cards] == ["wrong", "right", "ignored"] and report.cards[2].score == 1
    assert part(report, "image_scores").series[0].y == [0, 0, 0, 1, 0, 0, 0, 0, 0, 2]


def test_probabilities_have_classes_and_confidences():
    probabilities = np.zeros((1, 4, 3))
    probabilities[0] = [[0.9, 0.1, 0], [0.3, 0.7, 0], [0.05, 0, 0.95], [1, 0, 0]]
    result = analysis()
    result.add(0, "0", np.array([[0, 0, 2, 255]], np.uint8), probabilities)
    chart = part(result.report(), "calibration")
    # Bins 0.7 to 0.8: wrong; 0.9 to 1.0: two pixels, both right. The last pixel is ignored.
    assert chart.series[0].y[7:] == [0, None, 1] and chart.series[1].y[7:] == [0.7, None, 0.925]
    assert "0.283" in chart.note and chart.series[0].note == "3 pixels"
    assert not any(section.key == "confidence" for section in analysis().report().sections)


def large():
    truth, prediction = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    truth[5:55, 0:30] = prediction[5:55, 0:30] = 1
    prediction[10:40, 45:75] = 1
    truth[5:30, 5:25] = 0
    return truth, prediction


def test_labels_to_check():
    truth, prediction = large()
    result = analysis()
    result.add(7, "id 7", truth, prediction, np.full(truth.shape, 0.8), name="seven.jpg")
    report = result.report()
    first, second = report.labels_to_check
    assert (first.image_id, first.name, first.kind, first.box) == ("id 7", "seven.jpg", "missing label", (10, 45, 40, 75))
    assert first.text == "576 pixels are labelled `background` and predicted `road` with confidence 0.80"
    # Two classes agree and two regions do not: (2 + 1) / (4 + 2). Of the road, one agrees: (1 + 10 * 0.5) / (3 + 10).
    assert first.score == pytest.approx(6 / 13 * 576 / (576 + 2.4), abs=1e-4) and second.score < first.score
    assert part(report, "label_pairs").rows == [["background", "road", 2, first.score]]


def test_kinds_of_labels():
    truth, prediction = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[:, :20], prediction[:, 20:] = 1, 2
    prediction[30:, :20] = 2
    result = analysis()
    result.add(0, "0", truth, prediction)
    kinds = {label.kind for label in result.report().labels_to_check}
    assert kinds == {"missing label", "label without prediction", "other class"}


def test_the_most_suspicious_regions_are_kept(monkeypatch):
    monkeypatch.setattr(semantic, "MAX_REGIONS", 1)
    result = analysis()
    result.add(0, "0", *large())
    report = result.report()
    assert [label.box for label in report.labels_to_check] == [(10, 45, 40, 75)]
    assert "1 more with lower scores are not listed." in report.sections[-1].text


def test_parts_of_an_evaluation_are_merged():
    maps = [(f"{index}", *large()) for index in range(2)] + [("2", *example())]
    whole, *parts = (analysis() for _ in range(3))
    for index, row in enumerate(maps):
        confidence = np.full(row[1].shape, 0.5 + index / 10)
        whole.add(index, *row, confidence)
        parts[index % 2].add(index, *row, confidence)
    parts[0].merge(parts[1])
    assert parts[0].report() == whole.report()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": np.zeros((2, 4), np.uint8)}, r"image x: the prediction is \(2, 4\), the truth \(2, 5\)"),
        ({"confidence": np.zeros((1, 5))}, r"image x: the confidence is \(1, 5\)"),
        ({"prediction": np.full((2, 5), 3, np.uint8)}, "image x: the prediction has the value 3, but there are 3 classes"),
        ({"truth": np.full((2, 5), 254, np.uint8)}, "image x: the truth has the value 254"),
        ({"confidence": np.full((2, 5), np.nan)}, "image x: a confidence is not a number from 0 to 1"),
        ({"index": 1}, "image x: index 1 was added before, for image first"),
    ],
)
def test_wrong_input(change, message):
    truth, prediction = example()
    result = analysis()
    result.add(1, "first", truth, prediction)
    arguments = {"index": 2, "truth": truth, "prediction": prediction} | change
    with pytest.raises(ValueError, match=message):
        result.add(image_id="x", **arguments)
    assert result.counts.sum() == 9 and len(result.report().cards) == 1


def test_advice():
    result = analysis(["sky", "road", "pole"])
    truth, prediction = large()
    result.add(0, "0", truth, prediction)
    texts = [found.text for found in result.report(context=Context([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}])).advice]
    assert any("of the pixels of `sky` are predicted as `road`" in text for text in texts)
    assert any("the validation loss was lowest at step 1" in text for text in texts)


def test_without_images():
    report = analysis().report()
    assert not report.cards and dict(report.facts)["mean IoU"] == "-"


def test_the_content_is_plain():
    result = analysis()
    result.add(0, "0", *large(), np.full((60, 80), 0.9, np.float32))
    assert json.loads(json.dumps(dataclasses.asdict(result.report()), allow_nan=False))["kind"] == "semantic"
