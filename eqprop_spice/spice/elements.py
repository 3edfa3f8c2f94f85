"""The cards of elements: what stands in which place, letter by letter."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.deck import Coupling, Element, Model, frozen
from eqprop_spice.spice.expressions import Expression
from eqprop_spice.spice.fields import Fields
from eqprop_spice.spice.josephson import REASON, sine

UNSUPPORTED = {
    "a": "XSPICE code models are not supported; use controlled sources",
    "n": "compiled (Verilog-A) models are not supported",
    "o": "transmission lines are not supported; use resistors, or a short for the operating point",
    "p": "transmission lines are not supported; use resistors, or a short for the operating point",
    "s": "switches are not supported; use a resistor in the state you mean",
    "t": "transmission lines are not supported; use resistors, or a short for the operating point",
    "u": "distributed lines and parts without a model are not supported; use an X card",
    "w": "switches are not supported; use a resistor in the state you mean",
    "y": "transmission lines are not supported; use resistors, or a short for the operating point",
    "z": "MESFETs are not supported",
}

WAVEFORMS = frozenset({"pulse", "sin", "exp", "pwl", "sffm", "am", "trnoise", "trrandom"})

BEHAVIORAL = frozenset({"value", "vol", "cur", "table", "laplace", "freq", "chebyshev"})


@runtime_checkable
class Frame(Protocol):
    """What an element card may ask of its surroundings."""

    celsius: float
    nominal_celsius: float

    def number(self, text: str) -> float:
        """Return the value of a number, a parameter or an expression."""
        ...

    def evaluate(self, tree: Expression) -> float:
        """Return the value of an expression."""
        ...

    def node(self, name: str) -> str:
        """Return our name of a node."""
        ...

    def model(self, name: str) -> Model | None:
        """Return the model of this name, if there is one."""
        ...

    def no_model(self, name: str) -> NetlistError:
        """Return the error for a model that is missing."""
        ...

    def note(self, text: str) -> None:
        """Note what is left out."""
        ...


def _expect(split: Fields, usage: str, num_places: int, named: Sequence[str] = ()) -> None:
    """Refuse a card with too few or too many fields, or with unknown assignments."""
    if len(split.places) < num_places:
        raise NetlistError(f"the card has too few fields; expected {usage}")
    if len(split.places) > num_places:
        raise NetlistError(f"'{split.places[num_places]}' is left over; expected {usage}")
    for name in split.named:
        if name not in named:
            raise NetlistError(f"'{name} =' is not supported here; expected {usage}")


def _value(split: Fields, place: int, names: Sequence[str]) -> tuple[str, Fields]:
    """Return the text of a value given by place or by name, and the fields without it."""
    named = [name for name in names if name in split.named]
    by_place = split.places[place : place + 1]
    if len(named) + len(by_place) > 1:
        raise NetlistError("the value is given twice, or models of passive parts are meant")
    if not named and not by_place:
        raise NetlistError("the card has no value")
    rest = {name: text for name, text in split.named.items() if name not in names}
    places = split.places[:place] + split.places[place + 1 :]
    return (by_place[0] if by_place else split.named[named[0]]), Fields(places, rest)


def _numbers(split: Fields, names: Sequence[str], frame: Frame) -> dict[str, float]:
    return {name: frame.number(split.named[name]) for name in names if name in split.named}


def _initial_state(split: Fields, frame: Frame) -> None:
    for name in ("ic", "off"):
        if name in split.named or name in split.places:
            frame.note(f"'{name}' is left out: it does not change the operating point")


def _resistor(split: Fields, frame: Frame) -> Element:
    usage = "R n1 n2 VALUE [m= tc1= tc2=]"
    if len(split.places) > 3 and frame.model(split.places[-1]) is not None:
        raise NetlistError("models of resistors are not supported; write the resistance")
    text, rest = _value(split, 3, ("r", "resistance"))
    _expect(rest, usage, 3, ("m", "tc", "tc1", "tc2", "ac", "noise", "noisy"))
    given = _numbers(rest, ("m", "tc", "tc1", "tc2"), frame)
    for name in {"ac", "noise", "noisy"} & {*rest.named}:
        frame.note(f"'{name}' is left out: it does not change the operating point")
    rise = frame.celsius - frame.nominal_celsius
    slope = given.get("tc1", given.get("tc", 0.0))
    factor = 1.0 + rise * (slope + rise * given.get("tc2", 0.0))
    multiplier = given.get("m", 1.0)
    if multiplier <= 0.0:
        raise NetlistError(f"m is {multiplier:g}; it must be positive")
    resistance = frame.number(text) * factor / multiplier
    if resistance == 0.0:
        raise NetlistError(
            "zero ohms, of which ngspice makes 1 milliohm; write 1m, or a voltage source of 0 V"
        )
    return Element(split.name, _nodes(split, 2, frame), resistance)


def _reactance(split: Fields, frame: Frame) -> Element:
    kind = split.name[0]
    names = ("c", "capacitance") if kind == "c" else ("l", "inductance")
    text, rest = _value(split, 3, names)
    _initial_state(rest, frame)
    _expect(rest, f"{kind.upper()} n1 n2 VALUE [m= ic=]", 3, ("m", "ic"))
    multiplier = _numbers(rest, ("m",), frame).get("m", 1.0)
    if multiplier <= 0.0:
        raise NetlistError(f"m is {multiplier:g}; it must be positive")
    value = frame.number(text)
    return Element(
        split.name,
        _nodes(split, 2, frame),
        value * multiplier if kind == "c" else value / multiplier,
    )


def _nodes(split: Fields, count: int, frame: Frame) -> tuple[str, ...]:
    return tuple(frame.node(name) for name in split.places[1 : 1 + count])


def _starts_number(word: str) -> bool:
    return word[0] in "+-.{" or word[0].isdigit()


def _waveform_at_zero(kind: str, values: list[float]) -> float:
    """Return a waveform at time zero, which ngspice takes where no DC value is given."""
    if kind == "pwl":
        if len(values) < 2 or len(values) % 2:
            raise NetlistError("PWL needs pairs of time and value")
        times, levels = values[::2], values[1::2]
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise NetlistError("the times of PWL do not increase")
        for (t0, v0), (t1, v1) in pairwise(zip(times, levels, strict=True)):
            if t0 <= 0.0 < t1:
                return v0 + (v1 - v0) * (0.0 - t0) / (t1 - t0)
        return levels[0] if times[0] > 0.0 else levels[-1]
    if len(values) < 2:
        raise NetlistError(f"{kind.upper()} needs at least two values")
    delay = values[3 if kind == "sin" else 2] if len(values) > (3 if kind == "sin" else 2) else 0.0
    if kind in ("sffm", "am", "trnoise", "trrandom") or delay < 0.0:
        raise NetlistError(f"{kind.upper()} is not supported without a DC value; write dc VALUE")
    if kind == "sin" and len(values) > 5:
        return values[0] + values[1] * math.sin(math.radians(values[5]))
    return values[0]


def _source(split: Fields, frame: Frame) -> Element:
    usage = f"{split.name[0].upper()} n+ n- [DC] VALUE [AC ...] [WAVEFORM]"
    if len(split.places) < 3:
        raise NetlistError(f"the card has too few fields; expected {usage}")
    rest = list(split.places[3:])
    direct: float | None = None
    waveform: tuple[str, list[float]] | None = None
    if "dc" in split.named:
        direct = frame.number(split.named["dc"])
    if rest and rest[0] not in WAVEFORMS | {"dc", "ac", "distof1", "distof2"}:
        rest.insert(0, "dc")
    while rest:
        word = rest.pop(0)
        values = []
        wanted = {"dc": 1, "ac": 2, "distof1": 2, "distof2": 2}.get(word, len(rest))
        while rest and len(values) < wanted and (word == "dc" or _starts_number(rest[0])):
            values.append(frame.number(rest.pop(0)))
        if word == "dc":
            if direct is not None or not values:
                raise NetlistError(f"the DC value is given twice or missing; expected {usage}")
            direct = values[0]
        elif word in WAVEFORMS and waveform is None:
            waveform = (word, values)
        elif word not in ("ac", "distof1", "distof2"):
            raise NetlistError(f"'{word}' is not supported here; expected {usage}")
        if word != "dc":
            frame.note(f"'{word}' is left out: what counts is the DC value, or that at time zero")
    unknown = set(split.named) - {"dc", "ac"}
    if unknown:
        raise NetlistError(f"'{min(unknown)} =' is not supported here; expected {usage}")
    if direct is None and waveform is not None:
        direct = _waveform_at_zero(*waveform)
    return Element(split.name, _nodes(split, 2, frame), 0.0 if direct is None else direct)


def _linear_gain(split: Fields, first: int, num_control: int) -> Fields:
    """Return the fields of a POLY(1) without offset and curvature as those of a plain gain."""
    poly = split.places[first:]
    if not poly or poly[0] != "poly":
        return split
    control, coefficients = poly[2 : 2 + num_control], poly[2 + num_control :]
    # ngspice takes a lone coefficient for the gain, and else the first for the offset.
    if poly[1:2] == ("1",) and len(coefficients) == 1:
        return Fields(split.places[:first] + control + coefficients, split.named)
    if poly[1:2] == ("1",) and len(coefficients) == 2 and coefficients[0] in ("0", "0.0"):
        return Fields(split.places[:first] + control + coefficients[1:], split.named)
    raise NetlistError("POLY with an offset, a curvature or several controls is not supported")


def _controlled(split: Fields, frame: Frame) -> Element:
    kind = split.name[0]
    if BEHAVIORAL & ({*split.named} | {*split.places[3:]}):
        raise NetlistError("behavioral sources are not supported; use a constant gain")
    by_voltage = kind in "eg"
    split = _linear_gain(split, 3, 2 if by_voltage else 1)
    count = 5 if by_voltage else 4
    text, rest = _value(split, count, ("gain",))
    control = "nc+ nc-" if by_voltage else "VSOURCE"
    _expect(rest, f"{kind.upper()} n+ n- {control} GAIN", count, ("m",) if kind in "fg" else ())
    multiplier = _numbers(rest, ("m",), frame).get("m", 1.0)
    return Element(
        split.name,
        _nodes(split, 4 if by_voltage else 2, frame),
        frame.number(text) * multiplier,
        control=None if by_voltage else split.places[3],
    )


def _josephson(split: Fields, frame: Frame) -> Element:
    if "i" not in split.named:
        raise NetlistError(REASON)
    text, rest = _value(split, 3, ("i",))
    _expect(rest, "B n1 n2 i = CURRENT*sin(v(f1) - v(f2))", 3)
    found = sine(text, frame.evaluate)
    controls = frame.node(found.positive), frame.node(found.negative)
    return Element(
        split.name,
        (*_nodes(split, 2, frame), *controls),
        found.current,
        parameters=frozen({"rate": found.rate}),
    )


def coupling(split: Fields, frame: Frame) -> Coupling:
    """Return what a K card says, the inductors under their names in the netlist."""
    text, rest = _value(split, 3, ("k",))
    _expect(rest, "K L1 L2 COEFFICIENT", 3)
    value = frame.number(text)
    if not -1.0 <= value <= 1.0:
        raise NetlistError(f"the coefficient is {value:g}; it must be between -1 and 1")
    if rest.places[1] == rest.places[2]:
        raise NetlistError(f"'{rest.places[1]}' is coupled with itself")
    return Coupling(split.name, rest.places[1:3], value)


def _device(kinds: Sequence[str], num_nodes: Sequence[int], names: Sequence[str], *, area: bool):
    """Return a reader of cards of devices with a model.

    Args:
        kinds: Kinds of models.
        num_nodes: How many nodes there may be.
        names: Instance parameters.
        area: Whether a lone number after the model is the area.
    """

    def read(split: Fields, frame: Frame) -> Element:
        letter = split.name[0].upper()
        usage = f"{letter} {' '.join(f'n{i + 1}' for i in range(num_nodes[0]))} MODEL"
        count = next(
            (
                n
                for n in num_nodes
                if len(split.places) > n + 1 and frame.model(split.places[n + 1])
            ),
            None,
        )
        if count is None:
            if len(split.places) < num_nodes[0] + 2:
                raise NetlistError(f"the card has too few fields; expected {usage}")
            raise frame.no_model(split.places[num_nodes[0] + 1])
        model = frame.model(split.places[count + 1])
        assert model is not None
        if model.kind not in kinds:
            raise NetlistError(f"a model of kind '{model.kind}' does not suit an {letter} card")
        _initial_state(split, frame)
        left = [word for word in split.places[count + 2 :] if word != "off"]
        given = dict(split.named)
        if area and len(left) == 1 and "area" not in given:
            given["area"] = left.pop()
        if left:
            raise NetlistError(f"'{left[0]}' is left over; expected {usage}")
        unknown = set(given) - {*names, "ic", "icvbe", "icvce", "icvds", "icvgs", "icvbs"}
        if unknown:
            raise NetlistError(f"'{min(unknown)} =' is not supported here; {', '.join(names)} are")
        parameters = _numbers(Fields((), given), names, frame)
        for name in ("area", "m", "w", "l"):
            if parameters.get(name, 1.0) <= 0.0:
                raise NetlistError(f"{name} is {parameters[name]:g}; it must be positive")
        return Element(
            split.name,
            _nodes(split, count, frame),
            model=model.name,
            parameters=frozen(parameters),
        )

    return read


READERS: dict[str, Callable[[Fields, Frame], Element]] = {
    "r": _resistor,
    "c": _reactance,
    "l": _reactance,
    "v": _source,
    "i": _source,
    **dict.fromkeys("efgh", _controlled),
    "b": _josephson,
    "d": _device(("d",), (2,), ("area", "m", "pj"), area=True),
    "q": _device(("npn", "pnp"), (3, 4), ("area", "m", "areab", "areac"), area=True),
    "j": _device(("njf", "pjf"), (3,), ("area", "m"), area=True),
    "m": _device(
        ("nmos", "pmos"),
        (4,),
        ("w", "l", "m", "ad", "as", "pd", "ps", "nrd", "nrs"),
        area=False,
    ),
}


def element(split: Fields, frame: Frame) -> Element:
    """Return what the card of an element in `READERS` says, under its name in the netlist.

    Raises:
        NetlistError: If the card is not understood.
    """
    read = READERS[split.name[0]](split, frame)
    return dataclasses.replace(read, original=split.name)


def unsupported(letter: str) -> NetlistError:
    """Return why there is no reader for the elements of this letter."""
    return NetlistError(UNSUPPORTED.get(letter, f"no element begins with '{letter}'"))
