"""The model error of a case, [model_error], whose presence makes the constraint weak."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from assim.arguments import valid_name
from assim.case.plugins import (
    CovarianceTable,
    PriorTable,
    SpreadTable,
    StateCovarianceTable,
    Table,
)

if TYPE_CHECKING:
    from assim.problem.bounds import Bounds
    from assim.problem.covariance.state import StateCovariance
    from assim.problem.model import AbstractDynamics
    from assim.problem.model_error import ModelError


_NONE = "no field has a model error; give one a covariance, or drop the table [model_error]"


class FieldErrorTable(SpreadTable):
    """Model error of one field."""

    either = ("stdev", "covariance")


class AmplitudeTable(Table):
    """A factor on the model error that is estimated."""

    name: Annotated[str, AfterValidator(valid_name)]
    prior: PriorTable


class BoundsTable(Table):
    """Between which values the model error of a field keeps it."""

    lower: float | None = None
    upper: float | None = None

    def build(self) -> "Bounds":
        """The bounds, infinite where they are not given."""
        from assim.problem.bounds import Bounds

        with self.blamed():
            return Bounds(
                -math.inf if self.lower is None else self.lower,
                math.inf if self.upper is None else self.upper,
            )


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
        observed: whether observations at a jump see the state before or after it.
        jump_at_end: whether a jump lies at the window's end.
        bounds: of fields that jumps keep within bounds: they act on log x, or a logit.
    """

    either = ("covariance", "fields")

    covariance: StateCovarianceTable | None = None
    fields: dict[str, FieldErrorTable] = {}
    in_time: CovarianceTable | None = None
    every: int = Field(1, ge=1)
    acts: Literal["jump", "tendency"] = "jump"
    amplitude: AmplitudeTable | None = None
    formulation: Literal["forcing", "state"] = "forcing"
    observed: Literal["before", "after"] = "after"
    jump_at_end: bool = True
    bounds: dict[str, BoundsTable] = {}

    def build(self, model: "AbstractDynamics") -> "ModelError":
        """The model error."""
        from assim.problem.model_error import ModelError
        from assim.problem.observation import ErrorScale

        scale = None
        if self.amplitude is not None:
            scale = ErrorScale(self.amplitude.name, self.amplitude.prior.build())
        in_time = None if self.in_time is None else self.in_time.build()
        bounds = {name: table.build() for name, table in self.bounds.items()}
        with self.blamed():
            return ModelError(
                self._covariance(model, bounds),
                in_time,
                self.every,
                self.acts,
                scale,
                self.observed,
                self.jump_at_end,
                bounds,
            )

    def _covariance(
        self, model: "AbstractDynamics", bounds: "Mapping[str, Bounds]"
    ) -> "StateCovariance":
        """Q, as a plug-in or of single fields; files have the units of what the errors act on."""
        from assim.files.units import of_model_error

        if self.covariance is not None and self.covariance.file is None:
            joint = self.covariance.build()
            if joint is None:
                raise self.fault("covariance", _NONE)
            return joint
        labels = model.labels()
        units = {n: of_model_error(n, labels, self.acts, bounds).units for n in labels.state}
        spreads = {name: field.spread(model, name, units) for name, field in self.fields.items()}
        if self.covariance is not None:
            shared = {n: self.covariance.of_field(model, n, units) for n in labels.state}
            spreads = shared | spreads
        given = {name: spread for name, spread in spreads.items() if spread is not None}
        if not given:
            raise self.fault("fields", _NONE)
        return given
