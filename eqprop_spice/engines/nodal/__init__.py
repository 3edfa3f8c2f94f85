"""Any circuit that a netlist describes: modified nodal analysis in numpy."""
