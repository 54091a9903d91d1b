"""The tables of windows in sequence and of twin experiments."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from assim.run.table import CovarianceTable, Plugin, Table

Policy = Literal["stop", "forecast"]


class FailureTable(Table):
    """What follows a window that cannot be analysed: the end, or a forecast in its place.

    Args:
        no_observations: none has come, or none can be used.
        corrupt: a file of observations that cannot be read.
        not_converged: the minimisation has not converged; "accept" keeps its analysis.
        non_finite: the cost is not finite.
    """

    no_observations: Policy = "forecast"
    corrupt: Policy = "stop"
    not_converged: Literal["stop", "forecast", "accept"] = "accept"
    non_finite: Policy = "stop"


def _every_failure(given: Any) -> Any:
    """One word for every failure."""
    return dict.fromkeys(FailureTable.model_fields, given) if isinstance(given, str) else given


class CycleTable(Table):
    """Windows in sequence.

    Args:
        windows: how many.
        shift: slots from one window to the next; those of a window where not given.
        overlap: whether observations of overlapping windows enter when they are newest, or
            several times with a share of their weight each.
        method: how every window is analysed.
        covariance: the static covariance; the background's where not given.
        burn_in: windows that means over time leave out.
        on_failure: what follows a window that cannot be analysed; one word for all failures, or
            a table.
        twin: whether truth and observations are drawn in memory and no file of a window written.
    """

    windows: int = Field(ge=1)
    shift: int | None = Field(None, ge=1)
    overlap: Literal["newest", "several"] = "newest"
    method: Plugin = Plugin(use="FourDVar")
    covariance: CovarianceTable | None = None
    burn_in: int = Field(0, ge=0)
    on_failure: Annotated[FailureTable, BeforeValidator(_every_failure)] = FailureTable()
    twin: bool = False

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.burn_in >= self.windows:
            raise ValueError(
                f"burn_in must leave some of the {self.windows} windows, got {self.burn_in}"
            )
        return self


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
