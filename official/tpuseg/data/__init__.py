"""Records, the input pipeline, and what is counted in a data set."""
