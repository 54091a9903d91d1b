"""Consistency of errors: what departures say of those that were assumed; influence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.finished import Run, instants, time_label, units_of, words
from assim.show.layout import Entry, instruments_in, time_of
from assim.show.page import GOOD, UNSURE, Section, known, notice, number, paragraph, table
from assim.show.style import Picture

UNLIKELY = 0.01  # in either tail of χ²: one sound analysis in fifty is outside
BENT = 0.3  # share of the change of departures that the tangent linear may miss


def consistency(run: Run) -> list[str]:
    """χ² as a sentence, and a table of instruments."""
    diagnostics = run.summary.get("diagnostics")
    if diagnostics is None:
        return []
    instruments = diagnostics["instruments"]
    return [
        _chi_squared(diagnostics, run.summary.get("fit")),
        *_remarks(run),
        _instruments(run, instruments),
        _linearity(instruments),
        _forecast(run.summary.get("impact")),
    ]


def _remarks(run: Run) -> list[str]:
    """What is odd about residuals and parameters; what does not fit stands at the head."""
    fit = run.summary.get("fit")
    if fit is None or fit["verdict"] == "poor":
        return []
    return [notice(remark, UNSURE) for remark in fit["remarks"]]


def expected_cost(run: Run, term: str) -> str:
    """Expectation of a term of the cost with its standard deviation, as text; "" if unknown."""
    diagnostics = run.summary.get("diagnostics")
    if diagnostics is None or term not in diagnostics["terms"]:
        return ""
    about = diagnostics["terms"][term]
    return _expected(about["expected"], about["stddev"])


def _expected(expected: object, stddev: object) -> str:
    return f"{number(expected, 3)} ± {number(stddev, 2)}" if known(expected) is not None else "–"


def _chi_squared(diagnostics: Entry, fit: Entry | None) -> str:
    names = ("chi_squared", "chi_squared_expected", "p_value")
    value, degrees, p = (known(diagnostics[name]) for name in names)
    if value is None:
        return ""
    expected = "–"
    if degrees is not None:
        expected = f"{number(degrees)} ± {number((2 * max(degrees, 0.0)) ** 0.5, 2)}"
    verdict, text = _judged(p, fit)
    return notice(text, verdict, f"χ² = {number(value, 4)}, expected {expected}.")


def _judged(p: float | None, fit: Entry | None) -> tuple[str, str]:
    """What the probability of a larger χ² says: the verdict of the fit, and words."""
    if p is None:
        reasons = ", for the reasons at the head of this page" * bool(fit and fit["untested"])
        return "", f"This is no test{reasons}."
    share = "above 0.99" if p > 0.99 else "below 0.001" if p < 0.001 else number(p, 2)
    text = f"A larger χ² has probability {share}. "
    if fit is None:
        return UNSURE, text + "Whether that is odd was not tested."
    if fit["verdict"] == "poor":
        return UNSURE, text + "What does not fit stands at the head of this page."
    if min(p, 1 - p) < UNLIKELY:
        return "", text + "One sound analysis in fifty is as far out; no test of the fit fails."
    return GOOD, text + "Departures and increments are as large as the errors that were assumed."


KINDS = ("error", "background")
_HEADER = (
    *("", "used", "cost", "expected", "signal", "mean influence"),
    *("σₒ → estimate", "σ_b → estimate", "units"),
)


def _instruments(run: Run, instruments: Entry) -> str:
    rows = [_instrument(run, name, about) for name, about in instruments.items()]
    if not rows:
        return ""
    text = (
        "Cost: half the sum of squared normalised departures from the analysis. Expected: its mean "
        "if the errors assumed are right, ± at most one standard deviation. Signal: degrees of "
        "freedom for signal, how many of the values inform the analysis; mean influence is their "
        "share. σₒ and σ_b: standard deviations of the errors of values and of their background, "
        "as assumed (root mean square) → as estimated from departures (Desroziers et al. 2005), of "
        "logarithms where the errors are; a dash where no estimate can be made."
    )
    ratios = {
        key: {name: known(about[f"{key}_variance_ratio"]) for name, about in instruments.items()}
        for key in KINDS
    }
    return table(_HEADER, rows) + paragraph(text, "soft") + negative_variances(**ratios)


def _instrument(run: Run, name: str, about: Entry) -> tuple[object, ...]:
    expected = _expected(about["cost_expected"], about["cost_expected_stddev"])
    shares = (number(about[key], 3) for key in ("degrees_of_freedom", "mean_influence"))
    sigmas = (
        stdevs(known(about[f"{key}_stddev"]), known(about[f"{key}_variance_ratio"]))
        for key in KINDS
    )
    count, cost, units = about["count"], number(about["cost"], 4), units_of(run, name, "_stddev")
    used = f"{count:.0f}" if float(count).is_integer() else f"{count:.1f}"
    return (name, used, cost, expected, *shares, *sigmas, units)


def stdevs(assumed: float | None, ratio: float | None) -> str:
    """As assumed → as departures imply, which is of the signed ratio of their variances."""
    if ratio is not None and ratio < 0:
        return f"{number(assumed, 3)} → negative"
    estimated = None if assumed is None or ratio is None else assumed * ratio**0.5
    return f"{number(assumed, 3)} → {number(estimated, 3)}"


def negative_variances(
    error: Mapping[str, float | None], background: Mapping[str, float | None]
) -> str:
    """What it means that σₒ² or σ_b² as estimated over that assumed is negative; "" where none is.

    Both are given by instrument.
    """
    kinds = (
        (error, "σₒ²", "R", "the analysis goes beyond the values"),
        (background, "σ_b²", "B", "the analysis moves away from the values"),
    )
    notices = []
    for ratios, symbol, matrix, so in kinds:
        names = [name for name, ratio in ratios.items() if ratio is not None and ratio < 0]
        if names:
            text = (
                f"The estimate of {symbol} is negative for {', '.join(names)}: {so}. {matrix} is "
                "far too large there, its correlations or what other instruments say is wrong, or "
                "the values are too few for an estimate."
            )
            notices.append(notice(text, UNSURE))
    return "".join(notices)


def _linearity(instruments: Entry) -> str:
    bent = [
        name for name, about in instruments.items() if (known(about["nonlinearity"]) or 0.0) > BENT
    ]
    if not bent:
        return ""
    text = (
        "From background to analysis the tangent linear misses more than "
        f"{100 * BENT:.0f} per cent of the change of departures of {', '.join(bent)}. "
        "Expectations and estimates here are those of the tangent linear at the "
        "analysis: read those of σ_b with care."
    )
    return notice(text, UNSURE)


def _forecast(impact: Entry | None) -> str:
    if impact is None:
        return ""
    before, after, total = (impact[key] for key in ("background", "analysis", "total"))
    text = (
        f"The measure of the forecast is {number(before)} from the background and {number(after)} "
        f"from the analysis; impacts of all observations add up to {number(total)}."
    )
    rows = [(name, number(value, 3)) for name, value in impact["instruments"].items()]
    return paragraph(text) + table(("Impact on the forecast (negative: it improved)", ""), rows)


# ---- influence -----------------------------------------------------------------------------------

MOST = 3
ALONE = 0.5  # influence above which a value mostly determines its own analysis
COLOURS = {"influence": style.ANALYSIS, "impact": style.TRUTH}

Panel = tuple[str, xr.DataArray, np.ndarray, str]  # title, time, values, what they are


def draw_influence(run: Run) -> Picture | None:
    """Influence (where a value has more than half) and impact, a row a variable."""

    def caption(shown: Sequence[Panel]) -> str:
        text = (
            "Influence of each observation on its own prediction by the analysis, from 0 "
            "(determined by the others) to 1 (determined by this value only). Above one half a "
            "value is hardly checked by others."
        )
        if any(kind == "impact" for *_, kind in shown):
            text += " Impact of each observation on the measure of the forecast: below 0 it helped."
        return text

    def draw(axes: style.Axes, panel: Panel) -> None:
        axes.set_title(panel[0])
        _draw(axes, *panel[1:])

    columns = partial(min, 2)
    return style.draw_each(_panels(run), 2 * MOST, draw, caption, "panels", 2.1, columns, top=0.0)


def _panels(run: Run) -> list[Panel]:
    panels: list[Panel] = []
    file = run.file("feedback")
    for name, kind in product(instruments_in(file), COLOURS):
        values = file.get(f"{name}_{kind}")
        if values is not None and (kind != "influence" or float(values.max()) > ALONE):
            panels.append((words(file[name]), time_of(file), np.asarray(values.values), kind))
    return panels


def _draw(axes: style.Axes, time: xr.DataArray, values: np.ndarray, kind: str) -> None:
    good = np.isfinite(values)
    axes.plot(instants(time)[good], values[good], "o", color=COLOURS[kind], markersize=3)
    axes.axhline(0, color=style.INK, linewidth=0.7)
    if kind == "influence":
        axes.axhline(ALONE, color=style.BACKGROUND, linewidth=0.8, linestyle="--")
        low, high = float(values[good].min()), float(values[good].max())
        axes.set_ylim(min(0.0, low) - 0.03, max(1.0, high) + 0.03)  # outside [0, 1] by correlated R
    axes.set(xlabel=time_label(time), ylabel=kind.capitalize())


CONSISTENCY = Section(
    "Consistency of errors",
    consistency,
    {"influence": draw_influence},
    "no posterior was asked for, or it or they failed: the head of this page says what did.",
)
