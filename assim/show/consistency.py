"""What departures say of the errors that were assumed: sentences and tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from assim.show import style
from assim.show.finished import Run, field_names, instants, spelt_units, time_label, time_of, words
from assim.show.page import GOOD, UNSURE, known, notice, number, paragraph, table
from assim.show.style import Picture

NO_DIAGNOSTICS = "they need a posterior, and none was asked for."

UNLIKELY = 0.01  # in either tail of χ²: one analysis in fifty is outside by chance
BENT = 0.3  # share of the change of departures that the tangent linear may miss


def consistency(run: Run) -> list[str]:
    """χ² as a sentence, and a table of instruments."""
    found = run.summary.get("diagnostics")
    if not isinstance(found, dict):
        return []
    return [_chi_squared(found), _instruments(run, found), _linearity(found), _forecast(run)]


def expected_cost(run: Run, term: str) -> str:
    """Expectation of a term of the cost with its standard deviation, as text; "" if unknown."""
    found = run.summary.get("diagnostics")
    terms = found.get("terms") if isinstance(found, dict) else None
    one = terms.get(term) if isinstance(terms, dict) else None
    return _expected(one.get("expected"), one.get("stddev")) if isinstance(one, dict) else ""


def _expected(expected: object, stddev: object) -> str:
    return f"{number(expected, 3)} ± {number(stddev, 2)}" if known(expected) is not None else "–"


def _chi_squared(found: dict[str, Any]) -> str:
    value, degrees = known(found.get("chi_squared")), known(found.get("chi_squared_expected"))
    if value is None:
        return ""
    lead = f"χ² = {number(value, 4)}, expected –."
    if degrees is not None:
        spread = (2 * max(degrees, 0.0)) ** 0.5
        lead = f"χ² = {number(value, 4)}, expected {number(degrees)} ± {number(spread, 2)}."
    p = known(found.get("p_value"))
    if p is None:
        return notice(
            "With an estimated error scale, or errors that are not Gaussian, this is no test: "
            "departures fit such errors by construction.",
            "",
            lead,
        )
    share = "above 0.99" if p > 0.99 else "below 0.001" if p < 0.001 else number(p, 2)
    chance = f"A larger χ² has probability {share}. "
    if p < UNLIKELY:
        text = "Departures are larger than the errors allow: errors are understated, or the model "
        return notice(chance + text + "or the observation operator is wrong.", UNSURE, lead)
    if p > 1 - UNLIKELY:
        text = "Departures are smaller than the errors make likely: errors are overstated, or "
        return notice(chance + text + "their correlations are left out.", UNSURE, lead)
    text = "Departures and increments are as large as the errors that were assumed."
    return notice(chance + text, GOOD, lead)


_HEADER = (
    *("", "used", "cost", "expected", "signal", "mean influence"),
    *("σₒ → estimate", "σ_b → estimate", "units"),
)


def _instruments(run: Run, found: dict[str, Any]) -> str:
    given = found.get("instruments")
    tables = given.items() if isinstance(given, dict) else ()
    rows = [_instrument(run, name, one) for name, one in tables if isinstance(one, dict)]
    if not rows:
        return ""
    text = (
        "Cost: half the sum of squared normalised departures from the analysis. Expected: its mean "
        "if the errors assumed are right, ± at most one standard deviation. Signal: degrees of "
        "freedom for signal, how many of the values inform the analysis; mean influence is their "
        "share. σₒ and σ_b: standard deviations of the errors of values and of their background, "
        "as assumed (root mean square) → as departures tell (Desroziers et al. 2005), of "
        "logarithms where the errors are; a dash where no estimate can be made."
    )
    ratios = {
        key: {
            name: known(one.get(f"{key}_variance_ratio"))
            for name, one in tables
            if isinstance(one, dict)
        }
        for key in ("error", "background")
    }
    return table(_HEADER, rows) + paragraph(text, "soft") + negative_variances(**ratios)


def _instrument(run: Run, name: str, one: dict[str, Any]) -> tuple[object, ...]:
    count, cost = known(one.get("count")), number(one.get("cost"), 4)
    expected = _expected(one.get("cost_expected"), one.get("cost_expected_stddev"))
    signal, influence = (number(one.get(k), 3) for k in ("degrees_of_freedom", "mean_influence"))
    sigmas = (
        stdevs(known(one.get(f"{key}_stddev")), known(one.get(f"{key}_variance_ratio")))
        for key in ("error", "background")
    )
    used = "–" if count is None else f"{count:.0f}" if count.is_integer() else f"{count:.1f}"
    return (name, used, cost, expected, signal, influence, *sigmas, _units(run, name))


def stdevs(assumed: float | None, ratio: float | None) -> str:
    """As assumed → as departures imply.

    Args:
        assumed: the standard deviation.
        ratio: of the variance that departures imply to that assumed, with its sign.
    """
    if ratio is not None and ratio < 0:
        return f"{number(assumed, 3)} → negative"
    estimated = None if assumed is None or ratio is None else assumed * ratio**0.5
    return f"{number(assumed, 3)} → {number(estimated, 3)}"


def negative_variances(
    error: Mapping[str, float | None], background: Mapping[str, float | None]
) -> str:
    """What it means that departures imply a negative variance; "" where none is.

    Args:
        error: ratio of σₒ² as estimated to that assumed, of every instrument.
        background: the same of σ_b².
    """
    kinds = (
        (error, "σₒ²", "R", "the analysis goes beyond the values"),
        (background, "σ_b²", "B", "the analysis moves away from the values"),
    )
    found = []
    for ratios, symbol, matrix, so in kinds:
        names = [name for name, ratio in ratios.items() if ratio is not None and ratio < 0]
        if names:
            text = (
                f"The estimate of {symbol} is negative for {', '.join(names)}: {so}. {matrix} is "
                "far too large there, its correlations or what other instruments say is wrong, or "
                "the values are too few for an estimate."
            )
            found.append(notice(text, UNSURE))
    return "".join(found)


def _units(run: Run, name: str) -> str:
    """Of the standard deviation of errors where the feedback has it, else of the values."""
    for file in run.feedback:
        for variable in (f"{name}_stddev", name):
            if variable in file:
                return spelt_units(file[variable].attrs.get("units"))
    return ""


def _linearity(found: dict[str, Any]) -> str:
    given = found.get("instruments")
    tables = given.items() if isinstance(given, dict) else ()
    bent = [
        name
        for name, one in tables
        if isinstance(one, dict) and (known(one.get("nonlinearity")) or 0.0) > BENT
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


def _forecast(run: Run) -> str:
    impact = run.summary.get("impact")
    if not isinstance(impact, dict):
        return ""
    before, after, total = (impact.get(k) for k in ("background", "analysis", "total"))
    text = (
        f"The measure of the forecast is {number(before)} from the background and {number(after)} "
        f"from the analysis; impacts of all observations add up to {number(total)}."
    )
    given = impact.get("instruments")
    sums = given.items() if isinstance(given, dict) else ()
    rows = [(name, number(value, 3)) for name, value in sums]
    return paragraph(text) + table(("Impact on the forecast (negative: it improved)", ""), rows)


MOST = 3
TELLING = 0.5  # influence above which a value is mostly what makes its own analysis

Column = tuple[str, xr.DataArray, np.ndarray, str, str]  # title, time, values, label, colour


def draw_influence(run: Run) -> Picture | None:
    """Influence (where a value has more than half) and impact, a row a variable."""
    everything = _columns(run)
    shown = everything[: 2 * MOST]
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 2 if len(shown) > 1 else 1, 2.1)
    for (title, time, values, label, colour), where in zip(shown, axes, strict=True):
        where.set_title(title)
        _draw(where, time, values, label, colour)
    caption = (
        "Influence of each observation on what the analysis says of it, from 0 (it follows the "
        "rest) to 1 (it follows this value alone). Above one half a value is hardly checked by "
        "others."
    )
    if any(label == "Impact" for _, _, _, label, _ in shown):
        caption += " Impact of each observation on the measure of the forecast: below 0 it helped."
    if (left_out := len(everything) - len(shown)) > 0:
        caption += f" {left_out} further panels are not drawn."
    return style.picture("influence", figure, caption)


def _columns(run: Run) -> list[Column]:
    found: list[Column] = []
    for file in run.feedback:
        time = time_of(file)
        if time is None:
            continue
        for name in field_names(file):
            influence, impact = (file.get(f"{name}_{end}") for end in ("influence", "impact"))
            if influence is not None and float(influence.max()) > TELLING:
                values = np.asarray(influence.values)
                found.append((words(file[name]), time, values, "Influence", style.ANALYSIS))
            if impact is not None:
                values = np.asarray(impact.values)
                found.append((words(file[name]), time, values, "Impact", style.TRUTH))
    return found


def _draw(axes: Axes, time: xr.DataArray, values: np.ndarray, label: str, colour: str) -> None:
    good = np.isfinite(values)
    axes.plot(instants(time)[good], values[good], "o", color=colour, markersize=3)
    axes.axhline(0, color=style.INK, linewidth=0.7)
    if label == "Influence":
        axes.axhline(TELLING, color=style.BACKGROUND, linewidth=0.8, linestyle="--")
        low, high = float(values[good].min()), float(values[good].max())
        axes.set_ylim(min(0.0, low) - 0.03, max(1.0, high) + 0.03)  # outside [0, 1] by correlated R
    axes.set_ylabel(label)
    axes.set_xlabel(time_label(time))
