"""Windows in sequence, [cycle]: their plan and their scheme; a twin experiment, [twin]."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from assim.case.plugins import Plugin, StateCovarianceTable, Table

if TYPE_CHECKING:
    from assim.problem.covariance import AbstractStateCovariance
    from assim.problem.model import AbstractDynamics

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


class SchemeTable(Plugin):
    """How every window is analysed; made with the minimiser and the static covariance."""

    kind = "scheme"
    needs_more = True


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
    method: Annotated[SchemeTable, BeforeValidator(_with_inflation)] = SchemeTable(use="FourDVar")
    covariance: StateCovarianceTable | None = None
    burn_in: int = Field(0, ge=0)
    on_failure: Annotated[FailureTable, BeforeValidator(_every_failure)] = FailureTable()
    twin: bool = False

    @model_validator(mode="after")
    def _of_an_experiment(self) -> Self:
        for key in ("not_converged", "non_finite") if self.twin else ():
            if getattr(self.on_failure, key) == "forecast":
                raise ValueError(
                    f'on_failure.{key} = "forecast": an experiment in memory (twin = true) '
                    "analyses every window; leave the key out, or run the cycle over files"
                )
        return self

    @field_validator("burn_in")
    @classmethod
    def _something_left(cls, given: int, others: ValidationInfo) -> int:
        windows = others.data.get("windows")
        if windows is not None and given >= windows:
            raise ValueError(f"must leave some of the {windows} windows, got {given}")
        return given

    def static(
        self, model: "AbstractDynamics", names: Sequence[str]
    ) -> "AbstractStateCovariance | None":
        """The static covariance that the cycle has of its own; of these fields unless it says.

        Raises:
            CaseError: the scheme takes none, or its table gives one.
        """
        from assim.problem.covariance import AbstractStateCovariance
        from assim.problem.covariance.state import state_covariance

        if self.covariance is None:
            return None
        given, taken = self.method.model_extra or {}, self.method.types()
        if "static" not in taken or "static" in given:
            why = "has one of its own" if "static" in given else "takes no static covariance"
            raise self.fault("covariance", f"{self.method.use} {why}; drop this key")
        joint = self.covariance.build()
        if isinstance(joint, AbstractStateCovariance):
            return joint
        every = {name: self.covariance.of_field(model, name) for name in names}
        return state_covariance({n: own for n, own in every.items() if own is not None}, names)


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

    def files(self) -> list[str]:
        """The truth, where the experiment has left it."""
        return [self.truth] if self.file_path(self.truth).is_file() else []


def by_window(file: str) -> bool:
    """Whether the name of an observation file stands for one file a window."""
    return "{window" in file


def file_fault(file: str, cycled: bool) -> str | None:
    """What is wrong with {window} in the name of an observation file; None where nothing is."""
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
        "only {window}, the number of the window, may stand in braces, as in "
        f'"{{window}}.nc" or "{{window:04d}}.nc", got {file!r}'
    )
