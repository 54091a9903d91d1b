"""The dates of a case as times of its model."""

import datetime

from assim.case.failure import CaseError, Fault
from assim.files.errors import DataError

Time = datetime.datetime | datetime.date | int | float | str


class Clock:
    """The dates of a case as times of its model: in its unit, since the start of the window."""

    def __init__(self, unit: str, start: Time) -> None:
        from assim.files.times import NON_PHYSICAL

        self.unit, self.physical = unit, unit != NON_PHYSICAL
        self.reference = self._text(start, "window.start") if self.physical else None
        self.start = self.time(start, "window.start")

    def time(self, value: Time, path: str) -> float:
        """A date or number of the case as model time; `path` is where it stands."""
        import numpy as np

        from assim.files.dates import CALENDAR, date
        from assim.files.times import FileTimes

        if not self.physical:
            if not isinstance(value, int | float):
                what = f"must be a number, as the model's time has no unit, got {value}"
                raise CaseError([Fault(path, what)])
            return float(value)
        try:
            moment = date(self._text(value, path), CALENDAR, path)
        except DataError as error:
            what = str(error).removeprefix(f"{path}: ")
            raise CaseError([Fault(path, what)]) from None
        epoch = FileTimes(np.zeros(1), "seconds", moment, path)
        return float(epoch.to_model(self.unit, self.reference)[0])

    def _text(self, value: Time, path: str) -> str:
        if isinstance(value, int | float):
            what = f"must be a date, as the model's time is in {self.unit}, got {value}"
            raise CaseError([Fault(path, what)])
        return value.isoformat() if isinstance(value, datetime.date) else value


def text_of(value: Time) -> str | float:
    """A date or number as files are asked for it: ISO text, or a number."""
    return value.isoformat() if isinstance(value, datetime.date) else value
