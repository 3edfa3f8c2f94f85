"""Circuits without resistors, or with them in harmonic steady state: networks, actions, orbits."""
