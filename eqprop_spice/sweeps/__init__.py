"""Sweeps: an experiment trained over and over, with some of its keys varied."""
