r"""How an operating point changes: with small currents, and with every named parameter.

With the Jacobian $J = \partial f / \partial x$ of `NodalCircuit` and multipliers
$J^T \mu = \partial C / \partial x$, $dC / d\theta = -\mu^T \partial f / \partial \theta$. It asks
for no reciprocity, so it holds with transistors as well.

References:
    Director and Rohrer (1969), doi:10.1109/TCT.1969.1082965.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.engines.nodal.circuit import Devices, NodalCircuit, add_into, grounded
from eqprop_spice.engines.nodal.solve import device_slopes, jacobian_solve
from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.scopes import nearest

RELATIVE_STEP = 6e-6
"""Of a device's parameter, the cube root of the rounding: central differences of its law are then
right to 1e-10, and exactly where the law is linear in it."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A number of a circuit that has a name.

    Attributes:
        name: The element's, and behind a colon the field of its device: `r1`, `m1:threshold`.
        element: The number of the linear element; None for devices.
        group: The number of the group of devices.
        instance: The number of the device in its group.
        field: The field of the device.
    """

    name: str
    element: int | None = None
    group: int = 0
    instance: int = 0
    field: str = ""


def parameter(circuit: NodalCircuit, name: str) -> Parameter:
    """Return the parameter of a name.

    Raises:
        NetlistError: If there is none, with the nearest name.
    """
    element, colon, field = name.rpartition(":")
    if not colon or name in circuit.numbers:
        return Parameter(name, element=circuit.element(name))
    for k, group in enumerate(circuit.devices):
        if element in group.names:
            law = group.device
            fields = [f.name for f in dataclasses.fields(law) if np.ndim(getattr(law, f.name))]
            if field not in fields:
                raise NetlistError(
                    f"'{element}' has no parameter '{field}'{nearest(field, fields)}; "
                    f"it has {', '.join(fields)}."
                )
            instance = group.names.index(element)
            return Parameter(name, group=k, instance=instance, field=field)
    devices = [name for group in circuit.devices for name in group.names]
    raise NetlistError(f"There is no device '{element}'{nearest(element, devices)}.")


def value_of(circuit: NodalCircuit, found: Parameter) -> float:
    """Return the value of a parameter."""
    if found.element is not None:
        return float(circuit.values[found.element])
    return float(getattr(circuit.devices[found.group].device, found.field)[found.instance])


def with_parameters(
    circuit: NodalCircuit, names: Sequence[Parameter], values: Float[np.ndarray, " parameter"]
) -> NodalCircuit:
    """Return the circuit with other values of some parameters."""
    linear = circuit.values.copy()
    fields: dict[tuple[int, str], np.ndarray] = {}
    for found, value in zip(names, values, strict=True):
        if found.element is not None:
            linear[found.element] = value
        else:
            key = (found.group, found.field)
            law = circuit.devices[found.group].device
            fields.setdefault(key, getattr(law, found.field).copy())[found.instance] = value
    groups = list(circuit.devices)
    for (k, field), array in fields.items():
        groups[k] = _with_field(groups[k], field, array)
    return dataclasses.replace(circuit, values=linear, devices=tuple(groups))


def _with_field(group: Devices, field: str, array: np.ndarray) -> Devices:
    device = dataclasses.replace(group.device, **{field: array})
    return dataclasses.replace(group, device=device)


def respond(
    circuit: NodalCircuit,
    state: Float[np.ndarray, "batch unknown"],
    currents: Float[np.ndarray, "batch unknown"],
) -> Float[np.ndarray, "batch unknown"]:
    """Return how all unknowns change with small currents [A] that enter the nodes.

    Args:
        circuit: The circuit.
        state: Operating points.
        currents: Changes of the equations' right sides: currents, and voltages of branches.
    """
    return jacobian_solve(circuit, device_slopes(circuit, state), currents)


def multipliers(
    circuit: NodalCircuit,
    state: Float[np.ndarray, "batch unknown"],
    gradient: Float[np.ndarray, "batch unknown"],
) -> Float[np.ndarray, "batch unknown"]:
    r"""Return $\mu$ with $J^T \mu = \partial C / \partial x$."""
    return jacobian_solve(circuit, device_slopes(circuit, state), gradient, transposed=True)


def gradient(
    circuit: NodalCircuit,
    names: Sequence[Parameter],
    state: Float[np.ndarray, "batch unknown"],
    weights: Float[np.ndarray, "batch unknown"],
) -> Float[np.ndarray, "batch parameter"]:
    r"""Return $dC / d\theta$ of every sample, from its multipliers.

    Args:
        circuit: The circuit.
        names: The parameters.
        state: Operating points.
        weights: What `multipliers` returned for them.
    """
    full, mu = grounded(state), grounded(weights)
    linear = linear_gradient(circuit, full, mu)
    fields: dict[tuple[int, str], np.ndarray] = {}
    columns = []
    for found in names:
        if found.element is not None:
            columns.append(linear[:, found.element])
            continue
        key = (found.group, found.field)
        if key not in fields:
            fields[key] = field_gradient(circuit.devices[found.group], found.field, full, mu)
        columns.append(fields[key][:, found.instance])
    return np.stack(columns, axis=1)


def linear_gradient(
    circuit: NodalCircuit, full: np.ndarray, mu: np.ndarray
) -> Float[np.ndarray, "batch element"]:
    """Return the gradient by the values of all linear elements."""
    # The last column is that of the constant ones.
    found = np.zeros((len(full), len(circuit.values) + 1))
    terms = circuit.matrix
    product = terms.signs * mu[:, terms.rows] * full[:, terms.columns]
    add_into(found, terms.elements, -product)
    terms = circuit.sources
    add_into(found, terms.elements, terms.signs * mu[:, terms.rows])
    return found[:, :-1]


def field_gradient(
    group: Devices, field: str, full: np.ndarray, mu: np.ndarray
) -> Float[np.ndarray, "batch instance"]:
    """Return the gradient by a field of all devices of a group."""
    values, drops = getattr(group.device, field), group.drops(full)
    zero = values == 0.0
    step = RELATIVE_STEP * np.where(zero, 1.0, np.abs(values))
    # Many parameters may not be negative: from zero, the middle is a step above.
    middle = np.where(zero, step, values)
    low, mid, high = (
        np.array(_with_field(group, field, middle + side).currents(drops))
        for side in (-step, 0.0, step)
    )
    slopes = (high - low) / (2.0 * step)
    slopes -= np.where(zero, (high - 2.0 * mid + low) / step, 0.0)
    return -(mu[:, group.terminals].swapaxes(0, 1) * slopes).sum(axis=0)
