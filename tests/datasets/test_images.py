"""What is offered in TOML files, and the real files of the image datasets where they are."""

import os
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.datasets.images import FOLDER_VARIABLE, AbstractImages
from eqprop_spice.experiment.kinds import build, component_names

KINDS = {
    "mnist.Mnist",
    "fashion_mnist.FashionMnist",
    "kmnist.Kmnist",
    "cifar.Cifar10",
    "cifar.Cifar100",
    "svhn.Svhn",
}

SVHN_TEST = [1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595]

REAL = [
    ("fashion_mnist.FashionMnist", {}, 60_000, [1000] * 10),
    ("kmnist.Kmnist", {}, 60_000, [1000] * 10),
    ("cifar.Cifar10", {}, 50_000, [1000] * 10),
    ("cifar.Cifar100", {}, 50_000, [100] * 100),
    ("cifar.Cifar100", {"labels": "coarse"}, 50_000, [500] * 20),
    ("svhn.Svhn", {}, 73_257, SVHN_TEST),
]
"""Numbers of training images, and of test images per class, as published."""


def test_the_datasets_are_offered_and_what_they_share_is_not() -> None:
    names = set(component_names("datasets"))
    assert names >= KINDS
    assert not any("Abstract" in name or "Labelled" in name for name in names)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options", "num_train", "test_counts"), REAL)
def test_the_real_files(kind: str, options: dict, num_train: int, test_counts: list[int]) -> None:
    dataset: AbstractImages = build("datasets", {"kind": kind, **options})
    root = os.environ.get(FOLDER_VARIABLE)
    if root is None or not (Path(root) / dataset.SUBFOLDER).exists():
        pytest.skip(f"the files of {dataset.TITLE} are not here")
    data = dataset.load()
    assert len(data.train_inputs) == num_train
    assert data.test_targets.sum(0).astype(int).tolist() == test_counts
    assert np.ptp(data.test_inputs) == 1.0
