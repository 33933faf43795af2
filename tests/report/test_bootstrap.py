"""Confidence intervals, with distributions that can be computed by hand."""

import numpy as np
import pytest

from tpuseg.report import bootstrap


def test_two_images():
    # The mean of two images with 0 and 1 is 0, 0.5 or 1 in 1/4, 1/2 and 1/4 of the samples.
    metric = bootstrap.average_of(np.array([0.0, 1.0]))
    assert bootstrap.estimate_interval(metric, 2) == bootstrap.Interval(0.5, 0.0, 1.0)
    # From the 30th to the 70th percentile.
    assert bootstrap.estimate_interval(metric, 2, confidence=0.4) == bootstrap.Interval(0.5, 0.5, 0.5)


def test_the_interval_of_a_mean_has_the_known_width():
    values = np.tile([0.0, 1.0], 200)
    interval = bootstrap.estimate_interval(bootstrap.average_of(values), 400, num_samples=4000)
    # The standard error of the mean of 400 values with a standard deviation of 0.5 is 0.025.
    assert interval.value == 0.5
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)


def test_the_same_seed_draws_the_same_samples():
    metric = bootstrap.average_of(np.random.default_rng(3).random(30))
    first = bootstrap.estimate_interval(metric, 30, num_samples=50)
    assert bootstrap.estimate_interval(metric, 30, num_samples=50) == first
    assert bootstrap.estimate_interval(metric, 30, num_samples=50, seed=1) != first


def test_a_paired_difference_has_no_width_if_it_is_the_same_in_all_images():
    values = np.random.default_rng(0).random(20)
    first, second = bootstrap.average_of(values), bootstrap.average_of(values + 0.25)
    interval = bootstrap.estimate_interval(lambda weights: second(weights) - first(weights), 20)
    assert [interval.value, interval.low, interval.high] == pytest.approx([0.25, 0.25, 0.25])


def test_weights_count_how_often_images_are_drawn():
    seen = []
    bootstrap.estimate_interval(lambda weights: float(seen.append(weights) or 0), 5, num_samples=20)
    assert all(weights.shape == (5,) and weights.sum() == 5 for weights in seen)
    assert any(weights.max() > 1 for weights in seen) and seen[-1].tolist() == [1] * 5


def test_values_that_are_missing():
    metric = bootstrap.average_of(np.array([0.25, np.nan]))
    assert bootstrap.estimate_interval(metric, 2) == bootstrap.Interval(0.25, 0.25, 0.25)
    missing = bootstrap.estimate_interval(bootstrap.average_of(np.array([np.nan])), 1)
    assert np.isnan([missing.value, missing.low, missing.high]).all()
    with pytest.raises(ValueError, match="needs at least one image"):
        bootstrap.estimate_interval(metric, 0)
