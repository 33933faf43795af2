"""Exporting trained models to files that run without this project: SavedModel and TFLite."""
