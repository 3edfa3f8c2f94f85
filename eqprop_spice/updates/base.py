r"""What a pulsed device is: a conductance that pulses move up and down, in steps of its own.

An optimizer asks for a change; the device gets a whole number of pulses towards it, and what it
becomes is all that there is: no copy in full precision is kept, unless asked for. Its state w lies
between bounds, and the conductance is $g = g_{low} + (g_{high} - g_{low}) (w - a) / (b - a)$ with
the nominal bounds a and b of w. A pulse up or down moves it by

$\Delta w = \pm\,d\,(1 \pm u)(1 + s_d\,\xi_{device})\,(f_\pm(w) + s_c\,\xi_{pulse})$,

where f is what the kinds of devices differ in.

References:
    Gokmen and Vlasov (2016), doi:10.3389/fnins.2016.00333; Rasch et al. (2021), arXiv:2104.02184,
    whose parameters have the same meaning.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError

SMALLEST_SHARE = 0.05
"""Of the nominal step or range, that a device of any spread keeps."""


class Device(NamedTuple):
    """The devices of one group, as they were made.

    Attributes:
        up: Step of a pulse up, before f.
        down: The same down.
        low: Lower bound of w.
        high: Upper bound.
    """

    up: Array
    down: Array
    low: Array
    high: Array


class PulsedState(NamedTuple):
    """What devices and their controller remember between updates.

    Attributes:
        count: Updates made.
        seed: That of the training.
        persistent: By group, w without write noise.
        age: By group, updates since a device was last pulsed.
        noise: By group, what is read above w; empty where devices are written exactly.
        owed: By group, change asked for and not made yet, with `mixed_precision`; else empty.
    """

    count: Array
    seed: Array
    persistent: Mapping[str, Array]
    age: Mapping[str, Array]
    noise: Mapping[str, Array]
    owed: Mapping[str, Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractPulsed:
    r"""A pulsed device.

    Attributes:
        lower: Conductance at the nominal lower bound [S].
        upper: Conductance at the upper one [S].
        num_states: Steps between the bounds, counted where f is 1.
        low: Nominal lower bound of w.
        high: Nominal upper bound of w.
        step_spread: $s_d$, relative standard deviation of the steps from device to device.
        up_down: u: pulses up are larger, those down smaller, or the other way round.
        up_down_spread: Its standard deviation from device to device.
        bound_spread: Relative standard deviation of either bound.
        cycle_spread: $s_c$, standard deviation of a step from pulse to pulse, relative to d.
        write_noise: Standard deviation of what is read against what was written, drawn anew at
            every pulse, in steps.
        rounding: "stochastic" asks for one pulse more with the probability of the remainder;
            "nearest" rounds.
        max_pulses: Most pulses of one update.
        mixed_precision: Whether the controller adds up digitally what it asks for, and pulses
            whole steps.
        lifetime: Updates in which w relaxes to 0 by a factor e; 0 for ever.
        drift: Exponent nu of $g \propto (age + 1)^{-\nu}$ in updates since the last pulse.
        chip: Stands for the devices and their pulses, together with the seed of the training.
    """

    lower: float
    upper: float
    num_states: float = 1000.0
    low: float = -1.0
    high: float = 1.0
    step_spread: float = 0.3
    up_down: float = 0.0
    up_down_spread: float = 0.01
    bound_spread: float = 0.0
    cycle_spread: float = 0.3
    write_noise: float = 0.0
    rounding: Literal["stochastic", "nearest"] = "stochastic"
    max_pulses: int = 31
    mixed_precision: bool = False
    lifetime: float = 0.0
    drift: float = 0.0
    chip: int = 0

    def __post_init__(self) -> None:
        """Refuse what no device is."""
        if not 0.0 < self.lower < self.upper < np.inf:
            raise ConfigError(
                f"lower is {self.lower} S and upper {self.upper} S; they must be positive and in "
                "ascending order."
            )
        if not self.low < 0.0 < self.high:
            raise ConfigError(f"low is {self.low} and high {self.high}; 0 must lie between them.")
        if not self.num_states >= 2 or self.max_pulses < 1:
            raise ConfigError(
                f"num_states is {self.num_states} and max_pulses {self.max_pulses}; a device needs "
                "two states and a pulse."
            )
        for field in (
            "step_spread",
            "up_down_spread",
            "bound_spread",
            "cycle_spread",
            "write_noise",
            "lifetime",
            "drift",
            "chip",
        ):
            if not 0.0 <= getattr(self, field) < np.inf:
                raise ConfigError(f"{field} is {getattr(self, field)}; it must not be negative.")

    # What the kinds differ in.

    def growth(self, w: Array, device: Device) -> tuple[Array, Array]:
        """Return f of a pulse up and of one down."""
        raise NotImplementedError

    # What they have in common.

    @property
    def step(self) -> float:
        """d, the step of w where f is 1."""
        return (self.high - self.low) / self.num_states

    def state_of(self, conductance: Array) -> Array:
        """Return w."""
        share = (conductance - self.lower) / (self.upper - self.lower)
        return self.low + (self.high - self.low) * share

    def conductance(self, w: Array) -> Array:
        """Return the conductance [S]; it stays positive, however low w is."""
        share = (w - self.low) / (self.high - self.low)
        found = self.lower + (self.upper - self.lower) * share
        return jnp.maximum(found, SMALLEST_SHARE * self.lower)

    def devices(self, shape: tuple[int, ...], key: Array) -> Device:
        """Return devices as they are made."""
        size, tilt, low, high = (
            jax.random.normal(part, shape) for part in jax.random.split(key, 4)
        )
        size = jnp.maximum(1.0 + self.step_spread * size, SMALLEST_SHARE)
        tilt = self.up_down + self.up_down_spread * tilt
        low, high = (
            jnp.maximum(1.0 + self.bound_spread * bound, SMALLEST_SHARE) for bound in (low, high)
        )
        return Device(
            self.step * size * jnp.maximum(1.0 + tilt, SMALLEST_SHARE),
            self.step * size * jnp.maximum(1.0 - tilt, SMALLEST_SHARE),
            self.low * low,
            self.high * high,
        )

    def pulsed(self, w: Array, wanted: Array, device: Device, key: Array) -> tuple[Array, Array]:
        """Return w after the pulses that a wanted change asks for, and their number."""
        rounding, noise = jax.random.split(key)
        exact = jnp.abs(wanted) / self.step
        if self.rounding == "stochastic":
            count = jnp.floor(exact + jax.random.uniform(rounding, w.shape))
        else:
            count = jnp.round(exact)
        count = jnp.minimum(count, float(self.max_pulses))

        def pulse(number: Array, w: Array) -> Array:
            up, down = self.growth(w, device)
            jitter = self.cycle_spread * jax.random.normal(
                jax.random.fold_in(noise, number), w.shape
            )
            rise, fall = device.up * (up + jitter), -device.down * (down + jitter)
            moved = jnp.clip(w + jnp.where(wanted > 0.0, rise, fall), device.low, device.high)
            return jnp.where(count > number, moved, w)

        last = count.max(initial=0.0).astype(int)
        return jax.lax.fori_loop(0, last, pulse, w), count

    def _forgotten(self, w: Array, age: Array) -> Array:
        """Return w after one update's time."""
        if self.lifetime:
            w = w * np.exp(-1.0 / self.lifetime)
        if self.drift:
            factor = ((age + 1.0) / (age + 2.0)) ** self.drift
            w = self.state_of(self.conductance(w) * factor)
        return w

    def write_deviation(self, w: Array) -> Array:
        """Return the standard deviation of what is read against what was written, in w."""
        return self.write_noise * self.step * jnp.ones_like(w)

    @property
    def _writes_exactly(self) -> bool:
        return self.write_noise == 0.0

    def _updated(self, name: str, wanted: Array, state: "PulsedState") -> "_Updated":
        """Return what becomes of one group whose w should change."""
        key = jax.random.fold_in(jax.random.key(self.chip), state.seed)
        key = jax.random.fold_in(key, zlib.crc32(name.encode()) % 2**31)
        made, used = jax.random.split(key)
        device = self.devices(wanted.shape, made)
        pulses, writing = jax.random.split(jax.random.fold_in(used, state.count))
        owed = jnp.zeros_like(wanted)
        if self.mixed_precision:
            owed = state.owed[name] + wanted
            wanted = jnp.trunc(owed / self.step) * self.step
            owed = owed - wanted
        w = self._forgotten(state.persistent[name], state.age[name])
        w, count = self.pulsed(w, wanted, device, pulses)
        age = jnp.where(count > 0, 0.0, state.age[name] + 1.0)
        noise = jnp.zeros_like(w)
        if not self._writes_exactly:
            fresh = self.write_deviation(w) * jax.random.normal(writing, w.shape)
            noise = jnp.where(count > 0, fresh, state.noise[name])
        return _Updated(w, noise, age, owed)

    def transformation(self) -> optax.GradientTransformation:
        """Return what turns the changes that an optimizer wants into those that happen."""
        scale = (self.high - self.low) / (self.upper - self.lower)

        def init(params: Any) -> PulsedState:
            w = {name: self.state_of(jnp.asarray(value)) for name, value in params.items()}
            zeros = {name: jnp.zeros_like(value) for name, value in w.items()}
            owed = zeros if self.mixed_precision else {}
            noise = {} if self._writes_exactly else zeros
            zero = jnp.zeros((), int)
            return PulsedState(zero, zero, w, zeros, noise, owed)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, PulsedState]:
            assert params is not None, "a device starts from where it is"
            found = {
                name: self._updated(name, scale * wanted, state) for name, wanted in updates.items()
            }
            changes = {
                name: self.conductance(one.w + one.noise) - params[name]
                for name, one in found.items()
            }
            w = {name: one.w for name, one in found.items()}
            age = {name: one.age for name, one in found.items()}
            noise: dict[str, Array] = {
                name: one.noise for name, one in found.items() if name in state.noise
            }
            owed: dict[str, Array] = {
                name: one.owed for name, one in found.items() if name in state.owed
            }
            return changes, PulsedState(state.count + 1, state.seed, w, age, noise, owed)

        return optax.GradientTransformation(init, update)


class _Updated(NamedTuple):
    """What an update leaves of one group; see `PulsedState`."""

    w: Array
    noise: Array
    age: Array
    owed: Array


def with_devices(
    optimizer: optax.GradientTransformation, pulsed: AbstractPulsed | None
) -> optax.GradientTransformation:
    """Return an optimizer whose changes go through pulsed devices, if there are any."""
    return optimizer if pulsed is None else optax.chain(optimizer, pulsed.transformation())


def seeded(optimizer_state: Any, seed: Any) -> Any:
    """Return the state of an optimizer with the devices of a seed, where it has devices."""

    def own(part: Any) -> Any:
        if isinstance(part, PulsedState):
            return part._replace(seed=jnp.asarray(seed, int))
        return part

    return jax.tree.map(own, optimizer_state, is_leaf=lambda part: isinstance(part, PulsedState))
