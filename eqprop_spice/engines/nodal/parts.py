"""What stands in a deck, as the native engine takes it: linear elements, and devices with a law.

Series resistances of models become resistors at nodes of their own. A parameter that changes a
direct current and is not computed here is refused: nothing is passed over.
"""

import dataclasses
import math
from collections.abc import Mapping

from eqprop_spice.constants import (
    BOLTZMANN,
    ELEMENTARY_CHARGE,
    JUNCTION_CONDUCTANCE,
    TEMPERATURE,
    THERMAL_VOLTAGE,
    ZERO_CELSIUS,
)
from eqprop_spice.devices import bjt, jfet
from eqprop_spice.devices.base import AbstractDevice
from eqprop_spice.devices.bjt import Bipolar
from eqprop_spice.devices.diode import ENERGY_GAP, SATURATION_EXPONENT, Shockley
from eqprop_spice.devices.jfet import Jfet
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.deck import Deck, Element

DYNAMIC = {
    "d": frozenset(
        """cjo vj m cjp php mjsw tt fc fcs kf af cta ctp tpb tphp tm1 tm2 ttt1 ttt2 tlevc nr nbv
        ntun xtitun keg ns tcv""".split()
    ),
    "q": frozenset(
        """cje vje mje tf xtf vtf itf ptf cjc vjc mjc xcjc tr cjs vjs mjs fc kf af ns ctc cte cts
        tvjc tvje tvjs titf1 titf2 ttf1 ttf2 ttr1 ttr2 tmje1 tmje2 tmjc1 tmjc2 tmjs1 tmjs2 tns1 tns2
        tlevc""".split()
    ),
    "j": frozenset("cgs cgd fc kf af".split()),
    "m": frozenset("cbd cbs pb cgso cgdo cgbo cj mj cjsw mjsw fc kf af".split()),
}
"""Parameters of models without bearing on a direct current, or none without another one."""

OXIDE, SILICON = 3.9 * 8.854214871e-12, 11.70 * 8.854214871e-12
"""Permittivities [F/m], with ngspice's digits."""

INTRINSIC_DENSITY = 1.45e16
"""Of carriers in silicon [1/m^3], as in ngspice."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A device of a deck.

    Attributes:
        name: Its name in the netlist.
        device: The law.
        nodes: Our names of the nodes at its terminals.
        breakdown: The reverse voltage from which its law does not hold [V].
    """

    name: str
    device: AbstractDevice
    nodes: tuple[str, ...]
    breakdown: float = math.inf


@dataclasses.dataclass(frozen=True)
class Parts:
    """The elements of a deck: R, V, I, E, F, G, H as they were read, devices, extra resistors.

    Attributes:
        linear: Linear elements; an inductor is a voltage source of 0 V, capacitors are left out.
        devices: Diodes and transistors.
    """

    linear: tuple[Element, ...]
    devices: tuple[Part, ...]


class _Model:
    """The parameters of an element's model: those asked for are known, any other is refused."""

    def __init__(self, element: Element, deck: Deck) -> None:
        assert element.model is not None
        model = deck.models[element.model]
        self.kind, self.element = model.kind, element
        self.left = {
            name: value
            for name, value in model.parameters.items()
            if name not in DYNAMIC[element.name[0]]
        }
        self.kelvin = deck.temperature + ZERO_CELSIUS
        self.nominal = self.take("tnom", deck.nominal_temperature) + ZERO_CELSIUS

    def take(self, name: str, default: float) -> float:
        """Return a parameter, which is known from now on."""
        return self.left.pop(name, default)

    def given(self, name: str) -> float | None:
        """Return a parameter if it was given, which is known from now on."""
        return self.left.pop(name, None)

    def refused(self, reason: str) -> NetlistError:
        """Return the error that refuses the element."""
        return NetlistError(f"{self.element.place}: '{self.element.original}': {reason}.")

    def finish(self) -> None:
        """Refuse what was given and not asked for, unless it is off."""
        for name, value in self.left.items():
            if value != 0.0:
                raise self.refused(f"the model's {name} = {value:g} is not solved by the engine")


class _Collected:
    """Parts found so far."""

    def __init__(self) -> None:
        self.linear: list[Element] = []
        self.devices: list[Part] = []

    def behind(self, element: Element, k: int, ohm: float, name: str) -> str:
        """Return the node behind a series resistance at a device's node k."""
        node = element.nodes[k]
        if ohm == 0.0:
            return node
        # Our names of nodes have no colon, so this one is new.
        inner = f"{element.name}:{name}"
        self.linear.append(
            Element(
                f"r_{element.name}_{name}",
                (node, inner),
                ohm,
                original=f"{element.original}:{name}",
                place=element.place,
            )
        )
        return inner


def _diode(element: Element, deck: Deck, into: _Collected) -> None:
    model = _Model(element, deck)
    area = element.parameters.get("area", model.take("area", 1.0))
    area *= element.parameters.get("m", 1.0)
    n, gap = model.take("n", 1.0), model.take("eg", ENERGY_GAP)
    exponent = model.take("xti", SATURATION_EXPONENT)
    saturation = model.take("is", 1e-14) * area
    series = model.take("rs", 0.0) / area
    breakdown, knee = model.take("bv", math.inf), model.take("ibv", 1e-3)
    model.take("tlev", 0.0)
    model.finish()
    ratio = model.kelvin / model.nominal
    thermal = n * BOLTZMANN * model.kelvin / ELEMENTARY_CHARGE
    saturation *= ratio ** (exponent / n) * math.exp((ratio - 1.0) * gap / thermal)
    anode = into.behind(element, 0, series, "rs")
    device = Shockley("d", saturation, thermal / THERMAL_VOLTAGE)
    # ngspice's breakdown begins where its exponential passes IBV at BV; twice that is safe.
    begins = breakdown - 2.0 * thermal * math.log1p(knee * area / saturation)
    into.devices.append(Part(element.original, device, (anode, element.nodes[1]), begins))


def _bipolar(element: Element, deck: Deck, into: _Collected) -> None:
    model = _Model(element, deck)
    area = element.parameters.get("area", 1.0)
    if {"areab", "areac"} & set(element.parameters):
        raise model.refused("areab and areac are not solved by the engine; give area alone")
    fields: dict[str, float] = {}
    for field, name in bjt.CARD.items():
        value = model.given(name)
        unlimited = field.endswith(bjt.UNLIMITED)
        if value is None or (unlimited and value == 0.0):
            continue
        fields[field] = value
    vertical = 1.0 if model.kind == "npn" else -1.0
    if model.take("subs", vertical) != vertical:
        raise model.refused("only npn with subs = 1 and pnp with subs = -1 are solved")
    base = model.take("rb", 0.0)
    if model.take("rbm", base) != base:
        raise model.refused("a base resistance that depends on the current is not solved; drop rbm")
    # With rbm equal to rb, it does nothing.
    model.take("irb", 0.0)
    if model.take("nkf", 0.5) != 0.5:
        raise model.refused("nkf other than 0.5 is not solved by the engine")
    ohms = (model.take("rc", 0.0), base, model.take("re", 0.0))
    if model.take("tlev", 0.0) != 0.0:
        raise model.refused("tlev other than 0 is not solved by the engine")
    model.finish()
    multiplier = element.parameters.get("m", 1.0)
    device = Bipolar(
        "q",
        model.kind,
        **fields,
        area=area,
        multiplier=multiplier,
        temperature=model.kelvin,
        nominal_temperature=model.nominal,
    )
    inner = [
        into.behind(element, k, ohm / area / multiplier, name)
        for k, (ohm, name) in enumerate(zip(ohms, ("rc", "rb", "re"), strict=True))
    ]
    substrate = element.nodes[3] if len(element.nodes) > 3 else "0"
    into.devices.append(Part(element.original, device, (*inner, substrate)))


def _process(model: _Model, polarity: float) -> Mapping[str, float]:
    """Return VTO, KP, GAMMA and PHI, those not given from oxide and doping.

    References:
        Antognetti and Massobrio (1988), section 4.2; ngspice's mos1temp.c.
    """
    given = {name: model.given(name) for name in ("vto", "kp", "gamma", "phi")}
    found = {name: value for name, value in given.items() if value is not None}
    mobility, states = model.take("uo", 600.0), model.take("nss", 0.0)
    gate, doping, oxide = model.take("tpg", 1.0), model.take("nsub", 0.0), model.take("tox", 0.0)
    if oxide > 0.0:
        capacitance = OXIDE / oxide
        found.setdefault("kp", mobility * capacitance * 1e-4)
        if doping > 0.0:
            density = doping * 1e6
            if density <= INTRINSIC_DENSITY:
                raise model.refused("nsub lies below the intrinsic density of 1.45e10 per cm^3")
            phi = 2.0 * THERMAL_VOLTAGE * math.log(density / INTRINSIC_DENSITY)
            phi = found.setdefault("phi", max(0.1, phi))
            charge = math.sqrt(2.0 * SILICON * ELEMENTARY_CHARGE * density)
            gamma = found.setdefault("gamma", charge / capacitance)
            gap = 1.16 - 7.02e-4 * TEMPERATURE**2 / (TEMPERATURE + 1108.0)
            work = 3.2 if gate == 0.0 else 3.25 + 0.5 * gap * (1.0 - polarity * gate)
            flat = work - (3.25 + 0.5 * gap + polarity * 0.5 * phi)
            flat -= states * 1e4 * ELEMENTARY_CHARGE / capacitance
            found.setdefault("vto", flat + polarity * (gamma * math.sqrt(phi) + phi))
    return {"vto": 0.0, "kp": 2e-5, "gamma": 0.0, "phi": 0.6} | found


def _mosfet(element: Element, deck: Deck, into: _Collected) -> None:
    model, instance = _Model(element, deck), element.parameters
    if model.nominal != TEMPERATURE:
        raise model.refused("MOSFETs are solved with parameters at 27 degC only; remove tnom")
    polarity = 1.0 if model.kind == "nmos" else -1.0
    process = _process(model, polarity)
    m = instance.get("m", 1.0)
    length = instance.get("l", 1e-4) - 2.0 * model.take("ld", 0.0)
    if length <= 0.0:
        raise model.refused("the effective length, l - 2 ld, is not positive")
    density = model.take("js", 0.0)
    if density and (instance.get("ad") and instance.get("as")):
        raise model.refused("js with ad and as is not solved by the engine; give is")
    sheet = model.take("rsh", 0.0)
    ohms = []
    for name, squares in (("rd", "nrd"), ("rs", "nrs")):
        lumped = model.given(name)
        if lumped is None:
            lumped = sheet * instance.get(squares, 1.0)
        ohms.append(lumped / m)
    device = Mosfet(
        "m",
        model.kind,
        threshold=process["vto"],
        transconductance=process["kp"],
        body_effect=process["gamma"],
        surface_potential=process["phi"],
        channel_modulation=model.take("lambda", 0.0),
        bulk_current=model.take("is", 1e-14) * m,
        width=instance.get("w", 1e-4) * m,
        length=length,
        temperature=model.kelvin,
    )
    model.finish()
    drain = into.behind(element, 0, ohms[0], "rd")
    source = into.behind(element, 2, ohms[1], "rs")
    gate, bulk = element.nodes[1], element.nodes[3]
    into.devices.append(Part(element.original, device, (drain, gate, source, bulk)))


def _jfet(element: Element, deck: Deck, into: _Collected) -> None:
    model, instance = _Model(element, deck), element.parameters
    given = {field: model.given(name) for field, name in jfet.CARD.items()}
    fields = {field: value for field, value in given.items() if value is not None}
    area, multiplier = instance.get("area", 1.0), instance.get("m", 1.0)
    ohms = [model.take(name, 0.0) / area / multiplier for name in ("rd", "rs")]
    # Their defaults are other laws of temperature, which a zero switches on as well.
    if {"vtotc", "bex", "xti", "eg"} & set(model.left):
        raise model.refused("vtotc, bex, xti and eg of a JFET are not solved; use tcv, betatce")
    model.finish()
    device = Jfet(
        "j",
        model.kind,
        **fields,
        area=area,
        multiplier=multiplier,
        temperature=model.kelvin,
        nominal_temperature=model.nominal,
    )
    drain = into.behind(element, 0, ohms[0], "rd")
    source = into.behind(element, 2, ohms[1], "rs")
    into.devices.append(Part(element.original, device, (drain, element.nodes[1], source)))


READERS = {"d": _diode, "q": _bipolar, "m": _mosfet, "j": _jfet}


def parts_of(deck: Deck) -> Parts:
    """Return the parts of a deck.

    Raises:
        NetlistError: If it holds what the engine does not solve, with file, line and reason.
    """
    # Coupled inductors are shorts like others.
    if deck.junction_conductance != JUNCTION_CONDUCTANCE:
        raise NetlistError(
            f"The netlist sets gmin to {deck.junction_conductance:g} S; the native engine solves "
            f"with {JUNCTION_CONDUCTANCE:g} S only. Remove the option."
        )
    found = _Collected()
    for element in deck.elements:
        letter = element.name[0]
        if letter == "l":
            found.linear.append(dataclasses.replace(element, value=0.0))
        elif letter in READERS:
            READERS[letter](element, deck, found)
        elif letter == "b":
            raise NetlistError(
                f"{element.place}: '{element.original}' is a Josephson element, whose phase no "
                "operating point fixes. Its periodic orbits are those of trajectory.Trajectory."
            )
        elif letter != "c":
            found.linear.append(element)
    return Parts(tuple(found.linear), tuple(found.devices))
