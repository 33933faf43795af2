"""Advice about a run, based on its evaluations: weakest classes, sizes of missed objects, overfitting, and what to try next."""

from collections.abc import Sequence
from typing import Any

from tpuseg.training.run_directory import PICTURES_FOLDER

# Number of weakest classes that are listed.
_NUM_WEAKEST = 3
# COCO's ranges of areas, with the names of their recalls.
_SIZES = (("ARs", "small (below 32x32 pixels)"), ("ARm", "medium"), ("ARl", "large (above 96x96 pixels)"))
# A validation loss that exceeds the lowest one by this factor is considered overfitting; smaller differences are noise.
_OVERFIT = 1.1
# More steps are recommended if the last relative gain of the metric was at least this large.
_STILL_GAINS = 0.02
# A metric below this value is considered almost 0.
_NOTHING = 0.05


def lines(rows: Sequence[dict[str, Any]], metric: str) -> list[str]:
    """Returns lines of advice about a run.

    Args:
      rows: the metrics of its evaluations, as in `metrics.jsonl`, the earliest first.
      metric: the name of the metric that determines the best checkpoint, such as `segm/AP`; empty if lower values are better.
    """
    if not rows:
        return []
    rules = (weakest_classes(rows[-1]), missed_sizes(rows[-1]), overfitting(rows), next_step(rows, metric))
    return [line for line in rules if line]


def weakest_classes(row: dict[str, Any]) -> str | None:
    """Returns a line with the classes that have the lowest metrics; None for a single class."""
    if "per_class_iou" in row:
        name, values = "IoU", row["per_class_iou"]
    else:
        name, values = "mask AP", {key: value.get("segm") for key, value in row.get("per_class", {}).items()}
    known = sorted((value, key) for key, value in values.items() if value is not None)
    if len(known) < 2:
        return None
    weakest = ", ".join(f"{key} {value:.3f}" for value, key in known[: min(_NUM_WEAKEST, len(known) - 1)])
    return f"weakest classes by {name}: {weakest}"


def missed_sizes(row: dict[str, Any]) -> str | None:
    """Returns a line with the recall of objects by their size; None if there are no objects."""
    recalls = row.get("segm") or {}
    found = [(recalls[key], size) for key, size in _SIZES if recalls.get(key) is not None]
    if not found:
        return None
    text = "recall (AR) of objects by size: " + ", ".join(f"{size} {value:.3f}" for value, size in found)
    lowest, highest = min(found), max(found)
    if lowest[1] == _SIZES[0][1] and lowest[0] < highest[0] / 2:
        text += "; to find more of the small ones, raise task.model.input_size"
    return text


def overfitting(rows: Sequence[dict[str, Any]]) -> str | None:
    """Returns a line if the validation loss has risen clearly above its lowest value; otherwise None."""
    known = [(row["loss"], row["step"]) for row in rows if isinstance(row.get("loss"), float)]
    if len(known) < 2:
        return None
    (lowest, step), last = min(known), known[-1][0]
    if last <= _OVERFIT * lowest:
        return None
    return (
        f"overfitting: the validation loss was lowest at step {step} ({lowest:.3f}) and is {last:.3f} now; try more images,"
        " more augmentation, fewer steps or trainer.early_stopping"
    )


def next_step(rows: Sequence[dict[str, Any]], metric: str) -> str | None:
    """Returns a line about what to try next, based on the values of the main metric; None if there is nothing to try."""
    values = [value for value in (_look_up(row, metric) for row in rows) if value is not None]
    if not values:
        return None
    if values[-1] < _NOTHING:
        return (
            f"{metric} is {values[-1]:.3f}, almost 0: look at the model directory's {PICTURES_FOLDER}/ and at a contact"
            " sheet of the records (data/inspect_records.py); docs/own_data.md lists what else to check"
        )
    if len(values) > 1 and values[-1] == max(values) and values[-1] > (1 + _STILL_GAINS) * values[-2]:
        return f"{metric} was still rising, from {values[-2]:.3f} to {values[-1]:.3f}: more trainer.train_steps should help"
    return None


def _look_up(row: dict[str, Any], name: str) -> float | None:
    value: Any = row
    for part in name.split("/"):
        value = value.get(part) if isinstance(value, dict) else None
    return value
