"""Experiments: their fields, ranges and overrides, and how a YAML file becomes one."""
