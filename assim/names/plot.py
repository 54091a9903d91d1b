"""Pictures and reports, from finished files or from Datasets in memory.

`results(summary, datasets)` makes what each picture is drawn of; matplotlib is imported when one is
drawn.
"""

from assim.show.consistency import draw_influence as influence
from assim.show.corner import draw_corner as corner
from assim.show.finished import results
from assim.show.methods import draw_methods as methods
from assim.show.minimisation import draw_convergence as convergence
from assim.show.minimisation import draw_spectrum as spectrum
from assim.show.observed import draw_departures as departures
from assim.show.posterior import draw_densities as densities
from assim.show.predictive import draw_predictive as predictive
from assim.show.report import write_report
from assim.show.sloppy import draw_sloppy as sloppy
from assim.show.trajectory import draw_model_error as model_error
from assim.show.trajectory import draw_trajectory as trajectory

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
    "sloppy",
    "spectrum",
    "trajectory",
    "write_report",
]
