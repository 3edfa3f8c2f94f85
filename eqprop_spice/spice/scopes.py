"""What names mean in a netlist: parameters, functions, models and subcircuits, inside and out."""

import dataclasses
import difflib
from collections.abc import Iterable

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice import expressions
from eqprop_spice.spice.cards import Card, Limits
from eqprop_spice.spice.models import our_name

MAX_DEPTH = 60
"""Parameters that need parameters that need ... while each is computed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the most similar name, or nothing."""
    similar = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean '{similar[0]}'?" if similar else ""


@dataclasses.dataclass
class Block:
    """A netlist outside of subcircuits, or one subcircuit: what is defined in it.

    Attributes:
        name: Of the subcircuit.
        outer: Where it is defined.
        ports: Its nodes to the outside.
        defaults: Its parameters, as text.
        cards: Its elements.
        parameters: What its .param cards define: text and card.
        functions: Its .func cards: argument names and body.
        models: Its .model cards.
        blocks: Subcircuits defined within.
    """

    name: str
    outer: "Block | None" = None
    ports: tuple[str, ...] = ()
    defaults: dict[str, str] = dataclasses.field(default_factory=dict)
    cards: list[Card] = dataclasses.field(default_factory=list)
    parameters: dict[str, tuple[str, Card]] = dataclasses.field(default_factory=dict)
    functions: dict[str, tuple[tuple[str, ...], expressions.Expression]] = dataclasses.field(
        default_factory=dict
    )
    models: dict[str, Card] = dataclasses.field(default_factory=dict)
    blocks: "dict[str, Block]" = dataclasses.field(default_factory=dict)

    @property
    def outward(self) -> "list[Block]":
        """This block and those around it."""
        return [self, *(self.outer.outward if self.outer else [])]


class Budget:
    """The work that one netlist may ask for."""

    def __init__(self, limits: Limits) -> None:
        self.steps, self.elements = limits.num_steps, limits.num_elements
        self.depth = 0

    def step(self) -> None:
        """Note an operation in an expression."""
        self.steps -= 1
        if self.steps < 0:
            raise NetlistError("the expressions take too many steps; raise Limits.num_steps")

    def element(self) -> None:
        """Note an element or a call of a subcircuit."""
        self.elements -= 1
        if self.elements < 0:
            raise NetlistError("there are too many elements; raise Limits.num_elements")


class Names:
    """Hands out names of our own, each once."""

    # Words that mean something to simulators where a node may stand.
    RESERVED = frozenset({"all", "allv", "alli", "time", "frequency", "temper", "gnd"})

    def __init__(self) -> None:
        self.used: set[str] = set()

    def new(self, original: str) -> str:
        """Return a new name that resembles the original."""
        stem = our_name(original)
        name, count = stem, 1
        while name in self.used or name in self.RESERVED:
            count += 1
            name = f"{stem}_{count}"
        self.used.add(name)
        return name


class Values:
    """The parameters that hold in one use of a block; names not found are those of the caller.

    ngspice looks names up where a subcircuit is called, not where it is written; so do we.
    """

    def __init__(
        self,
        block: Block,
        caller: "Values | None",
        given: dict[str, float],
        budget: Budget,
    ) -> None:
        self.block, self.caller, self.budget = block, caller, budget
        self.texts = block.defaults | {name: text for name, (text, _) in block.parameters.items()}
        self.known = dict(given)
        self.busy: set[str] = set()

    def spend(self) -> None:
        """Note a step of work."""
        self.budget.step()

    def parameter(self, name: str) -> float:
        """Return the value of a parameter.

        Raises:
            NetlistError: If it is not defined, or by itself.
        """
        if name in self.known:
            return self.known[name]
        if name not in self.texts:
            if self.caller is not None:
                return self.caller.parameter(name)
            hint = nearest(name, [*self.texts, *self.known])
            raise NetlistError(f"the parameter '{name}' is not defined{hint}")
        if name in self.busy:
            raise NetlistError(f"the parameter '{name}' is defined by itself")
        self.busy.add(name)
        self.budget.depth += 1
        if self.budget.depth > MAX_DEPTH:
            raise NetlistError(
                "parameters refer to each other too deeply; reorder the .param cards"
            )
        self.known[name] = self.compute(self.texts[name])
        self.budget.depth -= 1
        self.busy.discard(name)
        return self.known[name]

    def call(self, name: str, operands: tuple[float, ...]) -> float | None:
        """Return the value of a user's function, or None if there is none of that name."""
        for block in self.block.outward:
            if name in block.functions:
                arguments, body = block.functions[name]
                break
        else:
            return None
        if len(arguments) != len(operands):
            raise NetlistError(f"'{name}' takes {len(arguments)} arguments, not {len(operands)}")
        self.budget.depth += 1
        if self.budget.depth > MAX_DEPTH:
            raise NetlistError(f"the function '{name}' calls itself, or others, too deeply")
        value = expressions.evaluate(
            body, _Arguments(dict(zip(arguments, operands, strict=True)), self)
        )
        self.budget.depth -= 1
        return value

    def compute(self, text: str) -> float:
        """Return the value of a number, with or without braces, or of an expression."""
        if text.startswith("{") and text.endswith("}"):
            text = text[1:-1]
        elif text[:1] in "+-.0123456789":
            try:
                return expressions.number(text)
            except NetlistError:
                if not set(text) & set("*/()?<>=&|^%"):
                    raise
        return expressions.evaluate(expressions.parse(text), self)


@dataclasses.dataclass
class _Arguments:
    """What names mean in the body of a user's function."""

    given: dict[str, float]
    values: Values

    def parameter(self, name: str) -> float:
        return self.given[name] if name in self.given else self.values.parameter(name)

    def call(self, name: str, operands: tuple[float, ...]) -> float | None:
        return self.values.call(name, operands)

    def spend(self) -> None:
        self.values.spend()
