"""Files: images, text, YAML, checkpoints and the paths that lead to them."""
