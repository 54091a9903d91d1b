"""The background of a case, [background]: values, priors and covariances of every field."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from pydantic import model_validator

from assim.case.failure import CaseError, Fault, Trouble
from assim.case.plugins import PriorTable, SpreadTable, StateCovarianceTable, Table

if TYPE_CHECKING:
    from assim.problem.arrays import Array, State
    from assim.problem.covariance import AbstractCovariance
    from assim.problem.covariance.state import StateCovariance
    from assim.problem.model import AbstractDynamics
    from assim.problem.prior import AbstractPrior

Background: TypeAlias = "tuple[dict[str, Array | AbstractPrior], StateCovariance]"


class FieldTable(SpreadTable):
    """The prior of one field: a prior, a fixed value, or a mean with a standard deviation."""

    prior: PriorTable | None = None
    value: float | list[Any] | None = None
    mean: float | list[Any] | None = None

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

    def has_spread(self) -> bool:
        """Whether it has a covariance of its own."""
        return self.covariance is not None or self.stdev is not None

    def number(self) -> Any:
        """Its value or mean; None where it gives neither."""
        return self.value if self.mean is None else self.mean

    def centre(self, shape: tuple[int, ...]) -> "Array | None":
        """Its value or mean as an array of this shape; None where it gives neither."""
        key = "value" if self.mean is None else "mean"
        return None if self.number() is None else self.array(key, self.number(), shape)

    def build(self, shape: tuple[int, ...]) -> "Array | AbstractPrior | None":
        """The prior, or the value or mean; None where it gives none of them."""
        return self.centre(shape) if self.prior is None else self.prior.build()


class BackgroundTable(Table):
    """Where the background comes from, and its error."""

    file_keys = ("file",)

    file: str | None = None
    covariance: StateCovarianceTable | None = None
    fields: dict[str, FieldTable] = {}

    def build(self, model: "AbstractDynamics", start: str | float) -> "Background":
        """Values or priors of all fields at the start, and covariances of the Gaussian ones."""
        labels = model.labels()
        own = {name: table for name, table in self.fields.items() if name in labels.state}
        trouble = Trouble(self._unsaid(list(labels.state)))
        fields = {n: trouble.attempt(t.build, labels.shape(n)) for n, t in own.items()}
        fields = {name: value for name, value in fields.items() if value is not None}
        means = [name for name in fields if own[name].mean is not None]
        spreads = {n: trouble.attempt(own[n].spread, model, n) for n in means}
        trouble.report()
        rest = [name for name in labels.state if name not in fields]
        covariances = {name: part for name, part in spreads.items() if part is not None}
        if not rest:
            return fields, covariances
        values, stdev = self._from_file(model, rest, start)
        joint = self.joint()
        if joint is not None:
            self._check_alone(covariances)
            return fields | values, joint
        return fields | values, covariances | self._covariances(model, rest, stdev)

    def joint(self) -> Any:
        """The covariance of several fields together; None where the case has none."""
        from assim.problem.covariance import AbstractStateCovariance

        covariance = None if self.covariance is None else self.covariance.build()
        return covariance if isinstance(covariance, AbstractStateCovariance) else None

    def own(self, model: "AbstractDynamics", name: str) -> "AbstractCovariance | None":
        """The covariance that a field has in the case, of its own or by the common one."""
        field = self.fields.get(name)
        if field is not None and field.has_spread():
            return field.spread(model, name)
        return None if self.covariance is None else self.covariance.of_field(model, name)

    def says_spread(self, name: str) -> bool:
        """Whether the case says what the covariance of a field is, be it none."""
        field = self.fields.get(name)
        return self.covariance is not None or (field is not None and field.has_spread())

    def _unsaid(self, names: Sequence[str]) -> list[Fault]:
        """Fields of the model that neither a table nor a file provides."""
        what = (
            "the table is missing: give prior, value or mean, or a "
            "file for the whole background (background.file)"
        )
        said = [
            name
            for name, field in self.fields.items()
            if field.prior is not None or field.number() is not None
        ]
        return [
            Fault(self.at(f"fields.{name}"), what)
            for name in names
            if self.file is None and name not in said
        ]

    def _check_alone(self, others: "dict[str, AbstractCovariance]") -> None:
        """Refuse a covariance of one field beside that of several together."""
        own = [name for name, field in self.fields.items() if field.has_spread()]
        if several := [*others, *own]:
            what = "background.covariance is of several fields together: give none to single fields"
            raise self.fault(f"fields.{several[0]}", what)

    def _from_file(
        self, model: "AbstractDynamics", names: list[str], start: str | float
    ) -> "tuple[State, State]":
        """Fields, and those standard deviations that are needed and there."""
        from assim.files.read.states import read_state, read_stdev

        assert self.file is not None
        path = self.file_path(self.file)
        values = read_state(path, model, names, start)
        without = [name for name in names if not self.says_spread(name)]
        stdev = read_stdev(path, model, time=start) if without else {}
        return values, {name: value for name, value in stdev.items() if name in without}

    def _covariances(
        self, model: "AbstractDynamics", names: list[str], stdev: "State"
    ) -> "dict[str, AbstractCovariance]":
        """Covariances of the fields from the file: their own, the common one, or its stdev."""
        from assim.problem.covariance import Diagonal

        covariances: dict[str, AbstractCovariance] = {}
        faults = []
        for name in names:
            if self.says_spread(name):
                covariance = self.own(model, name)
                covariances |= {} if covariance is None else {name: covariance}
            elif name in stdev:
                covariances[name] = Diagonal(stdev[name])
            else:
                what = (
                    "no covariance: give stdev or "
                    f"covariance, or {name}_stddev in {self.file}, or covariance = "
                    '{ use = "none" } to keep the field fixed'
                )
                faults.append(Fault(self.at(f"fields.{name}"), what))
        if faults:
            raise CaseError(faults)
        return covariances
