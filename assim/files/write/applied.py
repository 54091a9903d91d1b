"""What an analysis or a cycle applied, with numbers: what silently did nothing is seen."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assim.analysis.analyse import Analysis
from assim.files.names import BACKGROUND, BOUNDS, SUPEROBBED, THINNED
from assim.files.netcdf import strict
from assim.files.read.observations import Instrument

if TYPE_CHECKING:
    from assim.analysis.cycle.cycle import Cycle
    from assim.analysis.cycle.measures import Measures


def applied(analysis: Analysis, instruments: Sequence[Instrument]) -> dict[str, Any]:
    """The constraint, and of every instrument rows, errors, weights, checks and bias correction."""
    assimilated = {o.name for o in analysis.problem.observations}
    return {
        "constraint": _constraint(analysis),
        "observations": {
            i.observations.name: _instrument(analysis, i, i.observations.name in assimilated)
            for i in instruments
        },
    }


def _constraint(analysis: Analysis) -> dict[str, Any]:
    problem = analysis.problem
    error, slots = problem.control.model_error, problem.window.slots
    content = {"form": "strong", "controls": problem.size(), "slots": slots}
    if error is None:
        return content
    content |= {
        "form": "weak",
        "acts": error.acts,
        "errors": slots // error.every,
        "bounded": sorted(error.bounds),
        "control": "states" if problem.control.later else "model errors",
    }
    amplitude = np.asarray(problem.control.amplitude(analysis.analysis.control.scales))
    prior = analysis.prior_stdev.model_error
    largest = [
        float(np.max(np.abs(value) / (amplitude * np.asarray(prior[name])), initial=0.0))
        for name, value in analysis.analysis.control.model_error.items()
        if name in prior and np.all(np.asarray(prior[name]) > 0)
    ]
    return content | ({"largest": max(largest)} if largest else {})


def _instrument(analysis: Analysis, instrument: Instrument, assimilated: bool) -> dict[str, Any]:
    o, used = instrument.observations, int(instrument.used.sum())
    content: dict[str, Any] = {
        "rows": instrument.table.rows,
        "used": used,
        "assimilated": assimilated,
        "likelihood": type(o.likelihood).__name__,
        "independent": o.covariance.independent(),
        "checks": checks_of(instrument),
    }
    if o.scale is not None:
        content["scale"] = o.scale.name
    if o.weight is not None:
        powers = np.asarray(o.powers())
        content["weights"] = {"least": powers.min(), "most": powers.max(), "sum": powers.sum()}
    if o.bias is not None and used:
        control = analysis.analysis.control
        correction = np.asarray(o.correction(analysis.analysis.trajectory, control.biases))
        content["bias"] = {
            "coefficients": list(o.bias.priors),
            "mean": correction.mean(),
            "largest": np.abs(correction).max(),
            "units": instrument.table.units,
        }
    return strict(content)


def checks_of(instrument: Instrument) -> dict[str, int]:
    """Rows that each check which was asked for took out, of those that the file does not flag."""
    quality, flags = instrument.quality, np.where(instrument.table.qc == 0, instrument.flags, 0)
    asked = {
        "bounds": (BOUNDS, quality.lower is not None or quality.upper is not None),
        "background check": (BACKGROUND, quality.threshold is not None),
        "thinning": (THINNED, quality.thins),
        "superobbing": (SUPEROBBED, quality.averages),
    }
    return {name: int(np.sum(flags == code)) for name, (code, given) in asked.items() if given}


def cycle_applied(cycle: "Cycle", measures: "Measures") -> dict[str, Any]:
    """The scheme with its settings, and the inflation that was applied, over the windows."""
    factors = np.asarray(measures.inflation, float)
    known = factors[np.isfinite(factors)]
    content = {
        "scheme": type(cycle.scheme).__name__,
        "settings": {n: v for n, v in vars(cycle.scheme).items() if _is_setting(v)},
        "controls": cycle.problem.size(),
        "windows": int(np.asarray(measures.cost).size),
        "observations": float(np.sum(measures.number)),
    }
    if known.size:
        content["inflation"] = {"mean": known.mean(), "least": known.min(), "most": known.max()}
    failed = np.asarray(measures.failed_members)
    if failed.any():
        windows = int(np.sum(failed > 0))
        content["failed_members"] = {"sum": failed.sum(), "windows": windows, "most": failed.max()}
    return strict(content)


def _is_setting(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_setting, value.values()))
    return isinstance(value, bool | int | float | str)
