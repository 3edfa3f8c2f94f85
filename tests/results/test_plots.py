from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eqprop_spice.errors import Remark
from eqprop_spice.results.plots import (
    conductance_figure,
    loss_figure,
    prediction_figure,
    save_figures,
    voltage_figure,
    write_figures,
)
from eqprop_spice.training.history import History

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def history_of(num_epochs: int, *columns: str) -> xr.Dataset:
    rng = np.random.default_rng(0)
    shapes = {"dense_0": (3, 2), "dense_3": (2, 2)}
    history = History(shapes)
    for epoch in range(num_epochs):
        figures = {name: float(rng.uniform(0.1, 1.0)) for name in columns}
        if epoch % 2:  # tests are not made in every epoch
            figures = {k: v for k, v in figures.items() if not k.startswith("test_")}
        params = {name: rng.uniform(1e-4, 1e-2, shape) for name, shape in shapes.items()}
        history.append(figures, params)
    return history.to_xarray({})


def final_of(task: str, num_samples: int, num_outputs: int, num_nodes: int) -> xr.Dataset:
    rng = np.random.default_rng(1)
    targets = np.where(rng.uniform(size=(num_samples, num_outputs)) > 0.5, 1.0, -1.0)
    outputs = targets + 0.1 * rng.standard_normal(targets.shape)
    voltages = rng.standard_normal((num_samples, num_nodes))
    return xr.Dataset(
        {
            "output": (("sample", "output_index"), outputs),
            "target": (("sample", "output_index"), targets),
            "voltage": (("sample", "node"), voltages),
        },
        coords={"node": [f"n{3 * (i % 2)}_{i // 2}" for i in range(num_nodes)]},
        attrs={"task": task},
    )


def labels(figure: Figure) -> list[tuple[str, str]]:
    figure.draw_without_rendering()
    return [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]


def points_of(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xydata(), float)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


CASES = {
    "regression": ("regression", 1, 1, 4, ["loss"]),
    "many points": ("regression", 40, 2, 4, ["loss"]),
    "binary": ("binary", 4, 3, 8, ["loss", "accuracy"]),
    "classes": ("classes", 60, 3, 16, ["loss", "accuracy", "test_loss", "test_accuracy"]),
    "large": ("classes", 60, 10, 120, ["loss", "accuracy"]),
}


@pytest.mark.parametrize("case", CASES)
def test_all_figures_are_written_and_their_axes_named(case, tmp_path: Path):
    task, num_samples, num_outputs, num_nodes, columns = CASES[case]
    history, final = history_of(5, *columns), final_of(task, num_samples, num_outputs, num_nodes)
    paths = save_figures(history, final, tmp_path / "figures")
    assert [path.name for path in paths] == [
        "loss.png",
        "conductances.png",
        "voltages.png",
        "predictions.png",
    ]
    for path in paths:
        assert path.read_bytes().startswith(PNG_SIGNATURE)
        assert "<svg" in path.with_suffix(".svg").read_text()
    for figure in (
        loss_figure(history),
        conductance_figure(history),
        voltage_figure(final),
        prediction_figure(final),
    ):
        for x, y in labels(figure):
            assert y
            assert x or y.startswith("Error")  # the second axis shares the first one's x


def test_settings_of_the_working_folder_do_not_count(tmp_path):
    figures = {"plain": lambda: loss_figure(history_of(3, "loss"))}
    (plain,) = write_figures(figures, tmp_path / "plain")
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9.0, "savefig.dpi": 10}):
        (other,) = write_figures(figures, tmp_path / "other")
        assert matplotlib.rcParams["text.usetex"] is True
    assert other.read_bytes() == plain.read_bytes()


def test_a_figure_that_fails_costs_a_remark(tmp_path):
    def fail() -> Figure:
        raise RuntimeError("no LaTeX\nhere")

    figures = {"bad": fail, "good": lambda: loss_figure(history_of(3, "loss"))}
    with pytest.warns(Remark, match=r"bad\.png was not drawn: no LaTeX here"):
        paths = write_figures(figures, tmp_path / "figures")
    assert paths == [tmp_path / "figures" / "good.png"]


def test_units_are_named():
    history = history_of(3, "loss", "accuracy")
    assert labels(loss_figure(history)) == [
        ("Epoch", r"Loss [V$^2$]"),
        ("", "Error [%]"),
    ]
    assert labels(conductance_figure(history)) == [("Epoch", "Conductance [S]")]
    assert labels(voltage_figure(final_of("binary", 4, 1, 6)))[0][1].endswith("[V]")
    assert labels(voltage_figure(final_of("binary", 4, 1, 60)))[0][0].endswith("[V]")
    assert labels(prediction_figure(final_of("regression", 1, 1, 4)))[0][1].endswith("[V]")
    assert labels(prediction_figure(final_of("regression", 50, 1, 4))) == [
        ("Target [V]", "Output in the free phase [V]")
    ]
    assert labels(prediction_figure(final_of("classes", 50, 3, 4))) == [
        ("Predicted class", "True class")
    ]


def test_no_loss_at_all_is_left_out_of_the_logarithmic_axis():
    history = history_of(3, "loss")
    history["loss"].values[:] = [1.0, 0.1, 0.0]
    figure = loss_figure(history)
    (line,) = figure.axes[0].get_lines()
    np.testing.assert_allclose(points_of(line)[:, 1], [1.0, 0.1])
    assert figure.axes[0].get_yscale() == "log"


def test_samples_are_called_by_their_inputs_and_runs_by_their_names():
    final = final_of("binary", 4, 1, 6).assign(
        input=(("sample", "input_index"), [[-2.0, 2.0], [2.0, 2.0], [2.0, -2.0], [0.5, 0.25]])
    )
    figure = prediction_figure(final.assign_attrs(run="xor_seed0_001"))
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks[0] == "-2 V\n2 V" and ticks[3] == "0.5 V\n0.25 V"
    assert [text.get_text() for text in figure.texts] == ["xor_seed0_001"]


def test_tests_made_now_and_then_are_one_curve():
    figure = loss_figure(history_of(9, "loss", "accuracy", "test_loss", "test_accuracy"))
    assert legend(figure) == ["training loss", "test loss", "training error", "test error"]
    curves = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    points = points_of(curves["test error"])
    assert points[:, 0].tolist() == [1, 3, 5, 7, 9]
    assert np.isfinite(points).all()


def test_groups_of_conductances_have_one_color_each():
    figure = conductance_figure(history_of(4, "loss"))
    colors = [line.get_color() for line in figure.axes[0].get_lines()]
    assert colors == ["C0"] * 6 + ["C1"] * 4
    assert legend(figure) == ["dense_0 (6 shown)", "dense_3 (4 shown)"]


def test_voltages_are_colored_by_sample_or_class():
    assert legend(voltage_figure(final_of("binary", 4, 1, 6))) == [f"sample {i}" for i in range(4)]
    classes = voltage_figure(final_of("classes", 60, 3, 6))
    assert legend(classes) == ["class 0", "class 1", "class 2"]
    assert legend(voltage_figure(final_of("regression", 60, 1, 6))) == ["samples"]


def test_the_confusion_table_counts():
    final = final_of("classes", 3, 2, 4)
    final["target"].values[:] = [[1, -1], [1, -1], [-1, 1]]
    final["output"].values[:] = [[0.2, 0.1], [0.1, 0.2], [np.nan, np.nan]]
    (axes,) = prediction_figure(final).axes
    assert [text.get_text() for text in axes.texts] == ["1", "1"]
    # A sample without an operating point is not right.
    assert axes.get_title() == "1 of 3 training samples right"


def test_samples_without_an_operating_point_are_left_out():
    for task, count in (("binary", 4), ("regression", 50), ("classes", 50)):
        final = final_of(task, count, 2, 60)
        final["output"].values[:] = np.nan
        final["voltage"].values[:] = np.nan
        labels(prediction_figure(final))
        labels(voltage_figure(final))
