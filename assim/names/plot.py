"""Pictures and reports, of an analysis, of finished files, or of Datasets in memory.

Each takes an `Analysis`, or what `results_of(analysis)` or `results(summary, datasets)` makes, and
gives a picture that a notebook shows, with its caption, figure and axes. matplotlib is imported
when one is drawn.
"""

from assim.run.pictures import (
    convergence,
    corner,
    densities,
    departures,
    influence,
    methods,
    model_error,
    predictive,
    results_of,
    sloppy,
    spectrum,
    trajectory,
)
from assim.show.finished import results
from assim.show.report import write_report

__all__ = [
    "convergence",
    "corner",
    "densities",
    "departures",
    "influence",
    "methods",
    "model_error",
    "predictive",
    "results",
    "results_of",
    "sloppy",
    "spectrum",
    "trajectory",
    "write_report",
]
