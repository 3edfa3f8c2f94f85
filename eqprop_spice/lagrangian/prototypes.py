"""The element values of textbook filters and matching networks."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float

from eqprop_spice.errors import ConfigError

Prototype = Literal["butterworth", "chebyshev"]


def ladder_values(
    prototype: Prototype, order: int, ripple: float = 0.5
) -> Float[np.ndarray, " element"]:
    """Return the elements g of a low-pass ladder between two resistors of 1 ohm.

    They are capacitances [F] and inductances [H] in turn, a capacitor across the source first; the
    edge of the band is at 1 rad/s.

    Args:
        prototype: The shape of the response.
        order: Number of elements, odd: only then are both resistors 1 ohm.
        ripple: Of a Chebyshev filter [dB].

    Raises:
        ConfigError: If the order or the ripple is none.

    References:
        Matthaei, Young and Jones (1964), Microwave Filters, eqs. 4.05-1(a) and 4.05-2(a).
    """
    if order < 1 or order % 2 == 0:
        raise ConfigError(f"order is {order}; ladders between equal resistors have an odd one.")
    if not 0.0 < ripple < math.inf:
        raise ConfigError(f"ripple is {ripple} dB; it must be positive.")
    angles = (2.0 * np.arange(1, order + 1) - 1.0) * np.pi / (2.0 * order)
    sines = np.sin(angles)
    if prototype == "butterworth":
        return 2.0 * sines
    sinh = math.sinh(math.log(1.0 / math.tanh(ripple * math.log(10.0) / 40.0)) / (2.0 * order))
    squares = sinh**2 + np.sin(np.arange(1, order) * np.pi / order) ** 2
    values = [2.0 * sines[0] / sinh]
    for k in range(1, order):
        values.append(4.0 * sines[k - 1] * sines[k] / (squares[k - 1] * values[-1]))
    return np.array(values)


def ladder_cards(values: Float[np.ndarray, " element"]) -> tuple[str, ...]:
    """Return a ladder as cards: from node `n0` with its source's resistor to the load's node."""
    last = len(values) // 2
    cards = ["rs n0 0 1", f"rl n{last} 0 1"]
    for k, value in enumerate(values.tolist()):
        nodes = f"n{k // 2} 0" if k % 2 == 0 else f"n{k // 2} n{k // 2 + 1}"
        cards.append(f"{'cl'[k % 2]}{k} {nodes} {value!r}")
    return tuple(cards)


def least_reflection(order: int, decrement: float) -> float:
    r"""Return the smallest maximum of $|\Gamma|$ over a low-pass band, by a network of some order.

    The load is a resistor R beside a capacitor C that counts as the first of the network's
    elements, with decrement $\delta = 1/(\omega_c R C)$; the source is a resistor of any size, and
    the band goes from 0 to $\omega_c$. With a and b from

    $$\sinh a - \sinh b = 2\delta \sin\frac{\pi}{2n}, \quad
    \frac{\tanh na}{\cosh a} = \frac{\tanh nb}{\cosh b}$$

    it is $\cosh nb / \cosh na$. For $n \to \infty$ it falls to the limit of Bode,
    $e^{-\pi\delta}$.

    References:
        Fano (1950), J. Franklin Inst. 249; Matthaei, Young and Jones (1964), sec. 4.09.
    """
    from scipy.optimize import brentq

    reach = 2.0 * decrement * math.sin(math.pi / (2 * order))

    def mismatch(b: float) -> float:
        a = math.asinh(math.sinh(b) + reach)
        return math.tanh(order * a) / math.cosh(a) - math.tanh(order * b) / math.cosh(b)

    b = np.asarray(brentq(mismatch, 1e-9, 20.0, xtol=1e-14)).item()
    a = math.asinh(math.sinh(b) + reach)
    return math.cosh(order * b) / math.cosh(order * a)
