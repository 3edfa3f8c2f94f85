"""What needs a package of an extra says which command installs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SCRIPT = """
import json, sys
for name in ("schemdraw", "zarr", "distributed", "numcodecs", "pyarrow", "tensorboardX", "mlflow"):
    sys.modules[name] = None
from eqprop_spice.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["eqprop-spice", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code == 2, end
"""
"""Runs commands as a user has them who has installed no extra."""

PARQUET = 'dataset={kind="table.Table", path="my.parquet", target="y"}'

COMMANDS = {
    "schematic": ("schematic", "xor"),
    "sweep": ("sweep", "xor", "--set", "sweep.start.seeds=2"),
    "tensorboard": ("train", "xor", "--set", "logging.tensorboard=true"),
    "mlflow": ("train", "xor", "--set", "logging.mlflow=true"),
    "parquet": ("train", "iris", "--set", PARQUET),
}
"""By extra, what needs it."""


@pytest.mark.slow
def test_a_missing_extra_is_one_message_and_nothing_is_made(tmp_path):
    (tmp_path / "my.parquet").touch()
    commands = [*COMMANDS.values(), ("compare", "xor")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    said = done.stderr.splitlines()
    for line, extra in zip(said, [*COMMANDS, "sweep"], strict=True):
        assert line.startswith("error: ")
        assert f"pip install 'eqprop_spice[{extra}]'" in line
    assert [path.name for path in tmp_path.iterdir()] == ["my.parquet"]
