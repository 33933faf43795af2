"""Mask R-CNN and DeepLab v3+ for Cloud TPUs, GPUs and laptops.

metrics = tpuseg.train("objects.yaml", overrides={"trainer.train_steps": 500})
model = tpuseg.load("runs/objects")
found = model("photo.jpg")
"""

import glob
import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tpuseg.inference.predictors import Image, ImagePredictor, load
    from tpuseg.maskrcnn.prediction import Objects
    from tpuseg.training.runs import train

__version__ = "0.1.0"
__all__ = ["Image", "ImagePredictor", "Objects", "load", "train"]

# Both must be set before TensorFlow is imported. The models use tf_keras; without the first, TensorFlow also loads Keras 3,
# which nothing here uses and which takes seconds. The second silences notes about the machine; without an NVIDIA GPU also
# its errors about the missing GPU, with which every program would start. Errors that end a program are exceptions anyway.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if glob.glob("/dev/nvidia[0-9]*") or os.path.exists("/dev/dxg") else "3")

# The modules of the public names. They import TensorFlow, which takes seconds and which converters' worker processes do without:
# a name is imported where it is first used.
_MODULES = {
    "Image": "tpuseg.inference.predictors",
    "ImagePredictor": "tpuseg.inference.predictors",
    "Objects": "tpuseg.maskrcnn.prediction",
    "load": "tpuseg.inference.predictors",
    "train": "tpuseg.training.runs",
}


def __getattr__(name: str) -> Any:
    """Imports a public name (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
