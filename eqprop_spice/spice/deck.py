"""What a netlist says, as plain values: flat, with numbers for parameters and names of our own."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from eqprop_spice.constants import JUNCTION_CONDUCTANCE

Key = TypeVar("Key")
Value = TypeVar("Value")


def frozen(mapping: Mapping[Key, Value]) -> Mapping[Key, Value]:
    """Return a copy of a mapping that cannot be changed."""
    return MappingProxyType(dict(mapping))


@dataclasses.dataclass(frozen=True)
class Model:
    """A .model card.

    Attributes:
        name: Our name of it.
        kind: `d`, `npn`, `pnp`, `nmos`, `pmos`, `njf` or `pjf`.
        parameters: The parameters that were given, in SPICE's units.
    """

    name: str
    kind: str
    parameters: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Element:
    """An element card.

    Attributes:
        name: Our name of it; its first letter is the kind of the element.
        nodes: Our names of the nodes, in SPICE's order; the ground is "0". For E and G, the
            controlling nodes are the third and the fourth; for B, the phase is the drop from the
            third to the fourth, times the parameter `rate`.
        value: Resistance [ohm] at the deck's temperature, capacitance [F], inductance [H], direct
            voltage [V] or current [A], gain (E and F: pure, G [S], H [ohm]), critical current of a
            Josephson element (B) [A]; 1 for devices with a model.
        control: For F and H, the element whose current controls.
        model: For devices, our name of the model.
        parameters: Instance parameters, such as `w` and `l` [m].
        original: Its name in the netlist, with the calls of subcircuits that lead to it.
        place: File and line.
    """

    name: str
    nodes: tuple[str, ...]
    value: float = 1.0
    control: str | None = None
    model: str | None = None
    parameters: Mapping[str, float] = dataclasses.field(default_factory=lambda: frozen({}))
    original: str = dataclasses.field(default="", compare=False)
    place: str = dataclasses.field(default="", compare=False)

    @property
    def kind(self) -> str:
        """The letter of the element, in upper case."""
        return self.name[0].upper()


@dataclasses.dataclass(frozen=True)
class Coupling:
    """A K card: two inductors with a common field, which no direct current notices.

    Attributes:
        name: Our name of it.
        inductors: Our names of the inductors.
        coefficient: The coefficient of coupling.
        original: Its name in the netlist, with the calls of subcircuits that lead to it.
        place: File and line.
    """

    name: str
    inductors: tuple[str, ...]
    coefficient: float
    original: str = dataclasses.field(default="", compare=False)
    place: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Deck:
    """A netlist that was understood.

    Attributes:
        title: Its first line; never written into a netlist.
        elements: All elements, subcircuits flattened.
        models: Models by our names.
        nodes: Our names by those of the netlist, in lower case, with subcircuit calls.
        parameters: Values of the .param cards outside of subcircuits.
        temperature: Of the circuit [degC].
        nominal_temperature: At which parameters were measured [degC].
        junction_conductance: The option gmin [S].
        guesses: Voltages of .nodeset [V] by our names of nodes.
        notes: What was left out because it does not change the operating point, and traps.
        couplings: Coupled inductors.
    """

    title: str
    elements: tuple[Element, ...]
    models: Mapping[str, Model]
    nodes: Mapping[str, str]
    parameters: Mapping[str, float]
    temperature: float = 27.0
    nominal_temperature: float = 27.0
    junction_conductance: float = JUNCTION_CONDUCTANCE
    guesses: Mapping[str, float] = dataclasses.field(default_factory=lambda: frozen({}))
    notes: tuple[str, ...] = ()
    couplings: tuple[Coupling, ...] = ()
