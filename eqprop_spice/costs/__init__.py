"""Costs: how far the outputs of one sample are from its targets."""
