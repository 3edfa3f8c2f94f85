"""Newton on any circuit: the plan that takes whatever no faster plan takes."""
