"""The instruments of a case, [[observations]]: errors, bias correction and quality control."""

from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from assim.arguments import valid_name
from assim.case.failure import Fault
from assim.case.plugins import CovarianceTable, LikelihoodTable, OperatorTable, PriorTable, Table

if TYPE_CHECKING:
    import numpy as np

    from assim.files.read.observations import Instrument
    from assim.files.read.quality import QualityControl
    from assim.files.read.tables import ObservedTable
    from assim.files.sources import Source
    from assim.problem.arrays import Array, Labels
    from assim.problem.bias import BiasCorrection
    from assim.problem.departure import Problem
    from assim.problem.model import AbstractDynamics
    from assim.problem.observation import ErrorScale, Observations
    from assim.problem.operator import AbstractOperator
    from assim.problem.window import Window

Name = Annotated[str, AfterValidator(valid_name)]  # of what results hold


class ErrorTable(Table):
    """Standard deviation of the observation errors, and the prior of a factor on it."""

    stdev: float | None = Field(default=None, gt=0)
    name: Name | None = None
    prior: PriorTable | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.name is None) != (self.prior is None):
            raise ValueError("an estimated error scale needs both name and prior")
        return self

    def build(self) -> "ErrorScale | None":
        """The factor on the errors; None where none is estimated."""
        from assim.problem.observation import ErrorScale

        if self.name is None or self.prior is None:
            return None
        return ErrorScale(self.name, self.prior.build())


class BiasTable(Table):
    """One coefficient of a bias correction, and its predictor: 1 where none is given.

    Args:
        name: of the coefficient in results.
        prior: its prior.
        predictor: an operator, evaluated on the trajectory.
        variable: a variable of the observation file, on dimensions of the values.
    """

    name: Name
    prior: PriorTable
    predictor: OperatorTable | None = None
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

    def build(self) -> "QualityControl":
        """The quality control.

        Raises:
            CaseError: it does not fit together.
        """
        from assim.files.read.quality import QualityControl

        try:
            return QualityControl(**self.model_dump())
        except ValueError as error:
            raise self.fault("", str(error)) from None


class ObservationTable(Table):
    """One instrument.

    Args:
        file: of the observations.
        variable: the observed variable in it.
        time: the variable that is the time; that of the standard name `time` where not given.
        select: what to take along dimensions that the model does not know: by dimension the
            label, "mean" or "all".
        name: in results; the variable's where not given.
        operator: what it reads of the trajectory; the field of its name where not given.
        likelihood: how values scatter about predictions.
        error: standard deviation of the errors, and an estimated factor.
        covariance: of the errors, in place of `error.stdev`.
        correlated: whether covariances in the file count, or variances alone.
        accept: values or meanings of the file's quality flags with which values are used; 0 where
            not given.
        bias: coefficients of a bias correction.
        quality: quality control.
        held_back: whether its values are kept from the assimilation, to verify what the
            posterior predicts.
    """

    file_keys = ("file",)

    file: str
    variable: Name
    time: str | None = None
    select: dict[str, int | float | str] = {}
    name: Name | None = None
    operator: OperatorTable | None = None
    likelihood: LikelihoodTable = LikelihoodTable(use="Gaussian")
    error: ErrorTable = ErrorTable()
    covariance: CovarianceTable | None = None
    correlated: bool = True
    accept: list[int | str] | None = Field(default=None, min_length=1)
    bias: list[BiasTable] = []
    quality: QualityTable = QualityTable()
    held_back: bool = False

    _called: str = PrivateAttr("")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.covariance is not None and self.error.stdev is not None:
            raise ValueError("give either covariance or error.stdev, not both")
        return self

    def faults(self) -> list[Fault]:
        """As of every table, and errors given to a likelihood that has none."""
        faults = super().faults()
        given = {"covariance": self.covariance, "error.stdev": self.error.stdev}
        keys = [key for key, value in given.items() if value is not None]
        if faults or not keys or self.likelihood.build().uses_covariance:
            return faults
        what = f"{self.likelihood.use} values have no error of their own to give; drop this key"
        return [Fault(self.at(keys[0]), what)]

    @property
    def called(self) -> str:
        """Its name in results: as given, else the variable's."""
        return self._called or self.name or self.variable

    def call(self, name: str) -> None:
        """Give it another name in results, where its own is taken."""
        self._called = name

    def locate(self, path: str, folder: Any) -> Self:
        """As every table; its operator reads the field of its variable where it names none."""
        if self.operator is not None:
            self.operator.offer(variable=getattr(self, "variable", None))
        return super().locate(path, folder)

    def rows(self, source: "Source", labels: "Labels") -> "ObservedTable":
        """The rows of its variable in a file of its layout.

        Raises:
            DataError: they cannot be read.
        """
        from assim.files.read.tables import open_observations

        given = (self.time, self.select, self.accept)
        return open_observations(source, self.variable, labels, *given)

    def reads(self, model: "AbstractDynamics") -> "AbstractOperator":
        """What it reads of the trajectory, where no file can tell.

        Raises:
            CaseError: it asks for a field that the model lacks.
        """
        from assim.problem.operator import PointSample

        given = self.operator
        operator = PointSample(self.variable) if given is None else given.build()
        try:
            operator.units(model.labels())
        except KeyError as error:
            what = f"its operator asks for the field {error.args[0]!r}, which the model lacks"
            raise self.fault("", what) from None
        return operator

    def build(
        self,
        model: "AbstractDynamics",
        rows: "ObservedTable",
        window: "Window",
        *,
        source: "Source | None" = None,
        kept: "np.ndarray | None" = None,
    ) -> "Instrument":
        """The instrument, from rows of its file.

        The file is `source` where it is not the one that the case names, and `kept` numbers its
        rows that these are, where they are not all.

        Raises:
            CaseError: bias correction or quality control that does not fit together.
            DataError: rows that do not fit the model.
        """
        from assim.files.read.observations import to_instrument
        from assim.files.read.quality import Uncertainty

        quality = self.quality.build()
        file = self.file_path(self.file) if source is None else source
        return to_instrument(
            rows,
            model,
            window,
            None if self.operator is None else self.operator.build(),
            name=self.called,
            uncertainty=Uncertainty(
                stdev=self.error.stdev,
                likelihood=self.likelihood.build(),
                scale=self.error.build(),
                covariance=None if self.covariance is None else self.covariance.build(),
                correlated=self.correlated,
            ),
            bias=self._bias(model.labels(), file, kept),
            quality=quality,
        )

    def blank(self, model: "AbstractDynamics", window: "Window") -> "Observations":
        """The instrument with one value that stands for nothing: every window brings its own.

        Raises:
            CaseError: it does not fit the model, or its errors are correlated.
        """
        import jax.numpy as jnp
        import numpy as np

        from assim.problem.observation import Observations
        from assim.problem.points import Points

        operator, labels = self.reads(model), model.labels()
        if self.covariance is not None:
            what = "the errors of a cycle's observations are independent; give error.stdev instead"
            raise self.fault("covariance", what)
        start, end = (jnp.full(1, edge) for edge in np.asarray(window.edges)[[0, -1]])
        axes = {dim: labels.coordinates[dim].values for dim in operator.dims(labels)}
        places = {dim: jnp.asarray(np.asarray(values)[:1]) for dim, values in axes.items()}
        return Observations(
            self.called,
            np.ones(1),
            Points(end, start, end, places, window.reference),
            operator,
            likelihood=self.likelihood.build(),
            scale=self.error.build(),
            units=operator.units(labels) or "1",
            bias=self.correction({term.name: np.ones(1) for term in self.bias if term.variable}),
            weight=np.zeros(1),
        )

    def _bias(
        self, labels: "Labels", file: "Source", kept: "np.ndarray | None"
    ) -> "BiasCorrection | None":
        """The bias correction, its predictors by operator or from the file."""
        from assim.files.read.predictors import read_predictor

        columns, names = {}, [term.name for term in self.bias]
        given = (self.variable, labels, self.select, self.accept)
        for number, term in enumerate(self.bias):
            if term.name in names[:number]:
                raise term.fault("name", f"{term.name!r} stands here twice")
            if term.variable is None:
                continue
            column = read_predictor(file, term.variable, *given)
            columns[term.name] = column if kept is None else column[kept]
        return self.correction(columns)

    def correction(self, columns: "Mapping[str, np.ndarray]") -> "BiasCorrection | None":
        """The bias correction with these predictors from the file."""
        from assim.problem.bias import BiasCorrection

        if not self.bias:
            return None
        operators = {t.name: t.predictor.build() for t in self.bias if t.predictor is not None}
        priors = {term.name: term.prior.build() for term in self.bias}
        return BiasCorrection(priors, {**operators, **columns})


def name_instruments(tables: Sequence[ObservationTable]) -> None:
    """Give instruments that are held back, and have no name of their own, one that is free."""
    taken = [table.called for table in tables if table.name or not table.held_back]
    for table in tables:
        if not table.held_back or table.name is not None:
            continue
        first = f"{table.variable}_held_back"
        names = chain([first], (f"{first}_{number}" for number in count(2)))
        table.call(next(name for name in names if name not in taken))
        taken.append(table.called)


def held_back_faults(tables: Sequence[ObservationTable]) -> list[Fault]:
    """What can be seen of instruments held back without their data."""
    faults = []
    for number, table in enumerate(tables):
        if not table.held_back:
            continue
        others = [n for n, t in enumerate(tables) if t.called == table.called and n != number]
        if any(n < number or not tables[n].held_back for n in others):
            what = f"{tables[others[0]].at()} is called {table.called!r} too"
            faults.append(Fault(table.at("name"), f"{what}; give one of them another name"))
        if table.quality.threshold is not None:
            what = "readings that are held back have no background check; leave it out"
            faults.append(Fault(table.quality.at("threshold"), what))
    return faults


def problem_faults(
    problem: "Problem", held_back: "Sequence[tuple[ObservationTable, Instrument]]"
) -> list[Fault]:
    """Error scales and biases, of instruments held back, that are not estimated."""
    from assim.problem.predictive import observing

    faults = []
    for table, instrument in held_back:
        try:
            observing(problem, instrument.observations)
        except ValueError as error:
            what = str(error).removeprefix("predictive: ")
            way = "name one of an assimilated instrument, or leave it out"
            faults.append(Fault(table.at(), f"{what}; {way}"))
    return faults


def background_checked(
    problem: "Problem", instruments: "Sequence[Instrument]"
) -> "Sequence[Instrument]":
    """Instruments without the values that fail their background check; the same where none does.

    Raises:
        DataError: an instrument has no value left.
    """
    import numpy as np

    from assim.devices import program
    from assim.findings.impact import innovation_stdev

    if all(instrument.quality.threshold is None for instrument in instruments):
        return instruments
    stdevs = innovation_stdev(problem)
    predicted = program(_at_background)(problem)
    checked = []
    for instrument in instruments:
        name, values = instrument.observations.name, instrument.observations.values
        innovation = np.asarray(values - predicted[name])
        checked.append(instrument.check_background(innovation, np.asarray(stdevs[name])))
    same = all(new is old for new, old in zip(checked, instruments, strict=True))
    return instruments if same else checked


def _at_background(problem: "Problem") -> "dict[str, Array]":
    import jax.numpy as jnp

    return problem.simulate(jnp.zeros(problem.size())).predictions
