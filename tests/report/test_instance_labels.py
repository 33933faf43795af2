"""Suspicious labels on matches with answers by hand."""

import dataclasses

import numpy as np
import pytest
from report_matches import matches

from tpuseg.report import instance_labels
from tpuseg.report.instance_labels import KINDS, agreement, box_iou, find_suspicions, share_of_similar
from tpuseg.report.selection import select


def found(overlaps, labels, scores, object_labels, boxes=None, object_boxes=None, mask_boxes=None):
    result = matches(overlaps, labels, scores, object_labels, num_classes=3)
    far = np.arange(len(labels))[:, np.newaxis] * 100.0 + [0, 0, 10, 10]
    detections = dataclasses.replace(result.detections, box=far if boxes is None else np.array(boxes, float))
    object_boxes = np.zeros((len(object_labels), 4)) if object_boxes is None else np.array(object_boxes, float)
    mask_boxes = object_boxes if mask_boxes is None else np.array(mask_boxes, float)
    objects = dataclasses.replace(result.objects, box=object_boxes, mask_box=mask_boxes, area=np.ones(len(object_labels)))
    return dataclasses.replace(result, detections=detections, objects=objects)


def rows(result, threshold=0.5):
    suspicions = find_suspicions(result, select(result, threshold))
    columns = (suspicions.kind, suspicions.detection, suspicions.object)
    return sorted(
        (KINDS[kind], detection, number) for kind, detection, number in zip(*map(np.ndarray.tolist, columns), strict=True)
    )


def test_each_kind():
    result = found(
        [
            [0.9, 0.0, 0.0, 0.0, 0.0],  # Right.
            [0.0, 0.8, 0.0, 0.0, 0.0],  # Object 1 has another class.
            [0.0, 0.0, 0.3, 0.0, 0.0],  # Object 2 is elsewhere.
            [0.0, 0.0, 0.0, 0.0, 0.0],  # No label.
            [0.0, 0.0, 0.0, 0.0, 0.9],  # Right, but the box of object 4 is too large.
        ],
        labels=[0, 0, 0, 0, 0],
        scores=[0.9, 0.85, 0.8, 0.75, 0.7],
        object_labels=[0, 1, 0, 2, 0],
        object_boxes=[[0, 0, 100, 100]] * 5,
        mask_boxes=[[0, 0, 100, 100]] * 4 + [[0, 0, 50, 100]],
    )
    assert rows(result) == [
        ("box does not fit mask", -1, 4),
        ("label without prediction", -1, 3),
        ("missing label", 3, -1),
        ("other class", 1, 1),
        ("other position", 2, 2),
    ]


def test_detections_below_the_threshold_say_nothing():
    result = found([[0.0, 0.8], [0.3, 0.0], [0, 0]], [0, 0, 0], [0.4, 0.3, 0.2], [0, 1])
    assert rows(result) == []


def test_a_label_with_a_better_detection_is_not_contradicted():
    overlaps, object_labels = [[0.8], [0.9]], [0]
    assert rows(found(overlaps, [0, 1], [0.9, 0.6], object_labels)) == []
    assert rows(found(overlaps, [1, 0], [0.9, 0.6], object_labels)) == [("other class", 0, 0)]
    # The closer the other score, the less certain.
    scores = [
        find_suspicions(result, select(result, 0.5)).score[0]
        for result in (found(overlaps, [1, 0], [0.9, other], object_labels) for other in (0.6, 0.3))
    ]
    assert scores == pytest.approx([0.5 * (1 - 0.6 / 0.9), 1 / 3 * (1 - 0.3 / 0.9)])


def test_of_several_detections_at_a_place_only_the_first():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]
    assert rows(found(np.zeros((3, 0)), [0, 1, 0], [0.9, 0.8, 0.7], [], boxes)) == [
        ("missing label", 0, -1),
        ("missing label", 2, -1),
    ]


def test_one_entry_for_each_object():
    result = found([[0.8], [0.3]], [1, 0], [0.9, 0.8], [0], object_boxes=[[0, 0, 50, 100]], mask_boxes=[[0, 0, 100, 100]])
    assert len(rows(result)) == 1


def test_boxes_fit_up_to_two_pixels_or_a_twentieth():
    boxes = [[0, 0, 12, 10], [0, 0, 13, 10], [0, 0, 105, 100], [0, 0, 106, 100]]
    masks = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 100, 100], [0, 0, 100, 100]]
    result = found(np.eye(4), [0] * 4, [0.9] * 4, [0] * 4, object_boxes=boxes, mask_boxes=masks)
    assert [row[2] for row in rows(result)] == [1, 3]
    # The share that fits, with one more of each, is 3 of 6; the IoU of object 1 is 10/13.
    assert find_suspicions(result, select(result, 0.5)).score[0] == pytest.approx(0.5 * (1 - 10 / 13 / 2))


def test_agreement_is_that_of_similar_scores():
    agreeing = np.concatenate([np.full(100, 0.3), np.full(190, 0.9)])
    disagreeing = np.concatenate([np.full(100, 0.3), np.full(10, 0.9)])
    share = agreement(agreeing, disagreeing)
    assert share[0] == pytest.approx(0.5) and share[-1] == pytest.approx(191 / 202)
    assert agreement(agreeing, np.array([0.3, 0.9, 0.6]))[2] == pytest.approx((101 / 103 + 191 / 193) / 2, abs=0.02)
    assert agreement(np.full(3, 0.5), np.array([0.5])).tolist() == [pytest.approx(4 / 6)]
    assert not len(agreement(np.ones(3), np.zeros(0)))


def test_share_of_similar_objects():
    flags, labels, areas = np.array([True] * 90 + [False] * 10 + [False] * 100), np.repeat([0, 1], 100), np.ones(200)
    share = share_of_similar(flags, labels, areas)
    # All: 91 / 202. Class 0: (90 + 10 * 91 / 202) / 110; its only range of areas: (90 + 10 * that) / 110.
    of_class = (90 + 10 * 91 / 202) / 110
    assert share[0] == pytest.approx((90 + 10 * of_class) / 110)
    assert share[-1] == pytest.approx((10 * (10 * 91 / 202) / 110) / 110)


def test_box_iou():
    assert box_iou(np.array([0, 0, 10, 10.0]), np.array([[0, 5, 10, 15], [10, 10, 20, 20.0]])).tolist() == [pytest.approx(1 / 3), 0]
    assert box_iou(np.zeros(4), np.zeros(4)) == 0


class Names:
    def image_id(self, index):
        return f"id {index}"

    def image_name(self, index):
        return f"image {index}"

    def annotation_id(self, index, row):
        return f"{index}/{row}"

    def class_name(self, label):
        return "abc"[label]


def test_texts():
    result = found([[0.8, 0.0], [0.0, 0.0]], [1, 2], [0.9, 0.8], [0, 2], object_boxes=[[1, 2, 3, 4], [5, 6, 7, 8]])
    labels = {
        label.kind: label for label in instance_labels.describe(result, find_suspicions(result, select(result, 0.5)), Names())
    }
    contradicted = labels["other class"]
    assert contradicted.text == "labelled `a`, predicted `b` with score 0.90"
    assert (contradicted.image_id, contradicted.name, contradicted.annotation_id) == ("id 0", "image 0", "0/0")
    assert contradicted.box == (1, 2, 3, 4)
    assert labels["missing label"].text == "`c` is predicted with score 0.80, but nothing is labelled here"
    assert labels["missing label"].annotation_id == "" and labels["missing label"].box == (100, 100, 110, 110)
    assert labels["label without prediction"].text == "`c` is labelled, but no prediction is near it"
