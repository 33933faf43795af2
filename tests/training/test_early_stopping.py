"""Early stopping is a function of the evaluations in metrics.jsonl, and so survives restarts."""

import re

import pytest

from tpuseg.configs import experiments
from tpuseg.training.early_stopping import EarlyStopping


def reason(values, override="", metric="mean_iou"):
    settings = f"trainer.early_stopping.patience=2{override}"
    trainer = experiments.load("deeplab_shapes", params_override=settings).config.trainer
    return EarlyStopping(trainer).reason([{"step": 10 * number, metric: value} for number, value in enumerate(values, start=1)])


@pytest.mark.parametrize(
    "values", [[], [0.1], [0.5, 0.4], [0.5, 0.4, 0.6], [0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.6, 0.6], [None, 0.1]]
)
def test_what_goes_on(values):
    assert reason(values) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.5, 0.4, 0.5], "stopped early at step 30: mean_iou has not improved in 2 evaluations .best: 0.5000 at step 10"),
        ([0.1, 0.5, 0.4, None], "at step 40.*0.5000 at step 20"),
        ([0.5, float("nan"), float("nan")], "0.5000 at step 10"),
        ([None, None], "best: none"),
    ],
)
def test_what_stops(values, said):
    assert re.search(said, reason(values))


def test_losses_are_better_when_lower():
    assert reason([3.0, 2.0, 1.0], ",trainer.early_stopping.metric=loss", "loss") is None
    assert "best: 1.0000" in reason([1.0, 2.0, 3.0], ",trainer.early_stopping.metric=loss", "loss")
    override = ",trainer.early_stopping.metric=loss,trainer.early_stopping.metric_comp=higher"
    assert reason([1.0, 2.0, 3.0], override, "loss") is None


def test_small_improvements_do_not_count():
    assert reason([0.5, 0.504, 0.508]) is None
    assert "0.5000 at step 10" in reason([0.5, 0.504, 0.508], ",trainer.early_stopping.min_delta=0.01")


def test_without_patience_nothing_stops():
    assert reason([0.5, 0.1, 0.1, 0.1], ",trainer.early_stopping.patience=0") is None


def test_a_metric_that_is_not_there():
    with pytest.raises(ValueError, match="trainer.early_stopping.metric: the evaluation has no metric `miou`, only"):
        reason([0.1], ",trainer.early_stopping.metric=miou")


def test_no_metric_at_all():
    with pytest.raises(ValueError, match="trainer.early_stopping.metric: is missing"):
        reason([0.1], ",trainer.best_checkpoint_eval_metric=")
