"""The device for which a graph is being built.

Some computations have two implementations with the same values: one for a TPU's matrix unit and its tiles of 8 x 128 numbers, and
a plain one that is fastest on all other devices (or the only one with a gradient there). Only this module chooses between them.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_chosen: bool | None = None


def is_tpu() -> bool:
    """Returns whether the graph that is being traced is for a TPU: in a TPUStrategy's scope, or within `building_for_tpu`."""
    if _chosen is not None:
        return _chosen
    return isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)


@contextlib.contextmanager
def building_for_tpu(chosen: bool = True) -> Iterator[None]:
    """Traces graphs for a TPU on a machine without one, for the preflight and for tests.

    Args:
      chosen: False selects the plain implementations, whatever the strategy is.
    """
    global _chosen
    before, _chosen = _chosen, chosen
    try:
        yield
    finally:
        _chosen = before
