"""The cards about the whole circuit: temperature, options, global nodes, guesses, analyses."""

import dataclasses
import re

from eqprop_spice.constants import JUNCTION_CONDUCTANCE
from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.cards import Card
from eqprop_spice.spice.fields import words
from eqprop_spice.spice.scopes import Values

ANALYSES = frozenset(
    """.op .dc .ac .tran .noise .tf .pz .sens .disto .four .fft .meas .measure .print .plot .save
    .probe .width .ic .backanno .title .csparam .sp .net .pss .hb""".split()
)
"""Cards that ask for an analysis or its output; the operating point does not depend on them."""

HARMLESS_OPTIONS = frozenset(
    """reltol abstol vntol trtol chgtol pivtol pivrel itl1 itl2 itl3 itl4 itl5 itl6 srcsteps
    gminsteps gminfactor acct noacct list nomod nopage page node nonode opts oldlimit numdgt cptime
    limtim limpts lvlcod lvltim method maxord indverbosity xmu minbreak bypass trytocompact
    keepopinfo copynodesets nodedamping absdv reldv noopac noopiter post ingold probe brief nomod
    width savecurrents plotwinsize noprint autostop ramptime interp warn maxwarns norefvalue
    filetype noinit""".split()
)
"""Options about how to solve and what to print."""

REMEDIES = {
    ".if": "conditional cards are not supported; keep the branch you mean",
    ".step": "a stepped parameter is not one circuit; write one netlist per value",
    ".exec": "commands are never executed; remove it",
    ".endl": "sections of libraries are not supported; copy the models into the netlist",
}


@dataclasses.dataclass
class Settings:
    """What cards outside of subcircuits say about the whole circuit."""

    celsius: float = 27.0
    nominal_celsius: float = 27.0
    junction_conductance: float = JUNCTION_CONDUCTANCE
    globals: frozenset[str] = frozenset()
    guesses: dict[str, float] = dataclasses.field(default_factory=dict)


def _options(card: Card, settings: Settings, values: Values, notes: list[str]) -> None:
    split = card.fields
    for name in [*split.places[1:], *split.named]:
        if name in ("temp", "tnom", "gmin") and name in split.named:
            value = values.compute(split.named[name])
            if name == "temp":
                settings.celsius = value
            elif name == "tnom":
                settings.nominal_celsius = value
            elif value > 0.0:
                settings.junction_conductance = value
            else:
                raise NetlistError(f"gmin is {value:g}; it must be positive")
        elif name in HARMLESS_OPTIONS:
            notes.append(f"{card.place}: the option '{name}' is left out")
        else:
            raise NetlistError(f"the option '{name}' is not supported; remove it")


def take_in(card: Card, settings: Settings, values: Values, notes: list[str]) -> None:
    """Take in a card about the whole circuit."""
    keyword = card.keyword
    if keyword in (".options", ".option", ".opt"):
        _options(card, settings, values, notes)
    elif keyword == ".temp":
        split = card.fields.places
        if len(split) != 2:
            raise NetlistError("expected one temperature [degC]")
        settings.celsius = values.compute(split[1])
    elif keyword == ".global":
        settings.globals |= set(words(card.text)[1:])
    elif keyword == ".nodeset":
        text = card.text.lower()[len(keyword) :]
        found = re.findall(r"v\s*\(\s*([^\s(),=]+)\s*\)\s*=\s*(\{[^{}]*\}|[^\s(),={}]+)", text)
        rest = re.sub(r"v\s*\([^()]*\)\s*=\s*(\{[^{}]*\}|[^\s(),={}]+)", "", text)
        if not found or rest.strip(" \t,"):
            raise NetlistError("expected .nodeset V(node)=VALUE")
        settings.guesses.update((node, values.compute(value)) for node, value in found)
    elif keyword in ANALYSES:
        if keyword != ".op":
            notes.append(f"{card.place}: {keyword} is left out: only the operating point is sought")
    else:
        reason = "this card is not supported; remove it if the operating point does not need it"
        raise NetlistError(REMEDIES.get(keyword, reason))
    if keyword in (".options", ".temp") and min(settings.celsius, settings.nominal_celsius) < -273:
        raise NetlistError("the temperature lies below absolute zero")
