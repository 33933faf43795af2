"""Converting data sets to records."""
