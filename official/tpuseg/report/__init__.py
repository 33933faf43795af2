"""The evaluation report: what a model gets wrong, which labels are wrong, and what to change."""
