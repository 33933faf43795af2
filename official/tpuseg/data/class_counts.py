"""What the pixels of each class tell about a data set: classes that never occur, and masks that mean something else.

NumPy only.
"""

from collections.abc import Collection, Sequence

import numpy as np

from tpuseg.utils.messages import counted, plural

_LISTED = 8


def contradiction(pixels: np.ndarray, class_names: Sequence[str], ignore_label: int) -> str | None:
    """Returns why masks cannot be meant as they are, or None.

    Masks that hold 0 for the background and 255 for the object are read as background and pixels that do not count: nothing can be
    learned from them, and every model is perfect on them.

    Args:
      pixels: how often each value occurs, [256].
      class_names: in the order of the ids.
      ignore_label: the id of pixels that do not count.

    Returns:
      A sentence without its end: what is wrong, and between which two meanings of the ignore label there is to choose.
    """
    present = _present(pixels, class_names)
    if not present.any():
        return f"no pixel has a class: all {int(pixels.sum())} pixels are ignored (value {ignore_label})"
    if len(class_names) < 2 or present.sum() > 1 or not pixels[ignore_label]:
        return None
    only = class_names[int(np.flatnonzero(present)[0])]
    return (
        f"the masks hold nothing but `{only}` and the ignore label {ignore_label}, and no pixel is"
        f" {_listed(class_names, ~present)}: {ignore_label} seems to be a class"
    )


def findings(
    pixels: np.ndarray, class_names: Sequence[str], ignore_label: int, mapped_values: Collection[str]
) -> tuple[list[str], list[str]]:
    """Returns faults and warnings about the masks of records.

    Args:
      pixels: how often each value occurs, [256].
      class_names: in the order of the ids; nothing is said without them.
      ignore_label: the id of pixels that do not count.
      mapped_values: what the converter was told about values, as the summary has it: the ignore label among them is meant.
    """
    if not class_names:
        return [], []
    is_meant = str(ignore_label) in mapped_values
    found = contradiction(pixels, class_names, ignore_label)
    if found and not (is_meant and _present(pixels, class_names).any()):
        way_out = f"convert again with --mask_values={ignore_label}:ID, or {ignore_label}:ignore if it really does not count"
        return [f"{found}; {way_out}"], []
    missing = missing_classes(pixels, class_names)
    return [], [missing] if missing else []


def missing_classes(pixels: np.ndarray, class_names: Sequence[str]) -> str | None:
    """Returns a sentence that names the classes without a pixel, or None; see `contradiction` for the arguments."""
    present = _present(pixels, class_names)
    if present.all():
        return None
    return f"{_share(int((~present).sum()), len(class_names))} no pixel: {_listed(class_names, ~present)}"


def evaluation_warning(class_names: Sequence[str], without_truth: Sequence[str], metric: str) -> str | None:
    """Returns a sentence about classes that an evaluation cannot score, or None.

    Args:
      class_names: of the model.
      without_truth: those that do not occur in the ground truth.
      metric: the evaluation's main figure, for example `mean IoU`.
    """
    if not without_truth:
        return None
    names = ", ".join(f"`{name}`" for name in without_truth[:_LISTED]) + (", ..." if len(without_truth) > _LISTED else "")
    found = f"{_share(len(without_truth), len(class_names))} no ground truth in the validation data: {names}"
    scored = [name for name in class_names if name not in without_truth]
    if len(scored) > 1:
        return f"{found}; nothing is known about how well they are found"
    only = f"`{scored[0]}` is all there is" if scored else "there is nothing to score"
    return f"{found}; {only}, so {metric} says nothing about the model: validate on data with all classes"


def coverage(num_classes: int, without_truth: Sequence[str]) -> str:
    """Returns what stands behind a figure that leaves classes out: ` (1 of 2 classes have ground truth)`; empty if it does not."""
    known = num_classes - len(without_truth)
    return f" ({_share(known, num_classes)} ground truth)" if without_truth else ""


def _present(pixels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    return np.asarray(pixels[: len(class_names)]) > 0


def _listed(class_names: Sequence[str], chosen: np.ndarray) -> str:
    names = [f"`{name}`" for name, is_chosen in zip(class_names, chosen, strict=True) if is_chosen]
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _share(count: int, num_classes: int) -> str:
    """Returns the beginning of a sentence: `1 of 3 classes has`."""
    return f"{count} of {counted(num_classes, 'class', 'classes')} {plural(count, 'has', 'have')}"
