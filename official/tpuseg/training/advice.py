"""What the evaluations of a run say about it, in a few lines: weakest classes, sizes that are missed, overfitting, what to try."""

from collections.abc import Sequence
from typing import Any

from tpuseg.training.run_directory import PICTURES_FOLDER

# Classes that are named.
_NUM_WEAKEST = 3
# COCO's ranges of areas, with the names of their recalls.
_SIZES = (("ARs", "small (below 32x32 pixels)"), ("ARm", "medium"), ("ARl", "large (above 96x96 pixels)"))
# A validation loss that is so many times the lowest one is overfitting and no longer noise.
_OVERFIT = 1.1
# A last gain of this share of the metric is worth more steps.
_STILL_GAINS = 0.02
# A metric below this is as good as nothing.
_NOTHING = 0.05


def lines(rows: Sequence[dict[str, Any]], metric: str) -> list[str]:
    """Returns sentences about a run.

    Args:
      rows: the metrics of its evaluations, as `metrics.jsonl` has them, the latest at the end.
      metric: the name of the figure that decides about the best checkpoint, such as `segm/AP`; empty where lower is better.
    """
    if not rows:
        return []
    rules = (weakest_classes(rows[-1]), missed_sizes(rows[-1]), overfitting(rows), next_step(rows, metric))
    return [line for line in rules if line]


def weakest_classes(row: dict[str, Any]) -> str | None:
    """Returns which classes have the lowest figures, or None for a single class."""
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
    """Returns the recall of objects by their size, or None where there are no objects."""
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
    """Returns a sentence if the validation loss has risen well above its lowest value, or None."""
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
    """Returns what to try by the course of the main figure, or None."""
    values = [value for value in (_value(row, metric) for row in rows) if value is not None]
    if not values:
        return None
    if values[-1] < _NOTHING:
        return (
            f"{metric} is {values[-1]:.3f}, almost 0: look at the model directory's {PICTURES_FOLDER}/ and at a contact"
            " sheet of the records (data/inspect_records.py); docs/own_data.md says what else to check"
        )
    if len(values) > 1 and values[-1] == max(values) and values[-1] > (1 + _STILL_GAINS) * values[-2]:
        return f"{metric} was still rising, from {values[-2]:.3f} to {values[-1]:.3f}: more trainer.train_steps should help"
    return None


def _value(row: dict[str, Any], name: str) -> float | None:
    value: Any = row
    for part in name.split("/"):
        value = value.get(part) if isinstance(value, dict) else None
    return value
