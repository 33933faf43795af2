"""Mask R-CNN and DeepLab v3+ for Cloud TPUs, GPUs and laptops."""

import os

__version__ = "0.1.0"

# Both must be set before TensorFlow is imported. The models use tf_keras; without the first, TensorFlow also loads Keras 3,
# which nothing here uses and which takes seconds. The second silences TensorFlow's notes about the machine.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
