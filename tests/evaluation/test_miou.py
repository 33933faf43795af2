"""The confusion matrix against answers worked by hand, and class maps against TensorFlow's resize."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.evaluation import miou

NAMES = ["sky", "road", "car"]


def matrix(truth, prediction, num_classes=3):
    result = miou.ConfusionMatrix(num_classes, ignore_label=255)
    result.add(np.array(truth, np.uint8), np.array(prediction, np.uint8))
    return result


def test_iou_by_hand():
    metrics = matrix([[0, 0, 1], [1, 1, 255]], [[0, 1, 1], [1, 0, 2]]).metrics(NAMES)
    # sky: 1 hit, 1 missed, 1 false: 1/3. road: 2 hits, 1 missed, 1 false: 2/4. car: only on an ignored pixel, so nowhere.
    assert metrics["per_class_iou"] == {"sky": pytest.approx(1 / 3), "road": pytest.approx(0.5), "car": None}
    assert metrics["mean_iou"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert metrics["pixel_accuracy"] == pytest.approx(3 / 5)
    assert metrics["mean_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics["num_images"] == 1


def test_a_class_that_is_only_predicted_counts_as_zero():
    assert matrix([[0, 0]], [[0, 2]]).metrics(NAMES)["per_class_iou"] == {"sky": 0.5, "road": None, "car": 0.0}


def test_nothing_but_ignored_pixels():
    metrics = matrix([[255, 255]], [[0, 1]]).metrics(NAMES)
    assert metrics["mean_iou"] is None and metrics["pixel_accuracy"] is None


def test_against_a_loop_over_pixels():
    random = np.random.default_rng(0)
    truth = random.choice([0, 1, 2, 255], (20, 30)).astype(np.uint8)
    prediction = random.integers(0, 3, (20, 30)).astype(np.uint8)
    expected = np.zeros((3, 3), int)
    for row, column in np.argwhere(truth != 255):
        expected[truth[row, column], prediction[row, column]] += 1
    np.testing.assert_array_equal(matrix(truth, prediction).counts, expected)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"the prediction is \(1, 3\), the truth \(1, 2\)"):
        matrix([[0, 0]], [[0, 0, 0]])


def test_a_value_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="the truth has the value 7, but there are 3 classes"):
        matrix([[0, 7]], [[0, 0]])


def test_warning_when_one_class_is_everywhere():
    assert "`road` is predicted for 100.0%" in matrix([[0, 1, 1]], [[1, 1, 1]]).warnings(NAMES)[-1]
    assert not any("is predicted" in line for line in matrix([[1, 1, 1]], [[1, 1, 1]]).warnings(NAMES))  # So it is in the truth.
    assert not any("is predicted" in line for line in matrix([[0, 1, 1]], [[0, 1, 1]]).warnings(NAMES))
    # Of 100 and of 101 pixels all but one.
    assert not any("is predicted" in line for line in matrix([[0] + [1] * 99], [[0] + [1] * 99]).warnings(NAMES))
    assert "is predicted for 99.0%" in matrix([[0] + [1] * 100], [[0] + [1] * 100]).warnings(NAMES)[-1]


def test_a_class_without_ground_truth_is_said():
    perfect = matrix([[0, 0, 255]], [[0, 0, 1]], num_classes=2)
    assert perfect.metrics(["background", "crack"])["mean_iou"] == 1.0
    assert perfect.metrics(["background", "crack"])["classes_without_truth"] == ["crack"]
    assert perfect.table(["background", "crack"]).splitlines()[-1].endswith("of 1 image (1 of 2 classes has ground truth)")
    assert perfect.warnings(["background", "crack"]) == [
        "1 of 2 classes has no ground truth in the validation data: `crack`; only `background` has ground truth, so mean IoU says"
        " nothing about the model: validate on data with all classes"
    ]
    three = matrix([[0, 1, 1]], [[0, 1, 1]], num_classes=3).warnings(["a", "b", "c"])
    assert three == [
        "1 of 3 classes has no ground truth in the validation data: `c`; the metrics do not include them"
    ]
    assert matrix([[0, 1]], [[0, 1]], num_classes=2).warnings(["a", "b"]) == []
    nothing = matrix([[255]], [[0]], num_classes=2).warnings(["a", "b"])
    assert "no class has ground truth" in nothing[0]


def test_table_names_every_class():
    table = matrix([[0, 1]], [[0, 1]]).table(NAMES)
    assert "sky       1.0000  50.00%" in table and "car            -   0.00%" in table and "mean IoU  1.0000" in table
    assert "sky       1.0000  100.00%" in matrix([[0]], [[0]]).table(NAMES)


@pytest.mark.parametrize(("small", "large", "aligned"), [(9, 33, True), (8, 32, False)])
def test_class_map_is_tensorflows_resize(small, large, aligned):
    logits = np.random.default_rng(1).normal(size=(small, small, 4)).astype(np.float32)
    resized = tf.raw_ops.ResizeBilinear(
        images=logits[np.newaxis], size=[large, large], align_corners=aligned, half_pixel_centers=not aligned
    )
    actual = miou.class_map(logits, (large, large), (large, large))
    np.testing.assert_array_equal(actual, np.argmax(resized[0], -1))


def test_the_first_value_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="the truth has the value 3, but there are 3 classes"):
        matrix([[0, 3]], [[0, 0]])


@pytest.mark.parametrize("block", [1, 200, 8_000_000])
@pytest.mark.parametrize("cells", [(4, 10), (10, 4)])
def test_class_map_of_a_canvas_that_is_not_square(block, cells, monkeypatch):
    monkeypatch.setattr(miou, "BLOCK", block)
    size = (4 * cells[0], 4 * cells[1])
    logits = np.random.default_rng(3).normal(size=(*cells, 3)).astype(np.float32)
    resized = tf.raw_ops.ResizeBilinear(images=logits[np.newaxis], size=size, half_pixel_centers=True)
    np.testing.assert_array_equal(miou.class_map(logits, size, size), np.argmax(resized[0], -1))


def test_class_map_of_an_image_that_fits_is_the_corner_of_the_canvas(monkeypatch):
    logits = np.random.default_rng(2).normal(size=(9, 9, 3)).astype(np.float32)
    whole = miou.class_map(logits, (33, 33), (33, 33))
    np.testing.assert_array_equal(miou.class_map(logits, (33, 33), (20, 31)), whole[:20, :31])
    monkeypatch.setattr(miou, "BLOCK", 200)  # Many small blocks instead of one.
    np.testing.assert_array_equal(miou.class_map(logits, (33, 33), (20, 31)), whole[:20, :31])


def test_class_map_of_an_image_that_was_shrunk_has_its_own_size():
    # Left half class 0, right half class 1: the border must lie in the middle of the large image too.
    logits = np.zeros((8, 8, 2), np.float32)
    logits[:, :4, 0] = logits[:, 4:, 1] = 1
    classes = miou.class_map(logits, (32, 32), (128, 128))
    assert classes.shape == (128, 128)
    np.testing.assert_array_equal(classes, np.repeat([[0, 1]], 64, axis=1).repeat(128, axis=0))
