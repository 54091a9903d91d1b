"""How a cycle goes: inflation, information from observations, estimated scalars."""

import numpy as np
from matplotlib.axes import Axes

from assim.show import style
from assim.show.cycle.axes import burn_in_clause, columns_of, draw_line, fit, frame, lines_drawn
from assim.show.cycle.series import burn_in, scalar_label, scalars, times, units_of, values
from assim.show.cycle.statistics import NORMAL, drawn_points
from assim.show.finished import Run, with_units
from assim.show.style import Picture

MOST = 12
PANELS = {  # title, label of the axis, words
    "inflation": (
        "Inflation",
        "Factor on standard deviations",
        "the factor on the standard deviations that a window takes over from the one before",
    ),
    "signal": (
        "Information from the observations",
        "DOF for signal",
        "degrees of freedom for signal, how many numbers the observations of a window tell that "
        "the background did not",
    ),
}
CONSTANT = 1e-6  # relative range below which a series tells nothing over time


def draw_inflation(run: Run) -> Picture | None:
    """Inflation of the background where it varies, and degrees of freedom for signal."""
    found = {name: values(run, name) for name in PANELS}
    shown = {name: one for name, one in found.items() if one is not None and _varies(one)}
    if not shown:
        return None
    figure, axes = style.panels(len(shown), len(shown), 2.3)
    for (name, one), where in zip(shown.items(), axes, strict=True):
        title, label, _ = PANELS[name]
        line = draw_line(where, run, one, label, color=style.ANALYSIS)
        if name == "signal":
            fit(where, [line], [one])
        frame(where, run, title, label, flags=False)
    told = "; ".join(PANELS[name][2] for name in shown)
    text = f"{told[0].upper()}{told[1:]}; {lines_drawn(run)}{burn_in_clause(run)}."
    return style.picture("inflation", figure, text)


def _varies(one: np.ndarray) -> bool:
    good = one[np.isfinite(one)]
    return bool(good.size and np.ptp(good) > CONSTANT * max(np.abs(good).max(), 1e-300))


def draw_estimates(run: Run) -> Picture | None:
    """Every estimated scalar over time, with ±1.96 standard deviations."""
    names = scalars(run)
    if not names:
        return None
    shown = names[:MOST]
    figure, axes = style.panels(len(shown), columns_of(len(shown)), 2.2, top=0.32)
    for name, where in zip(shown, axes, strict=True):
        _draw_estimate(where, run, name)
    style.legend(figure, axes)
    text = (
        "Estimated scalars as each window leaves them, with bands of ±1.96 standard deviations, "
        "95 % of a Gaussian: a calibrated history narrows about a value that stays inside the "
        f"earlier bands{burn_in_clause(run)}."
    )
    left = len(names) - len(shown)
    return style.picture(
        "estimates", figure, text + f" {left} further scalars are not drawn." * (left > 0)
    )


def _draw_estimate(axes: Axes, run: Run, name: str) -> None:
    value, stdev = values(run, name), values(run, f"{name}_stddev")
    assert value is not None and stdev is not None
    place = np.append(drawn_points(value.size), value.size - 1)
    when, middle, half = times(run)[place], value[place], NORMAL * stdev[place]
    axes.fill_between(when, middle - half, middle + half, color=style.ANALYSIS, alpha=0.22,
                      linewidth=0, label="±1.96 standard deviations")  # fmt: skip
    marker = "o" if value.size <= 60 else None
    axes.plot(when, middle, color=style.ANALYSIS, marker=marker, markersize=2.5, label="estimate")
    _zoom(axes, middle - half, middle + half, when >= times(run)[min(burn_in(run), value.size - 1)])
    frame(axes, run, scalar_label(run, name), with_units(name, units_of(run, name)))


def _zoom(axes: Axes, low: np.ndarray, high: np.ndarray, after: np.ndarray) -> None:
    """Limits in which what follows the burn-in fills a third at least."""
    after = after & np.isfinite(low) & np.isfinite(high)
    if not after.any():
        return
    least, most = float(low[after].min()), float(high[after].max())
    room = most - least
    least, most = max(least - room, float(np.nanmin(low))), min(most + room, float(np.nanmax(high)))
    if most > least:
        axes.set_ylim(least - 0.04 * (most - least), most + 0.04 * (most - least))
