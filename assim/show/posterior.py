"""Every scalar quantity: mean, intervals and mode in a table, densities, and every pair."""

from __future__ import annotations

import numpy as np

from assim.show import style
from assim.show.corner import draw_corner
from assim.show.density import ScalarDraws, density, draw_prior, draws, label_below, limits
from assim.show.finished import Run, methods_of, spelt_units, truth
from assim.show.layout import Entry
from assim.show.methods import verdict_of
from assim.show.page import Section, alike, known, number, paragraph, table, with_spread
from assim.show.style import Picture

MOST = 24


# ---- the table -----------------------------------------------------------------------------------


def quantities(run: Run) -> list[str]:
    """The table of quantities, and how far to trust the posterior where one method ran."""
    entries = run.summary["quantities"]
    prior = prior_intervals(run)
    rows = [_row(name, about, prior.get(name, "–")) for name, about in entries.items()]
    header = ("", "mean ± standard deviation", "90 % interval", "median", "MAP", "units",
              "prior 90 %")  # fmt: skip
    methods = {} if run.methods else methods_of(run.summary)
    verdicts = [verdict_of(name, about) for name, about in methods.items()]
    return [table(header, rows), *_notes(entries), _draws_used(entries), *verdicts]


def _notes(entries: Entry) -> list[str]:
    """Why a standard deviation is not stated."""
    notes = {name: about["note"] for name, about in entries.items() if about.get("note")}
    return [paragraph(f"{name}: {note}.", "soft") for name, note in notes.items()]


def _draws_used(entries: Entry) -> str:
    """How many draws derived quantities come from."""
    derived = {name: about["draws"] for name, about in entries.items() if "draws" in about}
    if not derived:
        return ""
    least, names = min(derived.values()), ", ".join(derived)
    text = f"Derived from the trajectories of draws, {least} at least: {names}. "
    stated = [entries[name]["errors"] for name in derived if "errors" in entries[name]]
    errors = [known(about["mean"]) or 0.0 for about in stated] or [1 / least**0.5]
    text += f"Sampling alone changes a mean by about {number(100 * max(errors), 2)} per cent of "
    text += "the standard deviation"
    spreads = [known(about["stdev"]) or 0.0 for about in stated]
    text += f", and that by {number(100 * max(spreads), 2)} per cent." if spreads else "."
    return paragraph(text, "soft")


def prior_intervals(run: Run) -> dict[str, str]:
    """5 and 95 per cent of the prior draws of every scalar quantity, as text."""
    intervals = {}
    for about in draws(run):
        if about.prior is not None and about.prior.size > 1:
            low, high = np.quantile(about.prior, (0.05, 0.95))
            intervals[about.name] = f"{number(float(low), 3)} … {number(float(high), 3)}"
    return intervals


def _row(name: str, about: Entry, prior: str) -> tuple[str, ...]:
    stddev = about["stddev"]
    mean, spread = with_spread(about["mean"], stddev)
    low, middle, high, mode = (alike(about[key], stddev) for key in ("q05", "q50", "q95", "map"))
    label = f"{name}: {about['long_name']}" if about.get("long_name") else name
    units = spelt_units(about["units"])
    moments = mean if about.get("note") else f"{mean} ± {spread}"
    return label, moments, f"{low} … {high}", middle, mode, units, prior


# ---- densities -----------------------------------------------------------------------------------


def draw_densities(run: Run) -> Picture | None:
    """One panel a quantity: prior, posterior, and where the cost is least."""
    everything = draws(run)
    shown = [about for about in everything if about.posterior.size > 1][:MOST]
    caption = (
        "Prior and posterior marginal densities on a common scale (kernel estimates from draws; "
        "the axes follow the posterior, so wide priors are cut). The line marks the minimum of the "
        "cost (MAP)."
    )
    caption += style.left_out(len(everything) - len(shown), "quantities")

    def draw(axes: style.Axes, about: ScalarDraws) -> None:
        mode = known(run.summary["quantities"].get(about.name, {}).get("map"))
        _draw(axes, about, mode, truth(run, about.name))

    columns = style.columns_of_densities
    return style.draw_each(shown, MOST, draw, caption, "", 1.95, columns, left=0.15, below=0.62)


def _draw(axes: style.Axes, about: ScalarDraws, mode: float | None, truth: float | None) -> None:
    low, high = limits(about, [x for x in (mode, truth) if x is not None])
    grid = np.linspace(low, high, 256)
    posterior = density(about.posterior, about.weights, grid)
    top = posterior.max() or 1.0
    highest = draw_prior(axes, about.prior, grid, top, linestyle="--")
    posterior /= top
    style.band(axes, grid, posterior, 0, 0.25)
    axes.plot(grid, posterior, color=style.ANALYSIS, label="posterior")
    if mode is not None:
        axes.axvline(mode, color=style.REJECTED, linewidth=1.1, label="MAP")
    if truth is not None:
        axes.axvline(truth, color=style.TRUTH, linewidth=1.1, linestyle=style.TRUTH_DASH,
                     label="truth")  # fmt: skip
    axes.set(xlim=(low, high), ylim=(0, 1.12 * min(max(1.0, highest), 3.0)))
    style.few_ticks(axes.xaxis, 4)
    style.bare(axes, about.name, label_below(about))


QUANTITIES = Section(
    "Quantities",
    quantities,
    missing="no scalar quantity was estimated, or there is no posterior: none was asked for, or it "
    "failed, which the head of this page says.",
)
POSTERIOR = Section(
    "Prior and posterior",
    pictures={"densities": draw_densities, "corner": draw_corner},
    missing="the directory holds no posterior.nc with draws of scalar quantities.",
)
