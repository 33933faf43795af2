import dataclasses

import numpy as np
from report_matches import matches

from tpuseg.report import breakdowns
from tpuseg.report.selection import select


def example():
    """Object 0 (10 x 10, top left) is found twice, object 1 (40 x 40, bottom right) is missed; another detection."""
    found = matches([[0.9, 0], [0.3, 0], [0, 0]], labels=[0, 0, 1], scores=[0.9, 0.8, 0.7], object_labels=[0, 1], num_classes=2)
    objects = dataclasses.replace(
        found.objects, area=np.array([100.0, 1600.0]), box=np.array([[5.0, 5, 15, 15], [70, 70, 110, 110]])
    )
    detections = dataclasses.replace(
        found.detections, area=np.array([1, 1, 40000.0]), box=np.array([[80.0, 80, 90, 90], [80, 80, 90, 90], [0, 50, 20, 60]])
    )
    whole = dataclasses.replace(found, objects=objects, detections=detections, sizes=np.array([[120, 120]]))
    return whole, select(whole, 0.5)


def counts(result, name):
    place = result.names.index(name)
    return result.objects[place], result.found[place], result.errors[place].tolist()


def test_by_size():
    result = breakdowns.by_size(*example())
    # Errors: classification, localization, both, duplicate, background, missed.
    assert counts(result, "8 to 16 px") == (1, 1, [0, 1, 0, 0, 0, 0])
    assert counts(result, "32 to 64 px") == (1, 0, [0, 0, 0, 0, 0, 1])
    assert counts(result, "192 px or more") == (0, 0, [0, 0, 0, 0, 1, 0])
    assert result.errors.sum() == 3 and result.names[0] == "below 8 px"


def test_by_position():
    result = breakdowns.by_position(*example())
    assert counts(result, "top left") == (1, 1, [0, 1, 0, 0, 0, 0])
    assert counts(result, "bottom right") == (1, 0, [0, 0, 0, 0, 0, 1])
    assert counts(result, "top centre") == (0, 0, [0, 0, 0, 0, 1, 0])


def test_by_number_and_class():
    result = breakdowns.by_number(*example())
    assert result.names == ["0", "1", "2 to 4", "5 to 9", "10 to 19", "20 to 49", "50 or more"]
    assert counts(result, "2 to 4") == (2, 1, [0, 1, 0, 0, 1, 1])
    result = breakdowns.by_class(*example(), ["a", "b"])
    assert counts(result, "a") == (1, 1, [0, 1, 0, 0, 0, 0]) and counts(result, "b") == (1, 0, [0, 0, 0, 0, 1, 1])


def test_only_the_selected_detections():
    whole, _ = example()
    result = breakdowns.by_size(whole, select(whole, 0.95))
    assert result.errors.sum(0).tolist() == [0, 0, 0, 0, 0, 2] and not result.found.any()


def test_groups_of_sizes_and_numbers():
    names = ["below 8 px", "8 to 16 px", "16 to 32 px", "32 to 64 px", "64 to 96 px", "96 to 192 px", "192 px or more"]
    assert breakdowns.by_size(*example()).names == names
    alone = matches([[0.9]], [0], [0.9], [0], num_classes=1)
    assert counts(breakdowns.by_number(alone, select(alone, 0.5)), "1") == (1, 1, [0] * 6)


def test_thirds_of_an_image_that_is_not_square():
    boxes = np.array([[0, 0, 19.8, 60], [39, 59, 41, 61], [30, 199, 31, 200], [20, 20, 60, 181]], float)
    # Centres: (9.9, 30), (40, 60), (30.5, 199.5) and (40, 100.5) in an image of 60 x 180, which the last ones leave.
    assert breakdowns._thirds(boxes, np.tile([60, 180], (4, 1))).tolist() == [0, 7, 5, 7]
