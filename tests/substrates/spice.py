"""What ngspice makes of a netlist."""

import numpy as np

from eqprop_spice.spice.session import Session


def solved(text: str, names: list[str]) -> np.ndarray:
    """Return vectors of a netlist, `name point`."""

    def work(session: Session) -> list:
        session.load(text.splitlines())
        session.command("run")
        vectors = [session.vector(name) for name in names]
        session.unload()
        return vectors

    vectors = Session.do(work)
    assert all(vector is not None for vector in vectors)
    return np.array(vectors)
