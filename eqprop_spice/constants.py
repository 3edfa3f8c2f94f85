"""Physical constants, with the values that ngspice compiles in."""

BOLTZMANN = 1.38064852e-23
"""Boltzmann constant [J/K] (CODATA 2014, as in ngspice)."""

ELEMENTARY_CHARGE = 1.6021766208e-19
"""Elementary charge [C] (CODATA 2014, as in ngspice)."""

ZERO_CELSIUS = 273.15
"""0 degC [K]."""

TEMPERATURE = 300.15
"""Default circuit temperature [K]: 27 degC, the default of SPICE."""

THERMAL_VOLTAGE = BOLTZMANN * TEMPERATURE / ELEMENTARY_CHARGE
"""Thermal voltage kT/q [V] at the default temperature."""

JUNCTION_CONDUCTANCE = 1e-12
"""Conductance across every junction [S]: the SPICE option gmin."""
