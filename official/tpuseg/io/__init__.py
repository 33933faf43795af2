"""Reading and writing files: images, text, YAML, checkpoints, and finding them by patterns."""
