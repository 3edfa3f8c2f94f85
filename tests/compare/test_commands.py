"""The command in processes of its own, which real signals stop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.cli import main
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import train
from eqprop_spice.sweeps.axes import sweep_of
from eqprop_spice.sweeps.store import Store
from tests.pages import check_page

pytestmark = [pytest.mark.ngspice, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"

TIMEOUT = 120
"""Seconds until a process that hangs is a failure."""

CLI = "from eqprop_spice.cli import main; main()"

EPOCHS = 3

ROUNDING = 1e-12

# Python imports this module by itself at the start of every process. Those that compute cells write
# down which they begin; one of them waits for the end, once.
WAITING = """
import os, signal, sys
from pathlib import Path

place = Path(os.environ.get("PLACE", ""))
if "eqprop_spice.sweeps.child" in sys.orig_argv:
    from eqprop_spice.sweeps import cell
    real = cell.run_cell

    def run_cell(experiment):
        name = f"{experiment.table.rule.get('variant', 'exact')}_{experiment.table.seed}"
        with open(place / "computed", "a") as log:
            log.write(f"{name}\\n")
        if name == "centered_0" and not (place / "waiting").exists():
            (place / "partial").write_text(f"{os.getppid()} {os.getpid()}")
            os.rename(place / "partial", place / "waiting")
            signal.pause()
        return real(experiment)

    cell.run_cell = run_cell
"""


def start(place: Path, *arguments: str | Path) -> "subprocess.Popen[str]":
    (place / "sitecustomize.py").write_text(WAITING)
    return subprocess.Popen(
        [sys.executable, "-c", CLI, "compare", *map(str, arguments), "--workers", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{place}:{ROOT}", "PLACE": str(place)},
    )


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_comparison_goes_on_to_what_single_runs_give(tmp_path):
    store = tmp_path / "store"
    changes = [f"training.epochs={EPOCHS}"]
    settings = ["--set", changes[0], "--rules", "bp,c_ep", "--seeds", "2", "--out", store]
    process = start(tmp_path, EXPERIMENTS / "xor.toml", *settings)
    until((tmp_path / "waiting").exists)
    until(lambda: len(Store.open(store).missing()) == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT)
    for left in map(int, (tmp_path / "waiting").read_text().split()):
        until(lambda left=left: not alive(left))
    assert not (store / "compare.json").exists()

    out, said = start(tmp_path, "--resume", store).communicate(timeout=TIMEOUT)
    assert "Traceback" not in said, said
    computed = Counter((tmp_path / "computed").read_text().split())
    assert computed == {"exact_0": 1, "exact_1": 1, "centered_0": 2, "centered_1": 1}
    found = json.loads(out)
    assert found == json.loads((store / "compare.json").read_text())
    assert (found["cells"], found["missing"], found["name"]) == (4, 0, "xor")
    assert (store / "figures" / "compare.png").is_file()
    assert (store / "figures" / "compare.svg").is_file()

    losses = {}
    for row, kind in zip(
        found["rules"],
        ("adjoint.Adjoint", "equilibrium_propagation.EquilibriumPropagation"),
        strict=True,
    ):
        runs = []
        for seed in range(2):
            single = [*changes, f"seed={seed}", f'rule={{kind="{kind}"}}']
            experiment = Experiment.load(EXPERIMENTS / "xor.toml", single)
            runs.append(train(experiment, tmp_path / f"{row['rule']}_{seed}").results)
        errors = [100 * (1 - run["train_accuracy"]) for run in runs]
        losses[row["rule"]] = [run["loss"] for run in runs]
        assert row["seeds"] == 2
        assert row["train_loss"]["mean"] == pytest.approx(
            np.mean(losses[row["rule"]]), rel=ROUNDING
        )
        assert row["error"]["mean"] == np.mean(errors)
        assert row["learned"] == np.mean([run["learned"] for run in runs])
        assert row["num_unconverged"] == sum(run["num_unconverged"] for run in runs)


def run(monkeypatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["eqprop-spice", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_test_samples_judge_where_there_are_some(tmp_path, monkeypatch, capsys):
    small = ["training.epochs=1", "training.batch_size=60"]
    options = [part for change in small for part in ("--set", change)]
    code = run(
        monkeypatch,
        *(EXPERIMENTS / "iris.toml", *options, "--rules", "bp,c_ep", "--seeds", "2"),
        *("--workers", "1", "--out", tmp_path / "store"),
    )
    assert code == 0
    shown = capsys.readouterr()
    assert "test error [%]" in shown.out and "minus BP [%]" in shown.out
    assert "C-EP lies" in shown.out
    page = check_page(tmp_path / "store" / "report.html", tmp_path)
    assert page.count("<tr>") > 2 and "<h2>Compare</h2>" in page
    found = json.loads((tmp_path / "store" / "compare.json").read_text())
    alone = [
        train(
            Experiment.load(
                EXPERIMENTS / "iris.toml",
                [*small, f"seed={seed}", 'rule={kind="adjoint.Adjoint"}'],
            ),
            tmp_path / str(seed),
        ).results
        for seed in range(2)
    ]
    (bp, ep) = found["rules"]
    expected = 100 * (1 - np.array([one["test_accuracy"] for one in alone]))
    assert bp["error"]["mean"] == pytest.approx(expected.mean(), rel=ROUNDING)
    assert bp["error"]["standard_deviation"] == pytest.approx(expected.std(ddof=1), rel=ROUNDING)
    assert (bp["learned"], ep["difference"]["seeds"]) == (None, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{xor}", "--rules", "bp,p_epp"], "there is no rule 'p_epp'. Did you mean 'p_ep'?"),
        (["{xor}", "--set", "compare.seedz=3"], "unknown key. Did you mean 'seeds'?"),
        (["{xor}", "--resume", "{folder}"], "not both"),
        (["--resume", "{folder}", "--seeds", "3"], "--rules, --seeds, --set and --out do not go"),
        (["--resume", "{folder}"], "is not the folder of a sweep"),
        (["{xor}", "--out", "{folder}"], "exists already"),
    ],
)
def test_bad_input_is_one_message_and_nothing_runs(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    places = {"xor": EXPERIMENTS / "xor.toml", "folder": tmp_path}
    assert run(monkeypatch, *(part.format(**places) for part in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_another_sweep_is_not_continued(tmp_path, monkeypatch, capsys):
    text = (EXPERIMENTS / "xor.toml").read_text() + "\n[sweep]\nstart = [0]\n"
    Store.create(sweep_of(Experiment.parse(text)), tmp_path / "sweep")
    assert run(monkeypatch, "--resume", tmp_path / "sweep") == 2
    assert "eqprop-spice sweep --resume" in capsys.readouterr().err
