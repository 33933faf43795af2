"""Data sets in the layouts of other programs, read into one form: one module for each format."""
