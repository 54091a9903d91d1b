"""Several posteriors side by side: their numbers, what they cost, how far to trust each."""

from typing import Any

from assim.show.finished import Method, Run, truth, with_units
from assim.show.page import (
    GOOD,
    POOR,
    UNSURE,
    known,
    notice,
    number,
    paragraph,
    table,
    unfolding,
    with_spread,
)
from assim.statistics.pareto import TRUSTED_K_HAT, USABLE_K_HAT

TRUST = {"certified": GOOD, "doubtful": UNSURE, "failed": POOR}

_K_HAT_WORDS = {
    GOOD: "The approximate posterior is close to the true one: importance weights behave.",
    UNSURE: "The approximate posterior is usable; its tails are not quite right.",
    POOR: "The approximate posterior cannot be trusted: compare with a sampler such as NUTS.",
    "": "How close the approximate posterior is to the true one is not known.",
}
_COSTS = {"gradients": "gradients", "evaluations": "evaluations", "seconds": "seconds"}
_CERTIFICATES = {
    "k_hat": "k̂",
    "r_hat": "R̂",
    "effective_draws": "effective draws",
    "log_evidence": "log evidence",
}
_DIGITS = {"seconds": 3, "k_hat": 2}
_WORDS = {"method", "trust", "advice", "quantities", "files"}


def methods(run: Run) -> list[str]:
    """What each method says of every quantity, its cost and its certificates; a word of each.

    Empty where one method ran.
    """
    if not run.methods:
        return []
    choice = run.summary.get("choice")
    return [
        paragraph(choice) if isinstance(choice, str) and choice else "",
        *(_verdict_alone(one) for one in run.methods),
        _comparison(run),
        _all_certificates(run),
    ]


def _verdict_alone(method: Method) -> str:
    lead, advice, verdict = _judged(method.name, method.entry)
    return notice(advice, verdict, lead)


def _comparison(run: Run) -> str:
    names = dict.fromkeys(name for one in run.methods for name in _quantities(one))
    true = {name: truth(run, name) for name in names}
    told = any(value is not None for value in true.values())
    rows = [_quantity(run, name, true[name], told) for name in names]
    rows.append(_across(run, "trust", "trust", told))
    for key, words in {**_COSTS, **_CERTIFICATES}.items():
        if any(known(one.entry.get(key)) is not None for one in run.methods):
            rows.append(_across(run, key, words, told))
    header = [f"{m.name} (reported)" if m.chosen else m.name for m in run.methods]
    place = 1 + told + next(k for k, method in enumerate(run.methods) if method.chosen)
    text = "Mean ± standard deviation of every quantity by method, and what it cost."
    return table(("", *["truth"] * told, *header), rows, text, marked=place)


def _quantity(run: Run, name: str, true: float | None, told: bool) -> tuple[object, ...]:
    entries = [_quantities(one).get(name, {}) for one in run.methods]
    units = next((one["units"] for one in entries if "units" in one), "1")
    pairs = (with_spread(one.get("mean"), one.get("stddev")) for one in entries)
    cells = [f"{mean} ± {spread}" if mean != "–" else "–" for mean, spread in pairs]
    return with_units(name, units), *[number(true)] * told, *cells


def _quantities(method: Method) -> dict[str, dict[str, Any]]:
    given = method.entry.get("quantities")
    given = given if isinstance(given, dict) else {}
    return {str(name): one for name, one in given.items() if isinstance(one, dict)}


def _across(run: Run, key: str, words: str, told: bool) -> tuple[object, ...]:
    """One row of the table from the methods' entries."""
    cells = [one.entry.get(key) for one in run.methods]
    digits = _DIGITS.get(key, 4)
    shown = (cell if isinstance(cell, str) else number(cell, digits) for cell in cells)
    return words, *[""] * told, *shown


def _all_certificates(run: Run) -> str:
    """Every other number that a method gives of itself."""
    shown = {*_WORDS, *_COSTS, *_CERTIFICATES}
    keys = dict.fromkeys(k for one in run.methods for k in one.entry if k not in shown)
    rows = [_across(run, key, key.replace("_", " "), False) for key in keys]
    header = ("", *(one.name for one in run.methods))
    return unfolding("All certificates", table(header, rows, marked=len(header)))


# ---- one method ----------------------------------------------------------------------------------


def told(name: str, one: dict[str, Any]) -> str:
    """How far to trust one posterior, and its other numbers."""
    if not name and not one:
        return ""
    lead, advice, verdict = _judged(name, one)
    said = {*_WORDS, "k_hat"} if "k̂" in lead + advice else _WORDS
    rest = {
        "Pareto k̂" if key == "k_hat" else key.replace("_", " "): value
        for key, value in one.items()
        if key not in said and isinstance(value, int | float | str)
    }
    facts = "; ".join(f"{key} {number(value)}" for key, value in rest.items())
    parts = [notice(advice, verdict, lead)]
    return "\n".join(
        [*parts, paragraph(facts[:1].upper() + facts[1:] + ".", "soft") if facts else ""]
    )


def _judged(name: str, one: dict[str, Any]) -> tuple[str, str, str]:
    """Name with trust, advice, and the verdict that colours them.

    Trust decides; k̂, which may be that of the approximation a method started from, only where a
    file does not tell of trust.
    """
    trust, k_hat = one.get("trust"), known(one.get("k_hat"))
    by_trust = isinstance(trust, str) and trust in TRUST
    verdict = TRUST[str(trust)] if by_trust else k_hat_verdict(k_hat)
    advice = str(one.get("advice") or _K_HAT_WORDS[k_hat_verdict(k_hat)])
    lead = ", ".join([name or "Posterior", *[str(trust)] * by_trust])
    if not by_trust and "k̂" not in advice and k_hat is not None:
        lead += f", k̂ = {k_hat:.2f}"
    return lead + (":" if advice.startswith("k̂") else "."), advice, verdict


def k_hat_verdict(k_hat: float | None) -> str:
    """Pareto k̂ of the importance weights: good below 0.5, poor from 0.7 on."""
    if k_hat is None:
        return ""
    if k_hat < TRUSTED_K_HAT:
        return GOOD
    return UNSURE if k_hat < USABLE_K_HAT else POOR
