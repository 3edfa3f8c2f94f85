"""Substrates are systems that settle; all that a learning rule may know."""
