"""Every picture of a report."""

from collections.abc import Callable

from assim.show import style
from assim.show.consistency import draw_influence
from assim.show.corner import draw_corner
from assim.show.density import draw_densities
from assim.show.departures import draw_departures
from assim.show.fields import draw_hovmoeller, draw_initial_state
from assim.show.finished import Run
from assim.show.methods import draw_methods
from assim.show.minimisation import draw_convergence, draw_spectrum
from assim.show.model_error import draw_model_error
from assim.show.predictive import draw_predictive
from assim.show.sloppy import draw_sloppy
from assim.show.spreads import draw_methods_trajectory
from assim.show.style import Picture
from assim.show.trajectory import draw_trajectory


def draw_pictures(run: Run) -> dict[str, Picture]:
    """Every picture that the files of `run` allow, by name."""
    with style.house_style():
        drawn = [draw(run) for draw in DRAWERS]
    return {picture.name: picture for picture in drawn if picture is not None}


DRAWERS: tuple[Callable[[Run], Picture | None], ...] = (
    draw_trajectory,
    draw_hovmoeller,
    draw_initial_state,
    draw_model_error,
    draw_densities,
    draw_corner,
    draw_methods,
    draw_methods_trajectory,
    draw_sloppy,
    draw_predictive,
    draw_departures,
    draw_influence,
    draw_convergence,
    draw_spectrum,
)
