"""Arrays out of the HDF5 files that Keras writes, read in a process of its own (`hdf5_process`)."""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np

_PROCESS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hdf5_process.py")
# A hundred times what reading takes.
_SECONDS, _BYTES_PER_SECOND = 60.0, 2**20


def read(path: str) -> dict[str, np.ndarray]:
    """Returns each layer's weights as `layer/kernel`.

    Raises:
      ValueError: it is not an HDF5 file with Keras' attributes, is damaged, or refers to data outside itself.
    """
    seconds = _SECONDS + os.path.getsize(path) / _BYTES_PER_SECOND
    with tempfile.TemporaryDirectory() as folder:
        result = os.path.join(folder, "weights.npz")
        try:
            done = subprocess.run(
                [sys.executable, _PROCESS, os.path.abspath(path), result], stdout=subprocess.PIPE, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"{path} is damaged: the HDF5 library did not finish within {seconds:.0f} s") from error
        if done.returncode < 0:
            raise ValueError(f"{path} is damaged: the HDF5 library ended with signal {-done.returncode}")
        if done.returncode:
            said = done.stdout.decode("ascii", "replace").strip() or "it cannot be read"
            raise ValueError(f"{path} is not a readable HDF5 file of Keras: {said}")
        with np.load(result, allow_pickle=False) as arrays:
            names = json.loads(arrays["arr_0"].tobytes())
            return {name: arrays[f"arr_{number}"] for number, name in enumerate(names, start=1)}
