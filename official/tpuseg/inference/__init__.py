"""Predictions of a trained model, from a model directory, a checkpoint or a SavedModel."""
