"""The layers of a Hopfield network, as an experiment's file gives them."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

HARD_SIGMOID = (0.0, 1.0)
"""Bounds of states whose activation is the hard sigmoid; relu6 has 0 and 6."""

STRICT: dict[str, Any] = {"extra": "forbid"}
"""Settings of pydantic: refuse unknown keys, which it ignores in dataclasses otherwise."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """A layer that every unit of the layer before it is connected to.

    Attributes:
        size: Number of units.
        bounds: Smallest and largest state, which is the activation; empty for a linear layer.
    """

    size: int
    bounds: tuple[float, ...] = HARD_SIGMOID
    kind: Literal["dense"] = "dense"

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT


@dataclasses.dataclass(frozen=True)
class Convolution:
    """Images that a convolution of the images before them, and then a pool, reaches.

    Attributes:
        channels: Number of images.
        kernel: Height and width of the convolution's window [pixels].
        stride: Distance between its windows [pixels].
        padding: Width of the frame of zeros around the images before [pixels].
        pool: What becomes of each window of the convolution's result. Windows do not overlap;
            pixels at the right and lower rim that do not fill one are left out.
        window: Height and width of a pool's window [pixels].
        bounds: Smallest and largest state, which is the activation; empty for a linear layer.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    pool: Literal["none", "max", "average"] = "none"
    window: int = 2
    bounds: tuple[float, ...] = HARD_SIGMOID
    kind: Literal["convolution"] = "convolution"

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT


Layer = Annotated[Dense | Convolution, Field(discriminator="kind")]
"""A layer of either kind, which its `kind` decides."""


@dataclasses.dataclass(frozen=True)
class Skip:
    """A further connection between two layers.

    Attributes:
        source: Number of the layer it comes from: 0 for the inputs, 1 for the first layer.
        target: Number of the layer it goes to, behind the source; the outputs are the last.
        kernel: Height and width of a convolution's window [pixels]; 0 for a dense connection.
        stride: Distance between its windows [pixels].
        padding: Width of the frame of zeros [pixels].
    """

    source: int
    target: int
    kernel: int = 0
    stride: int = 1
    padding: int = 0

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
