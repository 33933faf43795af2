"""Records, the input pipeline, and statistics of data sets."""
