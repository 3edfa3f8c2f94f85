"""What notebooks show of runs, circuits and audits."""

from eqprop_spice.audit.system import SystemAudit
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.notebook import html_table
from eqprop_spice.results.run import Run


def test_names_and_values_are_text():
    shown = html_table("a<b", {"<script>": "</td>", "loss": 0.123456789, "none": None})
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "0.123457" in shown


def test_circuits_runs_and_audits_show_themselves(tmp_path):
    experiment = Experiment.load("experiments/xor.toml")
    assert "2 inputs, 1 outputs, 8 free nodes" in experiment.circuit._repr_html_()
    assert "36 Resistor" in experiment.circuit._repr_html_()
    assert "finished" in Run.create(experiment, tmp_path / "run")._repr_html_()
    assert "OK" in SystemAudit("toy", {}, {}, {}, [], "OK")._repr_html_()
