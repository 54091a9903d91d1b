"""summary.json: the analysis in a few numbers, for scripts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.failures import FAILED, of_methods
from assim.analysis.posterior import Posterior
from assim.files.netcdf import strict
from assim.files.read.observations import Instrument
from assim.files.write.applied import applied
from assim.files.write.encode import in_summary
from assim.findings.fit import verdict_of
from assim.problem.arrays import Array


def summary(
    analysis: Analysis,
    instruments: Sequence[Instrument] = (),
    truth: Mapping[str, Array] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The analysis as strict JSON: numbers that are not finite are None.

    Rejected values are counted of the instruments given, and errors against the true state at the
    window's start, where it is known; `notes` are what was unusual in the inputs.
    """
    solution = analysis.solution
    content = {
        "status": solution.status.name.lower(),
        "advice": solution.status.advice,
        "cost": analysis.cost_analysis,
        "gradient_norm": float(solution.gradient_norm),
        "seconds": analysis.seconds,
        "verdict": _verdict(analysis, analysis.posterior),
        "posterior": _posterior(analysis),
        "chosen": analysis.chosen or None,
        "choice": analysis.choice,
        "quantities": {n: quantity_summary(value) for n, value in analysis.quantities.items()},
        "observations": _observations(analysis, instruments),
        "notes": list(notes),
        "minima": [{"cost": float(m.cost), "starts": int(m.starts)} for m in solution.minima],
        "first_guesses": [{"cost": e.cost, "status": str(e.status)} for e in solution.ends],
        "starts": int(solution.starts),
        "failed_starts": int(solution.failed_starts),
        "findings": list(analysis.findings),
        "failures": dict(analysis.failures),
        "applied": applied(analysis, instruments),
    }
    content |= in_summary(analysis.findings, content)
    if truth is not None:
        content |= _against(truth, analysis)
    return strict(content)


def _verdict(analysis: Analysis, posterior: Posterior | None) -> str | None:
    verdict = verdict_of(analysis, posterior)
    return None if verdict is None else str(verdict)


def _posterior(analysis: Analysis) -> dict[str, Any] | None:
    """The posterior, or one entry a method with its own quantities where several ran.

    A method that raised has its name, the trust "failed", and why as its advice.
    """
    summaries = {
        name: {"verdict": _verdict(analysis, posterior), **_method(posterior)}
        for name, posterior in analysis.posteriors.items()
    }
    for name, why in of_methods(analysis.failures).items():
        summaries[name] = {"method": name, "verdict": FAILED, "trust": FAILED, "advice": why}
    if len(summaries) <= 1:
        return next(iter(summaries.values()), None)
    for name in of_methods(analysis.failures):
        summaries[name] |= {"quantities": {}, "files": []}
    for name, posterior in analysis.posteriors.items():
        suffix = "" if name == analysis.chosen else f"_{name}"
        summaries[name] |= {
            "quantities": {n: quantity_summary(q) for n, q in posterior.quantities.items()},
            "files": [f"posterior{suffix}.nc", f"trajectory{suffix}.nc"],
        }
    return summaries


def quantity_summary(quantity: Any) -> dict[str, Any]:
    """A quantity without what does not apply to it."""
    empty = {"long_name": "", "draws": None, "prior": None, "note": "", "errors": None,
             "outside": (0.0, 0.0)}  # fmt: skip
    content = {
        name: value
        for name, value in vars(quantity).items()
        if name not in empty or value != empty[name]
    }
    if quantity.prior is not None:
        content["prior"] = dict(zip(("q05", "q50", "q95"), quantity.prior, strict=True))
    if quantity.errors is not None:
        content["errors"] = quantity.errors._asdict()
    if "outside" in content:
        content["outside"] = dict(zip(("posterior", "prior"), quantity.outside, strict=True))
    return content


def _method(posterior: Posterior) -> dict[str, Any]:
    return {
        "method": posterior.method,
        "trust": str(posterior.trust),
        "advice": posterior.advice,
        "log_evidence": posterior.log_evidence,
        **posterior.certificates,
        "gradients": int(posterior.gradients),
        "evaluations": int(posterior.evaluations),
        "seconds": posterior.seconds,
    }


def _observations(analysis: Analysis, instruments: Sequence[Instrument]) -> dict[str, Any]:
    problem = analysis.problem
    counts: dict[str, Any] = {
        o.name: {"used": int(o.counted().sum()), "rejected": {}} for o in problem.observations
    }
    for instrument in instruments:
        name = instrument.observations.name
        held_back = {"used": 0, "held_back": int(instrument.used.sum())}
        counts.setdefault(name, held_back)["rejected"] = instrument.rejected()
    return counts


def _against(truth: Mapping[str, Array], analysis: Analysis) -> dict[str, Any]:
    """Root-mean-square error of each field at the window's start, and the spread stated for it."""
    before, after = analysis.background.control.state, analysis.analysis.control.state
    errors = {
        name: {"background": _rms(before[name] - value), "analysis": _rms(after[name] - value)}
        for name, value in truth.items()
    }
    spread = {name: _rms(value) for name, value in analysis.state_stdev.items() if name in truth}
    return {"rmse": errors, "spread": spread}


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(values)))))
