"""The background of a case, [background]: values, priors and covariances of every field."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from pydantic import PrivateAttr, model_validator

from assim.case.failure import Fault, Trouble
from assim.case.plugins import NONE, PriorTable, SpreadTable, StateCovarianceTable, Table
from assim.files.errors import DataError

if TYPE_CHECKING:
    from assim.problem.arrays import Array, Labels, State
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

    def is_given(self) -> bool:
        """Whether it leaves neither its values nor their errors to what all fields share."""
        return self.prior is not None or self.number() is not None or self.has_spread()

    def is_fixed(self) -> bool:
        """Whether the case says that the field is not estimated."""
        return self.value is not None or (
            self.covariance is not None and self.covariance.use == NONE
        )

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
    """Where the background comes from, and its error.

    Args:
        file: of the fields.
        time: the variable in it that is the time; that of the standard name `time` if not given.
        select: what to take along dimensions that the model does not know: by dimension the
            label, or "mean".
        covariance: of the fields that have none of their own.
        fields: what is said of each.
    """

    file_keys = ("file",)

    file: str | None = None
    time: str | None = None
    select: dict[str, int | float | str] = {}
    covariance: StateCovarianceTable | None = None
    fields: dict[str, FieldTable] = {}

    _offered: dict[str, Any] = PrivateAttr(default_factory=dict)

    def offer(self, values: Mapping[str, Any]) -> None:
        """Values of fields, which stand for those that neither a table nor a file provides."""
        self._offered = {} if self.file is not None else dict(values)

    def build(self, model: "AbstractDynamics", start: str | float) -> "Background":
        """Values or priors of all fields at the start, and covariances of the Gaussian ones."""
        labels, trouble = model.labels(), Trouble(self._unsaid(model.labels().state))
        fields = {n: trouble.attempt(t.build, labels.shape(n)) for n, t in self.fields.items()}
        fields = {name: value for name, value in fields.items() if value is not None}
        means = [name for name in fields if self.fields[name].mean is not None]
        spreads = {n: trouble.attempt(self.fields[n].spread, model, n) for n in means}
        trouble.report()
        rest = [name for name in labels.state if name not in fields]
        if rest:
            values, stdev = self._values(model, rest, start)
            fields |= values
            if (joint := self.joint()) is not None:
                return fields, joint
            spreads |= {n: trouble.attempt(self._spread, model, n, stdev.get(n)) for n in rest}
            trouble.report()
        return fields, {name: part for name, part in spreads.items() if part is not None}

    def remarks(self, labels: "Labels") -> list[str]:
        """Fields of the file that are means or sums over time, and read as states at a time."""
        from assim.files.read.cells import states_read_at_times

        names = [name for name in labels.state if self.field(name).mean is None]
        if self.file is not None:
            with suppress(DataError):  # which is told where the file is read
                return states_read_at_times(self.file_path(self.file), labels, names, self.time)
        return []

    def field(self, name: str) -> FieldTable:
        """What the case says of a field, if anything."""
        return self.fields.get(name) or FieldTable()

    def gaussian(self, names: Iterable[str]) -> list[str]:
        """Those of the model's fields that have neither a prior of their own nor a known value."""
        fields = {name: self.field(name) for name in names}
        return [n for n, field in fields.items() if field.prior is None and field.value is None]

    def joint(self) -> Any:
        """The covariance of several fields together; None where the case has none."""
        from assim.problem.covariance import AbstractStateCovariance

        covariance = None if self.covariance is None else self.covariance.build()
        return covariance if isinstance(covariance, AbstractStateCovariance) else None

    def shared_faults(self, names: Iterable[str]) -> list[Fault]:
        """A covariance that none of the model's fields takes, or fields that do not go with it."""
        joint, fields = self.joint(), {name: self.field(name) for name in names}
        if joint is not None:
            return self._together_faults(joint.fields(), fields)
        shared = self.covariance is not None and self.covariance.use != NONE
        if not shared or not all(field.is_given() for field in fields.values()):
            return []
        what = (
            "no field takes it, as all have a prior, a value or an error of their own: give it to "
            "the field that it is meant for, as mean and covariance, or drop the key"
        )
        return [Fault(self.at("covariance"), what)]

    def _together_faults(
        self, together: Collection[str], fields: Mapping[str, FieldTable]
    ) -> list[Fault]:
        """Fields that a covariance of several together leaves out, or that are given otherwise."""
        if not {*together} <= {*fields}:  # told where it is fitted to the model
            return []
        shared = f"{self.at('covariance')} is of {' and '.join(together)} together"
        twice = f"{shared}, with values from the file: give prior, value, mean, stdev or covariance"
        left = (
            f"{shared}, and no other can be added to it: name the field there, give prior or "
            'value, or covariance = { use = "none" } to keep it fixed'
        )
        faults = []
        for name, field in fields.items():
            if name in together and field.is_given():
                faults.append(Fault(self.at(f"fields.{name}"), f"{twice} to none of them"))
            elif name not in together and field.prior is None and not field.is_fixed():
                faults.append(Fault(self.at(f"fields.{name}"), left))
        return faults

    def own(self, model: "AbstractDynamics", name: str) -> "AbstractCovariance | None":
        """The covariance that a field has in the case, of its own or by the common one."""
        field = self.field(name)
        if field.has_spread():
            return field.spread(model, name)
        return None if self.covariance is None else self.covariance.of_field(model, name)

    def says_spread(self, name: str) -> bool:
        """Whether the case says what the covariance of a field is, be it none."""
        return self.covariance is not None or self.field(name).has_spread()

    def _unsaid(self, names: Iterable[str]) -> list[Fault]:
        """Fields of the model that neither a table nor a file provides."""
        what = (
            "the table is missing: give prior, value or mean, or a file for the whole background "
            "(background.file)"
        )
        tables = self.fields.items()
        said = {n for n, t in tables if t.prior is not None or t.number() is not None}
        said |= {*self._offered}
        missing = [] if self.file is not None else [name for name in names if name not in said]
        return [Fault(self.at(f"fields.{name}"), what) for name in missing]

    def _values(
        self, model: "AbstractDynamics", names: list[str], start: str | float
    ) -> "tuple[State, State]":
        """Fields, offered or from the file, and its standard deviations, if needed and there."""
        from assim.files.read.states import read_state, read_stdev

        if self.file is None:
            shapes, offered = model.labels().shapes(), self._offered
            return {n: self.array(f"fields.{n}", offered[n], shapes[n]) for n in names}, {}
        path = self.file_path(self.file)
        values = read_state(path, model, names, start, clock=self.time, select=self.select)
        without = [name for name in names if not self.says_spread(name)]
        if not without:
            return values, {}
        stdev = read_stdev(path, model, time=start, clock=self.time, select=self.select)
        return values, {name: value for name, value in stdev.items() if name in without}

    def _spread(
        self, model: "AbstractDynamics", name: str, stdev: "Array | None"
    ) -> "AbstractCovariance | None":
        """The covariance of a field from the file: its own, the common one, or by its stdev."""
        from assim.problem.covariance import Diagonal

        if self.says_spread(name):
            return self.own(model, name)
        if stdev is not None:
            return Diagonal(stdev)
        in_file = "" if self.file is None else f"or {name}_stddev in {self.file}, "
        what = (
            f"no covariance: give stdev or covariance, {in_file}or "
            'covariance = { use = "none" } to keep the field fixed'
        )
        raise self.fault(f"fields.{name}", what)
