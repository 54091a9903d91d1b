"""A value that is far from the analysis: where it is, and what can be done about it."""

import re
from collections.abc import Callable

import numpy as np

from assim.analysis.analyse import Analysis
from assim.problem.observation import Observations

Naming = Callable[[int], str]  # the number of a value among those used ↦ what it is called

_MILLISECONDS = {  # of units of one length
    **{"nanoseconds": 1e-6, "microseconds": 1e-3, "milliseconds": 1.0, "seconds": 1e3},
    **{"minutes": 60e3, "hours": 3600e3, "days": 86400e3, "weeks": 604800e3},
}
_PLAIN = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?")  # a date without a zone


def naming_of(analysis: Analysis, o: Observations) -> Naming:
    """What a value is called where its file is not known: its number, and date or time."""
    unit, reference = analysis.problem.model.labels().time_unit, analysis.problem.window.reference

    def name(number: int) -> str:
        time = float(o.points.times[number])
        return f"value {number} (from 0) of those used, {when(time, unit, reference)}"

    return name


def when(time: float, unit: str, reference: str | None) -> str:
    """A date to the second, where the unit is of one length; else the time."""
    if reference is None:
        return f"at time {time:.6g}"
    after = f"{time:.6g} {unit} after {reference}"
    if unit not in _MILLISECONDS or _PLAIN.fullmatch(reference) is None:
        return after
    start = np.datetime64(reference.removesuffix("Z"), "ms")
    moment = start + np.timedelta64(round(time * _MILLISECONDS[unit]), "ms")
    return str(moment.astype("datetime64[s]")).removesuffix("T00:00:00")


def way_out(o: Observations, stdev: float) -> str:
    """What to do about a gross error among these values, whose errors have this deviation."""
    start = "A gross error? Look at it, reject it by quality control, or use likelihood = "
    start += '"StudentT", which bears with such values'
    if not o.likelihood.logarithmic:
        return f"{start}."
    if o.scale is None:
        size = f"a standard deviation of about {stdev:.2g} times itself"
    else:
        size = f"itself as its standard deviation, on which {o.scale.name} is the factor"
    return (
        f"{start} but has errors in the unit of the data, not of their logarithm: give each value "
        f"{size} (a variable named as the values and _stddev)."
    )
