"""Gradients compared with each other, and how their error depends on the nudge."""
