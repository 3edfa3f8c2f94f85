"""From blocks of cards to elements: subcircuits are put in the place of their calls."""

import dataclasses
import re

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.cards import Card, Limits, at
from eqprop_spice.spice.deck import Coupling, Element, Model, frozen
from eqprop_spice.spice.elements import READERS, coupling, element, unsupported
from eqprop_spice.spice.expressions import Expression, evaluate
from eqprop_spice.spice.fields import Fields
from eqprop_spice.spice.models import model_parameters
from eqprop_spice.spice.scopes import Budget, Names, Values, nearest
from eqprop_spice.spice.settings import Settings


class Flattened:
    """What the flattening of a netlist has found so far."""

    def __init__(self, settings: Settings, limits: Limits, notes: list[str]) -> None:
        self.settings, self.limits, self.notes = settings, limits, notes
        self.budget = Budget(limits)
        self.node_names, self.element_names, self.model_names = Names(), Names(), Names()
        self.nodes: dict[str, str] = {}
        self.models: dict[tuple, Model] = {}
        self.elements: list[Element] = []
        self.cards: list[Card] = []
        self.couplings: list[tuple[Coupling, Card]] = []
        self.by_original: dict[str, str] = {}
        self.noted: set[str] = set()


class Frame:
    """One use of a block: what its cards may ask of their surroundings."""

    def __init__(self, flat: Flattened, values: Values, prefix: str, ports: dict[str, str]):
        self.flat, self.values, self.prefix, self.ports = flat, values, prefix, ports
        self.celsius = flat.settings.celsius
        self.nominal_celsius = flat.settings.nominal_celsius
        self.card = Card("?", "")
        self.own_models: dict[str, Model | None] = {}

    def number(self, text: str) -> float:
        """Return the value of a number, a parameter or an expression."""
        return self.values.compute(text)

    def evaluate(self, tree: Expression) -> float:
        """Return the value of an expression."""
        return evaluate(tree, self.values)

    def node(self, name: str) -> str:
        """Return our name of a node."""
        if name in ("0", "gnd"):
            return "0"
        if name in self.ports:
            return self.ports[name]
        if re.search(r"[{}'\"]", name):
            raise NetlistError(f"{name} is not a name of a node")
        original = name if name in self.flat.settings.globals else f"{self.prefix}{name}"
        if original not in self.flat.nodes:
            self.flat.nodes[original] = self.flat.node_names.new(original)
        return self.flat.nodes[original]

    def note(self, text: str) -> None:
        """Note what is left out of the card."""
        self.flat.notes.append(f"{self.card.place}: {text}")

    def model(self, name: str) -> Model | None:
        """Return the model of this name, if there is one."""
        if name not in self.own_models:
            blocks = [block for block in self.values.block.outward if name in block.models]
            self.own_models[name] = self._read_model(blocks[0].models[name]) if blocks else None
        return self.own_models[name]

    def no_model(self, name: str) -> NetlistError:
        """Return the error for a model that is missing."""
        known = [name for block in self.values.block.outward for name in block.models]
        return NetlistError(f"there is no .model '{name}'{nearest(name, known)}")

    def _read_model(self, card: Card) -> Model:
        with at(card):
            name, kind, parameters = model_parameters(card.text, self.number)
        # Each use of a subcircuit may give its models other parameters; most give the same.
        same = (name, kind, tuple(sorted(parameters.items())))
        if same not in self.flat.models:
            ours = self.flat.model_names.new(name)
            self.flat.models[same] = Model(ours, kind, frozen(parameters))
        return self.flat.models[same]

    def expand(self, path: tuple[str, ...]) -> None:
        """Take in the elements of the block, those of its subcircuits included."""
        for name, (_, card) in self.values.block.parameters.items():
            with at(card):
                self.values.parameter(name)
        for card in self.values.block.cards:
            with at(card):
                self.card = card
                self.flat.budget.element()
                letter = card.keyword[0]
                if letter not in ("x", "k") and letter not in READERS:
                    raise unsupported(letter)
                split = card.fields
                if not split.places or not card.keyword.startswith(split.places[0]):
                    raise NetlistError("the card assigns a value to its own name")
                if letter == "x":
                    self._call(split, path)
                elif letter == "k":
                    self._couple(split)
                else:
                    self._take(split)

    def _new_name(self, written: str) -> tuple[str, str]:
        """Return the name of an element with the calls that lead to it, and ours."""
        original = f"{self.prefix}{written}"
        if original in self.flat.by_original:
            raise NetlistError(f"the element '{original}' is there twice")
        # The letter must stay in front: it is what the element is.
        scope = self.prefix.rstrip(".")
        name = self.flat.element_names.new(f"{written}_{scope}" if scope else written)
        self.flat.by_original[original] = name
        return original, name

    def _couple(self, split: Fields) -> None:
        read = coupling(split, self)
        original, name = self._new_name(read.name)
        inductors = tuple(f"{self.prefix}{inductor}" for inductor in read.inductors)
        found = dataclasses.replace(
            read, name=name, inductors=inductors, original=original, place=self.card.place
        )
        self.flat.couplings.append((found, self.card))

    def _take(self, split: Fields) -> None:
        read = element(split, self)
        original, name = self._new_name(read.original)
        control = f"{self.prefix}{read.control}" if read.control else None
        self.flat.elements.append(
            dataclasses.replace(
                read, name=name, control=control, original=original, place=self.card.place
            )
        )
        self.flat.cards.append(self.card)

    def _call(self, split: Fields, path: tuple[str, ...]) -> None:
        places = tuple(place for place in split.places if place != "params:")
        if len(places) < 2:
            raise NetlistError("expected X nodes SUBCIRCUIT [PARAMETER=VALUE]")
        called = places[-1]
        outward = self.values.block.outward
        block = next((b.blocks[called] for b in outward if called in b.blocks), None)
        if block is None:
            hint = nearest(called, [name for b in outward for name in b.blocks])
            raise NetlistError(f"there is no subcircuit '{called}'{hint}")
        if called in path or len(path) >= self.flat.limits.depth:
            raise NetlistError(f"the subcircuit '{called}' calls itself, or others too deeply")
        if len(places) - 2 != len(block.ports):
            count = f"{len(block.ports)} nodes, the call {len(places) - 2}"
            raise NetlistError(f"the subcircuit '{called}' has {count}")
        for name in split.named:
            if name not in block.defaults:
                hint = nearest(name, block.defaults)
                raise NetlistError(f"'{called}' has no parameter '{name}'{hint}")
        given = {name: self.number(text) for name, text in split.named.items()}
        values = Values(block, self.values, given, self.flat.budget)
        ports = dict(zip(block.ports, map(self.node, places[1:-1]), strict=True))
        Frame(self.flat, values, f"{self.prefix}{places[0]}.", ports).expand((*path, called))


def couplings(flat: Flattened) -> tuple[Coupling, ...]:
    """Return the couplings with our names of the inductors."""
    found: dict[frozenset[str], Coupling] = {}
    for read, card in flat.couplings:
        names = []
        for original in read.inductors:
            name = flat.by_original.get(original, "")
            if name[:1] != "l":
                hint = nearest(original, [o for o, n in flat.by_original.items() if n[0] == "l"])
                raise card.refused(f"there is no inductor '{original}'{hint}")
            names.append(name)
        if frozenset(names) in found:
            raise card.refused(f"{' and '.join(read.inductors)} are coupled twice")
        found[frozenset(names)] = dataclasses.replace(read, inductors=tuple(names))
    return tuple(found.values())


def with_controls(flat: Flattened) -> tuple[Element, ...]:
    """Return the elements with our names of those whose currents control."""
    found = []
    for read, card in zip(flat.elements, flat.cards, strict=True):
        control = read.control
        if control is not None:
            name = flat.by_original.get(control)
            if name is None:
                hint = nearest(control, flat.by_original)
                raise card.refused(f"there is no element '{control}' to be controlled by{hint}")
            if name[0] not in "veh":
                raise card.refused(
                    f"'{control}' has no current that controls; put a voltage source of 0 V in "
                    "series with it"
                )
            control = name
        found.append(dataclasses.replace(read, control=control))
    return tuple(found)
