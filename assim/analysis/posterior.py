"""The posterior of one method in physical terms: its scalars, draws and fields, and its trust."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.evaluation import Spread
from assim.analysis.fields import (
    FieldMoments,
    can_be_corrected,
    corrected,
    many_together,
    of_members,
)
from assim.analysis.store import AbstractStore
from assim.devices import over_members, program
from assim.problem.arrays import State, Trajectory, TrajectoryFunction
from assim.problem.control import Physical
from assim.problem.departure import Problem
from assim.problem.numbers import numbers_of
from assim.problem.scalars import (
    Derived,
    OfInitial,
    OfTrajectory,
    scalar_fields,
    scalar_units,
)
from assim.solve.columns import EXACT_LIMIT, PROBES
from assim.solve.posterior.ensemble import HEAVY_TAIL, Ensemble, Report, Trust
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.laplace_posterior import OUTSIDE, LaplacePosterior, in_doubt
from assim.solve.posterior.marginal import (
    Pushed,
    Quantity,
    ScalarFunction,
    WeightedDraws,
    in_batches,
    marginals,
    only_map,
    pushed,
    without_moments,
)
from assim.solve.together import affordable
from assim.statistics.accuracy import Errors

Array = jax.Array

_CHAIN = "run a chain (NUTS or MCLMC)"
MORE = f"raise the number of draws, or {_CHAIN}"
_MORE_WEIGHED = "weigh more draws (raise `certificate` of Laplace)"
FINER = "lower the accuracy of the chains, and raise members and max_gradients where they are spent"
LOOSER = 4 / 3  # are limits where what members are worth is that of the worst entry of χ
_TOO_MANY = "How well moments of fields are known is measured at one of %d of their entries."
_HEAVY = (
    "mean and standard deviation are ruled by few draws, far out in a tail: take the median and "
    "the interval"
)


@dataclass(frozen=True)
class Posterior:
    """The posterior as one method has it.

    Args:
        method: its name in results, as "laplace" or "svgd_400".
        kind: the method's own name, as "laplace" or "svgd".
        trust: what its certificates say, as one value.
        advice: the same in a sentence or two.
        certificates: the numbers behind it, by name.
        log_evidence: log p(y); NaN where the method gives none.
        quantities: posterior of every estimated scalar and of derived quantities.
        chi: members, shape (N, n).
        draws: the same in physical units, leading dimension = members.
        weights: of the members, shape (N,), of sum one.
        derived: values of derived quantities for each member, and for prior draws.
        trajectory_mean: posterior mean of every field at every slot edge; empty for a Laplace
            posterior that weights do not correct, whose tangent linear has it at the minimum.
        trajectory_stdev: posterior standard deviations there.
        model_error_stdev: the same of η; empty under strong constraint.
        predicted_stdev: and of Hx, by instrument, shape (m,).
        gradients: evaluations of J with its gradient, those of the minimisation not counted.
        evaluations: evaluations of J alone.
        seconds: wall time, compilation included.
        chains: members are those of so many chains of equal length, one after the other.
    """

    method: str
    kind: str
    trust: Trust
    advice: str
    certificates: Mapping[str, float]
    log_evidence: float
    quantities: dict[str, Quantity]
    chi: Array
    draws: Physical
    weights: np.ndarray
    derived: dict[str, Pushed] = field(default_factory=dict)
    trajectory_mean: State = field(default_factory=dict)
    trajectory_stdev: State = field(default_factory=dict)
    model_error_stdev: State = field(default_factory=dict)
    predicted_stdev: State = field(default_factory=dict)
    gradients: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    chains: int = 1

    def doubted(self, why: str) -> "Posterior":
        """Not certified, for a reason besides its own, a sentence."""
        trust, advice = in_doubt(self.trust, self.advice, why)
        return replace(self, trust=trust, advice=advice)

    @property
    def state_stdev(self) -> State:
        """Posterior standard deviation of every initial field; zero where fixed."""
        return {name: value[0] for name, value in self.trajectory_stdev.items()}


class OfPrior(NamedTuple):
    """Draws from the prior, NaN where there is none.

    Args:
        draws: of the control in physical units, leading dimension = draws.
        scalars: values of initial scalar fields and of derived quantities, by name.
    """

    draws: Physical
    scalars: dict[str, np.ndarray]


class PosteriorRequest(NamedTuple):
    """What is asked of every posterior of one problem, and the Laplace one that all start from.

    Args:
        problem: the problem.
        derived: quantities, by name.
        prior: draws from the prior, and derived quantities of them.
        log_constant: log p(y | χ) + ½ dᵀd + c.
        fitted: the Laplace approximation about the minimum of J.
        settings: of that fit.
        spread: its trajectory and standard deviations.
        seconds: that it took.
        keys: of the first Laplace fit, and of all else.
        report: is given lines of progress.
        store: has what methods drew before, and is given what they draw; None for none.
    """

    problem: Problem
    derived: Mapping[str, Derived]
    prior: OfPrior
    log_constant: float
    fitted: LaplacePosterior
    settings: Laplace
    spread: Spread
    seconds: float
    keys: tuple[Array, Array]
    report: Report | None
    store: AbstractStore | None = None

    def publishing(self) -> Problem:
        """The problem, among whose scalars are the derived quantities."""
        functions = {name: quantity.function for name, quantity in self.derived.items()}
        return replace(self.problem, derived=functions)


def prior_of(problem: Problem, derived: Mapping[str, Derived], number: int, key: Array) -> OfPrior:
    """Draws from the prior, for the problem with model error as the control; as many as fit."""
    forcing = problem.as_forcing()  # later states have no prior of their own
    chi = _prior_draws(forcing, affordable(number, problem.size(), 1), key)
    values: dict[str, np.ndarray] = {}
    for function in _functions(forcing, derived).values():
        values |= in_batches(function, chi, many_together(problem))
    return OfPrior(_mapped(forcing, chi), values)


def of_laplace(
    name: str,
    fitted: LaplacePosterior,
    settings: Laplace,
    asked: PosteriorRequest,
    spread: Spread,
    key: Array,
) -> Posterior:
    """The Laplace posterior, all of it corrected by the certificate's weights where they may be.

    Scalars that depend on only one entry of χ are integrated over its Gaussian marginal, and
    fields by the tangent linear; both are corrected by weighted draws, which are the members.
    Others are taken from the members. Without trusted weights all of it is the Gaussian's.
    """
    problem = asked.problem
    ensemble = settings.sample(problem, fitted, key)
    scalars = marginals(problem.control.scalars, fitted)
    predicted = {n: np.sqrt(np.asarray(v)) for n, v in spread.moments.variance.items()}
    stdev = spread.trajectory, spread.model_error, predicted
    fields = FieldMoments({}, *stdev)
    if fitted.sample is not None and can_be_corrected(stdev):
        fields = corrected(problem, fitted, stdev)
    posterior = _posterior((name, "laplace"), ensemble, scalars, fields, asked, True)
    return posterior if fitted.sample is None else _judged(posterior, fields)


_TANGENT = (
    "The trajectory is too large to be corrected by weights: moments of fields are those of the "
    "tangent linear at the minimum, and how far they are right is not known; keep fewer slot "
    "edges, or run Importance."
)


_PROBED = (
    f"Standard deviations of fields rest on {PROBES} random columns: each may be "
    f"{100 * (2 / PROBES) ** 0.5 / 2:.0f} per cent off by chance."
)


def _judged(posterior: Posterior, fields: FieldMoments) -> Posterior:
    """With how well what is published is known, and doubtful where that is not well enough."""
    if not fields.mean:
        return posterior.doubted(_TANGENT)
    posterior = _with_field_errors(_with_outside(posterior, fields), fields)
    if posterior.chi.shape[1] > EXACT_LIMIT:
        posterior = replace(posterior, advice=f"{posterior.advice} {_PROBED}")
    return _known(posterior, fields.errors, f"{_MORE_WEIGHED}, or {_CHAIN}")


def _with_field_errors(posterior: Posterior, fields: FieldMoments) -> Posterior:
    known = {"field_accuracy": fields.errors.stdev, "field_mean_error": fields.errors.mean}
    return replace(posterior, certificates={**posterior.certificates, **known})


def _with_outside(posterior: Posterior, fields: FieldMoments) -> Posterior:
    """With the share of members that fields leave out, and doubtful where that is not small."""
    known = {**posterior.certificates, "fields_outside": fields.outside}
    posterior = replace(posterior, certificates=known)
    return _leaving_out(posterior, fields.outside, "trajectory", "fields leave", "the model")


def _with_scalars_outside(posterior: Posterior) -> Posterior:
    """The same of the scalar that leaves out most."""
    shares = {name: scalar.outside[0] for name, scalar in posterior.quantities.items()}
    if not shares:
        return posterior
    worst = max(shares, key=lambda name: shares[name])
    known = {**posterior.certificates, "scalars_outside": shares[worst]}
    posterior = replace(posterior, certificates=known)
    moments = "its moments and quantiles leave"
    return _leaving_out(posterior, shares[worst], f"quantity {worst}", moments, "what it is of")


def _leaving_out(
    posterior: Posterior, share: float, what: str, leaving: str, check: str
) -> Posterior:
    """Doubtful where what is published is that of too little of the posterior."""
    if share <= OUTSIDE or posterior.trust is Trust.FAILED:
        return posterior
    if share == 1:
        return posterior.doubted(f"No member has a finite {what}, so that nothing is stated.")
    return posterior.doubted(
        f"The {what} is not finite for {100 * share:.2g} per cent of the posterior, which "
        f"{leaving} out: they are those of the rest; check {check} there."
    )


def _known(
    posterior: Posterior, fields: Errors | None, way_out: str, looser: float = 1.0
) -> Posterior:
    """Doubtful where a scalar or a field is not known well enough, limits being so much looser."""
    if posterior.trust is not Trust.CERTIFIED:
        return posterior
    each = {name: q.errors for name, q in posterior.quantities.items() if q.errors}
    if fields is not None:
        each["fields"] = fields
    worst = max(each, key=lambda name: each[name].excess(), default="")
    if not worst or each[worst].excess() <= looser:
        return posterior
    return posterior.doubted(f"Of {worst}, {'; '.join(each[worst].beyond())}: {way_out}.")


def of_ensemble(name: str, ensemble: Ensemble, asked: PosteriorRequest, kind: str) -> Posterior:
    """The posterior that an ensemble of χ stands for, every member pushed through the model."""
    problem, chi = asked.problem, asked.fitted.chi
    drawn = _drawn(ensemble)
    drawn = drawn._replace(effective_size=math.nan) if ensemble.judged else drawn
    each = pushed(problem.control.scalars, chi, drawn, {}, many_together(problem))
    scalars = {n: replace(scalar.quantity, draws=None, prior=None) for n, scalar in each.items()}
    fields = of_members(problem, ensemble.members, ensemble.weights, chi, ensemble.effective_size)
    posterior = _posterior((name, kind), ensemble, scalars, fields, asked)
    posterior = _with_outside(posterior, fields)
    if math.isnan(ensemble.effective_size) or fields.outside == 1:
        return posterior
    if fields.looked_at > 1:
        posterior = replace(posterior, advice=f"{posterior.advice} {_TOO_MANY % fields.looked_at}")
    looser = 1.0 if ensemble.independent() else LOOSER
    way_out = MORE if ensemble.chains == 1 else FINER
    return _known(_with_field_errors(posterior, fields), fields.errors, way_out, looser)


def _drawn(ensemble: Ensemble, mirrored: bool = False) -> WeightedDraws:
    weights = np.asarray(ensemble.weights)
    # Chains judge their scalars themselves.
    size = math.nan if ensemble.chains > 1 else ensemble.effective_size
    return WeightedDraws(ensemble.members, weights, mirrored, size)


def _posterior(
    called: tuple[str, str],
    ensemble: Ensemble,
    univariate: dict[str, Quantity],
    fields: FieldMoments,
    asked: PosteriorRequest,
    mirrored: bool = False,
) -> Posterior:
    """With the scalars that depend on several entries of χ, all in the order given."""
    problem, chi = asked.problem, asked.fitted.chi
    drawn = _drawn(ensemble, mirrored)
    units = scalar_units(problem)
    values: dict[str, Pushed] = {}
    names = tuple(name for name in scalar_fields(problem) if name not in univariate)
    for function in _functions(problem, asked.derived, names).values():
        values |= pushed(function, chi, drawn, asked.prior.scalars, many_together(problem))
    known = {**univariate, **{name: values[name].quantity for name in names}}
    quantities = {n: replace(known[n], units=units[n]) for n in units if n in known}
    for name, about in asked.derived.items():
        quantity = values[name].quantity
        quantities[name] = replace(quantity, units=about.units, long_name=about.long_name)
    posterior = Posterior(
        *called,
        ensemble.trust,
        ensemble.advice,
        ensemble.certificates,
        ensemble.log_evidence + asked.log_constant,
        _without_luck(quantities, ensemble.certificates),
        drawn.members,
        _mapped(problem, drawn.members),
        drawn.weights,
        {name: values[name] for name in asked.derived},
        fields.mean,
        fields.stdev,
        fields.model_error,
        fields.predicted,
        ensemble.gradients,
        ensemble.evaluations,
        chains=ensemble.chains,
    )
    return _with_scalars_outside(posterior)


def _without_luck(
    quantities: dict[str, Quantity], certificates: Mapping[str, float]
) -> dict[str, Quantity]:
    """Scalars without the moments that a certificate calls ruled by few draws."""
    return {
        name: without_moments(scalar, _HEAVY) if HEAVY_TAIL + name in certificates else scalar
        for name, scalar in quantities.items()
    }


def _functions(
    problem: Problem, derived: Mapping[str, Derived], fields: tuple[str, ...] | None = None
) -> dict[str, ScalarFunction]:
    """What pushes draws to initial scalar fields, all where none are named, and derived ones."""
    fields = tuple(scalar_fields(problem)) if fields is None else fields
    functions: dict[str, ScalarFunction] = {}
    if fields:
        functions["fields"] = OfInitial(problem, fields)
    if derived:
        of_trajectory = {name: quantity.function for name, quantity in derived.items()}
        functions["derived"] = OfTrajectory(problem, of_trajectory)
    return functions


def at_minimum(trajectory: Trajectory, derived: Mapping[str, Derived]) -> dict[str, Quantity]:
    """Derived quantities where there is no posterior: only `map`, all else NaN."""
    functions = {name: quantity.function for name, quantity in derived.items()}
    values = _values(functions, trajectory) if functions else {}
    return {
        name: only_map(float(value), derived[name].units, derived[name].long_name)
        for name, value in values.items()
    }


@program
def _values(functions: dict[str, TrajectoryFunction], trajectory: Trajectory) -> dict[str, Array]:
    return numbers_of(functions, trajectory)


@program
def _prior_draws(forcing: Problem, number: int, key: Array) -> Array:
    weight = forcing.weight()
    draws = jax.random.normal(key, (number, weight.shape[0]))
    return jnp.where(weight[None] > 0, draws, jnp.nan)


@program
def _mapped(problem: Problem, chi: Array) -> Physical:
    """Control of several χ."""
    return over_members(problem.control, chi, many_together(problem))
