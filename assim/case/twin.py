"""A twin experiment, [twin]."""

from typing import Any

from pydantic import Field

from assim.case.plugins import Table


class TwinTable(Table):
    """How `assim twin` makes truth, background and observations.

    Args:
        seed: seed of every random draw.
        spin_up: time that the model runs before the window starts, in its own unit.
        initial: value of each field before the spin-up; small noise is added to arrays.
        every: observations at every n-th slot edge.
        stride: observations at every n-th grid point.
        stdev: spread of the background about the truth where the case's covariance is the
            one in the background file, which `twin` writes.
        truth: file of the true trajectory.
        parameters: true values of parameters; those not here are drawn from their priors.
        model_error: whether the truth has the model errors that the case allows for.
    """

    seed: int = 0
    spin_up: float = Field(0.0, ge=0)
    initial: dict[str, float | list[Any]] = {}
    every: int = Field(1, ge=1)
    stride: int = Field(1, ge=1)
    stdev: float | dict[str, float] | None = None
    truth: str = "truth.nc"
    parameters: dict[str, float | list[Any]] = {}
    model_error: bool = True
