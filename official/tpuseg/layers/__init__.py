"""Layers that both architectures use."""
