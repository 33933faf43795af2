"""Labels, samples and targets of Mask R-CNN's losses, against small cases worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.maskrcnn import config, targets

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1


def ground_truth(boxes, classes=None, crowds=(), masks=None, seed=3, ignored=None):
    """One image's objects; a class of -1 is padding."""
    boxes = np.array(boxes, np.float32).reshape(1, -1, 4)
    classes = [0] * boxes.shape[1] if classes is None else classes
    masks = np.ones((boxes.shape[1], 4, 4), np.float32) if masks is None else np.array(masks, np.float32)
    return targets.GroundTruth(
        boxes=tf.constant(boxes),
        classes=tf.constant([classes], tf.int32),
        masks=tf.constant(masks[None]),
        crowd_boxes=tf.constant(np.array(crowds, np.float32).reshape(1, -1, 4)),
        seeds=tf.constant([[seed, 0]], tf.int32),
        ignored_boxes=None if ignored is None else tf.constant([ignored], tf.float32),
    )


def labels_of(anchors, truth, size=(100, 100), **sampler):
    found = targets.label_anchors(
        tf.constant(anchors, tf.float32), truth, tf.constant([size], tf.float32), config.AnchorSamplerConfig(sampler)
    )
    assert found.shape == (1, len(anchors))
    return found.numpy()[0].tolist()


OBJECT = [0, 0, 10, 10]
# Overlaps with OBJECT: 1, 0.7, 0.5, 0.3, 0.2 and 0.
ANCHORS = [OBJECT, [0, 0, 10, 7], [0, 0, 10, 5], [0, 0, 10, 3], [0, 0, 10, 2], [20, 20, 30, 30]]


def test_anchors_are_labelled_by_their_largest_overlap():
    # 0.7 is foreground ("at least"), 0.3 is not background ("below").
    assert labels_of(ANCHORS, ground_truth([OBJECT])) == [1, 1, -1, -1, 0, 0]


def test_the_thresholds_come_from_the_configuration():
    assert labels_of(ANCHORS, ground_truth([OBJECT]), foreground_iou=0.5, background_iou=0.25) == [1, 1, 1, -1, 0, 0]


def test_the_best_anchors_of_an_object_are_foreground_however_small_their_overlap():
    # Quarters of an object of 20 x 20 pixels: IoU 0.25 twice; an eighth: 0.125.
    anchors = [[40, 40, 50, 50], [50, 50, 60, 60], [40, 40, 45, 50]]
    assert labels_of(anchors, ground_truth([[40, 40, 60, 60]])) == [FOREGROUND, FOREGROUND, BACKGROUND]


def test_an_object_that_no_anchor_overlaps_makes_no_anchor_foreground():
    assert labels_of(ANCHORS[4:], ground_truth([[70, 70, 80, 80]])) == [BACKGROUND, BACKGROUND]


def test_the_largest_overlap_counts_and_not_the_smallest():
    # The first two anchors overlap both objects: with 1 and 1/3, and with 1/2 and 3/4.
    anchors = [OBJECT, [0, 0, 10, 20], [0, 30, 10, 40]]
    assert labels_of(anchors, ground_truth([OBJECT, [0, 5, 10, 20]])) == [FOREGROUND, FOREGROUND, BACKGROUND]


def test_images_of_a_batch_have_their_own_objects_and_padding():
    first, second = ground_truth([OBJECT, [50, 50, 60, 60]]), ground_truth([[20, 20, 30, 30], [0, 0, 10, 10]], classes=[0, -1])
    both = targets.GroundTruth(*(tf.concat(parts, axis=0) for parts in zip(first[:5], second[:5], strict=True)))
    anchors = tf.constant([*ANCHORS, [50, 50, 60, 60]], tf.float32)
    found = targets.label_anchors(anchors, both, tf.fill([2, 2], 100.0), config.AnchorSamplerConfig())
    np.testing.assert_array_equal(found, [[1, 1, -1, -1, 0, 0, 1], [0, 0, 0, 0, 0, 1, 0]])


def test_the_best_anchor_is_found_for_each_object():
    # The second object's best anchor, 0.2, is not the best of the first object.
    anchors = [OBJECT, [50, 50, 60, 52]]
    assert labels_of(anchors, ground_truth([OBJECT, [50, 50, 60, 60]])) == [FOREGROUND, FOREGROUND]


def test_padding_rows_are_no_objects():
    assert labels_of(ANCHORS, ground_truth([OBJECT, [20, 20, 30, 30]], classes=[0, -1])) == [1, 1, -1, -1, 0, 0]
    assert labels_of(ANCHORS[:1], ground_truth([OBJECT], classes=[-1])) == [BACKGROUND]


def test_background_that_a_crowd_covers_is_ignored():
    # The crowd covers 7/10 of the last anchor, then 6/10.
    assert labels_of(ANCHORS, ground_truth([OBJECT], crowds=[[20, 20, 30, 27]]))[-1] == IGNORED
    assert labels_of(ANCHORS, ground_truth([OBJECT], crowds=[[20, 20, 30, 26]]))[-1] == BACKGROUND


def test_an_object_in_a_crowd_stays_foreground():
    assert labels_of(ANCHORS, ground_truth([OBJECT], crowds=[[0, 0, 100, 100]])) == [1, 1, -1, -1, -1, -1]


def test_anchors_beyond_the_border_are_ignored_where_a_boundary_is_set():
    anchors = [[-1, 0, 9, 10], [0, -6, 10, 4], [10, 10, 20, 20], [11, 10, 21, 20], [10, 17, 20, 27]]
    truth = ground_truth([[-1, 0, 9, 10]])
    assert labels_of(anchors, truth, size=(20, 20), boundary=0.0) == [-1, -1, 0, -1, -1]
    assert labels_of(anchors, truth, size=(20, 20), boundary=5.0) == [1, -1, 0, 0, -1]
    # No boundary: the second anchor shares 9 x 4 pixels with the object, 36 / 164 = 0.22.
    assert labels_of(anchors, truth, size=(20, 20)) == [1, 0, 0, 0, 0]


def test_the_height_limits_y_and_the_width_limits_x():
    anchors = [[0, 0, 30, 10], [0, 0, 10, 30]]
    assert labels_of(anchors, ground_truth([[50, 50, 60, 60]]), size=(30, 20), boundary=0.0) == [BACKGROUND, IGNORED]


# IoU 0.5, 0.25 and 0.04 with OBJECT, which covers 0.5, 0.25 and all of them; the last is far away.
AROUND = [[0, 0, 10, 20], [0, 0, 10, 40], [0, 0, 2, 2], [50, 50, 60, 60]]


def test_background_near_an_ignored_object_is_ignored():
    assert labels_of(AROUND, ground_truth([], ignored=[OBJECT])) == [IGNORED, BACKGROUND, IGNORED, BACKGROUND]
    assert labels_of(AROUND, ground_truth([], ignored=[OBJECT]), background_iou=0.25)[1] == IGNORED
    # Without it, or with padding alone, they are background.
    assert labels_of(AROUND, ground_truth([])) == labels_of(AROUND, ground_truth([], ignored=[[0] * 4] * 2)) == [BACKGROUND] * 4


def test_an_overlap_with_an_ignored_object_equal_to_the_threshold_is_no_background():
    # IoU 0.3; the object covers 0.3 of it. The second anchor is the object's best.
    assert labels_of([OBJECT, [0, 0, 10, 3]], ground_truth([], ignored=[[0, 0, 10, 3]])) == [IGNORED, IGNORED]
    # Covered to 0.7, and a little less; each has an IoU below 0.01 with the object, whose best anchor is the last.
    anchors = [[93, 0, 103, 10], [93.1, 0, 103.1, 10], [0, 0, 100, 100]]
    assert labels_of(anchors, ground_truth([], ignored=[[0, 0, 100, 100]])) == [IGNORED, BACKGROUND, IGNORED]


def test_the_best_anchors_of_an_ignored_object_are_ignored_however_small_their_overlap():
    # IoU 0.25 twice: the object covers a quarter of each. An object that no anchor overlaps has no best one.
    anchors = [[0, 0, 10, 40], [0, 0, 40, 10], AROUND[3]]
    assert labels_of(anchors, ground_truth([], ignored=[OBJECT])) == [IGNORED, IGNORED, BACKGROUND]
    assert labels_of(anchors, ground_truth([], ignored=[[70, 70, 80, 80]])) == [BACKGROUND] * 3


def test_foreground_near_an_ignored_object_stays_foreground():
    assert labels_of([OBJECT, AROUND[0]], ground_truth([OBJECT], ignored=[OBJECT])) == [FOREGROUND, IGNORED]


@pytest.mark.parametrize("place", [0, 255, 256, 599])
def test_one_of_many_ignored_objects_is_enough(place):
    many = [[200, 200, 201, 201]] * 600
    many[place] = OBJECT
    assert labels_of(AROUND, ground_truth([], ignored=many)) == [IGNORED, BACKGROUND, IGNORED, BACKGROUND]


def test_an_ignored_object_smaller_than_a_pixel_counts():
    anchors = [[0, 0, 1, 1], [0, 0, 20, 20]]
    assert labels_of(anchors, ground_truth([], ignored=[[200, 200, 300, 300], [0, 0, 0.8, 0.8]])) == [IGNORED, BACKGROUND]


def test_images_of_a_batch_have_their_own_ignored_objects():
    first, second = ground_truth([[80, 80, 90, 90]], ignored=[OBJECT]), ground_truth([[80, 80, 90, 90]], ignored=[AROUND[3]])
    both = targets.GroundTruth(*(tf.concat(parts, axis=0) for parts in zip(first, second, strict=True)))
    found = targets.label_anchors(tf.constant(AROUND, tf.float32), both, tf.fill([2, 2], 100.0), config.AnchorSamplerConfig())
    np.testing.assert_array_equal(found, [[-1, 0, -1, 0], [0, 0, 0, -1]])


def sample(labels, priorities, num_samples, foreground_fraction=0.5):
    found = targets.sample(tf.constant([labels]), tf.constant([priorities], tf.float32), num_samples, foreground_fraction)
    return [part.numpy()[0].tolist() for part in found]


def test_samples_are_the_highest_priorities_foreground_first():
    labels, priorities = [1, 0, 1, -1, 0, 1, 0], [0.1, 0.9, 0.8, 0.99, 0.2, 0.5, 0.3]
    rows, foreground, valid = sample(labels, priorities, 4)
    assert rows == [2, 5, 1, 6]
    assert foreground == [True, True, False, False] and valid == [True] * 4


def test_background_fills_up_what_the_foreground_lacks():
    rows, foreground, valid = sample([1, 0, 0, -1], [0.5, 0.6, 0.7, 0.9], 4)
    assert rows == [0, 2, 1, 0]
    assert foreground == [True, False, False, False] and valid == [True, True, True, False]


def test_foreground_does_not_fill_up_what_the_background_lacks():
    rows, foreground, valid = sample([1, 1, 1, 0], [0.5, 0.6, 0.7, 0.9], 4)
    assert rows[:3] == [2, 1, 3]
    assert foreground == [True, True, False, False] and valid == [True, True, True, False]


def test_the_foreground_fraction_is_rounded_down():
    _, foreground, valid = sample([1] * 5 + [0] * 5, [0.5] * 10, 5, 0.5)
    assert sum(foreground) == 2 and all(valid)
    _, foreground, _ = sample([1] * 5 + [0] * 5, [0.5] * 10, 5, 1.0)
    assert sum(foreground) == 5


def test_a_priority_of_0_is_drawn_too():
    rows, foreground, valid = sample([1, 0], [0.0, 0.0], 2)
    assert rows == [0, 1] and foreground == [True, False] and valid == [True, True]


def test_each_image_of_a_batch_has_its_own_samples():
    labels, priorities = tf.constant([[1, 0, 0, 1], [0, 0, -1, 1]]), tf.constant([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    found = targets.sample(labels, priorities, 3, 0.7)
    np.testing.assert_array_equal(found.rows, [[3, 0, 2], [3, 0, 1]])
    np.testing.assert_array_equal(found.foreground, [[True, True, False], [True, False, False]])
    assert found.valid.numpy().all()


def test_background_alone_fills_all_samples():
    rows, foreground, valid = sample([0, 0, 0, 0], [0.1, 0.4, 0.3, 0.2], 4)
    assert rows == [1, 2, 3, 0] and not any(foreground) and all(valid)


def test_nothing_to_sample_gives_no_valid_row():
    rows, foreground, valid = sample([-1, -1], [0.5, 0.5], 3)
    assert rows == [0, 0, 0] and not any(foreground) and not any(valid)


def test_priorities_depend_on_the_seed_and_the_purpose_alone():
    seeds = tf.constant([[1, 2], [3, 4], [1, 5]], tf.int32)
    drawn = targets.random_priorities(seeds, 1000, salt=1).numpy()
    np.testing.assert_array_equal(drawn[:1], targets.random_priorities(seeds[:1], 1000, salt=1))
    others = targets.random_priorities(seeds, 1000, salt=2).numpy()
    rows = np.concatenate([drawn, others[:1]])
    correlations = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlations).max() < 0.15
    assert (drawn >= 0).all() and (drawn < 1).all() and np.allclose(drawn.mean(1), 0.5, atol=0.05)


def test_the_purpose_is_added_to_the_seed():
    seeds = tf.constant([[1, 2]], tf.int32)
    np.testing.assert_array_equal(
        targets.random_priorities(seeds, 5, salt=3), targets.random_priorities(seeds + [[3, 0]], 5, salt=0)
    )


def test_anchors_and_rois_of_an_image_are_drawn_independently():
    # 60 boxes, all of background; the seed is the same.
    corners = np.stack([np.arange(60), np.arange(60), np.arange(60) + 9, np.arange(60) + 9], axis=1)
    truth = ground_truth([[90, 90, 99, 99]], classes=[-1])
    settings = config.RpnConfig({"sampler": {"num_samples": 10}})
    anchors = tf.constant(corners, tf.float32)
    of_anchors = targets.anchor_targets(anchors, truth, tf.constant([[100.0, 100.0]]), settings).samples.rows.numpy()[0]
    rois = roi_targets(corners.tolist(), truth, num_samples=10)
    assert rois.valid.all() and rois.rois[:, 0].tolist() != of_anchors.tolist()


def test_anchor_targets_are_the_codes_of_the_matched_objects():
    anchors = tf.constant([[50, 50, 60, 60], [0, 0, 10, 10], [80, 80, 90, 90]], tf.float32)
    truth = ground_truth([[0, 1, 10, 11], [50, 50, 70, 60]], classes=[0, 2])
    settings = config.RpnConfig(
        {"box_weights": [1.0, 2.0, 3.0, 4.0], "sampler": {"num_samples": 3, "foreground_fraction": 1.0}}
    )
    found = targets.anchor_targets(anchors, truth, tf.constant([[100.0, 100.0]]), settings)
    rows = found.samples.rows.numpy()[0].tolist()
    assert sorted(rows[:2]) == [0, 1] and rows[2] == 2
    assert found.samples.foreground.numpy()[0].tolist() == [True, True, False]
    deltas = dict(zip(rows, found.deltas.numpy()[0], strict=True))
    # The first anchor's object is twice as high, its centre half an anchor lower; the second's lies a tenth farther right.
    np.testing.assert_allclose(deltas[0], [0.5, 0, 3 * math.log(2), 0], atol=1e-6)
    np.testing.assert_allclose(deltas[1], [0, 0.2, 0, 0], atol=1e-6)


def roi_targets(proposals, truth, valid=None, num_classes=5, **sampler):
    proposals = tf.constant([proposals], tf.float32)
    valid = tf.ones(proposals.shape[:2], tf.bool) if valid is None else tf.constant([valid])
    settings = config.RoiSamplerConfig({"num_samples": 8, "foreground_fraction": 0.5, **sampler})
    found = targets.roi_targets(proposals, valid, truth, num_classes, settings)
    return targets.RoiTargets(*(part.numpy()[0] for part in found))


def by_roi(found, values):
    """Maps each valid roi to its row of some values."""
    rois = found.rois.astype(int)
    return {tuple(rois[row].tolist()): values[row] for row in np.flatnonzero(found.valid)}


TRUE_BOXES = [[0, 0, 10, 10], [50, 50, 60, 60]]


def test_rois_get_the_class_of_the_object_they_overlap_most():
    proposals = [[0, 0, 10, 5], [50, 50, 60, 58], [0, 0, 10, 4], [80, 80, 90, 90]]
    found = roi_targets(proposals, ground_truth(TRUE_BOXES, classes=[3, 1]))
    classes = by_roi(found, found.classes)
    # An overlap of 0.5 is foreground, 0.4 background; the true boxes are candidates too.
    assert classes == {
        (0, 0, 10, 5): 3, (0, 0, 10, 10): 3, (50, 50, 60, 58): 1, (50, 50, 60, 60): 1, (0, 0, 10, 4): 5, (80, 80, 90, 90): 5,
    }
    assert found.foreground.tolist() == [True] * 4 + [False] * 4
    assert found.valid.tolist() == [True] * 6 + [False] * 2
    np.testing.assert_array_equal(found.rois[6:], 0)
    matches, boxes = by_roi(found, found.matches), by_roi(found, found.boxes)
    assert matches[0, 0, 10, 5] == 0 and matches[50, 50, 60, 58] == 1
    np.testing.assert_array_equal(boxes[50, 50, 60, 58], TRUE_BOXES[1])


def test_the_foreground_threshold_of_rois_comes_from_the_configuration():
    truth = ground_truth(TRUE_BOXES[:1], classes=[3])
    found = roi_targets([[0, 0, 10, 5]], truth, foreground_iou=0.6)
    assert by_roi(found, found.classes) == {(0, 0, 10, 5): 5, (0, 0, 10, 10): 3}


def test_padding_of_proposals_and_of_objects_is_not_sampled():
    truth = ground_truth(TRUE_BOXES, classes=[3, -1])
    found = roi_targets([[80, 80, 90, 90], [50, 50, 60, 60]], truth, valid=[False, True])
    # The second proposal lies on a padding row, so it is background.
    assert by_roi(found, found.classes) == {(50, 50, 60, 60): 5, (0, 0, 10, 10): 3}


def test_background_rois_in_a_crowd_are_ignored_and_foreground_ones_are_not():
    truth = ground_truth(TRUE_BOXES[:1], classes=[3], crowds=[[0, 0, 10, 10], [80, 80, 90, 85]])
    found = roi_targets([[0, 0, 10, 5], [80, 80, 90, 90], [80, 80, 90, 91], [1, 1, 4, 4]], truth)
    # Half of (80, 80, 90, 90) is in a crowd, and a little less of (80, 80, 90, 91).
    assert by_roi(found, found.classes) == {(0, 0, 10, 5): 3, (0, 0, 10, 10): 3, (80, 80, 90, 91): 5}


def test_background_rois_in_an_ignored_object_are_ignored_and_foreground_ones_are_not():
    truth = ground_truth(TRUE_BOXES[:1], classes=[3], ignored=[[0, 0, 10, 10], [80, 80, 90, 85]])
    found = roi_targets([[0, 0, 10, 5], [80, 80, 90, 90], [80, 80, 90, 91], [1, 1, 4, 4]], truth)
    assert by_roi(found, found.classes) == {(0, 0, 10, 5): 3, (0, 0, 10, 10): 3, (80, 80, 90, 91): 5}
    # A crowd counts as well where there are ignored objects.
    truth = ground_truth(TRUE_BOXES[:1], classes=[3], crowds=[[80, 80, 90, 90]], ignored=[[20, 20, 30, 30]])
    found = roi_targets([[80, 80, 90, 90], [20, 20, 30, 30], [40, 40, 50, 50]], truth)
    assert by_roi(found, found.classes) == {(0, 0, 10, 10): 3, (40, 40, 50, 50): 5}


def test_no_gradient_flows_to_the_proposals():
    proposals = tf.constant([[[0.0, 0.0, 10.0, 5.0]]])
    with tf.GradientTape() as tape:
        tape.watch(proposals)
        found = targets.roi_targets(
            proposals, tf.constant([[True]]), ground_truth(TRUE_BOXES[:1]), 2, config.RoiSamplerConfig({"num_samples": 2})
        )
        total = tf.reduce_sum(found.rois)
    assert tape.gradient(total, proposals) is None


def masks_of(rois, truth, size, matches=None):
    matches = [0] * len(rois) if matches is None else matches
    found = targets.mask_targets(tf.constant([rois], tf.float32), tf.constant([matches]), truth, size)
    return found.numpy()[0].astype(int).tolist()


def test_a_mask_is_1_from_one_half_on():
    mask = [[0.0, 0.4, 0.5, 0.6], [1.0, 0.8, 0.49, 0.51], [0, 0, 0, 0], [0, 0, 0, 1]]
    truth = ground_truth([[0, 0, 8, 8]], masks=[mask])
    # The roi is the box, and its pixels are the mask's cells.
    assert masks_of([[0, 0, 8, 8]], truth, 4) == [[[0, 0, 1, 1], [1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]]


LEFT_COLUMN = [[1, 0, 0, 0]] * 4


@pytest.mark.parametrize("transposed", [False, True])
def test_masks_are_interpolated_at_the_centres_of_the_rois_pixels(transposed):
    mask = np.transpose(LEFT_COLUMN) if transposed else LEFT_COLUMN
    truth = ground_truth([[0, 0, 8, 8]], masks=[mask])

    def row_of(roi):
        roi = [roi[1], roi[0], roi[3], roi[2]] if transposed else roi
        found = np.array(masks_of([roi], truth, 4)[0])
        found = found.T if transposed else found
        assert (found == found[0]).all()
        return found[0].tolist()

    # The left half: pixel centres 0.5, 1.5, 2.5 and 3.5 read the first column with 0.75, 0.75, 0.25 (a cell is 2 pixels) and 0.
    assert row_of([0, 0, 8, 4]) == [1, 1, 0, 0]
    # Half of the roi lies left of the object: pixel centres -1.5, -0.5, 0.5 and 1.5 read the first column with 0, 0.25, 0.75, 0.75.
    assert row_of([0, -2, 8, 2]) == [0, 0, 1, 1]
    assert row_of([0, -8, 8, 0]) == [0, 0, 0, 0]
    # Twice as wide as the object.
    assert row_of([0, 0, 8, 16]) == [1, 0, 0, 0]


def test_masks_lie_in_the_frames_of_their_boxes():
    # The box is 4 x 8 pixels, from (10, 20) on: cells of 1 x 2 pixels. The roi has pixels of that size, one cell farther right.
    truth = ground_truth([[10, 20, 14, 28]], masks=[np.eye(4)])
    assert masks_of([[10, 22, 14, 30]], truth, 4) == [[[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]]
    # An object of half a pixel.
    tiny = ground_truth([[5, 5, 5.5, 5.5]], masks=[np.eye(4)])
    assert masks_of([[5, 5, 5.5, 5.5]], tiny, 4) == [np.eye(4).astype(int).tolist()]


def test_each_roi_gets_the_mask_of_its_own_object():
    truth = ground_truth([[0, 0, 8, 8], [4, 4, 12, 12]], masks=[np.zeros((4, 4)), np.ones((4, 4))])
    assert masks_of([[4, 4, 12, 12], [0, 0, 8, 8]], truth, 2, matches=[1, 0]) == [[[1, 1], [1, 1]], [[0, 0], [0, 0]]]
