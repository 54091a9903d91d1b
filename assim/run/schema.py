"""The fixed tables of a case file. Tables with `use` are open: a plug-in knows its arguments."""

import datetime
import types
import typing
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assim.run.failure import Fault, nearest

FILES = ("background", "analysis", "trajectory", "feedback", "posterior", "diagnostics")
Kept = Literal[
    "background", "analysis", "trajectory", "feedback", "posterior", "diagnostics", "report"
]
Time = datetime.datetime | datetime.date | int | float | str


class Table(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Plugin(BaseModel):
    """A plug-in: `use` and the constructor's arguments."""

    model_config = ConfigDict(extra="allow", strict=True)

    use: str


class MinimiserTable(Plugin):
    """The minimiser, and how many first guesses it starts from."""

    use: str = "GaussNewton"
    starts: int = Field(default=1, ge=1)


class PosteriorTable(Plugin):
    """The posterior; "none" for the minimum alone."""

    use: str = "Laplace"


class WindowTable(Table):
    """Where the window lies and how it is cut into slots."""

    start: Time
    end: Time | None = None
    slots: int | None = Field(None, ge=1)
    steps: int = Field(1, ge=1)
    times: Literal["observations"] | list[Time] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.times is not None and self.slots is not None:
            raise ValueError("give either times or slots, not both")
        if self.end is not None and self.slots is not None and "steps" in self.model_fields_set:
            raise ValueError("give either end or steps: slots and end already say how long one is")
        if self.times is None and self.slots is None:
            raise ValueError(
                'say where the slots lie: times = "observations", or slots = N (with end, or with '
                "steps for a stepping model)"
            )
        return self


class FieldTable(Table):
    """The prior of one field: a prior, a fixed value, or a mean with a standard deviation."""

    prior: Plugin | None = None
    value: float | list[Any] | None = None
    mean: float | list[Any] | None = None
    stdev: float | None = Field(None, gt=0)
    covariance: Plugin | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("prior", "value", "mean") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give only one of {' and '.join(given)}")
        if self.stdev is not None and self.covariance is not None:
            raise ValueError("give either stdev or covariance, not both")
        if given in (["prior"], ["value"]) and (self.stdev or self.covariance):
            raise ValueError(f"a field with {given[0]} takes neither stdev nor covariance")
        if given == ["mean"] and not (self.stdev or self.covariance):
            raise ValueError("a mean needs stdev or covariance; a fixed field is given by value")
        return self


class BackgroundTable(Table):
    """Where the background comes from, and its error."""

    file: str | None = None
    covariance: Plugin | None = None
    fields: dict[str, FieldTable] = {}


class ParameterTable(Table):
    """A parameter: estimated with a prior, or fixed at a value."""

    prior: Plugin | None = None
    value: float | list[Any] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.prior is None) == (self.value is None):
            raise ValueError("give either prior or value")
        return self


class ErrorTable(Table):
    """Standard deviation of the observation errors, and the prior of a factor on it."""

    stdev: float | None = Field(None, gt=0)
    name: str | None = None
    prior: Plugin | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.name is None) != (self.prior is None):
            raise ValueError("an estimated error scale needs both name and prior")
        return self


class ObservationTable(Table):
    """One instrument."""

    file: str
    variable: str
    name: str | None = None
    operator: Plugin | None = None
    likelihood: Plugin | None = None
    error: ErrorTable | None = None


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
    """

    seed: int = 0
    spin_up: float = Field(0.0, ge=0)
    initial: dict[str, float | list[Any]] = {}
    every: int = Field(1, ge=1)
    stride: int = Field(1, ge=1)
    stdev: float | dict[str, float] | None = None
    truth: str = "truth.nc"


class RuntimeTable(Table):
    """Device, precision and seed."""

    device: Literal["cpu", "gpu"] = "cpu"
    precision: Literal["float64", "float32"] = "float64"
    seed: int = 0


class OutputTable(Table):
    """Where results go: the directory, the fields of the trajectory, the files to keep."""

    directory: str | None = None
    variables: list[str] | None = None
    keep: list[Kept] | None = None


class CaseTable(Table):
    """A whole case."""

    title: str = ""
    model: Plugin
    window: WindowTable
    background: BackgroundTable
    parameters: dict[str, ParameterTable] = {}
    observations: list[ObservationTable] = Field(min_length=1)
    minimiser: MinimiserTable = MinimiserTable()
    posterior: PosteriorTable = PosteriorTable()
    twin: TwinTable | None = None
    runtime: RuntimeTable = RuntimeTable()
    output: OutputTable = OutputTable()


_PLANNED = ("cycle", "model_error")  # tables that the design has, and this version has not


def validate(tree: dict[str, Any]) -> tuple[CaseTable | None, list[Fault]]:
    """The tables of a case, or what is wrong with them."""
    try:
        return CaseTable.model_validate(tree), []
    except ValidationError as error:
        seen: dict[str, Fault] = {}
        for problem in error.errors(include_url=False):
            fault = _fault(dict(problem))
            seen.setdefault(fault.path, fault)  # a union reports every member: keep the first
        return None, list(seen.values())


def _fault(problem: dict[str, Any]) -> Fault:
    """A pydantic error in our words."""
    location, kind = problem["loc"], problem["type"]
    path = ".".join(str(part) for part in _plain(location))
    if kind == "missing":
        what = "the table" if len(location) == 1 else "this key"
        return Fault(path, f"{what} is missing")
    if path in _PLANNED:
        return Fault(path, "not part of this version, which runs one strong-constraint window")
    if kind == "extra_forbidden":
        return Fault(path, f"no such key; {nearest(str(location[-1]), _keys(location[:-1]))}")
    words = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "value_error":
        return Fault(path, words)
    return Fault(path, f"{words}, got {problem['input']!r}")


def _plain(location: tuple) -> list:
    """The location without the names that pydantic adds for the members of a union."""
    return [part for part in location if isinstance(part, int) or not _is_member(part)]


def _is_member(part: str) -> bool:
    return part in {"float", "int", "str", "date", "datetime"} or part.startswith(
        ("list[", "dict[", "literal[", "union[")
    )


def _keys(location: tuple) -> list[str]:
    """The keys that the table at a location may have."""
    here: Any = CaseTable
    for part in location:
        here = _inside(here, part)
    return list(getattr(here, "model_fields", {}))


def _inside(kind: Any, part: str | int) -> Any:
    """The type of a member of a table, list or dictionary."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        kind = kind.model_fields[str(part)].annotation
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        return next((option for option in options if option is not type(None)), kind)
    return (typing.get_args(kind) or (None,))[-1]
