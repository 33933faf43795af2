"""The programs of a comparison, each in a separate process that waits while the others run."""

import json
import os
import subprocess
import time
from typing import Any

import numpy as np


def now() -> np.ndarray:
    """Returns [2] seconds: wall-clock time, and CPU time of all threads of this process."""
    return np.array([time.perf_counter(), time.process_time()])


class Contender:
    """A process that writes a line of JSON when it is ready, and then answers each line that it receives with a line of JSON."""

    def __init__(self, name: str, command: list[str], num_threads: int = 0) -> None:
        """Starts the process and waits for its first line.

        Args:
          name: name for messages and tables.
          command: program and arguments.
          num_threads: number of OpenMP threads; 0 for the number of cores.
        """
        self.name = name
        threads = {"OMP_NUM_THREADS": str(num_threads)} if num_threads else {}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env={**os.environ, **threads}, **pipes)
        self.started = self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise ValueError(f"{self.name} ended with exit code {self._process.wait()}; what it wrote stands above")
        return json.loads(line)

    def ask(self, what: str = "step") -> Any:
        """Sends a request, `step` by default, and returns the answer."""
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)
        return self._answer()[what]

    def stop(self) -> None:
        """Ends the process."""
        self._process.communicate()


def limit_threads(num_threads: int) -> None:
    """Limits the number of TensorFlow's threads, unless it is 0."""
    import tensorflow as tf

    if num_threads:
        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(num_threads)
