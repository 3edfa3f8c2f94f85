"""Datasets give source voltages and target voltages."""
