"""Initializers draw the starting conductances."""
