"""Terms of J besides background and observations, [problem]."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from assim.case.plugins import Table

if TYPE_CHECKING:
    from assim.problem.digital_filter import DigitalFilter

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DigitalFilterTable(Table):
    """A term Jc against fast oscillations of the trajectory.

    Args:
        weight: α, of all fields alike or field by field, in the inverse square of their units.
        cutoff: shortest period that passes, in the model's time unit.
    """

    weight: _Positive | Annotated[dict[str, _Positive], Field(min_length=1)]
    cutoff: _Positive

    def build(self) -> "DigitalFilter":
        """The filter."""
        from assim.problem.digital_filter import DigitalFilter

        with self.blamed():
            return DigitalFilter(self.weight, self.cutoff)


class ProblemTable(Table):
    """What J has besides background and observations.

    Args:
        digital_filter: a weak constraint on fast oscillations.
    """

    digital_filter: DigitalFilterTable | None = None

    def terms(self) -> "dict[str, DigitalFilter]":
        """The terms that the case gives, by the names of the arguments of a constraint."""
        filtered = self.digital_filter
        return {} if filtered is None else {"digital_filter": filtered.build()}
