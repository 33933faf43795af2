import numpy as np
import pytest

from tpuseg.report.regions import find_regions


def regions_of(truth, prediction, confidence=None, ignore=255):
    return list(find_regions(truth, prediction, truth != ignore, confidence))


@pytest.fixture
def maps():
    truth, prediction = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    truth[10:30, 20:40] = 1  # 20 x 20, predicted as 0.
    prediction[40:52, 60:80] = 2  # 12 x 20, labelled as 0, at the border of the image.
    truth[0:60, 0:5] = 3  # A thin line.
    return truth, prediction


def test_thick_regions(maps):
    first, second = sorted(regions_of(*maps))
    # Three pixels on each side belong to the margin, also at the border of the image.
    assert first[:4] == (0, 2, (40, 60, 52, 80), 6 * 14) and second[:4] == (1, 0, (10, 20, 30, 40), 14 * 14)
    assert first.confidence == second.confidence == 1
    assert second.size_weight == pytest.approx(196 / (196 + 0.0005 * 4800))


def test_the_confidence_is_that_of_the_region(maps):
    confidence = np.full((60, 80), 0.25)
    confidence[13:27, 23:30] = 0.75  # Half of the first region without its margin.
    values = {region.label: region.confidence for region in regions_of(*maps, confidence)}
    assert values == pytest.approx({0: 0.25, 1: 0.5})


def test_ignored_pixels_are_no_region(maps):
    truth, prediction = maps
    truth[35:, :] = 255
    assert [region.label for region in regions_of(truth, prediction)] == [1]


def test_regions_that_are_not_connected():
    truth, prediction = np.zeros((40, 80), np.uint8), np.zeros((40, 80), np.uint8)
    prediction[5:25, 5:25] = prediction[5:25, 40:60] = 1
    assert sorted(region.box for region in regions_of(truth, prediction)) == [(5, 5, 25, 25), (5, 40, 25, 60)]
    assert regions_of(truth, truth) == []


def test_a_region_of_few_pixels_is_none():
    truth, prediction = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    prediction[5:15, 5:14] = 1  # 4 x 3 pixels without the margin.
    assert regions_of(truth, prediction) == []
    prediction[5:15, 14] = 1
    assert len(regions_of(truth, prediction)) == 1
