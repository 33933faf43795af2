"""What the pixels of each class tell about a data set: classes that never occur, and masks that mean something else.

NumPy only.
"""

from collections.abc import Sequence

import numpy as np

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


def missing_classes(pixels: np.ndarray, class_names: Sequence[str]) -> str | None:
    """Returns a sentence that names the classes without a pixel, or None; see `contradiction` for the arguments."""
    present = _present(pixels, class_names)
    if present.all():
        return None
    return f"{int((~present).sum())} of {len(class_names)} classes have no pixel: {_listed(class_names, ~present)}"


def _present(pixels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    return np.asarray(pixels[: len(class_names)]) > 0


def _listed(class_names: Sequence[str], chosen: np.ndarray) -> str:
    names = [f"`{name}`" for name, is_chosen in zip(class_names, chosen, strict=True) if is_chosen]
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
