"""The files that a whole cycle leaves, beside those of its windows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assim.analysis.cycle.measures import Measures
from assim.case.pose_cycle import PosedCycle
from assim.files.netcdf import hash_file, steady, write_dataset, write_json
from assim.files.write.cycle import cycle_dataset, cycle_summary
from assim.solve.minimise.status import Status


def write_series(
    posed: PosedCycle,
    measures: Measures,
    directory: Path,
    written: list[Path],
    states: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write diagnostics.nc, the series over all windows, and summary.json, and add them.

    Args:
        posed: the cycle.
        measures: of all windows.
        directory: where they go.
        written: files written so far.
        states: "analysed" or "forecast", of every window.
        seconds: wall time by stage; not of a cycle over files, whose results must not depend on
            how often it was stopped: its manifest has them.

    Returns:
        the summary.

    Raises:
        DataError: one cannot be written.
    """
    case = posed.case
    series = cycle_dataset(posed.cycle, posed.edges, measures)
    title = f"{case.checked.title or case.name}: windows of a cycle"
    inputs = {name: hash_file(path) for name, path in posed.inputs.items()}
    path = directory / "diagnostics.nc"
    write_dataset(steady(series), path, title=title, config=case.text(), inputs=inputs)
    written.append(path)
    names = [o.name for o in posed.cycle.problem.observations]
    content = cycle_summary(measures, posed.labels, posed.tables.cycled().burn_in, names)
    counts = statuses(measures)
    status = "converged" if set(counts) <= {"converged"} else "partly_converged"
    if counts and "converged" not in counts:
        status = "not_converged"
    content = {"status": status, "statuses": counts, **content}
    if states:
        content["states"] = {state: states.count(state) for state in sorted(set(states))}
    if seconds is not None:
        content["seconds"] = dict(seconds)
    write_json(content, directory / "summary.json")
    written.append(directory / "summary.json")
    return content


def statuses(measures: Measures) -> dict[str, int]:
    """How many windows with something to minimise ended in which way."""
    status = np.asarray(measures.status)
    some = (np.asarray(measures.number) > 0) | (status != Status.CONVERGED)
    codes, counts = np.unique(status[some], return_counts=True)
    return {str(Status(int(code))): int(n) for code, n in zip(codes, counts, strict=True)}
