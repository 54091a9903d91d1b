"""The report's pictures, of an analysis in memory or of finished results."""

import functools
from collections.abc import Callable

from assim.analysis.analyse import Analysis
from assim.files.write.in_memory import contents
from assim.show import consistency, minimisation, observed, posterior
from assim.show import corner as corners
from assim.show import methods as several
from assim.show import predictive as checks
from assim.show import sloppy as directions
from assim.show import trajectory as fans
from assim.show.finished import Run, results
from assim.show.style import Picture

Drawn = Callable[[Analysis | Run], Picture | None]


def results_of(analysis: Analysis) -> Run:
    """What pictures of an analysis are drawn of: made once, it serves for all of them."""
    return results(*contents(analysis))


def _of(draw: Callable[[Run], Picture | None]) -> Drawn:
    """The picture of an analysis, or of results; None where there is nothing to draw."""

    @functools.wraps(draw)
    def picture(of: Analysis | Run) -> Picture | None:
        return draw(of if isinstance(of, Run) else results_of(of))

    return picture


trajectory = _of(fans.draw_trajectory)
model_error = _of(fans.draw_model_error)
departures = _of(observed.draw_departures)
densities = _of(posterior.draw_densities)
corner = _of(corners.draw_corner)
sloppy = _of(directions.draw_sloppy)
convergence = _of(minimisation.draw_convergence)
spectrum = _of(minimisation.draw_spectrum)
influence = _of(consistency.draw_influence)
predictive = _of(checks.draw_predictive)
methods = _of(several.draw_methods)
