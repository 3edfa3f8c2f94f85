"""Engines find the operating points of a circuit."""
