"""The window of a case, [window]: where it lies and how it is cut into slots."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from assim.case.clock import Clock, Time, text_of
from assim.case.plugins import Table

if TYPE_CHECKING:
    from assim.files.read.tables import ObservedTable
    from assim.problem.model import AbstractDynamics
    from assim.problem.window import Window


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
        if self.times is not None and "steps" in self.model_fields_set:
            raise ValueError("give either times or steps: times already say how long slots are")
        if isinstance(self.times, list) and self.end is not None:
            raise ValueError("give either end or a list of times, the last of which is the end")
        if self.times is None and self.slots is None:
            raise ValueError(
                'say where the slots lie: times = "observations", or slots = N (with end, or with '
                "steps for a stepping model)"
            )
        return self

    def build(
        self, model: "AbstractDynamics", clock: Clock, observed: "Sequence[ObservedTable]" = ()
    ) -> "Window":
        """The window, whose slots may have their edges at the times of observed rows."""
        end = None if self.end is None else clock.time(self.end, self.at("end"))
        if end is not None and end <= clock.start:
            raise self.fault("end", f"must be later than the start, got {self.end}")
        if self.times == "observations":
            return self.of_observations(model, observed)
        if self.times is None and end is None and model.time_step() is None:
            raise self.fault("end", "this key is missing: slots of an ODE model need an end")
        times = [clock.time(t, self.at(f"times.{n}")) for n, t in enumerate(self.times or ())]
        with self.blamed():
            return self._cut(model, clock, times, end)

    def of_observations(
        self, model: "AbstractDynamics", observed: "Sequence[ObservedTable]"
    ) -> "Window":
        """The window whose slots end at the times of observations."""
        from assim.files.read.windows import window_of

        end = None if self.end is None else text_of(self.end)
        return window_of(list(observed), model, text_of(self.start), end)

    def _cut(
        self, model: "AbstractDynamics", clock: Clock, times: list[float], end: float | None
    ) -> "Window":
        """The window with these slot edges, or with slots of one length."""
        import numpy as np

        from assim.problem.window import Window

        if self.times is not None:
            edges = [*({clock.start} - set(times)), *times]
            return Window.at(model, edges, clock.reference)
        assert self.slots is not None
        if end is None and model.time_step() is not None:
            return Window.regular(model, self.slots, self.steps, clock.start, clock.reference)
        assert end is not None
        regular = np.linspace(clock.start, end, self.slots + 1)
        return Window.at(model, regular, clock.reference)
