"""Training and evaluation: the task, the trainer, runs and their directories, distribution."""
