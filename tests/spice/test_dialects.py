"""The portable form of all golden netlists, by two simulators and by two readers."""

from pathlib import Path

import pytest

from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.spice.plain import plain_operating_point
from eqprop_spice.spice.portable import in_dialect
from eqprop_spice.spice.reader import read_text

FOLDER = Path(__file__).parent.parent.parent / "netlists"
GOLDEN = sorted(FOLDER.glob("*.cir"))

AGREEMENT = 1e-12
"""Volts: both simulators have SPICE's equations and constants, and solve to rounding."""


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@pytest.mark.parametrize("dialect", ["ngspice", "ltspice", "xyce"])
def test_our_reader_reads_every_dialect_as_the_original(path, dialect):
    original = read_text(path.read_text(), skip_commands=True)
    text = in_dialect(path.read_text(), dialect)
    assert ".control" not in text.lower()
    if dialect == "xyce":
        # Xyce has options by package, which no other simulator reads.
        text = "\n".join(line for line in text.splitlines() if not line.startswith(".OPTIONS"))
    again = read_text(text)
    values = {element.name: element.value for element in again.elements}
    for element in original.elements:
        assert values[element.name] == element.value
    assert {m.name: dict(m.parameters) for m in again.models.values()} == {
        m.name: dict(m.parameters) for m in original.models.values()
    }


@pytest.mark.ngspice
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_another_simulator_finds_the_voltages_of_ngspice(path):
    neospice = pytest.importorskip("neospice")
    text = in_dialect(path.read_text(), "ngspice")
    expected = plain_operating_point(text)
    simulator = neospice.Simulator()
    circuit = simulator.parse(text)
    found = simulator.run_dc(circuit)
    names = set(read_text(text).nodes.values())
    assert names
    for name in names:
        assert found.voltage(name) == pytest.approx(expected[name], rel=0, abs=AGREEMENT), name


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_public_editor_reads_the_portable_form(path, tmp_path):
    spicelib = pytest.importorskip("spicelib")
    text = in_dialect(path.read_text(), "ltspice")
    (tmp_path / "circuit.net").write_text(text)
    editor = spicelib.SpiceEditor(tmp_path / "circuit.net")
    deck = read_text(text)
    names = {name.lower() for name in editor.get_components()}
    assert names == {element.name for element in deck.elements}
    for element in deck.elements:
        if element.name[0] == "r":
            value = editor.get_component_floatvalue(element.name.upper()[0] + element.name[1:])
            assert value == pytest.approx(element.value, rel=1e-12)


def test_a_dialect_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="must be one of ngspice, ltspice, xyce"):
        in_dialect(GOLDEN[0].read_text(), "hspice")


def test_behavioral_sources_are_refused_by_card():
    with pytest.raises(NetlistError, match="B"):
        in_dialect("title\nB1 a 0 i=v(a)\n.end\n", "xyce")
