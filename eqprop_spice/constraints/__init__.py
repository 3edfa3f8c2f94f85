"""Constraints map updated parameters back to what a device can realize."""
