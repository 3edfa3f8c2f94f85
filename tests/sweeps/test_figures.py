import numpy as np
import xarray as xr

from eqprop_spice.sweeps.figures import decibels, error_figure, map_panels, save_figures


def results() -> xr.Dataset:
    rng = np.random.default_rng(0)
    shape = (3, 4, 5)
    error = np.exp(-np.linspace(0, 4, 11)) * rng.uniform(0.5, 1.0, (*shape, 1))
    error[..., 6:] = np.nan  # training stopped at the goal
    status = np.where(rng.random(shape) < 0.7, "learned", "stalled").astype(object)
    dims = ("alpha", "beta", "start")
    return xr.Dataset(
        {"max_error": ((*dims, "epoch"), error), "status": (dims, status)},
        coords={
            "alpha": ("alpha", [1e-4, 1e-3, 1e-2], {"units": "S^2/V^2"}),
            "beta": ("beta", [1e-6, 1e-5, 1e-4, 1e-3], {"units": "S"}),
        },
    )


def region() -> xr.Dataset:
    quartiles = {"beta_low": [1e-6, 2e-6, 3e-6], "beta_high": [np.nan] * 3}
    quartiles["alpha_high"] = [1e-3, 2e-3, 4e-3]
    return xr.Dataset({name: ("quartile", values) for name, values in quartiles.items()})


def test_all_figures_are_drawn(tmp_path):
    paths = save_figures(results(), tmp_path / "figures", [region()])
    assert [path.stem for path in paths] == ["errors", "success", "map"]
    for path in paths:
        assert path.stat().st_size > 5000
        assert path.with_suffix(".svg").is_file()


def test_a_sweep_over_starts_alone_has_no_map(tmp_path):
    alone = results().isel(alpha=0, beta=0)
    assert map_panels(alone) == []
    assert [path.stem for path in save_figures(alone, tmp_path / "f")] == ["errors", "success"]


def test_an_error_of_nothing_has_a_place():
    np.testing.assert_allclose(decibels(np.array([1.0, 0.1, 0.0])), [0.0, -20.0, -400.0])


def with_goal(stop: str) -> xr.Dataset:
    experiment = f"[goal]\nmax_error = 0.1\nstop = {stop}\n[training]\nbatch_size = 0\n"
    return results().assign_attrs(experiment=experiment)


def test_a_training_that_stops_at_its_goal_does_not_look_stuck():
    axes = error_figure(with_goal("true")).axes[0]
    lines = [line for line in axes.lines if np.size(line.get_xdata()) > 2]
    for line in lines:
        drawn = np.asarray(line.get_ydata(), float)
        drawn = drawn[np.isfinite(drawn)]
        # All above the goal of -20 dB but the last, at most.
        assert (drawn[:-1] > -20.0).all()
        assert len(drawn) < 8 or drawn[-1] > -20.0
    (goal,) = [line for line in axes.lines if "goal" in str(line.get_label())]
    assert goal.get_label() == "goal: the training ends"
    np.testing.assert_allclose(np.asarray(goal.get_ydata(), float), -20.0)


def test_figures_name_what_they_show():
    figure = error_figure(with_goal("false"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-2:] == ["goal", "band: middle half of the starts"]
    assert "Update" in {axes.get_xlabel() for axes in figure.axes}
    assert "Epoch" in {axes.get_xlabel() for axes in error_figure(results()).axes}
