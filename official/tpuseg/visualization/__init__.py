"""Drawings of labels and predictions, and the page that shows them."""
