"""The models there are: the one place that names them.

A new model is one line here and one folder that has `config.py` (with an `ExperimentConfig`, the `RANGES` of its numbers and a
function `problems(config)`), `task.py` (with a `Task`) and `exported.py` (with the functions `canvas`, `place`, `padding`,
`finish`, `prediction` and `tflite_prediction`).
"""

import importlib
from typing import Any

_FOLDERS = {
    "deeplab": "tpuseg.deeplab",
    "maskrcnn": "tpuseg.maskrcnn",
}


def architectures() -> list[str]:
    """Returns the values that `architecture` can have in an experiment."""
    return sorted(_FOLDERS)


def config_module(architecture: str) -> Any:
    """Returns the module with the model's `ExperimentConfig` and `problems`."""
    return importlib.import_module(_FOLDERS[architecture] + ".config")


def task_class(architecture: str) -> Any:
    """Returns the model's `Task` class."""
    return importlib.import_module(_FOLDERS[architecture] + ".task").Task


def export_module(architecture: str) -> Any:
    """Returns the module with what an exported graph of the model does before and after the network."""
    return importlib.import_module(_FOLDERS[architecture] + ".exported")
