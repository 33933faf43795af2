"""Layers that both models share."""
