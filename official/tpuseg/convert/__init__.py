"""Data sets in their own layouts into records."""
