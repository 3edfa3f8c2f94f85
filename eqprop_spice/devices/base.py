"""What a device is: currents at its terminals that follow from the voltages there."""

import dataclasses
import re
from collections.abc import Sequence

from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError


def check_model_name(name: str, what: str) -> None:
    """Refuse the name of a SPICE model that ngspice would take for something else, or execute.

    Raises:
        ConfigError: If so.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"The {what} name {name!r} is not allowed; names match [a-z][a-z0-9_]*.")


@dataclasses.dataclass(frozen=True)
class AbstractDevice:
    """A device whose terminal currents depend on the differences of its terminal voltages alone.

    So the last terminal serves as reference: *drops* are the voltages of the others above it, in
    their order, and its own current is what theirs leave over. A drop may have any shape; it holds
    one number per instance along its last axis.

    A field is one number, the same for every instance, or an array with one per instance. Formulas
    are written on the array namespace of their arguments, so that numpy (the ngspice engine's
    check, the general plan) and JAX (the layered plan) run the same code.

    A device may hold charges, which follow from the drops as well, and have *states*: fields that
    change in time at rates of their own. Neither has any part in an operating point: no current
    flows through a capacitance there, and states stay as they are.

    A device with a SPICE model has a field `model`, the name of it.
    """

    @property
    def terminals(self) -> tuple[str, ...]:
        """Names of the terminals, in the order of the SPICE card."""
        raise NotImplementedError

    @property
    def paths(self) -> tuple[tuple[int, int], ...]:
        """Pairs of terminals that a direct current flows between; a gate is in none.

        A device with none carries no direct current at all.
        """
        last = len(self.terminals) - 1
        return tuple((k, last) for k in range(last))

    @property
    def kind(self) -> str:
        """The class of devices whose power it counts to."""
        raise NotImplementedError

    @property
    def parameter(self) -> str | None:
        """The field that learning may change, if any."""
        return None

    @property
    def trainable(self) -> bool:
        """Whether it has a parameter that learning may change."""
        return self.parameter is not None

    @property
    def linear(self) -> bool:
        """Whether it has two terminals and obeys Ohm's law."""
        return False

    @property
    def reciprocal(self) -> bool:
        """Whether its slopes are symmetric: its currents are then the gradient of a co-content.

        Its capacitances are then symmetric too: what charges it is stored.

        Where a device is not, the circuit has no energy, and equilibrium propagation is biased.
        """
        return False

    @property
    def supplies(self) -> bool:
        """Whether it is an ideal current source between two terminals, whatever its voltage."""
        return False

    @property
    def is_switch(self) -> bool:
        """Whether its law is a condition on its nodes instead of a current."""
        return False

    def currents(self, *drops: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], ...]:
        """Return the current into every terminal but the last [A], from the drops [V]."""
        raise NotImplementedError

    def slopes(
        self, *drops: Float[Array, "*shape"]
    ) -> tuple[tuple[Float[Array, "*shape"], ...], ...]:
        """Return the derivative [S] of every current (first index) by every drop (second)."""
        raise NotImplementedError

    def currents_and_slopes(
        self, *drops: Float[Array, "*shape"]
    ) -> tuple[tuple[Float[Array, "*shape"], ...], tuple[tuple[Float[Array, "*shape"], ...], ...]]:
        """Return `currents` and `slopes`; a device that computes both at once says so here."""
        return self.currents(*drops), self.slopes(*drops)

    def charges(self, *drops: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], ...]:
        """Return the charge on every terminal but the last [C], from the drops [V]."""
        return tuple(0.0 * drop for drop in drops)

    def capacitances(
        self, *drops: Float[Array, "*shape"]
    ) -> tuple[tuple[Float[Array, "*shape"], ...], ...]:
        """Return the derivative [F] of every charge (first index) by every drop (second)."""
        return tuple(tuple(0.0 * drop for drop in drops) for _ in drops)

    @property
    def states(self) -> tuple[str, ...]:
        """The fields that change in time; dimensionless, of order 1.

        While they do, such a field has one number per sample and instance.
        """
        return ()

    def rates(self, *drops: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], ...]:
        """Return the rate of change of every state [1/s], from the drops [V] and the states."""
        return ()

    def rate_slopes(
        self, *drops: Float[Array, "*shape"]
    ) -> tuple[tuple[Float[Array, "*shape"], ...], ...]:
        """Return the derivative of every rate by every drop [1/Vs] and then every state [1/s]."""
        return ()

    def state_slopes(
        self, *drops: Float[Array, "*shape"]
    ) -> tuple[tuple[Float[Array, "*shape"], ...], ...]:
        """Return the derivative [A] of every current (first index) by every state (second)."""
        return tuple(() for _ in drops)

    def limit_step(self, new: Sequence[Array], old: Sequence[Array]) -> tuple[Array, ...]:
        """Return the drops to linearize at next [V], where Newton asks for `new` after `old`."""
        return tuple(new)

    def at_temperature(self, kelvin: float) -> "AbstractDevice":
        """Return the device as it is at a temperature [K] instead of at 27 degC."""
        return self

    def card(self, name: str, nodes: Sequence[str]) -> str:
        """Return the SPICE card of one instance at the given nodes, its states as they are."""
        raise NotImplementedError

    def moving_cards(self, name: str, nodes: Sequence[str]) -> list[str]:
        """Return SPICE cards of one instance whose states move in a `.tran`."""
        return [self.card(name, nodes)]

    def behavioral_cards(self, name: str, nodes: Sequence[str]) -> list[str] | None:
        """Return SPICE cards of behavioral sources with this law; None where nobody wrote them."""
        return None

    def model_card(self) -> str | None:
        """Return the SPICE model card that the instances refer to, if any."""
        return None


@dataclasses.dataclass(frozen=True)
class AbstractTwoTerminal(AbstractDevice):
    """A device whose current depends on the voltage across it alone: it always has a co-content."""

    @property
    def terminals(self) -> tuple[str, ...]:
        """The first is the one that positive current enters."""
        return ("first", "second")

    @property
    def reciprocal(self) -> bool:
        """One slope is symmetric."""
        return True

    def current(self, voltage: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the current into the first terminal [A].

        Args:
            voltage: Voltage of the first terminal above the second [V].
        """
        raise NotImplementedError

    def conductance(self, voltage: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the small-signal conductance, the derivative of the current [S]."""
        raise NotImplementedError

    def co_content(self, voltage: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        r"""Return the co-content $\int_0^v i(v')\,dv'$ [W]."""
        raise NotImplementedError

    def currents(self, *drops):
        """Return the one current [A]."""
        return (self.current(*drops),)

    def slopes(self, *drops):
        """Return the one slope [S]."""
        return ((self.conductance(*drops),),)

    def charge(self, voltage: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the charge on the first terminal, which the second lacks [C]."""
        return 0.0 * voltage

    def capacitance(self, voltage: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the small-signal capacitance, the derivative of the charge [F]."""
        return 0.0 * voltage

    def charges(self, *drops):
        """Return the one charge [C]."""
        return (self.charge(*drops),)

    def capacitances(self, *drops):
        """Return the one capacitance [F]."""
        return ((self.capacitance(*drops),),)
