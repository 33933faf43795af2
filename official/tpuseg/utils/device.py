"""For which device a graph is being built.

Some computations have two forms with the same values: one that suits a TPU's matrix unit and its tiles of 8 x 128 numbers, and
the plain one that everything else is fastest with (or that alone has a gradient there). This is the one place that chooses.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_chosen: bool | None = None


def is_tpu() -> bool:
    """Returns whether what is being traced will run on a TPU: in a TPUStrategy's scope and steps, or within `building_for_tpu`."""
    if _chosen is not None:
        return _chosen
    return isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)


@contextlib.contextmanager
def building_for_tpu(chosen: bool = True) -> Iterator[None]:
    """Traces for a TPU where there is none: for compiling ahead, and for tests.

    Args:
      chosen: False asks for the plain forms, whatever the strategy.
    """
    global _chosen
    before, _chosen = _chosen, chosen
    try:
        yield
    finally:
        _chosen = before
