"""The .model cards that are read: which kinds, and which of their parameters.

Names are those of ngspice 39. A parameter outside of these lists would be passed over by ngspice
with a warning; here it is refused, since a netlist that has it expects something of it.
"""

import re
from collections.abc import Callable

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.fields import fields

DIODE = frozenset(
    """level is jsw tnom rs trs1 trs2 n ns tt ttt1 ttt2 cjo vj m tm1 tm2 cjp php mjsw ikf ikr nbv
    area pj tlev tlevc eg xti cta ctp tpb tphp jtun jtunsw ntun xtitun keg kf af fc fcs bv ibv tcv
    isr nr""".split()
)

BIPOLAR = frozenset(
    """level subs tnom is ibe ibc bf nf vaf ikf ise ne br nr var ikr isc nc rb irb rbm re rc cje vje
    mje tf xtf vtf itf ptf cjc vjc mjc xcjc tr cjs vjs mjs xtb eg xti fc kf af iss ns rco vo gamma
    qco tlev tlevc tbf1 tbf2 tbr1 tbr2 tikf1 tikf2 tikr1 tikr2 tirb1 tirb2 tnc1 tnc2 tne1 tne2 tnf1
    tnf2 tnr1 tnr2 trb1 trb2 trc1 trc2 tre1 tre2 trm1 trm2 tvaf1 tvaf2 tvar1 tvar2 ctc cte cts tvjc
    tvje tvjs titf1 titf2 ttf1 ttf2 ttr1 ttr2 tmje1 tmje2 tmjc1 tmjc2 tmjs1 tmjs2 tns1 tns2 nkf tis1
    tis2 tise1 tise2 tisc1 tisc2 tiss1 tiss2""".split()
)

MOSFET_1 = frozenset(
    """level vto kp gamma phi lambda rd rs cbd cbs is pb cgso cgdo cgbo rsh cj mj cjsw mjsw js tox
    ld uo fc nsub tpg nss tnom kf af""".split()
)

JFET = frozenset(
    """level vto beta lambda rd rs cgs cgd pb is fc b tnom tcv vtotc bex betatce xti eg kf
    af""".split()
)

KINDS = {
    "d": DIODE,
    "npn": BIPOLAR,
    "pnp": BIPOLAR,
    "nmos": MOSFET_1,
    "pmos": MOSFET_1,
    "njf": JFET,
    "pjf": JFET,
}

_BIPOLAR_SYNONYMS = {
    **{"va": "vaf", "vb": "var", "ik": "ikf", "c2": "ise", "c4": "isc", "nk": "nkf"},
    **{"pe": "vje", "pc": "vjc", "ps": "vjs", "me": "mje", "mc": "mjc", "ms": "mjs"},
    **{"trb": "trb1", "trc": "trc1", "tre": "tre1", "tref": "tnom", "ccs": "cjs", "csub": "cjs"},
}

SYNONYMS = {
    "d": {
        **{"ik": "ikf", "cj0": "cjo", "cj": "cjo", "ctc": "cta", "trs": "trs1", "tvj": "tpb"},
        **{"tref": "tnom", "cjsw": "cjp", "ib": "ibv", "js": "is", "mj": "m", "pb": "vj"},
    },
    "npn": _BIPOLAR_SYNONYMS,
    "pnp": _BIPOLAR_SYNONYMS,
    "nmos": {"vt0": "vto", "u0": "uo"},
    "pmos": {"vt0": "vto", "u0": "uo"},
    "njf": {"vt0": "vto"},
    "pjf": {"vt0": "vto"},
}

INFORMATION = frozenset({"mfg", "type", "vceo", "icrating", "iave", "vpk", "ipk", "irms"})
"""What LTspice's libraries say about a part that no simulator computes with."""


def name_and_kind(text: str) -> tuple[str, str]:
    """Return the name and the kind of a .model card, supported or not.

    Raises:
        NetlistError: If it has none.
    """
    match = re.match(r"\.model\s+([^\s()=,]+)\s+([^\s()=,]+)", text.lower())
    if match is None:
        raise NetlistError("expected .model NAME KIND (PARAMETER=VALUE ...)")
    return match[1], match[2]


def model_parameters(
    text: str, number: Callable[[str], float]
) -> tuple[str, str, dict[str, float]]:
    """Return the name, the kind and the parameters of a .model card.

    Args:
        text: The card.
        number: What a number or expression is.

    Raises:
        NetlistError: If the kind, the level or a parameter is not supported.
    """
    name, kind = name_and_kind(text)
    if kind not in KINDS:
        raise NetlistError(f"models of kind '{kind}' are not supported; {', '.join(KINDS)} are")
    # First, since models of other levels have parameters of other names.
    stated = re.search(r"\blevel\s*=\s*(\d+)", text.lower())
    if stated and stated[1] != "1":
        raise NetlistError(f"level {stated[1]} of '{kind}' is not supported; level 1 is")
    split = fields(text)
    if len(split.places) > 3:
        raise NetlistError(f"'{split.places[3]}' is no assignment, such as is=1e-14")
    parameters: dict[str, float] = {}
    for given, text in split.named.items():
        if given in INFORMATION:
            continue
        parameter = SYNONYMS[kind].get(given, given)
        if parameter not in KINDS[kind]:
            raise NetlistError(f"'{given}' is not a parameter of '{kind}' in ngspice; remove it")
        if parameter in parameters:
            raise NetlistError(f"'{given}' is assigned twice, under two names")
        parameters[parameter] = number(text)
    level = parameters.pop("level", 1.0)
    if level != 1.0:
        raise NetlistError(f"level {level:g} of '{kind}' is not supported; level 1 is")
    return name, kind, parameters


def our_name(original: str) -> str:
    """Return a name that matches [a-z][a-z0-9_]* and resembles the original."""
    harmless = re.sub(r"[^a-z0-9_]", "_", original)[:60]
    return harmless if re.match("[a-z]", harmless) else f"n{harmless}"
