"""Experiments: loading YAML files, the fields of the configuration, their ranges, and overrides."""
