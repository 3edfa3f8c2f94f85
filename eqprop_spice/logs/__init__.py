"""Logs: who is told of every epoch of a training, besides the run folder."""
