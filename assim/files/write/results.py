"""An Analysis as datasets: the analysed state, the trajectory, the posterior, the diagnostics."""

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np
import xarray as xr

from assim.analysis.analyse import Analysis
from assim.analysis.finding import Variable
from assim.analysis.posterior import Posterior
from assim.files.fingerprint import digests, problem_digest
from assim.files.names import STDEV, time_name
from assim.files.netcdf import attributes, axes, used_dims
from assim.files.units import of_model_error
from assim.files.write.analysed import edge_dataset, window_dataset
from assim.files.write.encode import encoded, field_series, of_findings
from assim.files.write.observables import with_observables
from assim.findings.fit import Fit, verdict_of
from assim.findings.observables import Observables
from assim.problem.arrays import Array, Label, Labels
from assim.problem.control import Physical

_LOOP = {
    "number": "number of the outer loop",
    "cost": "cost at the outer loop",
    "gradient_norm": "norm of the cost's gradient at the outer loop",
    "inner_iterations": "inner iterations",
    "seconds": "wall time",
}
_MINIMUM = {"cost": "cost of the minimum", "starts": "first guesses that led to it"}
_TERM = {
    "observation": "observations, with their part of the normaliser c",
    "model_error": "model error, with the part of the normaliser c of jumps",
    "parameters": "parameters, error scales and bias coefficients",
    "volume": "volume v, which is no part of the posterior density exp(v - J)",
    "total": "total J, the normaliser c and the volume v included",
}


def analysis_dataset(analysis: Analysis) -> xr.Dataset:
    """The analysed state at the window's start, with increments and standard deviations.

    The layout is that of a background, so that it can be one; model parameters are added.
    """
    return edge_dataset(analysis.analysed_window(), 0)


def trajectory_dataset(analysis: Analysis, posterior: Posterior | None = None) -> xr.Dataset:
    """The analysed trajectory at the slot edges, `<v>_stddev`, and `<v>_background`.

    `<v>` is that of the least cost; where the posterior is an ensemble, `<v>_mean` is its mean.
    Under weak constraint with `<v>_model_error`, its `_stddev` and `_prior_stddev`: at every edge
    η of the group of slots that ends there or holds it; missing at the first edge. With what
    instruments would read there, where that was found (`finding.observables`).

    Args:
        analysis: the analysis.
        posterior: whose standard deviations are given; the one that is reported where None.
    """
    posterior = posterior or analysis.posterior
    analysed = analysis.analysed_window(posterior)
    labels, clock = analysed.labels, time_name(analysed.labels.time_unit)
    means = {} if posterior is None else posterior.trajectory_mean
    of_mean = field_series(labels, analysed.window, {"_mean": ("posterior mean of", means)})
    error = _model_error(analysis, posterior, labels, clock)
    dataset = window_dataset(analysed).assign({**of_mean.data_vars, **error})
    observables = analysis.findings.get(Observables.name)
    if isinstance(observables, Observables) and posterior is analysis.posterior:
        dataset = with_observables(dataset, observables.series, labels)
    return dataset if posterior is None else dataset.assign_attrs(assim_method=posterior.method)


def _model_error(
    analysis: Analysis, posterior: Posterior | None, labels: Labels, clock: str
) -> dict[str, xr.Variable]:
    """η of every field that has it, on the slot edges."""
    error, control = analysis.problem.control.model_error, analysis.analysis.control
    if error is None:
        return {}
    amplitude = np.asarray(analysis.problem.control.amplitude(control.scales))
    prior = {n: amplitude * np.asarray(v) for n, v in analysis.prior_stdev.model_error.items()}
    spread = {} if posterior is None else posterior.model_error_stdev
    parts = {
        "": ("model error of", control.model_error),
        STDEV: ("standard deviation of the model error of", spread),
        f"_prior{STDEV}": ("prior standard deviation of the model error of", prior),
    }
    content = {}
    for name in control.model_error:
        label = of_model_error(name, labels, error.acts, error.bounds)
        for suffix, (what, values) in parts.items():
            if name in values:
                series = np.repeat(np.asarray(values[name], dtype=float), error.every, axis=0)
                whole = np.concatenate([np.full((1, *series.shape[1:]), np.nan), series])
                content[f"{name}_model_error{suffix}"] = xr.Variable(
                    (clock, *label.dims), whole, attributes(name, label, what)
                )
    return content


def posterior_dataset(analysis: Analysis, posterior: Posterior | None = None) -> xr.Dataset:
    """Members of everything estimated, on dimension `realization`, with draws from the prior.

    `weight` is that of each member; `<name>_prior` are independent draws from the prior, on
    `prior_realization` where they are not as many as the members.

    Members are those of the posterior given, or of the one that is reported.

    Raises:
        ValueError: the analysis has no posterior.
    """
    posterior, prior = posterior or analysis.posterior, analysis.prior_draws
    if posterior is None:
        raise ValueError("the analysis has no posterior; ask for one: analyse(..., posterior=...)")
    labels, size = analysis.problem.model.labels(), posterior.weights.size
    content: dict[str, xr.Variable] = {}

    def put(name: str, label: Label, draws: Any, suffix: str = "", what: str = "") -> None:
        values = np.asarray(draws)
        along = "realization" if len(values) == size else "prior_realization"
        words = attributes(name, label, what)
        assert f"{name}{suffix}" not in content, f"two variables {name}{suffix}"
        content[f"{name}{suffix}"] = xr.Variable((along, *label.dims), values, words)

    for name, label, values in _estimated(analysis, posterior.draws, labels):
        put(name, label, values)
    for name, label, values in _estimated(analysis, prior, labels) if prior else ():
        put(name, label, values, "_prior", "prior of")
    for name, drawn in posterior.derived.items():
        about = posterior.quantities[name]
        label = Label((), about.units, about.long_name)
        put(name, label, drawn.members)
        put(name, label, drawn.prior, "_prior", "prior of")
    put("weight", Label((), "1", "weight of the member"), posterior.weights)
    known = [name for name in (*labels.state, *labels.parameters) if name in content]
    member = np.arange(size, dtype=np.int32)
    words = {"units": "1", "long_name": "posterior draw", "standard_name": "realization"}
    places = axes(labels, used_dims(labels, known))
    coordinates = {"realization": ("realization", member, words), **places}
    window = digests(analysis.problem.model, analysis.problem.window)
    made_with = {
        "assim_window_inputs": "\n".join(f"{digest}  {name}" for name, digest in window.items()),
        "assim_problem_sha256": problem_digest(analysis.problem),
    }
    return xr.Dataset(content, coordinates, {**certificates(analysis, posterior), **made_with})


def diagnostics_dataset(analysis: Analysis) -> xr.Dataset:
    """How the minimisation went, and what was found beyond it.

    Cost terms, loops, spectrum of the Hessian, minima met; then the variables of `findings`, each
    of which has the name of its finding as the attribute `finding`.
    """
    content = encoded(_minimisation(analysis))
    content |= of_findings(analysis.findings, content)
    return xr.Dataset(content, attrs=certificates(analysis, analysis.posterior))


def _minimisation(analysis: Analysis) -> dict[str, Variable]:
    """Cost terms, loops, minima met, and the spectrum of the Hessian."""
    loops, minima = analysis.solution.loops, analysis.solution.minima
    content = dict(_costs(analysis))
    for key, words in _LOOP.items() if loops else ():
        name, units = "loop" if key == "number" else key, "s" if key == "seconds" else "1"
        content[name] = Variable(("loop",), [getattr(loop, key) for loop in loops], words, units)
    for key, words in _MINIMUM.items() if minima else ():
        values = [getattr(minimum, key) for minimum in minima]
        content[f"minimum_{key}"] = Variable(("minimum",), values, words)
    if analysis.laplace is not None and len(analysis.laplace.eigenvalues):
        spectrum = np.sort(np.asarray(analysis.laplace.eigenvalues))[::-1]
        words = "eigenvalue of A - I, where A is the Hessian of J"
        content["hessian_eigenvalue"] = Variable(("mode",), spectrum, words)
    return content


def _costs(analysis: Analysis) -> Iterator[tuple[str, Variable]]:
    costs = {"background": analysis.cost_background, "analysis": analysis.cost_analysis}
    for place, terms in costs.items():
        for term, value in terms.items():
            what = f"cost at the {place}: {_TERM.get(term, term.replace('_', ' '))}"
            yield f"cost_{term}_at_{place}", Variable((), float(value), what)
    number = sum((float(o.count()) for o in analysis.problem.observations), 0.0)
    what = "sum of squares of the cost, 2(J - c - v), over the number of observations"
    yield "chi_squared_ratio", Variable((), analysis.chi_squared / (number or float("nan")), what)
    count = int(number) if number.is_integer() else number
    what = "number of observations, as their weights count them"
    yield "observation_count", Variable((), count, what)
    norm = analysis.solution.gradient_norm
    yield "final_gradient_norm", Variable((), float(norm), "norm of the cost's gradient at the end")
    for stage, seconds in analysis.seconds.items():
        what = f"wall time of {stage.replace('_', ' ')}"
        yield f"seconds_{stage}", Variable((), float(seconds), what, "s")


def _estimated(
    analysis: Analysis, draws: Physical, labels: Labels
) -> Iterator[tuple[str, Label, Array]]:
    """Name, label and draws of everything that is estimated but model errors."""
    control = analysis.problem.control
    for name, label in labels.state.items():
        if name in control.covariance.fields() or name in control.fields:
            yield name, label, draws.state[name]
    for name in control.parameters:
        yield name, labels.parameters[name], draws.parameters[name]
    error = control.model_error
    for name in control.scales:
        amplitude = error is not None and error.scale is not None and error.scale.name == name
        what = "amplitude of the model error" if amplitude else "observation-error scale"
        yield name, Label(long_name=f"{what} {name}"), draws.scales[name]
    for name in control.biases:
        units = analysis.quantities[name].units if name in analysis.quantities else "1"
        yield name, Label(units=units, long_name=f"bias coefficient {name}"), draws.biases[name]


def certificates(analysis: Analysis, posterior: Posterior | None) -> dict[str, str | float]:
    """Global attributes: how it ended, and what is known of the fit and of the posterior."""
    known: dict[str, str | float] = {"assim_status": analysis.solution.status.name.lower()}
    fit = analysis.findings.get(Fit.name)
    known |= {Fit.name: fit.verdict} if isinstance(fit, Fit) else {}
    if posterior is not None:
        known |= {
            "assim_method": posterior.method,
            "trust": str(posterior.trust),
            "verdict": str(verdict_of(analysis, posterior)),
            "advice": posterior.advice,
            "log_evidence": posterior.log_evidence,
            **posterior.certificates,
        }
    if analysis.laplace is not None:
        hessian, by = analysis.laplace.hessian, analysis.problem.model.second_derivatives()
        exact = by if hessian.startswith("exact") else ""
        known["hessian"] = f"{hessian}, {exact}" if exact else hessian
    return {
        name: value for name, value in known.items() if isinstance(value, str) or isfinite(value)
    }
