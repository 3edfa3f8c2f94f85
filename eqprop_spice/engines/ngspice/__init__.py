"""Operating points from the ngspice library."""
