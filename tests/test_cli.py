import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eqprop_spice.cli import app, main
from eqprop_spice.console import print_results, say, with_unit
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.catalog import runs
from eqprop_spice.results.run import Run, train

pytestmark = pytest.mark.ngspice

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
XOR = EXPERIMENTS / "xor.toml"
IRIS = EXPERIMENTS / "iris.toml"

COMMAND = [sys.executable, "-c", "from eqprop_spice.cli import main; main()"]
"""The console script, without depending on where it is installed."""

ESCAPE = "\x1b"


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which nothing forces or forbids colors."""
    forcing = ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if name not in forcing}
    return kept | changes


def run_cli(*arguments: str | Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment(**changes),
    )


def invoke(*arguments: str | Path) -> str:
    """Run a command in this process and return what it prints."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture(scope="module")
def xor_run(tmp_path_factory) -> Run:
    experiment = Experiment.load(XOR, ["training.epochs=25"])
    return train(experiment, tmp_path_factory.mktemp("runs") / "xor")


def test_train_prints_plain_lines(tmp_path):
    folder = tmp_path / "a rather long name [of] a folder" / "that rich would break into two lines"
    done = run_cli("train", XOR, "--set", "training.epochs=45", "--seed", "3", "--out", folder)
    assert done.returncode == 0
    assert done.stderr == f"run folder: {folder}\n"
    assert ESCAPE not in done.stdout
    assert "\r" not in done.stdout
    lines = done.stdout.splitlines()
    reported = [line for line in lines if line.startswith("epoch ")]
    assert len(reported) <= 20
    for line in reported:
        assert re.fullmatch(
            r"epoch \d+/45  loss +[\d.e-]+ V\^2  accuracy +[\d.]+ %  [\d,]+ samples/s", line
        )
    assert reported[0].startswith("epoch 1/45")
    assert reported[-1].startswith("epoch 45/45")
    assert lines[-1] == f"figures, netlists, history and report.html: {folder}"
    results = Run.open(folder).results
    assert (results["seed"], results["epochs"]) == (3, 45)


def test_train_draws_a_live_bar_on_a_terminal(tmp_path):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "train", str(XOR), "--set", "training.epochs=40", "--out", str(tmp_path / "r")],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="xterm-256color", COLUMNS="120"),
    )
    os.close(follower)
    screen = b""
    while select.select([leader], [], [], 60)[0]:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux says so at the end of a pseudo-terminal
            break
        if not part:
            break
        screen += part
    os.close(leader)
    assert process.wait(timeout=60) == 0
    text = screen.decode("utf-8", "replace")
    assert ESCAPE in text
    assert re.search(r"epoch \d+/40", text)
    for word in ("loss", "V^2", "accuracy", "samples/s", "━"):
        assert word in text
    assert re.search(r"\d:\d\d:\d\d", text)  # the time left


def test_show_prints_json(xor_run):
    figures = json.loads(invoke("show", xor_run.path, "--json"))
    assert figures == xor_run.results
    assert set(figures) >= {
        "loss",
        "train_accuracy",
        "learned",
        "num_unconverged",
        "seconds",
        "epochs",
        "finished",
    }
    assert figures["epochs"] == 25
    assert isinstance(figures["learned"], bool)


def test_test_accuracy_is_shown_where_there_are_test_samples(tmp_path):
    folder = tmp_path / "iris"
    invoke("train", IRIS, "--set", "training.epochs=2", "--set", "goal={}", "--out", folder)
    figures = json.loads(invoke("show", folder, "--json"))
    assert 0.0 <= figures["test_accuracy"] <= 1.0
    assert figures["learned"] is None


def test_show_prints_and_plots(xor_run):
    for path in (xor_run.path / "figures").iterdir():
        path.unlink()
    text = invoke("show", xor_run.path)
    assert re.search(r"train_accuracy +1", text)
    assert f"{xor_run.path / 'figures' / 'loss.png'}\n" in text
    assert len(list((xor_run.path / "figures").glob("*.png"))) == 4
    assert len(list((xor_run.path / "figures").glob("*.svg"))) == 4


def test_show_and_resume_continue_what_has_not_ended(tmp_path):
    run = Run.create(Experiment.load(XOR, ["training.epochs=2"]), tmp_path / "run")
    assert re.search(r"finished +False", invoke("show", run.path))
    invoke("train", "--resume", run.path)
    assert json.loads(invoke("show", run.path, "--json"))["finished"] is True


def test_runs_are_listed_with_a_line_for_each(xor_run):
    lines = invoke("runs", xor_run.path.parent).splitlines()
    (line,) = (line for line in lines if str(xor_run.path) in line)
    assert re.search(r"xor +finished +(True|False) +\S+ V\^2 +100 % +\d+ +\S+ s", line)


def test_netlist_writes_both_phases(tmp_path):
    free = invoke("netlist", XOR)
    assert free.startswith("* eqprop_spice xor sample 0 in the free phase\n")
    assert free.endswith(".end\n")
    assert "inudge" not in free
    nudged = tmp_path / "nudged.cir"
    invoke("netlist", XOR, "--phase", "nudged", "--sample", "2", "--out", nudged)
    text = nudged.read_text()
    assert text.startswith("* eqprop_spice xor sample 2 in the force phase\n")
    assert "inudge_0 " in text
    done = subprocess.run(
        ["ngspice", "-b", str(nudged)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "v(n3_0) = " in done.stdout


def test_netlist_of_a_run_has_its_trained_conductances(xor_run):
    assert invoke("netlist", xor_run.path) == (xor_run.path / "free.cir").read_text()
    assert (
        invoke("netlist", xor_run.path, "--phase", "nudged")
        == (xor_run.path / "nudged.cir").read_text()
    )


def test_netlist_takes_overrides():
    text = invoke("netlist", XOR, "--set", "circuit.layers.0.num_outputs=9")
    assert "n0_8" in text
    assert text != invoke(
        "netlist", XOR, "--set", "circuit.layers.0.num_outputs=9", "--set", "seed=1"
    )


def test_doctor_finds_a_healthy_installation():
    text = invoke("doctor")
    assert re.search(r"ngspice version +\d+", text)
    found = re.search(r"test circuit +error (\S+) V \(good", text)
    assert found is not None
    assert float(found[1]) <= 1e-9


def test_the_help_names_tables_in_brackets():
    assert "with a [sweep] table" in " ".join(invoke("sweep", "--help").split())


def test_brackets_in_the_name_of_a_folder_are_no_markup(tmp_path, capsys):
    say(f"figures, netlists and history: {tmp_path}/out[/b]")
    print_results({"out[/b]": "[red]no[/red]", "e\x1b[31m": "\x1b]0;title\x07"})
    shown = capsys.readouterr().out
    assert f"{tmp_path}/out[/b]" in shown
    assert "[red]no[/red]" in shown
    assert ESCAPE not in shown


def test_a_full_standard_output_is_not_blamed_on_a_folder():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "netlist", str(XOR)], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: The output cannot be printed: No space left on device.\n"


def test_a_deleted_working_folder_is_named(tmp_path):
    (tmp_path / "gone").mkdir()
    code = f"import os; os.chdir({str(tmp_path / 'gone')!r}); os.rmdir(os.getcwd()); "
    done = subprocess.run(
        [sys.executable, "-c", code + COMMAND[-1], "train", str(XOR)], capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "The working folder has been deleted" in done.stderr.splitlines()[-1]


def test_a_platform_that_jax_does_not_have_is_named():
    done = run_cli("netlist", XOR, JAX_PLATFORMS="cuda")
    assert done.returncode == 2
    assert "error: JAX cannot use the platform 'cuda'" in done.stderr
    assert "pip install 'eqprop_spice[cuda]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_help_names_all_commands():
    text = invoke("--help")
    for command in ("train", "netlist", "show", "doctor"):
        assert command in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{xor}", "--set", "training.epoch=3"], "Did you mean 'epochs'?"),
        (["train", "{folder}/xr.toml"], "There is no file"),
        (["train", "{xor}", "--out", "{folder}"], "exists already"),
        (["train", "{xor}", "--out", "{file}/run"], "File exists"),
        (["train"], "Give an experiment's file"),
        (["train", "{xor}", "--resume", "{folder}"], "not both"),
        (["train", "--resume", "{folder}", "--seed", "1"], "continues a run as it was"),
        (["train", "--resume", "{folder}"], "is not a run folder"),
        (["show", "{folder}"], "is not a run folder"),
        (["netlist", "{xor}", "--phase", "fre"], "must be free or nudged"),
        (["netlist", "{xor}", "--sample", "4"], "samples 0 to 3"),
        (["netlist", "{xor}", "--out", "{folder}/none/a.cir"], "No such file"),
        (["netlist", "{run}", "--set", "seed=1"], "a run folder stays as it ran"),
        (["train", "{xor}", "--wrong"], "No such option"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_bad_input_is_one_message_and_status_2(
    arguments, message, tmp_path, xor_run, monkeypatch, capsys
):
    """Run `main` itself; a subprocess for each would take its start-up time."""
    from eqprop_spice.cli import main

    (tmp_path / "file").touch()
    places = {"xor": XOR, "folder": tmp_path, "file": tmp_path / "file", "run": xor_run.path}
    monkeypatch.setattr(sys, "argv", ["eqprop-spice", *(a.format(**places) for a in arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err
    if "option" not in message:
        (line,) = captured.err.splitlines()
        assert line.startswith("error: ")


def test_bad_input_of_a_real_process(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(XOR.read_text().replace("beta = 1e-4", "beta = 0.0"))
    done = run_cli("train", file, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert done.stdout == ""
    line = XOR.read_text().splitlines().index("beta = 1e-4 # S") + 1
    assert done.stderr.startswith(f"error: {file}, line {line}, rule.beta: beta is 0.0 S; ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_library_says_how_to_install_it(tmp_path):
    done = run_cli("doctor", NGSPICE_LIBRARY_PATH=str(tmp_path / "libngspice.so"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error: The ngspice shared library was not found." in done.stderr
    assert "sudo apt-get install libngspice0" in done.stderr


@pytest.mark.slow
def test_audit_of_a_sound_experiment(tmp_path):
    folder = tmp_path / "audit"
    text = invoke("audit", XOR, "--conductances", "6", "--out", folder)
    assert "verdict: OK" in text
    assert "reciprocity weights: dense_0 16; dense_3 1" in text
    assert {path.name for path in folder.glob("*.png")} == {
        "bias.png",
        "budget.png",
        "gradients.png",
        "power.png",
    }
    report = json.loads((folder / "report.json").read_text())
    assert report["causes"] == []
    assert report["varied"] == {"dense_0": 3, "dense_3": 3}
    for layer in report["references"]["ngspice .sens"].values():
        assert layer["relative_error"] < 1e-6
    assert report["scans"]["C-EP"]["slope"] == pytest.approx(2.0, abs=0.05)


@pytest.mark.slow
def test_audit_of_an_unsound_experiment_names_the_cause_and_exits_with_one(tmp_path):
    arguments = ["audit", XOR, "--set", "training.weights=none", "--json", "--conductances", "2"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--out", str(tmp_path / "audit")])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["verdict"] == "missing weights"
    assert "reciprocity" in report["causes"][0]["remedy"]


@pytest.mark.slow
def test_audit_of_a_run_takes_its_conductances(xor_run):
    text = invoke("audit", xor_run.path, "--conductances", "2")
    assert "verdict: OK" in text
    report = json.loads((xor_run.path / "audit" / "report.json").read_text())
    assert report["name"] == f"xor: {xor_run.path.name}"
    with pytest.raises(ConfigError, match="a run folder stays as it ran"):
        invoke("audit", xor_run.path, "--set", "seed=1")


@pytest.mark.slow
def test_audit_opens_circuits_without_weights(tmp_path):
    arguments = [
        "audit", XOR, "--set", "circuit.layers.2={kind='amplifier.BidirectionalAmplifier',"
        "reflection='published',inverted=true}", "--json", "--conductances", "2",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [*map(str, arguments), "--out", str(tmp_path / "audit")])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["weights"] is None
    assert report["asymmetry"] > 0.01
    assert "not reciprocal" in [cause["code"] for cause in report["causes"]]


def test_audit_refuses_nothing_to_vary():
    with pytest.raises(ConfigError, match="--samples is 0"):
        invoke("audit", XOR, "--samples", "0")


def test_a_new_experiment_a_list_and_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in (["new", "mine"], ["list"], ["runs"], ["--version"], ["-h"]):
        monkeypatch.setattr("sys.argv", ["eqprop-spice", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, arguments
    shown = capsys.readouterr().out
    for words in ("mine.toml", "every seed", "holds no run folder", "eqprop_spice 0", "Usage"):
        assert words in shown
    monkeypatch.setattr("sys.argv", ["eqprop-spice", "new", "mine"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "exists already" in capsys.readouterr().err


def test_runs_are_listed_with_figures_and_units(tmp_path):
    for name, results in (("a", '{"loss": 0.5, "test_accuracy": 0.75}'), ("b", None), ("c", "[")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "experiment.toml").write_text('name = "xor"\n')
        if results:
            (tmp_path / name / "results.json").write_text(results)
    found = list(runs(tmp_path))
    assert [row["state"] for row in found] == ["finished", "not finished", "damaged"]
    assert with_unit("loss", found[0]["loss"]) == "0.5 V^2"
    assert with_unit("test_accuracy", found[0]["test_accuracy"]) == "75 %"
    assert with_unit("learned", None) == "-"
