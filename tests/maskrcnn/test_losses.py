"""Mask R-CNN's five losses and their normalisation, against numbers worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.maskrcnn import config, losses
from tpuseg.maskrcnn.targets import AnchorTargets, RoiTargets, Samples

LN3 = math.log(3)  # A sigmoid of ln 3 is 3/4; a softmax of (ln 3, 0) is (3/4, 1/4).
HIT, MISS = -math.log(3 / 4), -math.log(1 / 4)


def test_smooth_l1_is_quadratic_below_beta_and_linear_from_there():
    errors = tf.constant([0.0, 0.5, -0.5, 1.0, 2.0, -2.0])
    np.testing.assert_allclose(losses.smooth_l1(errors, 1.0), [0, 0.125, 0.125, 0.5, 1.5, 1.5])
    np.testing.assert_allclose(losses.smooth_l1(errors, 0.5), [0, 0.25, 0.25, 0.75, 1.75, 1.75])
    np.testing.assert_allclose(losses.smooth_l1(errors, 4.0), [0, 0.03125, 0.03125, 0.125, 0.5, 0.5])
    np.testing.assert_allclose(losses.smooth_l1(errors, 0.0), [0, 0.5, 0.5, 1.0, 2.0, 2.0])


def anchor_targets(foreground, valid, deltas):
    rows = tf.zeros([1, len(foreground)], tf.int32)
    samples = Samples(rows, tf.constant([foreground]), tf.constant([valid]))
    return AnchorTargets(samples, tf.constant([deltas], tf.float32))


def as_numbers(terms):
    return {name: (float(term.total), float(term.count)) for name, term in terms.items()}


def test_rpn_losses():
    found = losses.rpn_terms(
        objectness=tf.constant([[LN3, LN3, 5.0, float("inf")]]),
        deltas=tf.constant([[[1.0, 0, 0, 0], [9.0, 9, 9, 9], [9, 9, 9, 9], [float("nan")] * 4]]),
        targets=anchor_targets([True, False, False, False], [True, True, False, False], [[0.25, 2, 0, 0.5]] * 4),
        beta=0.0,
    )
    # One foreground sample (probability 3/4), one of background (3/4 as well, so 1/4 right); two that do not count. The divisor is
    # the number of samples asked for.
    found = as_numbers(found)
    assert found["rpn_objectness"] == (pytest.approx(HIT + MISS), 4)
    assert found["rpn_box"] == (pytest.approx(0.75 + 2 + 0.5), 4)


def test_the_rpns_box_loss_has_its_beta():
    found = losses.rpn_terms(
        tf.zeros([1, 1]), tf.constant([[[1.0, 0, 0, 0]]]), anchor_targets([True], [True], [[0.0, 2, 0, 0.5]]), beta=1.0
    )
    assert float(found["rpn_box"].total) == pytest.approx(0.5 + 1.5 + 0.125)


def test_the_divisor_of_the_rpn_counts_every_image():
    targets = anchor_targets([True, False], [True, True], [[0.0] * 4] * 2)
    two = AnchorTargets(Samples(*(tf.tile(part, [2, 1]) for part in targets.samples)), tf.tile(targets.deltas, [2, 1, 1]))
    found = as_numbers(losses.rpn_terms(tf.zeros([2, 2]), tf.zeros([2, 2, 4]), two, 0.0))
    assert found["rpn_objectness"] == (pytest.approx(4 * math.log(2)), 4)


def roi_targets():
    """Three rois of 10 x 10 pixels: one on an object of class 1, one of background (2), one that does not count."""
    box = [0.0, 0, 10, 10]
    return RoiTargets(
        rois=tf.constant([[box, box, [0.0, 0, 0, 0]]]),
        classes=tf.constant([[1, 2, 2]]),
        matches=tf.zeros([1, 3], tf.int32),
        boxes=tf.constant([[[0.0, 1, 20, 11], box, box]]),
        foreground=tf.constant([[True, False, False]]),
        valid=tf.constant([[True, True, False]]),
    )


LOGITS = [[[0.0, LN3, -100], [-100, LN3, 0.0], [float("nan")] * 3]]
# The code of the first roi's object is (0.5, 0.1, ln 2, 0). Class 1 says (0, 0.1, ln 2, 1), class 0 something else.
DELTAS = [[[[7.0] * 4, [0.0, 0.1, math.log(2), 1.0]], [[9.0] * 4] * 2, [[9.0] * 4] * 2]]


def test_losses_of_the_box_head():
    found = as_numbers(losses.box_terms(tf.constant(LOGITS), tf.constant(DELTAS), roi_targets(), [1.0, 1.0, 1.0, 1.0], 0.0))
    # The first roi's class has 3/4, the second's (background) 1/4. Two rois count.
    assert found["class"] == (pytest.approx(HIT + MISS, rel=1e-5), 2)
    assert found["box"] == (pytest.approx(0.5 + 1.0, rel=1e-5), 2)


def test_the_box_code_has_its_weights_and_the_loss_its_beta():
    # With weights (10, 1, 1, 1) the target is (5, 0.1, ln 2, 0).
    found = losses.box_terms(tf.constant(LOGITS), tf.constant(DELTAS), roi_targets(), [10.0, 1.0, 1.0, 1.0], 0.0)
    assert float(found["box"].total) == pytest.approx(5 + 1, rel=1e-5)
    found = losses.box_terms(tf.constant(LOGITS), tf.constant(DELTAS), roi_targets(), [1.0, 1.0, 1.0, 1.0], 1.0)
    assert float(found["box"].total) == pytest.approx(0.125 + 0.5, rel=1e-4)


def test_the_mask_loss_is_the_mean_over_the_foregrounds_pixels():
    logits = tf.constant([[[[LN3, LN3], [-LN3, LN3]], [[99.0, 99], [99, 99]]]])
    targets = tf.constant([[[[1.0, 0], [0, 1]], [[0.0, 0], [0, 0]]]])
    found = losses.mask_term(logits, targets, tf.constant([[True, False]]))
    assert (float(found.total), float(found.count)) == (pytest.approx((3 * HIT + MISS) / 4), 1)


def model_outputs():
    return {
        "objectness_logits": tf.zeros([1, 1]),
        "anchor_deltas": tf.constant([[[2.0, 0, 0, 0]]]),
        "anchor_targets": anchor_targets([True], [True], [[0.0] * 4]),
        "class_logits": tf.constant(LOGITS),
        "box_deltas": tf.constant(DELTAS),
        "roi_targets": roi_targets(),
        # The mask head looks at the first two rois, of which one is foreground.
        "mask_logits": tf.fill([1, 2, 3, 3], LN3),
        "mask_targets": tf.ones([1, 2, 3, 3]),
    }


def test_each_term_takes_its_own_settings():
    model = config.ModelConfig({"box_head": {"box_weights": [10.0, 1.0, 1.0, 1.0]}})
    found = as_numbers(losses.terms(model_outputs(), model, config.LossConfig({"rpn_smooth_l1_beta": 1.0})))
    assert set(found) == {"rpn_objectness", "rpn_box", "class", "box", "mask"}
    assert found["rpn_objectness"] == (pytest.approx(math.log(2)), 1)
    assert found["rpn_box"] == (pytest.approx(1.5), 1)
    assert found["box"] == (pytest.approx(6.0, rel=1e-5), 2)
    assert found["mask"] == (pytest.approx(HIT), 1)
    with_beta = as_numbers(losses.terms(model_outputs(), model, config.LossConfig({"box_smooth_l1_beta": 1.0})))
    assert with_beta["rpn_box"][0] == 2 and with_beta["box"][0] == pytest.approx(4.5 + 0.5, rel=1e-4)


def test_shares_are_weighted_divided_by_the_global_counts_and_added_up():
    totals = {"rpn_objectness": 2.0, "rpn_box": 4.0, "class": 6.0, "box": 8.0, "mask": 10.0}
    local = {name: losses.Term(tf.constant(total), tf.constant(1.0)) for name, total in totals.items()}
    counts = {name: tf.constant(2.0) for name in totals}
    weights = {f"{name}_weight": factor for name, factor in zip(totals, [1.0, 10.0, 100.0, 1000.0, 10000.0], strict=True)}
    found = losses.shares(local, counts, config.LossConfig(weights))
    expected = {"rpn_objectness": 1, "rpn_box": 20, "class": 300, "box": 4000, "mask": 50000, "loss": 54321}
    assert {name: float(value) for name, value in found.items()} == expected


def test_a_loss_without_anything_to_count_is_0():
    zero = tf.constant(0.0)
    found = losses.shares({"mask": losses.Term(zero, zero)}, {"mask": zero}, config.LossConfig())
    assert float(found["mask"]) == float(found["loss"]) == 0
