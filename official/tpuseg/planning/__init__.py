"""From a data set to its records, what they hold, and an experiment whose values follow from that."""
