"""SPICE: netlist text, and the ngspice library behind it."""
