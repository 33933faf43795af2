"""Early stopping: ends training when the evaluations no longer improve."""

import math
from collections.abc import Sequence
from typing import Any

from tpuseg.configs import schema
from tpuseg.io import checkpoints
from tpuseg.utils.messages import format_count


class EarlyStopping:
    """Decides from the metrics of all evaluations, which are in a file, so that a resumed run makes the same decision."""

    def __init__(self, config: schema.TrainerConfig) -> None:
        """Reads the settings.

        Args:
          config: settings of the trainer: `early_stopping`, and the metric of the best checkpoint, which is the default.
        """
        self._settings = config.early_stopping
        self.metric = self._settings.metric or config.best_checkpoint_eval_metric
        comparison = self._settings.metric_comp or _choose_comparison(config, self.metric)
        self._sign = 1 if comparison == "higher" else -1

    def reason(self, rows: Sequence[dict[str, Any]]) -> str | None:
        """Returns the reason to stop as a line of text; None to continue.

        Args:
          rows: the metrics of all evaluations so far with their `step`, the earliest first.

        Raises:
          ValueError: the last evaluation has no such metric; the message lists the existing ones.
        """
        patience = self._settings.patience
        if not patience or not rows:
            return None
        name = "trainer.early_stopping.metric"
        checkpoints.look_up(rows[-1], self.metric, name)
        best, best_step, without = -math.inf, 0, 0
        for row in rows:
            value = _look_up(row, self.metric)
            if value is not None and self._sign * value > best + (self._settings.min_delta if math.isfinite(best) else 0):
                best, best_step, without = self._sign * value, row["step"], 0
            else:
                without += 1
        if without < patience:
            return None
        best_value = f"{self._sign * best:.4f} at step {best_step}" if math.isfinite(best) else "none"
        return (
            f"stopped early at step {rows[-1]['step']}: {self.metric} has not improved in {format_count(without, 'evaluation')}"
            f" (best: {best_value}); see trainer.early_stopping.patience"
        )


def _choose_comparison(config: schema.TrainerConfig, metric: str) -> str:
    if metric == config.best_checkpoint_eval_metric:
        return config.best_checkpoint_metric_comp
    return "lower" if "loss" in metric else "higher"


def _look_up(row: dict[str, Any], metric: str) -> float | None:
    """Returns a metric of one evaluation; None if it is missing, for example in one of an earlier version, or is not a number."""
    try:
        value = checkpoints.look_up(row, metric)
    except ValueError:
        return None
    return value if value is not None and not math.isnan(value) else None
