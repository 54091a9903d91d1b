"""ESMDA: the ensemble smoother with multiple data assimilation, by member trajectories alone."""

import math
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, check_settings, not_negative
from assim.devices import over_members, program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import (
    AbstractPosterior,
    Ensemble,
    Report,
    Trust,
    equal_weights,
    failed,
)
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.proposal import about, fitted, weighted_draws
from assim.solve.posterior.unweighted import beyond_chance
from assim.solve.together import batch_size
from assim.solve.transform import anomalies
from assim.statistics.accuracy import Errors, apart
from assim.statistics.importance_weights import NO_WEIGHTS, ImportanceWeights, importance_weights

Array = jax.Array

FEWEST_SHARE = 0.5  # of the members, below which those that are left are not the prior's
CORRECT = "run Importance, or a chain (NUTS or MCLMC) with a model that brings its derivatives"


class ESMDA(AbstractPosterior):
    """The ensemble smoother with multiple data assimilation, a form of ensemble Kalman inversion.

        χ_i ← χ_i + Xᵀ(SSᵀ + α 1)⁻¹ S (d(χ_i) + √α ε_i),    ε_i ~ N(0, 1),    `assimilations` times

    with α = `assimilations`, so that Σ 1/α = 1: the observations enter as often with errors √α
    times as large. X and S = -anomalies of d are anomalies of members over √(N-1), which start
    as draws of the prior (Emerick & Reynolds 2013, Comput. Geosci. 55, 3). It asks for
    neither tangent nor adjoint. Where departures are linear members are draws from the posterior
    but for sampling errors of 1/√N; where they are not, its bias is not known, and a posterior that
    `check` does not confirm is doubtful. Members at which d is not finite are left out and counted.

    Args:
        members: N.
        assimilations: how often the observations enter.
        update: "perturbed" observations, as above, or the symmetric "square_root" of the members'
            covariance, without ε.
        check: draws about the members that are weighed by the posterior density itself, which asks
            for J alone, to confirm their moments; 0 for none.
    """

    gradients: ClassVar[bool] = False
    members: Size = eqx.field(default=400, static=True)
    assimilations: int = eqx.field(default=4, static=True)
    update: str = eqx.field(default="perturbed", static=True)
    check: Size = eqx.field(default=4000, static=True)

    def __check_init__(self) -> None:
        check_settings(self, members=3, assimilations=1, update=("perturbed", "square_root"))
        not_negative(self, "check")

    def name(self) -> str:
        """The name "esmda"."""
        return "esmda"

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Members after all assimilations, in equal weights."""
        first, *keys, last = jax.random.split(key, self.assimilations + 2)
        prior = jax.random.normal(first, (self.members, problem.size()))
        if why := _refusal(problem):
            return failed(prior, why)
        chi, d = _finite(prior, _departures(problem, prior))
        spent = self.members
        for number, now in enumerate(keys):
            if self._too_few(chi):
                break
            squares = float(np.mean(np.sum(np.square(d), axis=1)))
            if report is not None:
                report(f"assimilation {number + 1} of {self.assimilations}: mean dᵀd {squares:.4g}")
            moved = _assimilated(chi, d, self.assimilations, now, self.update)
            spent += len(moved)
            chi, d = _finite(moved, _departures(problem, moved))
        if self._too_few(chi):
            return failed(prior, _why_too_few(len(chi), self.members), evaluations=spent)
        return self._judged(problem, around, jnp.asarray(chi), last, spent)

    def _too_few(self, chi: np.ndarray) -> bool:
        return len(chi) < max(3, FEWEST_SHARE * self.members)

    def _judged(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        chi: Array,
        key: Array,
        spent: int,
    ) -> Ensemble:
        """The members with what weighed draws about them say of their moments."""
        number = len(chi)
        checked = _check(problem, around, chi, key, self.check)
        trust, advice = _verdict(self.members - number, number, checked)
        certificates = {
            "members": float(number),
            "failed": float(self.members - number),
            "check_k_hat": checked.importance.smoothed.k_hat,
            "check_mean_moved": checked.away.mean,
            "check_stdev_moved": checked.away.stdev,
        }
        return Ensemble(
            chi,
            equal_weights(number),
            trust,
            advice,
            certificates,
            evaluations=spent + self.check,
            effective_size=float(number),
        )


@program
def _departures(problem: DepartureFunction, chi: Array) -> Array:
    """D of every member, shape (N, m)."""
    depart = lambda chi: problem(chi).normalised  # noqa: E731
    departures: Array = over_members(depart, chi, batch_size(problem))
    return departures


def _finite(chi: Array, d: Array) -> tuple[np.ndarray, np.ndarray]:
    """Members at which all departures are finite, and these."""
    fine = np.isfinite(np.asarray(d)).all(axis=1)
    return np.asarray(chi)[fine], np.asarray(d)[fine]


@program
def _assimilated(
    chi: Array | np.ndarray, d: Array | np.ndarray, alpha: int, key: Array, update: str
) -> Array:
    """Members after one assimilation with errors √α times as large, shape (N, n)."""
    chi, d = jnp.asarray(chi), jnp.asarray(d)
    u, sigma, vt = jnp.linalg.svd(-anomalies(d), full_matrices=False)  # S = U Σ Vᵀ
    gain, x, root = sigma / (sigma**2 + alpha), anomalies(chi), math.sqrt(alpha)
    if update == "square_root":
        shrink = root / jnp.sqrt(alpha + sigma**2) - 1
        w = u @ (gain * (vt @ jnp.mean(d, axis=0)))
        narrower = x + u @ (shrink[:, None] * (u.T @ x))
        return jnp.mean(chi, axis=0)[None] + (w @ x)[None] + math.sqrt(len(chi) - 1) * narrower
    noise = jax.random.normal(key, d.shape, d.dtype)
    noise = noise - jnp.mean(noise, axis=0)[None]
    weights = u @ (gain[:, None] * (vt @ (d + root * noise).T))
    return chi + weights.T @ x


def _refusal(problem: DepartureFunction) -> str:
    """Why a problem is not for it; "" where it is."""
    if problem.has_normaliser():
        return (
            "ESMDA takes errors of known size, and an error scale is estimated: fix it, or "
            f"{CORRECT}."
        )
    if not bool(jnp.all(problem.weight() > 0)):
        return (
            "ESMDA starts from draws of the prior, and a control has none: give it a proper prior, "
            "and model errors, not states, as the control."
        )
    return ""


def _why_too_few(left: int, members: int) -> str:
    return (
        f"{members - left} of {members} members failed: the model is not finite over most of the "
        "prior; narrow the priors, or mend the model there."
    )


# ---- how far members may be trusted --------------------------------------------------------------


class _Checked(NamedTuple):
    """What weighed draws about the members say: weights, and how far moments of members are off."""

    importance: ImportanceWeights
    away: Errors


def _check(
    problem: DepartureFunction, around: LaplacePosterior, chi: Array, key: Array, number: int
) -> _Checked:
    """Weigh draws of a t of the members' moments, and compare these with the weighted ones."""
    unknown = _Checked(NO_WEIGHTS, Errors(math.nan, math.nan))
    if number == 0:
        return unknown
    proposal = fitted(about(around.gaussian, True), chi, equal_weights(len(chi)))
    draws, log_weights = weighted_draws(problem, proposal, key, number)
    along = np.asarray(proposal.along(draws))
    importance = importance_weights(along, np.asarray(log_weights))
    if not importance.smoothed.usable():
        return _Checked(importance, unknown.away)
    plain = np.full(len(chi), 1 / len(chi))
    columns = [
        np.concatenate([np.asarray(proposal.along(v)), np.asarray(v)], 1) for v in (chi, draws)
    ]
    away = apart(columns[0], plain, columns[1], importance.smoothed.weights)
    return _Checked(importance, away)


def _verdict(dropped: int, number: int, checked: _Checked) -> tuple[Trust, str]:
    """Certified where weights confirm the members' moments to what is published and chance."""
    left_out = f"{dropped} members failed and are left out. " if dropped else ""
    smoothed, away = checked.importance.smoothed, checked.away
    if not smoothed.weights.size:
        return Trust.DOUBTFUL, (
            f"{left_out}ESMDA is exact where departures are linear, and how far they are was not "
            "looked at: give it draws to `check`."
        )
    if not smoothed.usable():
        return Trust.DOUBTFUL, (
            f"{left_out}ESMDA is exact where departures are linear, and weights of draws about its "
            f"members (k̂ = {smoothed.tail}, {smoothed.effective_draws:.0f} effective draws) cannot "
            f"tell whether they are: raise `check`; or {CORRECT}."
        )
    if beyond_chance(away, number):
        return Trust.DOUBTFUL, (
            f"{left_out}Weights of draws about the members move {away.moves()}, more than chance: "
            f"departures are not linear enough for ESMDA: {CORRECT}."
        )
    return Trust.CERTIFIED, (
        f"{left_out}Weights of draws about the members (k̂ = {smoothed.tail}) confirm their "
        f"moments: they move {away.moves()}, and {number} members know no more."
    )
