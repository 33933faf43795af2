"""Mask R-CNN and DeepLab v3+ for Cloud TPUs, GPUs and laptops."""

import glob
import os
import typing

if typing.TYPE_CHECKING:
    from tpuseg.inference.predictors import ImagePredictor

__version__ = "0.1.0"

# Both must be set before TensorFlow is imported. The models use tf_keras; without the first, TensorFlow also loads Keras 3,
# which nothing here uses and which takes seconds. The second silences notes about the machine; without an NVIDIA GPU also
# its errors about the missing GPU, with which every program would start. Errors that end a program are exceptions anyway.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if glob.glob("/dev/nvidia[0-9]*") or os.path.exists("/dev/dxg") else "3")


def load(path: str, score_threshold: float | None = None) -> "ImagePredictor":
    """Returns a trained model that takes images; see `tpuseg.inference.predictors.load`."""
    from tpuseg.inference import predictors  # Imports TensorFlow, which converters' worker processes do without.

    return predictors.load(path, score_threshold)
