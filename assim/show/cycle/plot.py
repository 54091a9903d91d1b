"""Every picture of the report of a cycle."""

from collections.abc import Callable

from assim.show import style
from assim.show.cycle.errors import draw_errors, draw_reliability, draw_spread_skill
from assim.show.cycle.history import draw_estimates, draw_inflation
from assim.show.cycle.innovations import (
    draw_chi_squared,
    draw_desroziers,
    draw_innovations,
    draw_ranks,
)
from assim.show.cycle.state import draw_states
from assim.show.finished import Run
from assim.show.style import Picture

DRAWERS: tuple[Callable[[Run], Picture | None], ...] = (
    draw_errors,
    draw_spread_skill,
    draw_reliability,
    draw_innovations,
    draw_chi_squared,
    draw_desroziers,
    draw_ranks,
    draw_inflation,
    draw_estimates,
    draw_states,
)


def draw_cycle(run: Run) -> dict[str, Picture]:
    """Every picture that the files of a cycle allow, by name."""
    with style.house_style():
        drawn = [draw(run) for draw in DRAWERS]
    return {picture.name: picture for picture in drawn if picture is not None}
