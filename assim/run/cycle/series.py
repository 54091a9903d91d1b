"""The files that a whole cycle leaves, beside those of its windows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assim.analysis.cycle.measures import Measures
from assim.case.pose_cycle import PosedCycle
from assim.files.netcdf import steady
from assim.files.write.cycle import cycle_dataset, cycle_summary
from assim.run.terminal.directory import Results
from assim.solve.minimise.status import Status


def write_series(
    posed: PosedCycle,
    measures: Measures,
    results: Results,
    states: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write diagnostics.nc, the series over all windows, and the summary, which is returned.

    Args:
        posed: the cycle.
        measures: of all windows.
        results: where they go.
        states: "analysed" or "forecast", of every window.
        seconds: wall time by stage; not of a cycle over files, whose results must not depend on
            how often it was stopped: its manifest has them.
    """
    series = cycle_dataset(posed.cycle, posed.edges, measures)
    results.dataset("diagnostics", steady(series), "windows of a cycle")
    burn_in = posed.tables.cycled().burn_in
    content = cycle_summary(measures, posed.setting.labels, burn_in, posed.names)
    counts = statuses(measures)
    status = "converged" if set(counts) <= {"converged"} else "partly_converged"
    if counts and "converged" not in counts:
        status = "not_converged"
    content = {"status": status, "statuses": counts, **content}
    if states:
        content["states"] = {state: states.count(state) for state in sorted(set(states))}
    if seconds is not None:
        content["seconds"] = dict(seconds)
    results.json("summary", content)
    return content


def statuses(measures: Measures) -> dict[str, int]:
    """How many windows with something to minimise ended in which way."""
    status = np.asarray(measures.status)
    some = (np.asarray(measures.number) > 0) | (status != Status.CONVERGED)
    codes, counts = np.unique(status[some], return_counts=True)
    return {str(Status(int(code))): int(n) for code, n in zip(codes, counts, strict=True)}
