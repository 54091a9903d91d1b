"""What a case asks for beyond the analysis: derived quantities, findings, a forecast's error."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ConfigDict, Field

from assim.case.clock import Clock, Time, text_of
from assim.case.plugins import Plugin, Table, named_by

if TYPE_CHECKING:
    from assim.problem.departure import Problem
    from assim.problem.scalars import ForecastError
    from assim.problem.window import Window


class FunctionTable(Plugin):
    """A function, which is named and not called."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def made(self) -> Callable:
        """The function."""
        return named_by(self.kind, self.use, self.at(), self._folder)


class QuantityTable(FunctionTable):
    """A scalar function of the trajectory whose posterior is wanted."""

    kind = "quantity"

    units: str = "1"
    long_name: str = ""


class FindingTable(FunctionTable):
    """A finding of the user's own: a function from the analysis to it, or to None."""

    kind = "finding"


class ForecastMeasure(NamedTuple):
    """The squared error of a forecast from the window's end, and the window of that forecast."""

    measure: "ForecastError"
    window: "Window"


class ImpactTable(Table):
    """The forecast on which the impact of every observation is asked."""

    file_keys = ("file",)

    file: str  # of the state that verifies it
    time: Time  # when it does; after the window's end
    weights: dict[str, float] = {}  # of each field in the squared error; 1 where not given

    def build(self, problem: "Problem", clock: Clock) -> ForecastMeasure:
        """The forecast's squared error."""
        import jax.numpy as jnp
        import numpy as np

        from assim.files.read.states import read_state
        from assim.problem.scalars import ForecastError
        from assim.problem.window import Window

        model, end = problem.model, float(np.asarray(problem.window.edges)[-1])
        time, path = clock.time(self.time, self.at("time")), self.file_path(self.file)
        if not time > end:
            raise self.fault("time", f"must lie after the window's end, got {self.time}")
        with self.blamed():
            window = Window.at(model, [end, time], problem.window.reference)
            verifying = read_state(path, model, self.weights or None, time=text_of(self.time))
            weights = {name: jnp.asarray(weight) for name, weight in self.weights.items()}
            return ForecastMeasure(ForecastError(verifying, weights), window)


class PredictiveTable(Table):
    """What new readings the posterior predicts, against those made."""

    draws: int = Field(default=1000, ge=10)


class SloppyTable(Table):
    """Stiff and sloppy directions: whether J is profiled along the sloppiest."""

    profile: bool = False
