"""Checks of the number of pixels of each class: classes that do not occur, and masks whose values are not class ids.

This module imports only NumPy.
"""

from collections.abc import Collection, Sequence

import numpy as np

from tpuseg.utils.messages import format_count, plural

_LISTED = 8


def contradiction(pixels: np.ndarray, class_names: Sequence[str], ignore_label: int) -> str | None:
    """Returns why the values of masks cannot be class ids, or None.

    Masks with 0 for the background and 255 for the object would be read as background and ignored pixels: a model could not learn
    anything from them, and every model would have perfect metrics.

    Args:
      pixels: [256] number of pixels of each value.
      class_names: class names in the order of the ids.
      ignore_label: the value of ignored pixels.

    Returns:
      The fault, without what to do about it.
    """
    present = _present(pixels, class_names)
    if not present.any():
        return f"no pixel has a class: all {int(pixels.sum())} pixels are ignored (value {ignore_label})"
    if len(class_names) < 2 or present.sum() > 1 or not pixels[ignore_label]:
        return None
    only = class_names[int(np.flatnonzero(present)[0])]
    return (
        f"the masks contain only `{only}` and the ignore label {ignore_label}, and no pixel is"
        f" {_listed(class_names, ~present)}: {ignore_label} seems to be a class"
    )


def findings(
    pixels: np.ndarray, class_names: Sequence[str], ignore_label: int, mapped_values: Collection[str]
) -> tuple[list[str], list[str]]:
    """Returns faults and warnings about the masks of records.

    Args:
      pixels: [256] number of pixels of each value.
      class_names: class names in the order of the ids; without them nothing is reported.
      ignore_label: the value of ignored pixels.
      mapped_values: values that a flag of the converter has mapped, from the summary; if the ignore label is among them, it is
        intended.
    """
    if not class_names:
        return [], []
    is_meant = str(ignore_label) in mapped_values
    found = contradiction(pixels, class_names, ignore_label)
    if found and not (is_meant and _present(pixels, class_names).any()):
        advice = f"convert again with --mask_values={ignore_label}:ID, or {ignore_label}:ignore if these pixels are to be ignored"
        return [f"{found}; {advice}"], []
    missing = missing_classes(pixels, class_names)
    return [], [missing] if missing else []


def missing_classes(pixels: np.ndarray, class_names: Sequence[str]) -> str | None:
    """Returns a sentence that names the classes without pixels, or None; see `contradiction` for the arguments."""
    present = _present(pixels, class_names)
    if present.all():
        return None
    return f"{_share(int((~present).sum()), len(class_names))} no pixels: {_listed(class_names, ~present)}"


def evaluation_warning(class_names: Sequence[str], without_truth: Sequence[str], metric: str) -> str | None:
    """Returns a warning about classes without ground truth, or None.

    Args:
      class_names: class names of the model.
      without_truth: class names that do not occur in the ground truth.
      metric: name of the main metric, for example `mean IoU`.
    """
    if not without_truth:
        return None
    names = ", ".join(f"`{name}`" for name in without_truth[:_LISTED]) + (", ..." if len(without_truth) > _LISTED else "")
    found = f"{_share(len(without_truth), len(class_names))} no ground truth in the validation data: {names}"
    scored = [name for name in class_names if name not in without_truth]
    if len(scored) > 1:
        return f"{found}; the metrics do not include them"
    only = f"only `{scored[0]}` has" if scored else "no class has"
    return f"{found}; {only} ground truth, so {metric} says nothing about the model: validate on data with all classes"


def coverage(num_classes: int, without_truth: Sequence[str]) -> str:
    """Returns a note for a metric that excludes classes: ` (1 of 2 classes has ground truth)`; empty if none is excluded."""
    known = num_classes - len(without_truth)
    return f" ({_share(known, num_classes)} ground truth)" if without_truth else ""


def _present(pixels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    return np.asarray(pixels[: len(class_names)]) > 0


def _listed(class_names: Sequence[str], chosen: np.ndarray) -> str:
    names = [f"`{name}`" for name, is_chosen in zip(class_names, chosen, strict=True) if is_chosen]
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _share(count: int, num_classes: int) -> str:
    """Returns the beginning of a sentence: `1 of 3 classes has`."""
    return f"{count} of {format_count(num_classes, 'class', 'classes')} {plural(count, 'has', 'have')}"
