"""Measuring the time of TensorFlow's operations by type."""

import collections
import glob
import os
import tempfile
from collections.abc import Callable


def profile(run: Callable[[], object], num_runs: int, most: int = 25) -> dict[str, tuple[float, float]]:
    """Returns seconds and number per run of the types of operations with the largest times, summed over all threads.

    Args:
      run: function to measure.
      num_runs: number of calls.
      most: maximum number of types.
    """
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder, options=tf.profiler.experimental.ProfilerOptions(host_tracer_level=3))
        for _ in range(num_runs):
            run()
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        with open(glob.glob(os.path.join(folder, "plugins", "profile", "*", "*.xplane.pb"))[0], "rb") as file:
            space.ParseFromString(file.read())
    seconds: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name, colon, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                # Names of C++ classes in other events contain colons too.
                if colon and name and not name.endswith(":") and kind.isidentifier():
                    seconds[kind] += event.duration_ps / 1e12 / num_runs
                    counts[kind] += 1 / num_runs
    return {kind: (value, counts[kind]) for kind, value in seconds.most_common(most)}


def table(operations: dict[str, tuple[float, float]], runs: float = 1) -> str:
    """Returns a line with the milliseconds and the number of operations of each type, divided by `runs`."""
    rows = [f"{kind:40} {1e3 * value / runs:9.2f} ms {count / runs:8.1f}" for kind, (value, count) in operations.items()]
    return "\n".join(rows)
