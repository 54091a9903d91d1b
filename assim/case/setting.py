"""What can be made of a case without its data."""

from dataclasses import dataclass
from typing import Any

from assim.case.case import Case
from assim.case.slots import Clock
from assim.problem.model import AbstractDynamics


@dataclass(frozen=True)
class Setting:
    """What can be made of a case without its data: the model, its clock and all plug-ins."""

    case: Case
    model: AbstractDynamics
    clock: Clock
    parts: dict[str, Any]

    @property
    def start(self) -> str | float:
        """Start of the window as files are asked for it."""
        start = self.clock.text(self.case.checked.window.start)
        assert start is not None
        return start
