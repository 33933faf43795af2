"""Trainings that fit a time budget, with costs that are given instead of measured; one real measurement is in test_planner."""

import re

import pytest

from tpuseg.planning import budget
from tpuseg.training.timing import Timing

# 30 s to the first step, 0.5 s a step, 4 s more for the first evaluation, 10 s for each evaluation of 50 images, 1 s a checkpoint.
COSTS = Timing(30.0, 0.5, 4.0, 10.0, 50, 1.0, 10**9, 0)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("90s", 90), ("1h2m3s", 3723)])
def test_durations(text, seconds):
    assert budget.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "30m1h", "-5m", "1.5h", "30 m", "", "0m"])
def test_other_texts_are_no_durations(text):
    with pytest.raises(ValueError, match=re.escape(f"--budget={text} is no")):
        budget.parse_duration(text)


def test_the_steps_that_fit():
    # 600 s - 34 s - 6 * 10 s are 506 s; a step and a hundredth of a checkpoint are 0.51 s: 992 steps, 990 in tens.
    found = budget.fit(600, COSTS, num_validation=50, checkpoint_interval=100, most_steps=10**6)
    assert (found.steps, found.num_evaluations) == (990, 6)
    assert found.seconds == pytest.approx(34 + 60 + 990 * 0.51)


def test_evaluations_take_at_most_a_fifth():
    # An evaluation of 200 images takes 40 s, of which three fit into 120 s: (600 - 34 - 120) / 0.51 = 874.
    found = budget.fit(600, COSTS, 200, 100, 10**6)
    assert (found.steps, found.num_evaluations) == (870, 3)
    # One evaluation is always made, even if it takes more.
    assert budget.fit(600, COSTS, 1000, 100, 10**6).num_evaluations == 1


def test_limits_of_the_steps():
    assert budget.fit(600, COSTS, 50, 100, most_steps=300).steps == 300
    assert budget.fit(60, COSTS, 50, 100, 10**6) is None
    assert budget.shortest(COSTS, 50) == 30 + 4 + 10 + 50 * 0.5 + 1


class Levels:
    """Levels with a given number of steps that fit, of 100 usual ones; None is a level like the one before."""

    def __init__(self, *steps):
        self.steps = steps
        self.measured = []

    def measure(self, level):
        self.measured.append(level)
        steps = self.steps[level]
        if steps is None:
            return None
        return budget.Candidate(level, 100, COSTS, budget.Fit(steps, 1, 1.0) if steps else None)


@pytest.mark.parametrize(
    ("steps", "first", "chosen", "measured"),
    [
        ((900, 150, 90, 50), 1, 1, [1]),  # Enough, and not twice as many as are usual.
        ((900, 400, 150, 50), 1, 2, [1, 2]),  # Twice as many: the next level has enough too.
        ((900, 400, 90, 50), 1, 1, [1, 2]),  # The next level has too few.
        ((900, 800, 400, 200), 1, 3, [1, 2, 3]),  # Up to the most expensive one.
        ((900, 800, None, 200), 1, 3, [1, 2, 3]),  # A level that is no different is skipped.
        ((120, 40, 20, 9), 1, 0, [1, 0]),  # Too few: the cheaper level.
        ((30, 10, 5, 2), 2, 0, [2, 1, 0]),  # The cheapest level has too few too, and is used.
        ((None, 40, 20, 9), 1, 1, [1, 0]),
        ((0, 0, 0, 0), 1, 0, [1, 0]),  # Nothing fits.
    ],
)
def test_the_level_that_is_chosen(steps, first, chosen, measured):
    levels = Levels(*steps)
    assert budget.choose(first, 4, levels.measure).level == chosen
    assert levels.measured == measured


def test_what_is_expected():
    assert budget.describe(budget.Fit(990, 6, 600.0), COSTS) == (
        "990 steps of 0.50 s and 6 evaluations in 10m00s, 1.0 GB of memory"
    )


def test_a_trial_that_fails_has_its_message(tmp_path):
    (tmp_path / "experiment.yaml").write_text("extends: maskrcnn_custom_small\n")
    (tmp_path / "val-00000-of-00001.tfrecord").write_bytes(b"not a record")
    with pytest.raises(ValueError, match="val-00000-of-00001.tfrecord"):
        budget.measure(str(tmp_path / "experiment.yaml"), str(tmp_path))
