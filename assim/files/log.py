"""Progress and figures of a run as lines of JSON, for the program that started it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assim.files.errors import DataError, reason
from assim.files.netcdf import strict

if TYPE_CHECKING:
    from assim.analysis.analyse import Analysis
    from assim.analysis.cycle.measures import Measures


class Log:
    """One line of JSON for everything that happens: its time, its event, and what belongs to it.

    Events are start, message, loop, window, result, written, error and end. Numbers that are not
    finite are null. A log that can no longer be written is given up; the run goes on.
    """

    def __init__(self, file: RawIOBase | None = None) -> None:
        self.file = file
        self.start: Mapping[str, Any] = {}  # what the event before all others has, until it is told

    def begin(self) -> None:
        """Append the first line, where that was not done by another event."""
        start, self.start = self.start, {}
        if start:
            self.event("start", **start)

    def stop(self) -> None:
        """Say nothing: another process of the run does."""
        self.file = None

    def event(self, event: str, /, **content: Any) -> None:
        """Append one line, at once."""
        self.begin()
        if self.file is None:
            return
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        try:
            text = json.dumps(strict(line | content), allow_nan=False, ensure_ascii=False)
            self.file.write(f"{text}\n".encode())
        except OSError:
            self.file = None


@contextmanager
def logging(path: Path | None, start: Mapping[str, Any]) -> Iterator[Log]:
    """A log that goes on in a file: it begins with `start`, and has the error that ends the run.

    Raises:
        DataError: a file that cannot be written.
    """
    if path is None:
        yield Log()
        return
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise DataError(f"{path}: no log can be written here ({reason(error)})") from error
    with file:
        log = Log(file)
        log.start = start
        try:
            yield log
        except BaseException as error:
            log.event("error", kind=type(error).__name__, text=str(error))
            raise


def analysis_figures(analysis: "Analysis") -> dict[str, Any]:
    """Figures of an analysis for a log."""
    statistics = ("mean", "stddev", "q05", "q50", "q95", "map", "units")
    return {
        "status": str(analysis.solution.status),
        "cost": float(analysis.solution.cost),
        "quantities": {
            name: {statistic: getattr(quantity, statistic) for statistic in statistics}
            for name, quantity in analysis.quantities.items()
        },
        "posteriors": {
            name: {"trust": str(p.trust), "gradients": p.gradients, "seconds": p.seconds}
            for name, p in analysis.posteriors.items()
        },
        "chosen": analysis.chosen,
    }


def window_figures(measures: "Measures") -> dict[str, Any]:
    """Figures of a window for a log."""
    errors = None if measures.errors is None else measures.errors.analysis
    return {
        "observations": measures.number,
        "chi_squared": measures.chi_squared,
        "inflation": measures.inflation,
        "rmse_analysis": errors,
        "spread_analysis": measures.spreads.analysis,
    }
