"""Comparisons: an experiment trained with several learning rules, from the same seeds."""
