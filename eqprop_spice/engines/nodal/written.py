"""A netlist with the values that a circuit has learned, as a deck again."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from eqprop_spice.constants import BOLTZMANN, ELEMENTARY_CHARGE, TEMPERATURE, ZERO_CELSIUS
from eqprop_spice.devices import bjt, jfet
from eqprop_spice.devices.base import AbstractDevice
from eqprop_spice.devices.bjt import Bipolar
from eqprop_spice.devices.diode import ENERGY_GAP, SATURATION_EXPONENT, Shockley
from eqprop_spice.devices.jfet import Jfet
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.engines.nodal.circuit import NodalCircuit
from eqprop_spice.spice.deck import Deck, Element, Model, frozen
from eqprop_spice.spice.scopes import Names

SERIES = ("rc", "rb", "rbm", "re", "rd", "rs")
"""Resistances in series of transistors that have an area."""

Cards = tuple[dict[str, float], dict[str, float]]
"""Parameters of a model and of an instance."""


def with_values(deck: Deck, circuit: NodalCircuit, names: Sequence[str]) -> Deck:
    """Return a deck in which some elements have the values that they have in a circuit.

    Args:
        deck: The netlist.
        circuit: Its equations, with other values.
        names: Which of them changed: `r1`, or `m1:threshold` for a field of a device.
    """
    linear = {name for name in names if name in circuit.numbers}
    devices = {name.rpartition(":")[0] for name in names if name not in linear}
    series: dict[str, dict[str, float]] = {}
    for name in linear:
        owner, colon, parameter = name.rpartition(":")
        if colon:
            series.setdefault(owner, {})[parameter] = 1.0 / circuit.values[circuit.numbers[name]]
    laws = {
        name: dataclasses.replace(
            group.device,
            **{
                f.name: getattr(group.device, f.name)[k]
                for f in dataclasses.fields(group.device)
                if getattr(getattr(group.device, f.name), "ndim", 0)
            },
        )
        for group in circuit.devices
        for k, name in enumerate(group.names)
        if name in devices
    }
    taken = Names()
    for model in deck.models:
        taken.new(model)
    models, elements = dict(deck.models), []
    for element in deck.elements:
        if element.original in linear:
            value = float(circuit.values[circuit.numbers[element.original]])
            element = dataclasses.replace(
                element, value=1.0 / value if element.name[0] == "r" else value
            )
        elif element.original in laws or element.original in series:
            own = series.get(element.original, {})
            element, model = _rewritten(element, deck, laws.get(element.original), own, taken)
            models[model.name] = model
        elements.append(element)
    used = {element.model for element in elements}
    kept = {name: model for name, model in models.items() if name in used}
    return dataclasses.replace(deck, elements=tuple(elements), models=frozen(kept))


def _rewritten(
    element: Element,
    deck: Deck,
    law: AbstractDevice | None,
    series: Mapping[str, float],
    taken: Names,
) -> tuple[Element, Model]:
    """Return an element with a model of its own."""
    assert element.model is not None
    old, instance = deck.models[element.model], dict(element.parameters)
    area, multiplier = _area(element, old), instance.get("m", 1.0)
    parameters = dict(old.parameters)
    changed: Cards = {}, {}
    if isinstance(law, Shockley):
        changed = _diode(law, parameters, deck, area * multiplier), {}
    elif isinstance(law, Mosfet):
        changed = _mosfet(law, parameters, instance)
    elif isinstance(law, Bipolar | Jfet):
        changed = _of_area(law)
        # The resistances in series are per area, and have not changed with it.
        growth, area = float(law.area) / area, float(law.area)
        ohms = {k: growth * v for k, v in parameters.items() if k in SERIES}
        changed[0].update(ohms)
    changed[0].update({name: ohm * area * multiplier for name, ohm in series.items()})
    model = Model(
        taken.new(f"{old.name}_{element.name}"), old.kind, frozen(parameters | changed[0])
    )
    new = dataclasses.replace(element, model=model.name, parameters=frozen(instance | changed[1]))
    return new, model


def _area(element: Element, model: Model) -> float:
    """Return what the series resistances of a device are divided by, beside its multiplier."""
    if element.name[0] == "m":
        return 1.0
    default = model.parameters.get("area", 1.0) if element.name[0] == "d" else 1.0
    return element.parameters.get("area", default)


def _diode(law: Shockley, given: Mapping[str, float], deck: Deck, area: float) -> dict[str, float]:
    """Return IS and N at the nominal temperature, of a law at the deck's."""
    kelvin = deck.temperature + ZERO_CELSIUS
    nominal = given.get("tnom", deck.nominal_temperature) + ZERO_CELSIUS
    n, ratio = float(law.emission_coefficient) * TEMPERATURE / kelvin, kelvin / nominal
    thermal = n * BOLTZMANN * kelvin / ELEMENTARY_CHARGE
    gap, exponent = given.get("eg", ENERGY_GAP), given.get("xti", SATURATION_EXPONENT)
    growth = ratio ** (exponent / n) * math.exp((ratio - 1.0) * gap / thermal)
    return {"is": float(law.saturation_current) / growth / area, "n": n}


def _of_area(law: Bipolar | Jfet) -> Cards:
    fields = bjt.CARD if isinstance(law, Bipolar) else jfet.CARD
    values = {name: float(getattr(law, field)) for field, name in fields.items()}
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    return finite, {"area": float(law.area), "m": float(law.multiplier)}


def _mosfet(law: Mosfet, given: Mapping[str, float], instance: Mapping[str, float]) -> Cards:
    multiplier = instance.get("m", 1.0)
    model = {
        "vto": float(law.threshold),
        "kp": float(law.transconductance),
        "gamma": float(law.body_effect),
        "phi": float(law.surface_potential),
        "lambda": float(law.channel_modulation),
        "is": float(law.bulk_current) / multiplier,
    }
    size = {
        "w": float(law.width) / multiplier,
        "l": float(law.length) + 2.0 * given.get("ld", 0.0),
    }
    return model, size
