"""Two-terminal devices: current, co-content and SPICE card."""
