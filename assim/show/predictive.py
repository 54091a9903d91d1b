"""Predictive checks in words and a table: do new readings look like those made?"""

from typing import Any

from assim.files.feedback import variable_name
from assim.show.finished import Run, spelt_units
from assim.show.page import GOOD, UNSURE, known, notice, number, paragraph, table

FEW = 20  # readings below which shares tell next to nothing
_HEADER = (
    *("", "readings", "within 50 %", "within 90 %", "CRPS", "CRPS of the prior"),
    *("log score a reading", "units"),
)


def checks(run: Run) -> dict[str, dict[str, Any]]:
    """Entries of the summary by instrument; see `variable_name` for what files call it."""
    given = run.summary.get("predictive")
    if not isinstance(given, dict):
        return {}
    return {str(name): one for name, one in given.items() if isinstance(one, dict)}


def predictive(run: Run) -> list[str]:
    """A sentence of the readings held back, and a table of instruments."""
    found = checks(run)
    if not found:
        return []
    rows = [_row(run, name, one) for name, one in found.items()]
    text = (
        "Within: share of the readings inside the central intervals of their posterior predictive "
        "distribution, errors of readings included; in brackets, where 99 per cent of such shares "
        "fall if the prediction is right. CRPS: continuous ranked probability score, the smaller "
        "the better. Log score: the larger the better."
    )
    held = {name: one for name, one in found.items() if one.get("held_back")}
    said = [_judged(name, one) for name, one in held.items()]
    own = "" if len(held) == len(found) else _not_held_back(held)
    return [*said, own, table(_HEADER, rows), paragraph(text, "soft")]


def _not_held_back(held: dict[str, dict[str, Any]]) -> str:
    others = "Other readings" if held else "The readings"
    text = (
        " were used in the analysis, which has seen what it predicts: more than their share may "
        "lie within the intervals. Hold readings back for a test."
    )
    return paragraph(others + text)


def _judged(name: str, one: dict[str, Any]) -> str:
    """Whether readings held back are covered as often as they should be."""
    below, above, told = False, False, []
    for level in ("50", "90"):
        share, band = known(one.get(f"coverage_{level}")), _band(one, f"coverage_{level}")
        if share is None or band is None:
            return ""
        below, above = below or share < band[0], above or share > band[1]
        told.append(f"{100 * share:.0f} % within their {level} % intervals")
    lead = f"{name}: of the readings held back {' and '.join(told)}."
    if below and above:
        text = "Neither is what chance allows: the predictive distribution has another shape."
    elif below:
        text = "That is less than chance allows: intervals are too narrow"
    elif above:
        text = "That is more than chance allows: intervals are too wide"
    else:
        if (one.get("count") or 0) < FEW:
            return paragraph(f"{lead} So few readings hardly tell whether they are right.")
        return notice("That is what chance allows if they are right.", GOOD, lead)
    either = "" if below and above else ", or an error is common to many readings."
    return notice(text + either, UNSURE, lead)


def _band(one: dict[str, Any], key: str) -> tuple[float, float] | None:
    given = one.get(f"{key}_band")
    ends = [known(end) for end in given] if isinstance(given, list) else []
    return (ends[0], ends[1]) if len(ends) == 2 and None not in ends else None  # type: ignore[return-value]


def _row(run: Run, name: str, one: dict[str, Any]) -> tuple[object, ...]:
    called = f"{name} (held back)" if one.get("held_back") else name
    scores = (number(one.get(key), 3) for key in ("crps", "crps_prior", "log_score"))
    shares = (_share(one, key) for key in ("coverage_50", "coverage_90"))
    return called, one.get("count"), *shares, *scores, _units(run, name)


def _share(one: dict[str, Any], key: str) -> str:
    share, band = known(one.get(key)), _band(one, key)
    if share is None:
        return "–"
    text = f"{100 * share:.0f} %"
    return text if band is None else f"{text} ({100 * band[0]:.0f} to {100 * band[1]:.0f})"


def _units(run: Run, name: str) -> str:
    name = variable_name(name)
    found = (file[name].attrs.get("units") for file in run.feedback if name in file)
    return spelt_units(next(found, "1"))
