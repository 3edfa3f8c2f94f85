"""Expressions against ngspice, against Python's arithmetic, and against text without meaning."""

import math
import random
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.expressions import evaluate, number, parse

PRINTED = 2e-6
"""Relative error of the seven digits that `ngspice -b` prints."""

ROUNDING = 1e-12
"""Relative error of a few dozen operations in double precision."""


class Constants:
    """A scope with two parameters and no functions."""

    def parameter(self, name: str) -> float:
        if name not in ("a", "b"):
            raise NetlistError(f"no {name}")
        return {"a": 3.0, "b": -0.5}[name]

    def call(self, name: str, operands: tuple[float, ...]) -> float | None:
        return None

    def spend(self) -> None:
        pass


def value(text: str) -> float:
    return evaluate(parse(text), Constants())


ODDITIES = {
    "2*-3^2": 18.0,
    "-2^2": -4.0,
    "2^3^2": 64.0,
    "1<2==1": 1.0,
    "0||1&&0": 0.0,
    "7%4*2": 6.0,
    "5%-3": 2.0,
    "!0+1": 2.0,
    "!2^2": 0.0,
    "-3 ? 4 : 5": 4.0,
    "0 ? 2 : 0 ? 3 : 4": 4.0,
    "pow(-2,3)": -8.0,
    "pwr(-2,3)": 8.0,
    "int(-2.7)": -2.0,
    "nint(2.5)": 2.0,
    "sgn(-4)": -1.0,
    "log(10)": math.log(10.0),
    "max(a,b)-min(a,b)": 3.5,
    "(1k+2meg)*1u": 2.001,
    "ternary_fcn(a>b, 1, 1/0)": 1.0,
}
"""Where the order of operations is a matter of taste, what ngspice 39 computes."""


@pytest.mark.parametrize("text", ODDITIES)
def test_taste_is_that_of_ngspice(text):
    assert value(text) == pytest.approx(ODDITIES[text], rel=ROUNDING)


def computed_by_ngspice(expressions: list[str]) -> list[float]:
    """Return the values that `ngspice -b` prints for expressions of a and b."""
    cards = [f"V{i} n{i} 0 {{{text}}}\nR{i} n{i} 0 1meg" for i, text in enumerate(expressions)]
    netlist = "\n".join(["* x", ".param a=3 b=-0.5", *cards, ".op", ".end", ""])
    done = subprocess.run(
        ["ngspice", "-n", "-b"], input=netlist, capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("\tn")]
    printed = {row[0]: float(row[1]) for row in rows}
    return [printed[f"n{i}"] for i in range(len(expressions))]


def random_expression(draw: random.Random, depth: int) -> str:
    kind = draw.randrange(8) if depth else 0
    if kind < 2:
        return draw.choice(["a", "b", "2", "0.75", "1.5k*1m", "(-4)", "3m"])
    left, right = random_expression(draw, depth - 1), random_expression(draw, depth - 1)
    if kind < 5:
        return f"{left}{draw.choice('+-*/')}{right}"
    if kind == 5:
        return f"({left}{draw.choice(['<', '>', '&&', '||', '==', '<>'])}{right})"
    if kind == 6:
        return f"{draw.choice(['abs', 'sin', 'tanh', 'floor', 'atan'])}({left})"
    return f"({left} ? {right} : {left})^2"


@pytest.mark.ngspice
def test_ngspice_computes_the_same():
    draw = random.Random(5)
    texts = [*ODDITIES][:-1]
    while len(texts) < 150:
        text = random_expression(draw, 4)
        try:
            # Outside of this range the printed digits, not the values, would be compared.
            if 1e-3 < abs(value(text)) < 1e6:
                texts.append(text)
        except NetlistError:
            continue
    for text, theirs in zip(texts, computed_by_ngspice(texts), strict=True):
        assert value(text) == pytest.approx(theirs, rel=PRINTED, abs=PRINTED), text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1M", 1e-3),
        ("1meg", 1e6),
        ("1MEGohm".lower(), 1e6),
        ("10mil", 254e-6),
        ("1a", 1.0),
        ("1f", 1e-15),
        ("2.5", 2.5),
        ("-.5e-3k", -0.5),
        ("10\u00b5f", 10e-6),
        ("3v", 3.0),
    ],
)
def test_suffixes_have_the_meaning_of_ngspice(text, expected):
    assert number(text.lower()) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    "text", ["4k7", "1r5", "abc", "", "1..2", "--1", "1e999", "0x10", "nan", "inf"]
)
def test_what_is_read_in_two_ways_is_no_number(text):
    with pytest.raises(NetlistError, match=r"point|not a number|finite"):
        number(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1+",
            "(1",
            "1)",
            "2*-a",
            "1 ? 0 ? 4 : 5 : 6",
            "v(1)",
            "f(",
            "a b",
            "1 ? 2",
            "@x",
            "1mil",
        ),
        *("1/0", "sqrt(-1)", "log(0)", "gauss(1,1,1)", "unknown(1)", "max(1)", "exp(1000)", "c"),
        "(" * 60 + "1" + ")" * 60,
    ],
)
def test_others_are_refused(text):
    with pytest.raises(NetlistError):
        value(text)


@given(st.text(alphabet="ab12.ek+-*/^()?:<>=!&|, v{'\u00b5", max_size=40))
@settings(max_examples=200)
def test_any_text_has_a_finite_value_or_is_refused(text):
    try:
        assert math.isfinite(value(text))
    except NetlistError:
        pass


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_float_is_read_back(original):
    assert number(repr(original)) == original
