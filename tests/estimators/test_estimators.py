"""The estimators of scikit-learn: its own checks, its tools, and saving without a pickle."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import eqprop_spice as eq
from eqprop_spice.errors import ConfigError
from eqprop_spice.estimators.base import AbstractEstimator
from eqprop_spice.estimators.classifier import EqPropClassifier
from eqprop_spice.estimators.regressor import EqPropRegressor
from eqprop_spice.results.run import Run

SMALL = {"hidden": 6, "epochs": 6, "batch_size": 16}
"""Settings with which the checks of scikit-learn take seconds; they want learning, no record."""


NETLIST_TOLERANCE = 1e-6
"""Plain ngspice stops at its own tolerances, some 1e-7 V."""


@pytest.fixture(scope="module")
def flowers() -> tuple[np.ndarray, np.ndarray]:
    features, labels = map(np.asarray, load_iris(return_X_y=True))
    return features, np.array(["setosa", "versicolor", "virginica"])[labels]


@pytest.fixture(scope="module")
def fitted(flowers) -> EqPropClassifier:
    return EqPropClassifier(hidden=6, epochs=30).fit(*flowers)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["native", pytest.param("ngspice", marks=pytest.mark.ngspice)])
@pytest.mark.parametrize("cls", [EqPropClassifier, EqPropRegressor])
def test_scikit_learn_finds_nothing_to_complain_about(unchecked, cls, engine):
    found = check_estimator(cls(engine=engine, **SMALL), on_skip=None)
    assert {check["status"] for check in found} <= {"passed", "skipped"}
    assert sum(check["status"] == "passed" for check in found) > 50


def test_labels_are_learned_and_probabilities_fit_the_outputs(fitted, flowers):
    features, labels = flowers
    assert fitted.score(features, labels) > 0.95
    shares = fitted.predict_proba(features)
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-12)
    decisions = fitted.decision_function(features)
    assert (shares.argmax(1) == decisions.argmax(1)).all()
    assert fitted.circuit_.num_inputs == fitted.n_features_in_ == 4


def test_predictions_are_those_of_the_circuit_in_ngspice(fitted, flowers, tmp_path):
    """Kirchhoff's law of the exported netlist, solved by plain ngspice, gives the same outputs."""
    if shutil.which("ngspice") is None:
        pytest.skip("no ngspice program")
    files = fitted.export(tmp_path)
    assert [file.name for file in files] == ["free.cir", "nudged.cir", "conductances.csv"]
    done = subprocess.run(
        ["ngspice", "-b", str(files[0])], capture_output=True, text=True, check=False
    )
    rows = re.findall(r"v\((n3_\d)\) = (\S+)", done.stdout)
    volts = {node: float(value) for node, value in rows}
    ours = fitted.outputs(flowers[0][:1])[0]
    theirs = [volts[f"n3_{k}"] - volts[f"n3_{k + 3}"] for k in range(3)]
    np.testing.assert_allclose(theirs, ours, atol=NETLIST_TOLERANCE)


def test_a_run_folder_brings_an_estimator_back(fitted, flowers, tmp_path):
    features, labels = flowers
    run = fitted.save(tmp_path / "saved")
    again = EqPropClassifier.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.outputs(features), fitted.outputs(features))
    assert again.predict(features[:3]).tolist() == fitted.predict(features[:3]).tolist()
    assert again.get_params()["hidden"] == 6
    assert Run.open(run.path).results["train_accuracy"] == fitted.score(features, labels)
    np.testing.assert_array_equal(run.predict(features), fitted.predict(features))
    with pytest.raises(ConfigError, match="saved by EqPropClassifier"):
        EqPropRegressor.load(tmp_path / "saved")


def test_what_is_called_again_goes_on(flowers):
    features, labels = flowers
    estimator = EqPropClassifier(hidden=6, epochs=1)
    for _ in range(3):
        estimator.partial_fit(features, labels, classes=np.unique(labels))
    assert len(estimator.loss_curve_) == 3
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    warm = EqPropClassifier(hidden=6, epochs=2, warm_start=True)
    first = warm.fit(features, labels).conductances_
    assert len(warm.fit(features, labels).loss_curve_) == 4
    assert not np.array_equal(first["dense_0"], warm.conductances_["dense_0"])


def test_pipelines_searches_and_frames(flowers):
    pandas = pytest.importorskip("pandas")
    features, labels = flowers
    frame = pandas.DataFrame(features, columns=["a", "b", "c", "d"])
    steps = make_pipeline(StandardScaler(), EqPropClassifier(hidden=6, epochs=4))
    search = GridSearchCV(steps, {"eqpropclassifier__learning_rate": [6e-7, 3e-6]}, cv=3)
    search.fit(frame, labels)
    assert search.best_score_ > 0.8
    plain = EqPropClassifier(hidden=6, epochs=1).fit(frame, labels)
    assert plain.feature_names_in_.tolist() == ["a", "b", "c", "d"]


def test_numbers_are_predicted_in_their_own_units_and_shape():
    features, wanted = map(np.asarray, load_diabetes(return_X_y=True))
    one = EqPropRegressor(hidden=6, epochs=20).fit(features, wanted)
    assert one.score(features, wanted) > 0.4
    both = np.stack([wanted, -2.0 * wanted], axis=1)
    two = EqPropRegressor(hidden=6, epochs=2).fit(features, both)
    assert two.predict(features[:5]).shape == (5, 2)


def test_own_layers_and_callbacks(flowers):
    seen = []
    layers = [eq.Dense(5), eq.AntiparallelDiodes(eq.diode("kiraz"), 0.1)]
    own = EqPropClassifier(
        layers=layers, epochs=2, callbacks=[lambda epoch, figures: seen.append(epoch)]
    ).fit(*flowers)
    assert seen == [1, 2]
    assert {group.name for group in own.circuit_.groups} >= {"upper_1", "lower_1", "dense_2"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden": 0}, "needs at least 1"),
        ({"hidden": "ten"}, "hidden is 'ten'; it takes a number of nodes"),
        ({"hidden": (3, 2.5)}, "it takes a number of nodes"),
        ({"callbacks": "print"}, "takes a list of functions"),
        ({"diode": "nothing"}, "There is no diode 'nothing'"),
        ({"lower": 1.0}, "ascending order"),
        ({"engine": "pspice"}, "engine"),
        ({"optimizer": "adm"}, "adm"),
        ({"standardize": "rows"}, "standardize"),
        ({"epochs": 0}, "epochs"),
        ({"layers": ["dense"]}, "is no layer"),
        ({"rule": "ep"}, "'ep' is no component; one is an object"),
    ],
)
def test_wrong_settings_are_named_when_fit_is_called(unchecked, flowers, settings, words):
    with pytest.raises(ConfigError, match=words):
        EqPropClassifier(**settings).fit(*flowers)


def test_wrong_arrays_in_the_words_of_scikit_learn(unchecked, fitted, flowers):
    features, labels = flowers
    estimator: AbstractEstimator = EqPropClassifier(epochs=1)
    holes = features.copy()
    holes[3, 1] = np.nan
    for given, wanted, words in (
        (holes, labels, "NaN"),
        (features[0], labels, "Expected 2D array"),
        (features[:7], labels, "inconsistent numbers of samples"),
        (np.full((150, 4), "x"), labels, "could not convert string to float"),
        (features, np.full(150, "a"), "1 class"),
        (features, np.linspace(0, 1, 150), "Unknown label type"),
    ):
        with pytest.raises(ValueError, match=words):
            estimator.fit(given, wanted)
    with pytest.raises(ValueError, match="expecting 4 features"):
        fitted.predict(features[:, :3])
    with pytest.raises(NotFittedError):
        EqPropClassifier().predict(features)
    with pytest.raises(ConfigError, match="none of the classes"):
        fitted_copy = EqPropClassifier(hidden=6, epochs=1).partial_fit(features, labels)
        fitted_copy.partial_fit(features, np.full(150, "tulip"))
