"""Layers add nodes and devices to a circuit under construction."""
