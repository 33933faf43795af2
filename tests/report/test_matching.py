"""Matching and types of errors on matrices of IoUs with answers by hand."""

import dataclasses

import numpy as np
import pytest

from tpuseg.ops import masks
from tpuseg.report import matching
from tpuseg.report.content import ERRORS


@dataclasses.dataclass(frozen=True)
class Truth:
    annotations: list
    source_id: str = "7"
    height: int = 10
    width: int = 10


def row(y0, x0, y1, x1, category_id=5, **values):
    mask = np.zeros((10, 10))
    mask[y0:y1, x0:x1] = 1
    area = (y1 - y0) * (x1 - x0)
    common = {"category_id": category_id, "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": masks.encode(mask)}
    return {**common, **({"iscrowd": 0, "area": area} | values)}


def match(overlaps, labels, object_labels, in_ignored=None):
    overlaps = np.array(overlaps, float).reshape(len(labels), len(object_labels))
    ignored = np.zeros(len(labels), bool) if in_ignored is None else np.array(in_ignored)
    return matching.match_image(overlaps, np.array(labels, int), np.array(object_labels, int), ignored)


def names(result):
    return ["right" if number < 0 else ERRORS[number] for number in result.errors.tolist()]


def test_each_type_of_error():
    result = match(
        [
            [0.9, 0.0, 0.0],  # Takes object 0.
            [0.7, 0.0, 0.0],  # Object 0 is taken.
            [0.3, 0.0, 0.0],  # Too far from object 0.
            [0.0, 0.6, 0.0],  # The class of object 1 is another one.
            [0.0, 0.3, 0.0],  # Another class, and too far.
            [0.05, 0.1, 0.0],  # Near nothing.
        ],
        labels=[0, 0, 0, 0, 0, 0],
        object_labels=[0, 1, 1],
    )
    assert names(result) == ["right", "duplicate", "localization", "classification", "both", "background"]
    assert result.partners.tolist() == [0, 0, 0, 1, 1, -1]
    # Object 1 would be found with the right class, so only object 2 is missed.
    assert result.repairs.tolist() == [False, False, False, True, False, False]
    assert result.takers.tolist() == [0, -1, -1] and result.missed.tolist() == [False, False, True]
    assert result.nearest.tolist() == [0.9, 0.6, 0.0]


def test_the_first_condition_decides():
    # All would also be duplicates of object 0; only an IoU of at most 0.5 with the own class is a localization error.
    result = match([[1.0, 0.0], [0.6, 0.7], [0.5, 0.0]], labels=[0, 0, 0], object_labels=[0, 1])
    assert names(result) == ["right", "classification", "localization"]


def test_a_detection_takes_the_free_object_with_the_largest_iou():
    result = match([[0.8, 0.6], [0.9, 0.55], [0.9, 0.5]], labels=[2, 2, 2], object_labels=[2, 2])
    assert result.takers.tolist() == [0, 1] and names(result)[2] == "duplicate"


def test_only_the_best_detection_repairs_an_object():
    result = match([[0.4], [0.45], [0.2]], labels=[0, 0, 0], object_labels=[0])
    assert result.repairs.tolist() == [True, False, False] and not result.missed.any()


def test_the_best_detection_repairs_before_a_nearer_one_of_another_error():
    result = match([[0.3, 0.0], [0.0, 0.6], [0.0, 0.7]], labels=[0, 0, 0], object_labels=[0, 1])
    assert result.repairs.tolist() == [True, True, False]


def test_no_objects_and_no_detections():
    assert names(match(np.zeros((2, 0)), [0, 1], [])) == ["background"] * 2
    result = match(np.zeros((0, 2)), [], [0, 1])
    assert result.missed.all() and result.nearest.tolist() == [0, 0]


def test_a_detection_in_an_ignored_region_is_ignored_unless_it_is_right():
    result = match([[0.9], [0.0]], labels=[0, 0], object_labels=[0], in_ignored=[True, True])
    assert result.ignored.tolist() == [False, True]


def test_images_are_joined_in_order_of_the_scores():
    truths = [
        Truth([row(0, 0, 4, 4, iscrowd=1), row(0, 0, 4, 4)]),
        Truth([]),
        Truth([row(5, 5, 10, 10, 9, bbox=[5, 5, 5, 4]), row(0, 0, 2, 5)]),
    ]
    found = {
        0: [row(0, 0, 4, 3, score=0.3), row(0, 0, 4, 4, score=0.8)],
        2: [row(0, 0, 2, 5, 9, score=0.5), row(5, 5, 10, 10, 9, score=0.4)],
    }
    result = matching.match(truths, found, [5, 9])
    detections, objects = result.detections, result.objects
    assert detections.image.tolist() == [0, 0, 2, 2] and detections.row.tolist() == [1, 0, 0, 1]
    assert detections.score.tolist() == [0.8, 0.3, 0.5, 0.4] and detections.label.tolist() == [0, 0, 1, 1]
    # The second detection of image 0 lies in the ignored region; the first one of image 2 has the class of another object.
    assert detections.right.tolist() == [True, False, False, True]
    assert detections.ignored.tolist() == [False, True, False, False]
    assert detections.partner.tolist() == [0, 0, 2, 1]
    assert detections.area.tolist() == [16, 12, 10, 25]
    assert objects.image.tolist() == [0, 2, 2] and objects.row.tolist() == [1, 0, 1] and objects.taker.tolist() == [0, 3, -1]
    assert objects.box[1].tolist() == [5, 5, 9, 10] and objects.mask_box[1].tolist() == [5, 5, 10, 10]
    assert result.sizes.tolist() == [[10, 10]] * 3 and result.num_classes == 2


def test_the_detections_with_the_highest_scores_are_kept():
    found = {0: [row(0, 0, 4, 4, score=0.3), row(0, 0, 4, 4, score=0.8)]}
    assert matching.match([Truth([])], found, [5], max_detections=1).detections.score.tolist() == [0.8]


def test_a_region_of_another_class_ignores_nothing():
    found = {0: [row(0, 0, 4, 4, score=0.3)]}
    result = matching.match([Truth([row(0, 0, 10, 10, 9, iscrowd=1)])], found, [5, 9])
    assert not result.detections.ignored.any() and not len(result.objects.label)


def test_detections_of_another_data_set_are_an_error():
    with pytest.raises(ValueError, match="image 7: category 6 is not a category"):
        matching.match([Truth([])], {0: [row(0, 0, 1, 1, 6, score=0.5)]}, [5])
    large = row(0, 0, 1, 1, score=0.5) | {"segmentation": masks.encode(np.ones((20, 10)))}
    with pytest.raises(ValueError, match=r"image 7: a mask has the size \[20, 10\], the image \[10, 10\]"):
        matching.match([Truth([])], {0: [large]}, [5])


def test_limits_belong_to_the_errors():
    assert names(match([[0.5]], [0], [0])) == ["right"]
    assert names(match([[0.1]], [0], [0])) == ["localization"] and names(match([[0.1]], [0], [1])) == ["background"]
    assert names(match([[0.5]], [0], [1])) == ["classification"]


def test_nothing_is_a_partner_of_a_detection_without_objects():
    assert match(np.zeros((2, 0)), [0, 1], []).partners.tolist() == [-1, -1]


def test_a_region_ignores_detections_that_it_covers_by_more_than_half():
    found = {0: [row(0, 0, 4, 4, score=0.9), row(4, 0, 6, 4, score=0.8), row(6, 0, 9, 4, score=0.7), row(9, 9, 10, 10, score=0.6)]}
    # The region covers the whole first detection and half of the second one.
    region = row(0, 0, 5, 10, iscrowd=1)
    assert matching.match([Truth([region])], found, [5]).detections.ignored.tolist() == [True, False, False, False]


def test_a_detection_without_a_box_has_that_of_its_mask():
    moved = row(0, 0, 4, 4, score=0.9, bbox=[1, 2, 3, 4])
    assert matching.match([Truth([])], {0: [moved]}, [5]).detections.box.tolist() == [[2, 1, 6, 4]]
    without = {key: value for key, value in moved.items() if key != "bbox"}
    assert matching.match([Truth([])], {0: [moved, without]}, [5]).detections.box.tolist() == [[0, 0, 4, 4]] * 2


def test_an_object_without_detections_is_near_nothing():
    objects = matching.match([Truth([row(0, 0, 4, 4)])], {}, [5]).objects
    assert objects.nearest.tolist() == [0] and objects.missed.tolist() == [True]
