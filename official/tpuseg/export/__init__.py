"""Trained models as files that run without this project: SavedModel and TFLite."""
