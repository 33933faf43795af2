"""Mask R-CNN (arXiv:1703.06870): instances."""
