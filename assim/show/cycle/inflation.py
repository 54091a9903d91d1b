"""Inflation of a cycle's background, and the information from its observations."""

import numpy as np

from assim.show import style
from assim.show.cycle.axes import burn_in_clause, draw_line, fit, frame, lines_drawn
from assim.show.cycle.series import values
from assim.show.finished import Run
from assim.show.page import number, paragraph
from assim.show.section import Section
from assim.show.style import Picture

PANELS = {  # title, label of the axis, words
    "inflation": (
        "Inflation",
        "Factor on standard deviations",
        "the factor on the standard deviations that a window takes over from the one before",
    ),
    "signal": (
        "Information from the observations",
        "DOF for signal",
        "degrees of freedom for signal, how many numbers the observations of a window determine "
        "that the background did not",
    ),
}
CONSTANT = 1e-6  # relative range below which a series does not vary


def inflation(run: Run) -> list[str]:
    """The inflation where it is the same in all windows, which no picture shows."""
    factor = values(run, "inflation")
    if factor is None or _varies(factor):
        return []
    return [paragraph(f"The inflation of all windows is {number(float(np.nanmax(factor)))}.")]


def draw_inflation(run: Run) -> Picture | None:
    """Inflation of the background where it varies, and degrees of freedom for signal."""
    known = {name: values(run, name) for name in PANELS}
    shown = {name: one for name, one in known.items() if one is not None and _varies(one)}
    if not shown:
        return None
    figure, axes = style.panels(len(shown), len(shown), 2.3)
    for (name, factor), where in zip(shown.items(), axes, strict=True):
        title, label, _ = PANELS[name]
        line = draw_line(where, run, factor, label, color=style.ANALYSIS)
        if name == "signal":
            fit(where, [line], [factor])
        frame(where, run, title, label, flags=False)
    what = "; ".join(PANELS[name][2] for name in shown)
    text = f"{what[0].upper()}{what[1:]}; {lines_drawn(run)}{burn_in_clause(run)}."
    return style.picture(figure, text)


def _varies(values: np.ndarray) -> bool:
    good = values[np.isfinite(values)]
    return bool(good.size and np.ptp(good) > CONSTANT * max(np.abs(good).max(), 1e-300))


SECTION = Section("Inflation and information", inflation, {"inflation": draw_inflation})
