"""Memory that this process has used."""

import resource
import sys

import tensorflow as tf


def peak() -> int:
    """Returns the largest resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def gpu_peak() -> int:
    """Returns the largest memory in use on the first GPU so far, in bytes; 0 without a GPU."""
    if not tf.config.list_physical_devices("GPU"):
        return 0
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
