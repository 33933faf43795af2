"""Mask R-CNN and DeepLab v3+ for Cloud TPUs, GPUs and laptops."""

__version__ = "0.1.0"
