"""The tests check annotations: without that, none of these calls would fail."""

import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from eqprop_spice.phases import Force
from eqprop_spice.settled import Settled


def test_shapes_that_disagree_are_refused():
    with pytest.raises(TypeCheckError, match="residual"):
        Settled(None, np.ones(2, bool), np.zeros(3), np.zeros(2, int))


@pytest.mark.parametrize("currents", [np.zeros(3), np.zeros((1, 3), int), [[0.0]]])
def test_fields_hold_what_they_say(currents):
    with pytest.raises(TypeCheckError, match="currents"):
        Force(currents)


def test_arrays_of_both_libraries_pass():
    for xp in (np, jnp):
        assert Force(xp.zeros((1, 3))).source_currents(1, 3).shape == (1, 3)


@pytest.mark.usefixtures("unchecked")
def test_a_test_may_pass_wrong_types_on_purpose():
    assert Force(np.zeros(3)).currents.shape == (3,)


KEPT = """
import eqprop_spice.arrays
import jax
print(jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize(
    ("chosen", "other_first"),
    [("on", False), ("off", False), ("elsewhere", False), ("unwritable", False), ("on", True)],
)
def test_compiled_programs_are_kept_unless_the_user_or_other_code_says_otherwise(
    tmp_path, chosen, other_first
):
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    (tmp_path / "file").touch()
    places = {"off": "off", "elsewhere": tmp_path / "here", "unwritable": tmp_path / "file"}
    if chosen in places:
        environment["EQPROP_CACHE"] = str(places[chosen])
    code = ("import jax\n" if other_first else "") + KEPT
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept = done.stdout.strip()
    if other_first or chosen in ("off", "unwritable"):
        assert kept == "None"
    else:
        root = tmp_path / ("here" if chosen == "elsewhere" else "eqprop_spice")
        assert kept.startswith(f"{root}{os.sep}jax-")
