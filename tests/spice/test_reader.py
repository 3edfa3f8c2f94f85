"""What the reader understands, and what it refuses with which reason."""

import math
import random
import time
from pathlib import Path

import pytest

from benchmarks.reader_fuzz import OWN, SLOW, mutants, texts
from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.cards import Limits
from eqprop_spice.spice.deck import Deck
from eqprop_spice.spice.reader import read, read_text

NETLISTS = Path(__file__).parent / "netlists"

NUM_MUTANTS = 400

BOMB_SECONDS = 5.0
"""The limits stop what would take hours; half a second is usual, and machines differ."""


def deck(*cards: str, title: str = "title", **options) -> Deck:
    return read_text("\n".join([title, *cards, ".end", ""]), **options)


def values(*cards: str) -> dict[str, float]:
    return {element.name: element.value for element in deck(*cards).elements}


def parameters(*cards: str) -> dict[str, float]:
    return dict(next(iter(deck(*cards).models.values())).parameters)


def test_elements_have_nodes_values_and_places():
    found = deck("R1 A 0 4.7k ; load", "V2 a Gnd dc 5 ac 1", "G3 a 0 0 A 2m").elements
    assert [(e.kind, e.nodes, e.value) for e in found] == [
        ("R", ("a", "0"), 4700.0),
        ("V", ("a", "0"), 5.0),
        ("G", ("a", "0", "0", "a"), 2e-3),
    ]
    assert [e.place for e in found] == ["netlist:2", "netlist:3", "netlist:4"]


def test_coupled_inductors():
    cards = ("L1 a 0 1m", ".subckt t p", "Lx p 0 2m", "L1 p 0 3m", "K1 Lx L1 {-k}", ".ends")
    found = deck("K2 L1 L2 0.5", *cards, "L2 a 0 4m", "X1 a t", ".param k=0.25")
    names = {element.name: element.original for element in found.elements}
    told = [(tuple(names[n] for n in c.inductors), c.coefficient) for c in found.couplings]
    assert told == [(("l1", "l2"), 0.5), (("x1.lx", "x1.l1"), -0.25)]


@pytest.mark.parametrize(
    ("expression", "nodes", "current", "rate"),
    [
        ("1.5u*sin(v(f))", ("f", "0"), 1.5e-6, 1.0),
        ("ic * SIN( V(f, g) )", ("f", "g"), 2.0, 1.0),
        ("-{ic}*sin(3*(v(g) - v(f))/2)", ("g", "f"), -2.0, 1.5),
        ("sin(-v(f))*ic/4", ("0", "f"), 0.5, 1.0),
        ("{ic*sin(v(f)+v(0)-v(g)*1)}", ("f", "g"), 2.0, 1.0),
        ("sin(v(1,2)-v(3,2))", ("n1", "n3"), 1.0, 1.0),
    ],
)
def test_josephson_elements(expression, nodes, current, rate):
    (found,) = deck(".param ic=2", f"Bj a 0 i = {expression}").elements
    assert found.nodes == ("a", "0", *nodes)
    assert (found.value, found.parameters["rate"]) == pytest.approx((current, rate), rel=1e-15)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("V1 1 0 42", 42.0),
        ("V1 1 0 dc=42", 42.0),
        ("V1 1 0 DC 42 AC 1 90 PULSE(0 1 0 1n 1n 1u 2u)", 42.0),
        ("V1 1 0", 0.0),
        ("V1 1 0 AC 1", 0.0),
        ("I1 1 0 PULSE(3 1 0 1n 1n 1u 2u)", 3.0),
        ("V1 1 0 SIN(2 1 1k)", 2.0),
        ("V1 1 0 SIN(2 1 1k 0 0 90)", 3.0),
        ("V1 1 0 PWL(0 7 1 8)", 7.0),
        ("V1 1 0 PWL(-1 6 1 8)", 7.0),
        ("V1 1 0 PWL(1 6 2 8)", 6.0),
        ("V1 1 0 EXP(1 2 1n 1n 5n 1n)", 1.0),
        ("R1 1 0 1M", 1e-3),
        ("R1 1 0 r=2k m=2", 1e3),
        ("R1 1 0 {2*3}", 6.0),
        ("R1 1 0 '2*3'", 6.0),
        ("C1 1 0 2p m=3 ic=1", 6e-12),
        ("L1 1 0 6m m=3", 2e-3),
        ("E1 1 0 POLY(1) 2 0 5", 5.0),
        ("E1 1 0 POLY(1) 2 0 0 5", 5.0),
        ("E1 (1,0) (2,0) 3", 3.0),
        ("G1 1 0 2 0 1m m=3", 3e-3),
    ],
)
def test_values(card, expected):
    (found,) = values(card).values()
    assert found == pytest.approx(expected, rel=1e-15)


def test_resistors_are_those_of_the_temperature():
    (found,) = values("R1 1 0 1k tc1=1m tc2=1u", ".temp 127").values()
    assert found == pytest.approx(1000.0 * (1 + 0.1 + 0.01), rel=1e-15)


def test_continuation_comments_and_case():
    cards = ["* comment", "r1 A B", "* between", "+ 1K $ a thousand", "", "R2 b 0 2k// two"]
    assert values(*cards) == {"r1": 1e3, "r2": 2e3}


def test_parameters_are_resolved_in_any_order():
    found = deck(".param b='2*a' a = 3", ".func f(x,y) {x*y+a}", "R1 1 0 {f(b,2)}", "R2 1 0 b")
    assert found.parameters == {"a": 3.0, "b": 6.0}
    assert [e.value for e in found.elements] == [15.0, 6.0]


def test_subcircuits_are_flattened():
    found = read(NETLISTS / "nested.cir")
    by_original = {e.original: e for e in found.elements}
    # x1.xi: r = r0/2 = 500, k = 2; x2.xj: r = r1 = 2500, k = 3. par(r, 1k) by hand.
    assert by_original["x1.xi.r1"].value == 1000.0
    assert by_original["x2.xj.r1"].value == 7500.0
    assert by_original["x2.xj.r2"].value == pytest.approx(2500.0 / 3.5)
    assert by_original["x1.xi.c1"].nodes == (found.nodes["x1.xi.mid"], found.nodes["vref"])
    assert len({e.name for e in found.elements}) == len(found.elements) == 17
    assert all(e.name[0] == e.original.rsplit(".", 1)[-1][0] for e in found.elements)


def test_models_of_subcircuits_follow_their_parameters():
    cards = [
        *(".subckt s a i=1f", "D1 a 0 dx", ".model dx d(is={i} n=2)", ".ends"),
        *("X1 1 s", "X2 1 s i=2f", "X3 2 s i=1f"),
    ]
    found = deck(*cards)
    saturation = [found.models[str(e.model)].parameters["is"] for e in found.elements]
    assert saturation == [1e-15, 2e-15, 1e-15]
    assert len(found.models) == 2


def test_names_are_ours_and_different():
    names = ["Net-_1_", "/net__1_", "net+_1_", "net.:1_", "M\u00a71", "all", "1"]
    found = deck(*(f"R{i} {name} 0 1k" for i, name in enumerate(names)))
    assert len(set(found.nodes.values())) == len(names)
    assert all(name.isascii() and name.replace("_", "a").isalnum() for name in found.nodes.values())
    assert "all" not in found.nodes.values()


def test_synonyms_of_model_parameters():
    assert parameters("D1 1 0 m", ".model m d(js=1f cj0=2p level=1)") == {"is": 1e-15, "cjo": 2e-12}
    assert parameters("Q1 1 2 0 m", ".model m npn va=50 mfg=x") == {"vaf": 50.0}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16", "title\nR1 1 0 10\u00b5\n.end\n"),
        ("cp1252", "title\r\nR1 1 0 10\u00b5\r\n.end\r\n"),
        ("utf-8-sig", "title\nR1 1 0 10\u00b5\n.end\n"),
        ("utf-8", "title\rR1 1 0 10\u03bc\r.end"),
    ],
)
def test_encodings(tmp_path, encoding, text):
    path = tmp_path / "x.net"
    path.write_bytes(text.encode(encoding))
    assert read(path).elements[0].value == pytest.approx(1e-5)


def test_what_is_left_out_is_noted():
    notes = deck(
        *("V1 1 0 1 AC 1", "R1 1 0 1k ac=2", ".tran 1n 1u", ".options reltol=1e-4", ".ic v(1)=2"),
        *("C1 1 0 1u IC=3", ".control", "run", ".endc"),
        skip_commands=True,
    ).notes
    for word in ("'ac'", ".tran", "'reltol'", ".ic", "'ic'", ".control"):
        assert any(word in note for note in notes), word
    assert all(note.startswith("netlist:") for note in notes)


def test_settings():
    found = deck("R1 a 0 1", ".options gmin=1e-10 tnom=30", ".temp 85", ".nodeset v(A)=2")
    assert (found.temperature, found.nominal_temperature) == (85.0, 30.0)
    assert found.junction_conductance == 1e-10
    assert found.guesses == {"a": 2.0}


REFUSED = {
    "R1 1 0 4k7": r"netlist:2: 'R1 1 0 4k7': .*point",
    "R1 1 0 0": "1m",
    "R1 1 0": "no value",
    "R1 1 0 1k 2k": "left over|twice",
    "R1 1 0 {1k": "not closed",
    "R1 1 0 nothing": "'nothing' is not defined",
    "R1 net-(a) 0 1k": "parentheses",
    "R1 1 0 1k\nr1 2 0 1k": "netlist:3.*there twice",
    "V1 1 0 1 2": "DC value|not supported",
    "V1 1 0 external": "not defined|not supported",
    "V1 1 0 1 portnum 1": "not supported",
    "B1 1 0 v=1": "behavioral",
    "E1 1 0 value={v(2)}": "parentheses|behavioral|voltage",
    "E1 1 0 POLY(2) 1 0 2 0 1 2 3": "POLY",
    "E1 1 0 2 1": "too few|no value",
    "F1 1 0 V1 2": "no element 'v1'",
    "V12 2 0 1\nF1 1 0 V1 2": "did you mean 'v12'",
    "R1 2 0 1\nF1 1 0 R1 2": "no current that controls",
    "D1 1 0 dx": "no .model 'dx'",
    "D1 1 0 d1n418\n.model d1n4148 d": "did you mean 'd1n4148'",
    "D1 1 0 m\n.model m npn": "does not suit",
    "M1 1 2 0 0 m\n.model m nmos level=8 version=3": "level 8",
    "D1 1 0 m\n.model m d(foo=1)": "'foo' is not a parameter",
    "D1 1 0 m temp=50\n.model m d": "'temp =' is not supported",
    "D1 1 0 m\n.model m d(is=1f js=1f)": "twice",
    "Q1 1 2 0 m\n.model m vdmos": "'vdmos' are not supported",
    "B1 1 0 i=v(2)": "behavioral",
    "B1 1 0 i=2*sin(v(2)+v(3))": "behavioral",
    "B1 1 0 i=sin(v(2)-2*v(3))": "behavioral",
    "B1 1 0 i=sin(v(2)+1)": "behavioral",
    "B1 1 0 i=sin(v(2))*v(3)": "behavioral",
    "B1 1 0 i=sin(v(2))/0": "divides by zero",
    "B1 1 0 i=sin(v({2}))": "voltage or current of the circuit",
    "B1 1 0 i=sin(v(2)) tc1=1": "cannot read",
    "B1 1 0 i=a*sin(v(2))": "'a' is not defined",
    "B1 1 0 i=sin(__voltage_0)": "behavioral",
    "B1 1 i=sin(v(2))": "too few",
    "L1 1 0 1\nK1 L1 L2 1": "no inductor 'l2'",
    "L1 1 0 1\nR2 1 0 1\nK1 L1 R2 1": "no inductor 'r2'",
    "L1 1 0 1\nK1 L1 L1 1": "with itself",
    "L1 1 0 1\nL2 1 0 1\nK1 L1 L2 1.1": "between -1 and 1",
    "L1 1 0 1\nL2 1 0 1\nK1 L1 L2 .1\nK2 L2 L1 .1": "coupled twice",
    "A1 1 2 m": "code models",
    "X1 1 2 s": "no subcircuit 's'",
    "X1 1 2 s\n.subckt s a\nR1 a 0 1\n.ends": "1 nodes, the call 2",
    "X1 1 s w=1\n.subckt s a wn=2\nR1 a 0 1\n.ends": "did you mean 'wn'",
    "X1 1 s\n.subckt s a\nX2 a s\n.ends": "calls itself",
    ".subckt s a": "no .ends",
    ".ends": "without .subckt",
    ".param a={b} b={a}\nR1 1 0 {a}": "defined by itself",
    ".param a=": "no value|expected",
    ".param 1": "expected assignments",
    ".func f(x) {f(x)}\nR1 1 0 {f(1)}": "too deeply",
    ".options rshunt=1": "'rshunt' is not supported",
    ".temp 1 2": "one temperature",
    ".temp -300": "absolute zero",
    ".nodeset v(x)=1": "is no node",
    ".if (1)": "conditional",
    ".step param a 1 2 3": "one netlist per value",
    ".unknown": "not supported",
    "+ 1k": "continues nothing",
    "R1 1 0 1k\0": "control character",
}


@pytest.mark.parametrize("cards", REFUSED)
def test_what_is_not_supported_is_refused_with_a_reason(cards):
    with pytest.raises(NetlistError, match=REFUSED[cards]):
        deck(*cards.split("\n"))


def test_errors_name_the_file_in_the_folder(tmp_path):
    (tmp_path / "models.lib").write_text("* a library\n.model dx d(foo=1)\n")
    path = tmp_path / "x.cir"
    path.write_text("title\nD1 1 0 dx\n.lib models.lib\n")
    with pytest.raises(NetlistError, match="on request"):
        read(path)
    with pytest.raises(NetlistError, match=r"models.lib:2: '.model dx d\(foo=1\)'"):
        read(path, include=True)


@pytest.mark.parametrize("name", ["../x.inc", "/etc/passwd", "sub/x.inc", "C:\\x.lib", "link.inc"])
def test_no_other_folder_is_read(tmp_path, name):
    (tmp_path / "sub").mkdir()
    for place in (tmp_path, tmp_path / "sub"):
        (place / "x.inc").write_text("R1 1 0 1k\n")
    folder = tmp_path / "circuit"
    folder.mkdir()
    (folder / "link.inc").symlink_to(tmp_path / "x.inc")
    (folder / "x.cir").write_text(f'title\n.include "{name}"\n')
    with pytest.raises(NetlistError, match="not a plain file"):
        read(folder / "x.cir", include=True)


def test_files_that_include_each_other_end(tmp_path):
    (tmp_path / "a.cir").write_text("title\n.include a.cir\n")
    with pytest.raises(NetlistError, match="too deeply"):
        read(tmp_path / "a.cir", include=True)


BOMBS = {
    "elements": "\n".join(
        [".subckt s0 a", "R1 a 0 1k", ".ends"]
        + [f".subckt s{i} a\nX1 a s{i - 1}\nX2 a s{i - 1}\n.ends" for i in range(1, 19)]
        + ["X1 1 s18"]
    ),
    "steps": "\n".join(
        [".func f0(x) {x}"]
        + [f".func f{i}(x) {{f{i - 1}(x)+f{i - 1}(x)}}" for i in range(1, 40)]
        + ["R1 1 0 {f39(1)}"]
    ),
    "nested": "R1 1 0 {" + "(" * 3000 + "1" + ")" * 3000 + "}",
    "chain": "\n".join(f".param a{i}={{a{i + 1}}}" for i in range(3000)),
    "long": "R1 1 0 1k\n" + "+ tc1=1\n" * 9000,
    "not": "R1 1 0 {" + "!" * 5000 + "1}",
    "sine": "B1 1 0 i=sin(" + "v(1)+" * 3000 + "v(1))",
    "factors": "B1 1 0 i=" + "2*" * 5000 + "sin(v(1))",
}


# What is timed is the reader, not the check of its annotations.
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("bomb", BOMBS)
def test_limits_hold(bomb):
    started = time.process_time()
    with pytest.raises(NetlistError):
        deck(BOMBS[bomb])
    assert time.process_time() - started < BOMB_SECONDS


def test_sums_of_many_terms_are_read():
    assert values("R1 1 0 {" + "1+" * 9000 + "1}") == {"r1": 9001.0}


def test_large_files_are_refused(tmp_path):
    path = tmp_path / "x.cir"
    path.write_text("title\n" + "R1 1 0 1k\n" * 100)
    with pytest.raises(NetlistError, match="bytes"):
        read(path, limits=Limits(num_bytes=100))
    with pytest.raises(NetlistError, match="lines"):
        read(path, limits=Limits(num_lines=10))
    with pytest.raises(NetlistError, match="not a file"):
        read(tmp_path)


def test_mutants_are_read_or_refused():
    originals = texts(OWN)
    draw = random.Random(0)
    outcomes = set()
    for text in mutants(originals, NUM_MUTANTS, seed=11):
        started = time.process_time()
        try:
            found = read_text(text, skip_commands=draw.random() < 0.5)
            assert all(math.isfinite(element.value) for element in found.elements)
            outcomes.add("read")
        except NetlistError:
            outcomes.add("refused")
        assert time.process_time() - started < SLOW
    assert outcomes == {"read", "refused"}
