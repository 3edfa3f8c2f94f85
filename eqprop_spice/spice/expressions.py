r"""Numbers and expressions of SPICE, with ngspice's meaning, read without executing anything.

The grammar is that of ngspice's `.param` (its manual, section 2.10), parsed by precedence after
V. R. Pratt, "Top down operator precedence" (1973). Where ngspice departs from mathematics, so does
this module, and says so: $a^b$ is $|a|^b$, powers group from the left, a minus before a number that
follows an operator belongs to the number (`2*-3^2` is 18). What ngspice reads by halves, such as
`4k7`, is refused.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from eqprop_spice.errors import NetlistError

MAX_NESTING = 50
"""Parentheses within parentheses, and parameters that refer to parameters not yet known."""

SUFFIXES = {
    "t": 1e12,
    "g": 1e9,
    "meg": 1e6,
    "k": 1e3,
    "mil": 25.4e-6,
    "m": 1e-3,
    "u": 1e-6,
    "\u00b5": 1e-6,
    "\u03bc": 1e-6,
    "n": 1e-9,
    "p": 1e-12,
    "f": 1e-15,
}
"""Scale factors. ngspice takes `M` for milli, and reads past letters that follow. The letter mu,
which LTspice writes, is micro; ngspice would read past it, too."""

MICRO = "\u00b5\u03bc"

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_PLAIN = re.compile(rf"([+-]?{_NUMBER})(meg|mil|[tgkmunpf{MICRO}])?([a-z]*)")
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>{_NUMBER}[a-z{MICRO}]*)|(?P<name>[a-z_][a-z0-9_]*)"
    r"|(?P<operator>\*\*|<=|>=|==|!=|<>|&&|\|\||[-+*/%^()<>?:,!]))"
)


def number(text: str) -> float:
    """Return the value of a number with an engineering suffix, such as `4.7k` or `10uF`.

    Args:
        text: Lower-case text of one number.

    Raises:
        NetlistError: If it is not a number, or one that simulators read differently.
    """
    match = _PLAIN.fullmatch(text)
    if match is None:
        if re.fullmatch(r"[+-]?\d+[a-z]+\d+", text):
            raise NetlistError(
                f"ngspice reads '{text}' up to its letter, others take what follows for decimals; "
                "write it with a point, such as 4.7k"
            )
        raise NetlistError(f"'{text}' is not a number")
    value = float(match[1]) * SUFFIXES.get(match[2] or "", 1.0)
    if not math.isfinite(value):
        raise NetlistError(f"'{text}' is too large; numbers must be finite")
    return value


@dataclasses.dataclass(frozen=True)
class Number:
    """A literal."""

    value: float


@dataclasses.dataclass(frozen=True)
class Name:
    """A parameter."""

    name: str


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operator or a function, and what it is applied to."""

    operator: str
    operands: "tuple[Expression, ...]"


Expression: TypeAlias = Number | Name | Operation


def _power(base: float, exponent: float) -> float:
    return abs(base) ** exponent


def _remainder(a: float, b: float) -> float:
    return a - b * math.trunc(a / b)


OPERATORS: dict[str, Callable[..., float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": _remainder,
    "^": _power,
    "**": _power,
    "<": lambda a, b: float(a < b),
    ">": lambda a, b: float(a > b),
    "<=": lambda a, b: float(a <= b),
    ">=": lambda a, b: float(a >= b),
    "==": lambda a, b: float(a == b),
    "!=": lambda a, b: float(a != b),
    "<>": lambda a, b: float(a != b),
    "&&": lambda a, b: float(a != 0.0 and b != 0.0),
    "||": lambda a, b: float(a != 0.0 or b != 0.0),
    "negative": lambda a: -a,
    "!": lambda a: float(a == 0.0),
}

BINARY = frozenset(OPERATORS) - {"negative", "!"}
"""Operators between two operands."""

CONDITIONALS = frozenset({"?", "ternary_fcn"})
"""Only the branch that is taken is computed: the other one may divide by zero."""

FUNCTIONS: dict[str, tuple[int, Callable[..., float]]] = {
    "sqr": (1, lambda x: x * x),
    "sqrt": (1, math.sqrt),
    "sin": (1, math.sin),
    "cos": (1, math.cos),
    "tan": (1, math.tan),
    "asin": (1, math.asin),
    "acos": (1, math.acos),
    "atan": (1, math.atan),
    "arctan": (1, math.atan),
    "sinh": (1, math.sinh),
    "cosh": (1, math.cosh),
    "tanh": (1, math.tanh),
    "asinh": (1, math.asinh),
    "acosh": (1, math.acosh),
    "atanh": (1, math.atanh),
    "exp": (1, math.exp),
    "ln": (1, math.log),
    "log": (1, math.log),
    "log10": (1, math.log10),
    "abs": (1, math.fabs),
    "int": (1, lambda x: float(math.trunc(x))),
    "nint": (1, lambda x: float(round(x))),
    "floor": (1, lambda x: float(math.floor(x))),
    "ceil": (1, lambda x: float(math.ceil(x))),
    "sgn": (1, lambda x: float((x > 0) - (x < 0))),
    "min": (2, min),
    "max": (2, max),
    "pow": (2, math.pow),
    "pwr": (2, _power),
}
"""Built-in functions: how many arguments, and what they compute. `log` is the natural one."""

RANDOM = frozenset({"gauss", "agauss", "unif", "aunif", "limit"})

BINDING = {
    **{"?": 1, "||": 2, "&&": 3},
    **dict.fromkeys(("==", "!=", "<>", "<", ">", "<=", ">="), 4),
    **dict.fromkeys("+-", 5),
    **dict.fromkeys("*/%", 6),
    **{"^": 7, "**": 7},
}
"""How tightly an operator holds its operands. All group from the left but the conditional."""


class _Parser:
    """The tokens of one expression and how far they are read."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.next = 0
        self.nesting = 0
        position, text = 0, text.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise NetlistError(f"cannot read '{text[position : position + 20]}' in '{text}'")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        self.tokens.append(("end", "the end"))

    def peek(self) -> str:
        return self.tokens[self.next][1]

    def take(self, expected: str | None = None) -> tuple[str, str]:
        kind, text = self.tokens[self.next]
        if (kind == "end" and expected is None) or expected not in (None, text):
            wanted = f"'{expected}'" if expected else "a value"
            raise NetlistError(f"an expression has {text} where {wanted} should be")
        self.next += 1
        return kind, text

    def expression(self, binding: int = 0, *, leading: bool = True) -> Expression:
        """Parse what holds together more tightly than `binding`.

        Args:
            binding: The binding of the operator to the left.
            leading: Whether nothing stands to the left; only there may a minus be an operator.
        """
        self.descend()
        left = self.operand(leading=leading)
        while (operator := self.peek()) in BINDING and BINDING[operator] > binding:
            self.take()
            if operator == "?":
                # ngspice gets a conditional between ? and : wrong, unless it is in parentheses.
                first = self.expression(BINDING["?"], leading=False)
                self.take(":")
                left = Operation("?", (left, first, self.expression(leading=False)))
            else:
                right = self.expression(BINDING[operator], leading=False)
                left = Operation(operator, (left, right))
        self.nesting -= 1
        return left

    def descend(self) -> None:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise NetlistError(f"an expression is nested more than {MAX_NESTING} deep")

    def operand(self, *, leading: bool) -> Expression:
        kind, text = self.take()
        if kind == "number":
            return Number(_number_in_expression(text))
        if kind == "name":
            return self.call(text) if self.peek() == "(" else Name(text)
        if text == "(":
            inner = self.expression()
            self.take(")")
            return inner
        if text == "!":
            self.descend()
            return Operation("!", (self.operand(leading=False),))
        if text in "+-" and leading:
            inner = self.expression(BINDING[text])
            return Operation("negative", (inner,)) if text == "-" else inner
        if text == "-" and self.tokens[self.next][0] == "number":
            return Number(-_number_in_expression(self.take()[1]))
        raise NetlistError(
            f"an expression has '{text}' where a value should be"
            + ("; put parentheses around what follows" if text in "+-" else "")
        )

    def call(self, name: str) -> Expression:
        if name in ("v", "i"):
            raise NetlistError(
                f"the expression uses {name}(...), a voltage or current of the circuit; only "
                "numbers and parameters are supported"
            )
        self.take("(")
        operands = [self.expression()]
        while self.peek() == ",":
            self.take()
            operands.append(self.expression())
        self.take(")")
        return Operation(name, tuple(operands))


def _number_in_expression(text: str) -> float:
    if re.fullmatch(rf"{_NUMBER}mil[a-z]*", text):
        raise NetlistError(f"'{text}' is milli in ngspice's expressions; write 25.4u for a mil")
    return number(text)


def parse(text: str) -> Expression:
    """Return the tree of an expression.

    Args:
        text: Lower-case text without the braces or quotes around it.

    Raises:
        NetlistError: If it is not one.
    """
    parser = _Parser(text)
    tree = parser.expression()
    if parser.tokens[parser.next][0] != "end":
        raise NetlistError(f"an expression goes on with '{parser.peek()}' after its end")
    return tree


@runtime_checkable
class Scope(Protocol):
    """What the names in an expression mean."""

    def parameter(self, name: str) -> float:
        """Return the value of a parameter; raises NetlistError if there is none."""
        ...

    def call(self, name: str, operands: tuple[float, ...]) -> float | None:
        """Return the value of a user's function, or None if there is none of that name."""
        ...

    def spend(self) -> None:
        """Note a step of work; raises NetlistError when there were too many."""
        ...


def evaluate(tree: Expression, scope: Scope) -> float:
    """Return the value of an expression.

    Raises:
        NetlistError: If a name is not known, or the value is not a finite number.
    """
    # A sum of many terms is deep on its left, where no recursion goes.
    chain: list[Operation] = []
    while isinstance(tree, Operation) and tree.operator in BINARY and len(tree.operands) == 2:
        scope.spend()
        chain.append(tree)
        tree = tree.operands[0]
    value = _value(tree, scope)
    for operation in reversed(chain):
        operands = value, evaluate(operation.operands[1], scope)
        value = _applied(OPERATORS[operation.operator], operation.operator, operands)
    return value


def _value(tree: Expression, scope: Scope) -> float:
    """Return the value of an expression that is no operator between two others."""
    scope.spend()
    if isinstance(tree, Number):
        return tree.value
    if isinstance(tree, Name):
        return scope.parameter(tree.name)
    if tree.operator in CONDITIONALS and len(tree.operands) == 3:
        condition, first, second = tree.operands
        return evaluate(first if evaluate(condition, scope) != 0.0 else second, scope)
    operands = tuple(evaluate(operand, scope) for operand in tree.operands)
    function = OPERATORS.get(tree.operator)
    if function is None:
        known = scope.call(tree.operator, operands)
        if known is not None:
            return known
        function = _builtin(tree.operator, len(operands))
    return _applied(function, tree.operator, operands)


def _applied(function: Callable[..., float], operator: str, operands: tuple[float, ...]) -> float:
    try:
        value = function(*operands)
    except (ArithmeticError, ValueError) as error:
        raise NetlistError(f"'{operator}' cannot be computed of {operands}") from error
    if not math.isfinite(value):
        raise NetlistError(f"'{operator}' of {operands} is not finite")
    return value


def _builtin(name: str, num_operands: int) -> Callable[..., float]:
    if name in RANDOM:
        raise NetlistError(f"'{name}' draws a random number; write the number")
    if name not in FUNCTIONS:
        raise NetlistError(f"the function '{name}' is not supported; define it by .func")
    expected, function = FUNCTIONS[name]
    if num_operands != expected:
        raise NetlistError(f"'{name}' takes {expected} arguments, not {num_operands}")
    return function
