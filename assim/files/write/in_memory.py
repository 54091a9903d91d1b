"""What a run writes of an analysis, as Datasets in memory, where no case and no file was read."""

from typing import Any

import numpy as np
import xarray as xr

from assim.analysis.analyse import Analysis
from assim.files.read.observations import Instrument
from assim.files.read.quality import QualityControl, stdev_units
from assim.files.read.tables import POINTS, ObservedTable
from assim.files.times import FileTimes, decode, encode
from assim.files.write.encode import state_dataset
from assim.files.write.feedback import feedback_dataset
from assim.files.write.results import (
    analysis_dataset,
    diagnostics_dataset,
    posterior_dataset,
    trajectory_dataset,
)
from assim.files.write.summary import summary
from assim.problem.arrays import Array, Labels
from assim.problem.observation import Observations
from assim.problem.window import Window


def contents(analysis: Analysis) -> tuple[dict[str, Any], dict[str, xr.Dataset]]:
    """The summary of an analysis, and the Datasets of its files by their names without ".nc"."""
    problem = analysis.problem
    labels, window = problem.model.labels(), problem.window
    instruments = [instrument(o, labels, window) for o in problem.observations]
    background = analysis.background.control.state
    start = (labels, background, float(window.edges[0]), window.reference)
    datasets = {
        "background": state_dataset(*start, stdev=analysis.prior_stdev.state),
        "analysis": analysis_dataset(analysis),
        "trajectory": trajectory_dataset(analysis),
        "feedback": feedback_dataset(instruments, analysis),
        "diagnostics": diagnostics_dataset(analysis),
    }
    if analysis.posterior is not None:
        datasets["posterior"] = posterior_dataset(analysis)
    for name, posterior in analysis.posteriors.items():
        if name != analysis.chosen:
            datasets[f"posterior_{name}"] = posterior_dataset(analysis, posterior)
            datasets[f"trajectory_{name}"] = trajectory_dataset(analysis, posterior)
    return summary(analysis, instruments), datasets


def instrument(observations: Observations, labels: Labels, window: Window) -> Instrument:
    """Observations as if a file had been read with these rows and no others, all of them used."""
    points, rows = observations.points, observations.values.size

    def times(given: Array) -> FileTimes:
        numbers, attributes = encode(np.asarray(given), labels.time_unit, window.reference)
        return decode(xr.Variable(POINTS, numbers, attributes), f"{observations.name}: time")

    spans = bool(np.any(np.asarray(points.starts) != np.asarray(points.ends)))
    stdev = observations.covariance.independent_stdev()
    table = ObservedTable(
        source="observations",
        variable=observations.name,
        units=observations.units,
        long_name="",
        times=times(points.times),
        starts=times(points.starts) if spans else None,
        ends=times(points.ends) if spans else None,
        coordinates={dim: np.asarray(place) for dim, place in points.coordinates.items()},
        values=np.asarray(observations.values),
        stdev=None if stdev is None else np.asarray(stdev),
        stdev_units=stdev_units(observations.units, observations.likelihood),
        qc=np.zeros(rows, np.int32),
    )
    none, every = np.zeros(rows, np.int32), np.ones(rows, bool)
    return Instrument(table, observations, none, every, observations, QualityControl())
