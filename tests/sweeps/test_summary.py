import numpy as np
import pytest
import xarray as xr
from scipy.stats import binomtest

from eqprop_spice.sweeps.summary import success, summary

ROUNDING = 1e-12


def results(learned: list[int], starts: int) -> xr.Dataset:
    status = np.full((len(learned), starts), "stalled", object)
    for row, count in zip(status, learned, strict=True):
        row[:count] = "learned"
    loss = np.full((*status.shape, 4), np.nan)
    loss[..., :2] = 1.0
    return xr.Dataset(
        {
            "status": (("beta", "start"), status),
            "loss": (("beta", "start", "epoch"), loss),
            "seconds": (("beta", "start"), np.ones(status.shape)),
        },
        coords={"beta": np.arange(len(learned)), "start": np.arange(starts)},
        attrs={"name": "demo"},
    )


def test_the_interval_is_that_of_scipy():
    table = success(results([0, 1, 7, 10], 10))
    for k, row in zip([0, 1, 7, 10], range(4), strict=True):
        interval = binomtest(k, 10).proportion_ci(method="wilson")
        here = table.isel(beta=row)
        assert float(here["rate"]) == k / 10
        assert float(here["low"]) == pytest.approx(interval.low, abs=ROUNDING)
        assert float(here["high"]) == pytest.approx(interval.high, abs=ROUNDING)


def test_cells_without_a_status_do_not_count():
    dataset = results([2], 4)
    dataset["status"][0, 3] = ""
    table = success(dataset)
    assert int(table["cells"][0]) == 3
    assert float(table["rate"][0]) == pytest.approx(2 / 3)


def test_the_summary_counts_every_cell_once():
    found = summary(results([3, 0], 5))
    assert (found["cells"], found["missing"], found["learned"], found["stalled"]) == (10, 0, 3, 7)
    assert [row["learned"] for row in found["rates"]] == [3, 0]
    assert found["rates"][0]["median_epochs"] == 1.0
    assert found["rates"][1]["median_epochs"] is None
    assert found["cpu_seconds"] == 10.0
