"""What a two-terminal device is."""

import dataclasses

from jaxtyping import Float

from eqprop_spice.arrays import Array


@dataclasses.dataclass(frozen=True)
class AbstractTwoTerminal:
    """A device whose current depends on the voltage across it alone.

    Formulas are written on the array namespace of their argument, so that numpy (the ngspice
    engine's check) and JAX (the native engine) run the same code.
    """

    @property
    def trainable(self) -> bool:
        """Whether the device has a parameter that learning may change."""
        return False

    @property
    def linear(self) -> bool:
        """Whether the current is proportional to the voltage."""
        return False

    def current(
        self, voltage: Float[Array, "*shape"], value: Array | float | None = None
    ) -> Float[Array, "*shape"]:
        """Return the current into the first terminal [A].

        Args:
            voltage: Voltage of the first terminal above the second [V].
            value: The parameter of each instance, for trainable devices.
        """
        raise NotImplementedError

    def conductance(
        self, voltage: Float[Array, "*shape"], value: Array | float | None = None
    ) -> Float[Array, "*shape"]:
        """Return the small-signal conductance, the derivative of the current [S]."""
        raise NotImplementedError

    def co_content(
        self, voltage: Float[Array, "*shape"], value: Array | float | None = None
    ) -> Float[Array, "*shape"]:
        r"""Return the co-content $\int_0^v i(v')\,dv'$ [W]."""
        raise NotImplementedError

    def card(self, name: str, first: str, second: str, value: float | None = None) -> str:
        """Return the SPICE card of one instance."""
        raise NotImplementedError

    def behavioral_cards(self, name: str, first: str, second: str) -> list[str]:
        """Return SPICE cards of a behavioral source with the law of this device."""
        raise NotImplementedError

    def model_card(self) -> str | None:
        """Return the SPICE model card the instances refer to, if any."""
        return None
