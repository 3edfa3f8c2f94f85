"""Simulate and train analog circuits with equilibrium propagation.

The names below are loaded when they are first used: `import eqprop_spice as eq` and then, say,
`eq.Experiment.load("experiments/xor.toml")`.

Importing the package changes nothing in the process. What calculates with JAX turns on its 64-bit
mode when it is first used (`eqprop_spice.arrays` says why).
"""

import importlib
import sys
from typing import Any

JAX_WAS_HERE = "jax" in sys.modules
"""Whether other code of the process had imported JAX before this package."""

__version__ = "0.1.0"

_PLACES = {
    "Adjoint": "rules.adjoint",
    "AntiparallelDiodes": "layers.diodes",
    "BidirectionalAmplifier": "layers.amplifier",
    "Box": "constraints.box",
    "Callback": "logs.callback",
    "Circuit": "circuits.circuit",
    "CircuitBuilder": "circuits.builder",
    "ConfigError": "errors",
    "ContrastiveLearning": "rules.contrastive_learning",
    "ConvergenceError": "errors",
    "CoupledLearning": "rules.coupled_learning",
    "CrossEntropy": "costs.cross_entropy",
    "Dense": "layers.dense",
    "EqPropClassifier": "estimators.classifier",
    "EqPropRegressor": "estimators.regressor",
    "EquilibriumPropagation": "rules.equilibrium_propagation",
    "Experiment": "experiment.experiment",
    "Force": "phases",
    "Free": "phases",
    "Hold": "phases",
    "Hopfield": "substrates.hopfield",
    "Native": "engines.native",
    "NetlistError": "errors",
    "NgSpice": "engines.ngspice.engine",
    "OscillatorIsing": "substrates.oscillators",
    "Rectifier": "layers.diodes",
    "ResistiveNetwork": "substrates.resistive",
    "Run": "results.run",
    "Segment": "circuits.drives",
    "SmallSignal": "rules.small_signal",
    "Spring": "phases",
    "SquaredError": "costs.squared_error",
    "Transient": "engines.transient",
    "Volts": "datasets.samples",
    "build": "experiment.objects",
    "check_gradient": "audit.check",
    "diode": "layers.stack",
    "layered_circuit": "layers.base",
    "netlist": "spice.writer",
    "samples": "datasets.samples",
    "stack": "layers.stack",
    "train": "results.run",
    "verify": "results.verify",
}
"""Where the public names live; none is the name of a module beside this file."""

__all__ = ["__version__", *_PLACES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
