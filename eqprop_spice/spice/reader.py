"""A stranger's netlist becomes a `Deck`: nothing is executed, nothing is passed over in silence.

The text is parsed here and never handed on: names are replaced by our own, and what goes to a
simulator is regenerated from the deck (`spice/portable.py`). A card that is not supported is
refused with its file, line and reason. What has no bearing on the operating point (waveforms,
analyses, initial conditions of transients) is left out and noted.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice import expressions
from eqprop_spice.spice.cards import Card, Limits, Source, at, cards_of, decoded, read_limited
from eqprop_spice.spice.deck import Deck, frozen
from eqprop_spice.spice.fields import assignments, fields
from eqprop_spice.spice.flatten import Flattened, Frame, couplings, with_controls
from eqprop_spice.spice.models import name_and_kind
from eqprop_spice.spice.scopes import Block, Values, nearest
from eqprop_spice.spice.settings import Settings, take_in


def _collect(source: Source, limits: Limits) -> tuple[Block, list[Card]]:
    """Return the blocks of a netlist, and the cards about the whole circuit."""
    top = block = Block("")
    general: list[Card] = []
    opened: list[Card] = []
    for card in source.cards:
        with at(card):
            keyword = card.keyword
            if keyword == ".subckt":
                if len(opened) >= limits.depth:
                    raise NetlistError("subcircuits are defined too deeply within each other")
                block = _subcircuit(card, block)
                opened.append(card)
            elif keyword == ".ends":
                named = [word.lower() for word in card.text.split()[1:2]]
                if block.outer is None:
                    raise NetlistError(".ends without .subckt")
                if named and named[0] != block.name:
                    raise NetlistError(f"the subcircuit that ends here is '{block.name}'")
                block = block.outer
                opened.pop()
            elif keyword == ".param":
                given = assignments(card.text[len(keyword) :])
                block.parameters.update((name, (text, card)) for name, text in given)
            elif keyword == ".func":
                _function(card, block)
            elif keyword == ".model":
                name, _ = name_and_kind(card.text)
                if name in block.models:
                    raise NetlistError(f"the model '{name}' is defined twice")
                block.models[name] = card
            elif keyword.startswith("."):
                general.append(card)
            else:
                block.cards.append(card)
    if opened:
        raise opened[-1].refused("the subcircuit has no .ends")
    return top, general


def _subcircuit(card: Card, outer: Block) -> Block:
    text = re.sub(r"\bparams:", " ", card.text, flags=re.IGNORECASE)
    split = fields(text)
    if len(split.places) < 2:
        raise NetlistError("expected .subckt NAME NODES [PARAMETER=VALUE]")
    name, ports = split.places[1], split.places[2:]
    if name in outer.blocks:
        raise NetlistError(f"the subcircuit '{name}' is defined twice")
    if len(set(ports)) != len(ports) or {"0", "gnd"} & set(ports):
        raise NetlistError("a node of the subcircuit is named twice, or is the ground")
    outer.blocks[name] = Block(name, outer, ports, split.named)
    return outer.blocks[name]


def _function(card: Card, block: Block) -> None:
    match = re.fullmatch(
        r"\.func\s+([a-z_]\w*)\s*\(([^()]*)\)\s*=?\s*(?:\{(.*)\}|'(.*)'|(.*))", card.text.lower()
    )
    if match is None:
        raise NetlistError("expected .func NAME(ARGUMENTS) {EXPRESSION}")
    arguments = tuple(argument.strip() for argument in match[2].split(",") if argument.strip())
    if not all(re.fullmatch(r"[a-z_]\w*", argument) for argument in arguments):
        raise NetlistError("the arguments of a function must be names")
    if match[1] in expressions.FUNCTIONS or match[1] in block.functions:
        raise NetlistError(f"the function '{match[1]}' exists already; rename it")
    block.functions[match[1]] = arguments, expressions.parse(match[3] or match[4] or match[5])


def read_text(
    text: str,
    *,
    name: str = "netlist",
    limits: Limits | None = None,
    skip_commands: bool = False,
    include_from: Path | None = None,
    parameters: Mapping[str, float] | None = None,
) -> Deck:
    """Return what the text of a netlist says.

    Args:
        text: The netlist; its first line is the title.
        name: What errors call it.
        limits: What it may ask for.
        skip_commands: Whether .control sections are left out instead of refused.
        include_from: The folder whose files it may include; none if None.
        parameters: Other values of .param cards outside of subcircuits.

    Raises:
        NetlistError: If it is refused, with line, card, reason and remedy.
    """
    limits = limits or Limits()
    source = cards_of(text, name, limits, skip_commands=skip_commands, include_from=include_from)
    top, general = _collect(source, limits)
    notes = list(source.notes)
    settings = Settings()
    flat = Flattened(settings, limits, notes)
    given = dict(parameters or {})
    for parameter in given:
        if parameter not in top.parameters:
            hint = nearest(parameter, top.parameters)
            raise NetlistError(f"{name}: there is no .param '{parameter}'{hint}.")
    values = Values(top, None, given, flat.budget)
    # Sorted, since .temp holds against the option wherever it stands.
    for card in sorted(general, key=lambda card: card.keyword == ".temp"):
        with at(card):
            take_in(card, settings, values, notes)
    values.known["temper"] = settings.celsius
    Frame(flat, values, "", {}).expand(())
    elements = with_controls(flat)
    unknown = [node for node in settings.guesses if node not in flat.nodes]
    if unknown:
        hint = nearest(unknown[0], flat.nodes)
        raise NetlistError(f"{name}: .nodeset names '{unknown[0]}', which is no node{hint}.")
    return Deck(
        title=source.title,
        elements=elements,
        models=frozen({model.name: model for model in flat.models.values()}),
        nodes=frozen(flat.nodes),
        parameters=frozen({key: values.parameter(key) for key in top.parameters}),
        temperature=settings.celsius,
        nominal_temperature=settings.nominal_celsius,
        junction_conductance=settings.junction_conductance,
        guesses=frozen({flat.nodes[node]: value for node, value in settings.guesses.items()}),
        notes=tuple(dict.fromkeys(notes)),
        couplings=couplings(flat),
    )


def read(
    path: Path,
    *,
    include: bool = False,
    skip_commands: bool = False,
    limits: Limits | None = None,
) -> Deck:
    """Return what a netlist's file says.

    Args:
        path: The file.
        include: Whether files in its folder that it includes are read.
        skip_commands: Whether .control sections are left out instead of refused.
        limits: What it may ask for.

    Raises:
        NetlistError: If it is refused, with file, line, card, reason and remedy.
    """
    limits = limits or Limits()
    return read_text(
        decoded(read_limited(path, limits), path.name, limits),
        name=path.name,
        limits=limits,
        skip_commands=skip_commands,
        include_from=path.parent if include else None,
    )
