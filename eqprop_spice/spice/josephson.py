"""Josephson elements, which netlists write as B sources: a current that is the sine of a phase.

SPICE has no flux, so that a phase is the voltage of a node of its own, which integrates. Nothing
else that a behavioral source may say is understood, and none of its text is handed on.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice import expressions
from eqprop_spice.spice.expressions import Expression, Name, Operation

REASON = (
    "behavioral sources are not supported, but for Josephson elements, "
    "i = CURRENT*sin(v(f1) - v(f2)); use E, F, G or H with a constant gain"
)

VOLTAGE = re.compile(r"\bv\s*\(\s*([^\s(),=]+)\s*(?:,\s*([^\s(),=]+)\s*)?\)")

LONGEST = 400
"""Characters of an expression that may be a Josephson element."""

MARK = "__voltage_"
"""Beginning of the names that stand for voltages while an expression is parsed."""

Evaluate = Callable[[Expression], float]


class Sine(NamedTuple):
    r"""The current $I \sin(k (v_+ - v_-))$.

    Attributes:
        current: I [A].
        rate: k, positive [1/V].
        positive: The netlist's name of the first node.
        negative: That of the second.
    """

    current: float
    rate: float
    positive: str
    negative: str


def sine(text: str, evaluate: Evaluate) -> Sine:
    """Return what the expression of a current says.

    Args:
        text: The expression, in lower case.
        evaluate: Returns the value of an expression without voltages.

    Raises:
        NetlistError: If it is no sine of one voltage, times a constant.
    """
    if MARK in text or len(text) > LONGEST:
        raise NetlistError(REASON)
    pairs: list[tuple[str, str]] = []

    def marked(match: re.Match[str]) -> str:
        pairs.append((match[1], match[2] or "0"))
        return f"{MARK}{len(pairs) - 1}"

    # Braces hold parameters, whose values ngspice puts in as if in parentheses.
    text = VOLTAGE.sub(marked, text.replace("{", "(").replace("}", ")"))
    tree = expressions.parse(text)
    current, phase = _factors(tree, evaluate)
    drops = _linear(phase, pairs, evaluate)
    nodes = {node: value for node, value in drops.items() if node not in ("0", "gnd") and value}
    values = sorted(nodes, key=lambda node: -nodes[node])
    if len(values) == 1:
        values = [*values, "0"] if nodes[values[0]] > 0.0 else ["0", *values]
    elif len(values) != 2 or nodes[values[0]] != -nodes[values[1]]:
        raise NetlistError(REASON)
    rate = max(abs(value) for value in nodes.values())
    return Sine(current, rate, values[0], values[1])


def _voltages(tree: Expression) -> bool:
    """Whether an expression has voltages in it."""
    if isinstance(tree, Name):
        return tree.name.startswith(MARK)
    return isinstance(tree, Operation) and any(map(_voltages, tree.operands))


def _factors(tree: Expression, evaluate: Evaluate) -> tuple[float, Expression]:
    """Return the constant before a sine, and the sine's operand."""
    if isinstance(tree, Operation):
        operator, operands = tree.operator, tree.operands
        if operator == "sin" and len(operands) == 1:
            return 1.0, operands[0]
        if operator == "negative":
            factor, phase = _factors(operands[0], evaluate)
            return -factor, phase
        if operator in "*/" and _voltages(operands[0]) and not _voltages(operands[1]):
            factor, phase = _factors(operands[0], evaluate)
            other = evaluate(operands[1])
            return (factor * other if operator == "*" else _quotient(factor, other)), phase
        if operator == "*" and not _voltages(operands[0]):
            factor, phase = _factors(operands[1], evaluate)
            return evaluate(operands[0]) * factor, phase
    raise NetlistError(REASON)


def _linear(tree: Expression, pairs: list[tuple[str, str]], evaluate: Evaluate) -> dict[str, float]:
    """Return how an expression depends on the voltages of nodes; it must have no other term."""
    if isinstance(tree, Name) and _voltages(tree):
        positive, negative = pairs[int(tree.name.removeprefix(MARK))]
        return _sum({positive: 1.0}, {negative: -1.0})
    if isinstance(tree, Operation):
        operator, operands = tree.operator, tree.operands
        if operator == "negative":
            return _scaled(_linear(operands[0], pairs, evaluate), -1.0)
        if operator in "+-":
            first, second = (_linear(operand, pairs, evaluate) for operand in operands)
            return _sum(first, _scaled(second, 1.0 if operator == "+" else -1.0))
        if operator in "*/" and _voltages(operands[0]) and not _voltages(operands[1]):
            other = evaluate(operands[1])
            factor = other if operator == "*" else _quotient(1.0, other)
            return _scaled(_linear(operands[0], pairs, evaluate), factor)
        if operator == "*" and not _voltages(operands[0]):
            return _scaled(_linear(operands[1], pairs, evaluate), evaluate(operands[0]))
    raise NetlistError(REASON)


def _quotient(numerator: float, denominator: float) -> float:
    if denominator == 0.0:
        raise NetlistError("an expression divides by zero")
    return numerator / denominator


def _scaled(drops: dict[str, float], factor: float) -> dict[str, float]:
    return {node: factor * value for node, value in drops.items()}


def _sum(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    return {node: first.get(node, 0.0) + second.get(node, 0.0) for node in (*first, *second)}
