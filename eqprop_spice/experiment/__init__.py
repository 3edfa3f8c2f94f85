"""Experiments: TOML files, checked in full before anything runs."""
