import numpy as np
import pytest

from tpuseg.report.regions import Agreement, _ranges, find_regions, mean_confidences


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


def test_mean_confidences_of_right_pixels():
    truth, prediction = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    truth[4:], prediction[4:] = 1, 1
    truth[0], prediction[7], truth[6] = 1, 2, 255
    confidence = np.where(truth == 0, 0.5, 1.0)
    confidence[1] = 0.8
    classes, means = mean_confidences(truth, prediction, truth != 255, confidence, 3)
    # Rows 1 to 3 are right; rows 4 and 5, too; row 6 is ignored, rows 0 and 7 are wrong.
    assert classes.tolist() == [0, 1] and means == pytest.approx([(0.8 + 0.5 + 0.5) / 3, 1])
    assert mean_confidences(truth, prediction, truth != 255, None, 3)[1].tolist() == [1, 1]
    assert mean_confidences(truth[:3], prediction[:3], truth[:3] != 255, None, 3)[0].tolist() == [0]
    assert not len(mean_confidences(truth[:2], prediction[:2], truth[:2] != 255, None, 3)[0])  # Eight pixels are too few.


def test_agreement_of_a_class_and_a_confidence():
    agreement = Agreement(2)
    agreement.add(np.zeros(30, int), np.full(30, 0.99), agrees=True)
    agreement.add(np.ones(10, int), np.full(10, 0.99), agrees=False)
    agreement.add(np.ones(8, int), np.full(8, 0.6), agrees=True)
    low, high = (8 + 1) / (8 + 2), (30 + 1) / (40 + 2)
    shares = agreement.shares(np.array([0, 1, 0, 1, 0]), np.array([0.99, 0.99, 0.6, 0.6, 0.2]))
    # Class 1 never agrees at 0.99, but a higher confidence never has a smaller share.
    assert shares == pytest.approx([max((30 + 10 * high) / 40, low), (8 + 10 * low) / 18, low, (8 + 10 * low) / 18, 0])


def test_a_share_that_grows_with_the_confidence():
    agreement = Agreement(1)
    for confidence, count in ((0.5, 1), (0.9, 9), (0.999, 19)):
        agreement.add(np.zeros(count, int), np.full(count, confidence), agrees=True)
        agreement.add(np.zeros(1, int), np.array([confidence]), agrees=False)
    shares = agreement.shares(np.zeros(4, int), np.array([0.5, 0.9, 0.999, 1.0]))
    expected = [(right + 10 * (right + 1) / (right + 3)) / (right + 11) for right in (1, 9, 19)]
    assert shares == pytest.approx([*expected, expected[-1]])


def test_ranges_of_the_confidence():
    # 1 - confidence is halved after every second range: 0.707, 0.5, 0.354, 0.25 ...
    assert _ranges(np.array([0, 0.29, 0.3, 0.5, 0.6, 0.7, 0.75, 0.999, 1])).tolist() == [0, 0, 1, 2, 2, 3, 4, 19, 20]


def test_a_region_that_is_the_whole_image():
    (region,) = regions_of(np.zeros((30, 40), np.uint8), np.ones((30, 40), np.uint8))
    assert region.box == (0, 0, 30, 40) and region.area == 24 * 34
