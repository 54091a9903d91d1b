"""The fixed tables of a case file. Tables with `use` are open: a plug-in knows its arguments."""

import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from assim.case.cycle_table import CovarianceTable, CycleTable, Plugin, Table, TwinTable, file_fault

FILES = ("background", "analysis", "trajectory", "feedback", "posterior", "diagnostics")
Kept = Literal[
    "background", "analysis", "trajectory", "feedback", "posterior", "diagnostics", "report"
]
NAME = r"[a-z][a-z0-9_]*"  # of a method in the names of its files
Time = datetime.datetime | datetime.date | int | float | str


class ScaleTable(Table):
    """A factor on an error that is estimated."""

    name: str
    prior: Plugin


class MinimiserTable(Plugin):
    """The minimiser, what it starts from, and in how many stages the window is lengthened."""

    use: str = "GaussNewton"
    starts: int = Field(default=1, ge=1)
    first_guess: str | None = None
    stages: int = Field(default=1, ge=1)


class PosteriorTable(Plugin):
    """One way to quantify uncertainty; "none" for the minimum alone, "auto" for what is needed.

    Args:
        use: the method.
        name: in results and of files; the method's own where not given.
    """

    use: str = "Laplace"
    name: str | None = Field(default=None, pattern=f"^{NAME}$")


def _several(given: Any) -> Any:
    """A posterior as a list of tables: it may be a table, a name, or a list of both."""
    items = given if isinstance(given, list) else [given]
    return [{"use": item} if isinstance(item, str) else item for item in items]


Posteriors = Annotated[list[PosteriorTable], BeforeValidator(_several), Field(min_length=1)]


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
    covariance: CovarianceTable | None = None

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
    covariance: CovarianceTable | None = None
    fields: dict[str, FieldTable] = {}


class FieldErrorTable(Table):
    """Model error of one field."""

    stdev: float | None = Field(None, gt=0)
    covariance: CovarianceTable | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.stdev is None) == (self.covariance is None):
            raise ValueError("give either stdev or covariance")
        return self


class ModelErrorTable(Table):
    """Model error, whose presence makes the constraint weak.

    Args:
        covariance: Q of all fields alike, or of several together.
        fields: Q field by field; those without a table have no model error.
        in_time: correlation of the errors in time.
        every: slots that share one error.
        acts: "jump" at the end of these slots, or "tendency" throughout.
        amplitude: an estimated factor.
        formulation: whether model errors or states are the control.
    """

    covariance: CovarianceTable | None = None
    fields: dict[str, FieldErrorTable] = {}
    in_time: Plugin | None = None
    every: int = Field(1, ge=1)
    acts: Literal["jump", "tendency"] = "jump"
    amplitude: ScaleTable | None = None
    formulation: Literal["forcing", "state"] = "forcing"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.covariance is None) == (not self.fields):
            raise ValueError("give either covariance or fields")
        return self


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


class BiasTable(Table):
    """One coefficient of a bias correction, and its predictor: 1 where none is given.

    Args:
        name: of the coefficient in results.
        prior: its prior.
        predictor: an operator, evaluated on the trajectory.
        variable: a variable of the observation file, one number a row.
    """

    name: str
    prior: Plugin
    predictor: Plugin | None = None
    variable: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.predictor is not None and self.variable is not None:
            raise ValueError("give either predictor or variable, or neither for a constant")
        return self


class QualityTable(Table):
    """Quality control, as `QualityControl` has it; lengths are checked there."""

    lower: float | None = None
    upper: float | None = None
    threshold: float | None = None
    thin_time: float | None = None
    thin_distance: float | dict[str, float] | None = None
    superob_time: float | None = None
    superob_distance: float | dict[str, float] | None = None
    correlation: float = 0.0


class ObservationTable(Table):
    """One instrument.

    Args:
        file: of the observations.
        variable: the observed variable in it.
        name: in results; the variable's where not given.
        operator: what it reads of the trajectory; the field of its name where not given.
        likelihood: how values scatter about predictions.
        error: standard deviation of the errors, and an estimated factor.
        covariance: of the errors, in place of `error.stdev`.
        correlated: whether covariances in the file count, or variances alone.
        bias: coefficients of a bias correction.
        quality: quality control.
        held_back: whether its values are kept from the assimilation, to verify what the
            posterior predicts.
    """

    file: str
    variable: str
    name: str | None = None
    operator: Plugin | None = None
    likelihood: Plugin | None = None
    error: ErrorTable | None = None
    covariance: Plugin | None = None
    correlated: bool = True
    bias: list[BiasTable] = []
    quality: QualityTable | None = None
    held_back: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.covariance is not None and self.error is not None and self.error.stdev is not None:
            raise ValueError("give either covariance or error.stdev, not both")
        return self


class QuantityTable(Table):
    """A scalar function of the trajectory whose posterior is wanted."""

    use: str
    units: str = "1"
    long_name: str = ""


class ImpactTable(Table):
    """The forecast on which the impact of every observation is asked.

    Args:
        file: of the state that verifies it.
        time: when it does; after the window's end.
        weights: of each field in the squared error; 1 where not given.
    """

    file: str
    time: Time
    weights: dict[str, float] = {}


class PredictiveTable(Table):
    """What new readings the posterior predicts, against those made."""

    draws: int = Field(default=1000, ge=10)


class SloppyTable(Table):
    """Stiff and sloppy directions: whether J is profiled along the sloppiest."""

    profile: bool = False


class RuntimeTable(Table):
    """Device, precision and seed."""

    device: Literal["cpu", "gpu"] = "cpu"
    precision: Literal["float64", "float32"] = "float64"
    seed: int = 0


class OutputTable(Table):
    """Where results go: the directory, the fields of the trajectory, the files to keep.

    With `arviz`, the posterior is also written as ArviZ reads it, in groups.
    """

    directory: str | None = None
    arviz: bool = False
    variables: list[str] | None = None
    keep: list[Kept] | None = None


class CaseTable(Table):
    """A whole case."""

    @model_validator(mode="after")
    def _slots_of_a_cycle(self) -> Self:
        if self.cycle is None:
            return self
        if self.window.slots is None:
            raise ValueError(
                "window.times: windows in sequence need one number of slots each; replace `times` "
                "by `slots` (with `end` or `steps`)"
            )
        if self.cycle.twin and self.twin is None:
            raise ValueError("cycle.twin: a twin experiment needs the table [twin]")
        shift = self.cycle.shift or self.window.slots
        if shift > self.window.slots or self.window.slots % shift:
            raise ValueError(
                f"cycle.shift: must divide the {self.window.slots} slots of a window, got {shift}"
            )
        return self

    @model_validator(mode="after")
    def _names_of_files(self) -> Self:
        found = [file_fault(one.file, self.cycle is not None) for one in self.observations]
        told = [f"observations.{n}.file: {what}" for n, what in enumerate(found) if what]
        if told:
            raise ValueError("; ".join(told))
        return self

    @model_validator(mode="after")
    def _something_to_assimilate(self) -> Self:
        if all(one.held_back for one in self.observations):
            raise ValueError("observations: every instrument is held back; none is assimilated")
        return self

    title: str = ""
    model: Plugin
    window: WindowTable
    background: BackgroundTable
    parameters: dict[str, ParameterTable] = {}
    model_error: ModelErrorTable | None = None
    observations: list[ObservationTable] = Field(min_length=1)
    quantities: dict[str, QuantityTable] = {}
    forecast_impact: ImpactTable | None = None
    predictive: PredictiveTable | None = None
    sloppy: SloppyTable = SloppyTable()
    minimiser: MinimiserTable = MinimiserTable()
    posterior: Posteriors = [PosteriorTable()]
    cycle: CycleTable | None = None
    twin: TwinTable | None = None
    runtime: RuntimeTable = RuntimeTable()
    output: OutputTable = OutputTable()
