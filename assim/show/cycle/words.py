"""The words and tables of a cycle's report."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from assim.show import passages
from assim.show.consistency import negative_variances, stdevs
from assim.show.cycle.series import (
    FORECAST,
    KINDS,
    WINDOW,
    burn_in,
    entries,
    field_label,
    fields,
    instrument_units,
    instruments,
    scalar_label,
    scalars,
    series,
    settled,
    size,
    statuses,
    units_of,
    values,
)
from assim.show.cycle.statistics import average
from assim.show.finished import Run, span_of, spelt_units, time_of
from assim.show.page import (
    GOOD,
    POOR,
    UNSURE,
    escaped,
    known,
    notice,
    number,
    paragraph,
    table,
    with_spread,
)

_TITLE = ": windows of a cycle"


def title(run: Run) -> str:
    """The title of the case; where there is none, the directory's name."""
    heading = next((one.get("cycle") for one in run.manifest if "cycle" in one), None)
    return str(heading or passages.title(run)).removesuffix(_TITLE)


def heading(run: Run) -> str:
    """Title, time, and in words how the cycle went."""
    above = [run.directory.resolve().name, f"{size(run):,} windows", *_stretch(run)]
    return "\n".join(
        [
            f"<h1>{escaped(title(run))}</h1>",
            paragraph(" · ".join(above), "soft"),
            _went(run),
            paragraph(" ".join(one for one in (_means(run), _coverage(run)) if one)),
            paragraph(_chi_squared(run)),
        ]
    )


def _stretch(run: Run) -> list[str]:
    file = series(run)
    time = None if file is None else time_of(file)
    return [] if time is None or time.dims != (WINDOW,) else span_of(time, number)


def _went(run: Run) -> str:
    """How many windows were analysed, and how their minimisations ended."""
    total = size(run)
    missed = _states(run).get(FORECAST, 0)
    counts = statuses(run)
    unfinished = {name: n for name, n in counts.items() if name != "converged"}
    ended = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
    text = f"Minimisations: {ended}." if unfinished else ""
    lead = f"All {total:,} windows were analysed."
    if missed:
        lead = f"{missed:,} of {total:,} windows were forecast instead of analysed."
    verdict = UNSURE if missed or unfinished else GOOD
    if missed > total / 2 or "non_finite" in counts:
        verdict = POOR
    return notice(text, verdict, lead)


def _states(run: Run) -> dict[str, int]:
    given = run.summary.get("states")
    if isinstance(given, dict):
        return {str(name): n for name, n in given.items() if isinstance(n, int)}
    return Counter(str(one.get("state")) for one in entries(run))


def _after(run: Run) -> str:
    first = burn_in(run)
    return f"After the burn-in of {first} windows" if 0 < first < size(run) else "Over all windows"


def _means_of(run: Run) -> str:
    return _after(run).replace("After", "Means after").replace("Over", "Means over")


def _means(run: Run) -> str:
    """RMSE and spread: of all fields where these have one unit, else of each."""
    summary = run.summary
    error, spread = known(summary.get("rmse_analysis")), known(summary.get("spread"))
    if spread is None:
        return _means_by_field(run)
    units = {units_of(run, f"{name}_spread_analysis") for name in fields(run)}
    unit = _unit(next(iter(units))) if len(units) == 1 else ""
    before = known(summary.get("spread_background"))
    if error is None:
        text = f"{_after(run)} the spread of the analysis is {number(spread)}{unit} on average"
        other = f", that of the background {number(before)}{unit}"
        return text + other * (before is not None) + "."
    text = f"{_after(run)} the RMSE of the analysis is {number(error)}{unit} on average and its "
    text += f"spread {number(spread)}{unit}"
    worse = known(summary.get("rmse_background"))
    if worse is not None and before is not None:
        text += f"; those of the background are {number(worse)}{unit} and {number(before)}{unit}"
    return text + "."


def _means_by_field(run: Run) -> str:
    errors, spreads = (run.summary.get(f"{k}_by_field") for k in ("rmse_analysis", "spread"))
    errors = errors if isinstance(errors, dict) else {}
    parts = []
    for name, spread in spreads.items() if isinstance(spreads, dict) else ():
        unit = _unit(units_of(run, f"{name}_spread_analysis"))
        error = known(errors.get(name))
        of = "" if error is None else f"an RMSE of {number(error)}{unit} and "
        parts.append(f"{name} {of}a spread of {number(spread)}{unit}")
    return f"{_after(run)} the analysis has on average, of {'; of '.join(parts)}." if parts else ""


def _unit(units: str) -> str:
    return "" if units in {"", "1"} else f" {spelt_units(units)}"


def _coverage(run: Run) -> str:
    given = run.summary.get("coverage")
    shares = {
        level: share
        for level, one in (given.items() if isinstance(given, dict) else ())
        if (share := known(one)) is not None
    }
    if not shares:
        return ""
    first, *others = [(level, number(100 * share, 3)) for level, share in shares.items()]
    text = f"The {first[0]}\u00a0% intervals hold {first[1]}\u00a0% of the true values"
    return (
        text
        + "".join(f", the {level}\u00a0% intervals {share}\u00a0%" for level, share in others)
        + "."
    )


def _chi_squared(run: Run) -> str:
    mean = known(run.summary.get("chi_squared"))
    if mean is None:
        count = values(run, "number")
        if count is None or not np.any(count[settled(run)] > 0):
            return "No observation was assimilated after the burn-in, so that 2J/m is not known."
        return (
            "2J/m is not given: it is expected to be 1 only for Gaussian errors of known scale, of "
            "observations that enter one window each."
        )
    text = f"2J/m, twice the cost by the number of observations, is {number(mean)} on average"
    count = values(run, "number")
    count = np.zeros(0) if count is None else count[settled(run)]
    count = count[count > 0]
    if count.size:
        spread = float(np.sqrt(np.sum(2 / count)) / count.size)
        text += f"; where all covariances are right it is 1 ± {number(spread, 2)}"
        far = abs(mean - 1) > max(3 * spread, 0.05)
        way = "larger" if mean > 1 else "smaller"
        text += f", so that departures are {way} than the covariances make likely" * far
    return text + "."


# ---- tables --------------------------------------------------------------------------------------


def errors(run: Run) -> str:
    """Mean RMSE and spread of every field, and how many times the error the spread is."""
    rows = [row for name in fields(run) for kind in KINDS if (row := _error(run, name, kind))]
    if not rows:
        return ""
    header = (_means_of(run), "", "RMSE", "spread", "spread / error", "units")
    text = (
        "Background and analysis are those at the newest observations of a window, the smoother "
        "is the analysis at its start. Spread / error: the root of the mean variance by the root "
        "of the mean square error, 1 in a calibrated cycle."
    )
    shown: Sequence[int] = range(len(header))
    if all(row[2] == "–" for row in rows):
        shown = (0, 1, 3, 5)
        text = text[: text.index(" Spread /")] + " Errors are left out, as no truth is known."
    chosen = [[row[k] for k in shown] for row in (header, *rows)]
    return table(chosen[0], chosen[1:]) + paragraph(text, "soft")


def _error(run: Run, name: str, kind: str) -> tuple[str, ...]:
    """A row of one field and kind; empty where the files do not have it."""
    spread, error = (values(run, f"{name}_{what}_{kind}") for what in ("spread", "rmse"))
    if spread is None:
        return ()
    spread, mean, ratio = spread[settled(run)], None, None
    if error is not None:
        error = error[settled(run)]
        mean, square = average(error), average(error**2)
        ratio = float(np.sqrt(average(spread**2) / square)) if square > 0 else None
    units = spelt_units(units_of(run, f"{name}_spread_{kind}"))
    label = field_label(run, name)
    called = name if label == name else f"{name}: {label}"
    return called, kind, number(mean, 3), number(average(spread), 3), number(ratio, 3), units


def innovations(run: Run) -> str:
    """What the innovations of every instrument say after the burn-in."""
    header = ("", "values", "mean innovation", "RMS innovation", "expected", "σₒ → estimate",
              "σ_b → estimate", "units")  # fmt: skip
    text = (
        "Over the windows after the burn-in; σₒ and σ_b are standard deviations of the errors of "
        "observations and of the background there, as stated → as departures imply (Desroziers et "
        "al. 2005); a dash where that is not known."
    )
    names = instruments(run)
    if not names:
        return ""
    rows = [_instrument(run, name) for name in names]
    ratios = {key: {name: _sigmas(run, name, key)[1] for name in names} for key in _ERRORS}
    return table(header, rows) + paragraph(text, "soft") + negative_variances(**ratios)


_ERRORS = ("error", "background")


def _instrument(run: Run, name: str) -> tuple[str, ...]:
    count = _settled(run, name, "number")
    squares = (_settled(run, name, f"{what}_rms") ** 2 for what in ("innovation", "expected"))
    return (
        name,
        f"{np.nansum(count):,.0f}",
        number(average(_settled(run, name, "mean"), count), 2),
        *(number(_root(average(square, count)), 3) for square in squares),
        *(stdevs(*_sigmas(run, name, key)) for key in _ERRORS),
        spelt_units(instrument_units(run, name)),
    )


def _settled(run: Run, name: str, what: str) -> np.ndarray:
    """A series of an instrument after the burn-in."""
    found = values(run, f"{name}_obs_{what}")
    return (np.full(size(run), np.nan) if found is None else found)[settled(run)]


def _sigmas(run: Run, name: str, key: str) -> tuple[float | None, float | None]:
    """Standard deviation stated of an error, and the variance that departures imply over its."""
    count, stated = _settled(run, name, "number"), _settled(run, name, f"stated_{key}") ** 2
    implied = average(_settled(run, name, f"{key}_variance_ratio") * stated, count)
    total = average(stated, count)
    ratio = implied / total if total > 0 and np.isfinite(implied) else None
    return _root(total), ratio


def _root(variance: float) -> float | None:
    return float(np.sqrt(variance)) if variance >= 0 else None


def estimates(run: Run) -> str:
    """The newest estimate of every scalar."""
    rows = []
    for name in scalars(run):
        value, stdev = values(run, name), values(run, f"{name}_stddev")
        assert value is not None and stdev is not None
        mean, spread = with_spread(float(value[-1]), float(stdev[-1]))
        label = scalar_label(run, name)
        called = name if label == name else f"{name}: {label}"
        rows.append((called, f"{mean} ± {spread}", spelt_units(units_of(run, name))))
    return table(("After the newest window", "mean ± standard deviation", "units"), rows)


def inflation(run: Run) -> str:
    """The inflation where it is the same in all windows, which no picture shows."""
    found = values(run, "inflation")
    if found is None or np.nanmax(found) - np.nanmin(found) > 1e-6 * np.nanmax(np.abs(found)):
        return ""
    return paragraph(f"The inflation of all windows is {number(float(np.nanmax(found)))}.")
