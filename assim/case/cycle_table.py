"""The tables of windows in sequence and of twin experiments."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from assim.case.failure import CaseError, Fault


class Table(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Plugin(BaseModel):
    """A plug-in: `use` and the constructor's arguments."""

    model_config = ConfigDict(extra="allow", strict=True)

    use: str


class CovarianceTable(Table):
    """A covariance: a plug-in, or a file that holds it."""

    model_config = ConfigDict(extra="allow", strict=True)

    use: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.use is None) == (self.file is None):
            raise ValueError('give either use = "..." or file = "..."')
        if self.file is not None and self.model_extra:
            extra = next(iter(self.model_extra))
            raise ValueError(f"a covariance from a file takes no argument, got {extra!r}")
        return self


Policy = Literal["stop", "forecast"]
_INFLATION = "assim.analysis.cycle.inflation:Inflation"
_WINDOW = re.compile(r"\{window(:(0\d+)?d?)?\}")


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


def _with_inflation(given: Any) -> Any:
    """A scheme whose table `inflation` needs no name of a class."""
    inflation = given.get("inflation") if isinstance(given, dict) else None
    if not isinstance(inflation, dict) or "use" in inflation:
        return given
    return {**given, "inflation": {"use": _INFLATION, **inflation}}


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
    method: Annotated[Plugin, BeforeValidator(_with_inflation)] = Plugin(use="FourDVar")
    covariance: CovarianceTable | None = None
    burn_in: int = Field(0, ge=0)
    on_failure: Annotated[FailureTable, BeforeValidator(_every_failure)] = FailureTable()
    twin: bool = False

    @field_validator("burn_in")
    @classmethod
    def _something_left(cls, given: int, others: ValidationInfo) -> int:
        windows = others.data.get("windows")
        if windows is not None and given >= windows:
            raise ValueError(f"must leave some of the {windows} windows, got {given}")
        return given


def by_window(file: str) -> bool:
    """Whether the name of an observation file stands for one file a window."""
    return "{window" in file


def file_fault(file: str, cycled: bool) -> str | None:
    """What is wrong with the number of a window in the name of an observation file, or None.

    Args:
        file: the name in the case.
        cycled: whether the case has windows in sequence.
    """
    if not cycled:
        if not by_window(file):
            return None
        return (
            f"{{window}} stands for the number of a window in a cycle, which this case has not; "
            f"name one file, or add the table [cycle], got {file!r}"
        )
    if not set("{}") & set(_WINDOW.sub("", file)):
        return None
    return (
        "of what is in braces only {window}, the number of the window, is replaced, as in "
        f'"{{window}}.nc" or "{{window:04d}}.nc", got {file!r}'
    )


def refuse_cycle(table: CycleTable | None, command: str, source: str) -> None:
    """Refuse a cycle where a command takes one window.

    Args:
        table: of the case.
        command: as typed.
        source: the case file.

    Raises:
        CaseError: there is one.
    """
    if table is None:
        return
    what = f"`assim {command}` takes one window; remove the table, or name a case without it"
    raise CaseError([Fault("cycle", what)], source)


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
