"""Every scalar quantity: mean, intervals, mode, and the prior beside them."""

import numpy as np

from assim.show.density import draws
from assim.show.finished import Run, methods_of, spelt_units
from assim.show.layout import Entry
from assim.show.methods import verdict_of
from assim.show.page import alike, number, paragraph, table, with_spread
from assim.show.section import Section


def quantities(run: Run) -> list[str]:
    """The table of quantities, and how far to trust the posterior where one method ran."""
    entries = run.summary["quantities"]
    prior = prior_intervals(run)
    rows = [_row(name, about, prior.get(name, "–")) for name, about in entries.items()]
    header = ("", "mean ± standard deviation", "90 % interval", "median", "MAP", "units",
              "prior 90 %")  # fmt: skip
    methods = {} if run.methods else methods_of(run.summary)
    verdicts = [verdict_of(name, about) for name, about in methods.items()]
    return [table(header, rows), _draws_used(entries), *verdicts]


def _draws_used(entries: Entry) -> str:
    """How many draws derived quantities come from."""
    derived = {name: about["draws"] for name, about in entries.items() if "draws" in about}
    if not derived:
        return ""
    least, names = min(derived.values()), ", ".join(derived)
    text = f"Derived from the trajectories of draws, {least} at least: {names}. "
    return paragraph(text + f"Sampling alone changes a mean by about {number(100 / least**0.5, 2)} "
                     "per cent of the standard deviation.", "soft")  # fmt: skip


def prior_intervals(run: Run) -> dict[str, str]:
    """5 and 95 per cent of the prior draws of every scalar quantity, as text."""
    intervals = {}
    for quantity in draws(run):
        if quantity.prior is not None and quantity.prior.size > 1:
            low, high = np.quantile(quantity.prior, (0.05, 0.95))
            intervals[quantity.name] = f"{number(float(low), 3)} … {number(float(high), 3)}"
    return intervals


def _row(name: str, about: Entry, prior: str) -> tuple[str, ...]:
    stddev = about["stddev"]
    mean, spread = with_spread(about["mean"], stddev)
    low, middle, high, mode = (alike(about[key], stddev) for key in ("q05", "q50", "q95", "map"))
    label = f"{name}: {about['long_name']}" if about.get("long_name") else name
    units = spelt_units(about["units"])
    return label, f"{mean} ± {spread}", f"{low} … {high}", middle, mode, units, prior


SECTION = Section(
    "Quantities",
    quantities,
    missing="no scalar quantity was estimated, or no posterior was asked for.",
)
