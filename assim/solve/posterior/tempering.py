"""Tempering: sequential Monte Carlo to the posterior by stages, the reference for evidence."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, a_share, check_settings
from assim.devices import program
from assim.solve.cost import DepartureFunction, negative_log_density, scored_density
from assim.solve.posterior.ensemble import (
    AbstractPosterior,
    Ensemble,
    Report,
    Trust,
    blackjax,
    failed,
)
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace_posterior import UNINFORMED, LaplacePosterior
from assim.solve.posterior.proposal import Reference, about, proposals, trajectories
from assim.solve.together import batch_size, log_density
from assim.statistics.accuracy import Errors
from assim.statistics.resampling import systematic

Array = jax.Array

NOWHERE = -1e30  # stands for log 0, so that any power of it is still a number
FIRST_POWER = 1e-12  # the likelihood's first exponent: draws outside its support stay out
WANTED_ACCEPTANCE = 0.8  # of Hamiltonian trajectories
LEAST_ACCEPTANCE = 0.1  # below which particles hardly move
LARGEST_SPREAD = 0.3  # nats between runs above which the evidence is not certified
INDEPENDENT = 20  # controls up to which particles are moved by independent proposals
LARGEST = 2000  # controls whose covariance is formed
SETTLING = 3  # stages at τ = 1, so that particles spread to the posterior's tails


class Tempering(AbstractPosterior):
    """Particles of q(χ)^(1 - τ) p(χ, y)^τ, with τ raised from 0 to 1 by a fair share of weight.

    q is the prior, so that each stage sees more of the likelihood; or half of it is a t with 5
    degrees of freedom about the minimum, without which a narrow mode may be met by few particles or
    none. The evidence is that of the posterior either way, wherever its mass is.

    Adaptive tempered sequential Monte Carlo (Del Moral, Doucet & Jasra 2006, J. R. Stat. Soc. B
    68, 411) through blackjax: each stage resamples, moves particles by a Metropolis kernel fitted
    to them, and raises τ until the effective number falls to a share. p(y) is the product of the
    mean weights. Independent runs tell its Monte Carlo error.

    Args:
        particles: of each run.
        runs: independent runs.
        start: "both" for half of the particles from the prior and half from about the minimum, all
            of them from there where an entry of χ has no prior of its own; or "prior".
        share: of effective particles that a stage keeps.
        kernel: "independent" proposes draws of q and of a t with the particles' mean and
            covariance, one evaluation each; "hmc" follows Hamiltonian trajectories
            in the metric of that covariance; "auto" is the former up to 20 controls.
        moves: proposals to each particle at each stage.
        leapfrogs: steps, one gradient each, of a Hamiltonian trajectory.
        stages: most of them in a run.
    """

    particles: Size = eqx.field(default=4000, static=True)
    runs: int = eqx.field(default=4, static=True)
    start: str = eqx.field(default="both", static=True)
    share: float = eqx.field(default=0.5, static=True)
    kernel: str = eqx.field(default="auto", static=True)
    moves: int = eqx.field(default=8, static=True)
    leapfrogs: int = eqx.field(default=5, static=True)
    stages: int = eqx.field(default=200, static=True)

    def __check_init__(self) -> None:
        check_settings(self, particles=10, runs=2, moves=1, leapfrogs=1, stages=1)
        check_settings(self, start=("both", "prior"), kernel=("auto", "independent", "hmc"))
        a_share(self, "share")

    def name(self) -> str:
        """Tempered."""
        return "tempered"

    def hamiltonian(self, n: int) -> bool:
        """Whether n controls are moved along trajectories."""
        return self.kernel == "hmc" or (self.kernel == "auto" and n > INDEPENDENT)

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """All runs' particles, each run weighted by its evidence; Laplace is not needed."""
        if (reason := _unfit(problem, self)) is not None:
            return failed(around.chi[None], reason)
        runs = []
        for number, now in enumerate(jax.random.split(key, self.runs), 1):
            run = jax.tree.map(np.asarray, _run(problem, self, around.gaussian, now))
            runs.append(run)
            if report is not None:
                log_z = f"log p(y) = {run.log_evidence:.3f}"
                report(f"run {number} of {self.runs}: {log_z}, {run.stage} stages")
        whole = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
        return _pooled(self, whole, around.chi, problem.proper(), around.free)


class _Run(NamedTuple):
    """Where a run is, and how it fared."""

    particles: Array
    weights: Array
    power: Array  # τ
    log_evidence: Array
    stage: Array
    step_size: Array
    least_effective: Array  # share of the particles, over all stages
    least_acceptance: Array
    settled: Array  # stages at τ = 1, where no weight changes
    inside: Array  # share of first draws at which the likelihood is not zero


@program
def _run(problem: DepartureFunction, settings: Tempering, gaussian: Gaussian, key: Array) -> _Run:
    """One run from τ = 0 to 1."""
    first, second, loop = jax.random.split(key, 3)
    number = settings.particles
    whole = jnp.all(problem.weight() > 0)
    prior = jnp.where(whole, 0.5, 0.0) if settings.start == "both" else jnp.ones(())
    origin = Reference(about(gaussian, heavy=True), prior)
    draws = origin.draw(first, number)
    inside = jnp.isfinite(log_density(problem, draws))
    share = jnp.mean(inside.astype(draws.dtype))
    where, order = jax.random.split(second)
    chosen = systematic(inside / number, number, jax.random.uniform(where))
    resampled = draws[jax.random.permutation(order, chosen)]
    begin = _Run(
        jnp.where(share > 0, resampled, draws),
        jnp.full(number, 1 / number),
        jnp.asarray(FIRST_POWER, draws.dtype),
        jnp.log(share),
        jnp.zeros((), int),
        jnp.asarray(1.0, draws.dtype),
        share,
        jnp.ones((), draws.dtype),
        jnp.zeros((), int),
        share,
    )

    def unfinished(state: _Run) -> Array:
        return (state.settled < SETTLING) & (state.stage < settings.stages) & (share > 0)

    def advance(state: _Run) -> _Run:
        now = jax.random.fold_in(loop, state.stage)
        return _stage(problem, settings, origin, now, state)

    return jax.lax.while_loop(unfinished, advance, begin)


def _stage(
    problem: DepartureFunction, settings: Tempering, origin: Reference, key: Array, state: _Run
) -> _Run:
    """Resample, move at the present τ, and raise it."""
    first, second = jax.random.split(key)
    smc = blackjax().smc
    where = state.particles, state.weights
    hamiltonian = settings.hamiltonian(state.particles.shape[1])
    if hamiltonian:
        moves = trajectories(second, *where, state.step_size, settings.leapfrogs)
    else:
        moves = proposals(origin, *where)
    batch = batch_size(problem)
    kernel = smc.adaptive_tempered.build_kernel(
        origin.log_density,
        lambda chi: _log_ratio(problem, origin, chi, hamiltonian),
        moves.step,
        moves.init,
        smc.resampling.systematic,
        settings.share,
        batch_size=0 if batch >= settings.particles else batch,
    )
    before = smc.tempered.TemperedSMCState(*where, state.power)
    after, info = kernel(first, before, settings.moves, moves.parameters)
    acceptance = jnp.mean(info.update_info.acceptance_rate)
    effective = 1 / jnp.sum(after.weights**2) / settings.particles
    return _Run(
        after.particles,
        after.weights,
        jnp.asarray(after.tempering_param, state.power.dtype),
        state.log_evidence + info.log_likelihood_increment,
        state.stage + 1,
        jnp.clip(state.step_size * jnp.exp(acceptance - WANTED_ACCEPTANCE), 1e-3, 2.0),
        jnp.minimum(state.least_effective, effective),
        jnp.minimum(state.least_acceptance, acceptance),
        state.settled + (state.power >= 1),
        state.inside,
    )


def _log_ratio(problem: DepartureFunction, origin: Reference, chi: Array, sloped: bool) -> Array:
    """Log p(χ, y)/q(χ), not below `NOWHERE`; its gradient, if needed, is finite everywhere."""
    fixed = jax.lax.stop_gradient(chi)
    if sloped:
        density, score = jax.lax.stop_gradient(scored_density(problem, fixed))
        along = density + jnp.sum(score * (chi - fixed))
    else:
        density = along = jax.lax.stop_gradient(-negative_log_density(problem, fixed))
    return jnp.where(jnp.isfinite(density), along - origin.log_density(chi), NOWHERE)


# ---- what the runs say together ------------------------------------------------------------------


def _unfit(problem: DepartureFunction, settings: Tempering) -> str | None:
    """Why particles cannot be moved, or have no prior to start from; None where they can."""
    if (n := problem.size()) > LARGEST:
        return (
            f"Tempering forms the covariance of its particles, that of {n} controls is too large "
            f"(at most {LARGEST}): run MCLMC for moments, and take Laplace's evidence."
        )
    flat = int(np.sum(np.asarray(problem.weight()) == 0))
    if flat == 0 or settings.start != "prior":
        return None
    return (
        f"{flat} entries of the control vector have no prior of their own to start tempering from: "
        'start = "both" starts about the minimum instead; or give them a proper prior.'
    )


def _pooled(settings: Tempering, runs: _Run, chi: Array, proper: bool, free: bool) -> Ensemble:
    """Runs weighed by their evidence; leaves have the runs as leading axis."""
    gradients, evaluations = _cost(settings, runs)
    if not np.all(runs.settled >= SETTLING):
        return failed(chi[None], _unfinished(settings, runs), gradients, evaluations)
    log_z = runs.log_evidence
    z = np.exp(log_z - log_z.max())
    log_evidence = float(np.log(np.mean(z)) + log_z.max())
    stdev = float(np.std(z, ddof=1) / np.mean(z) / np.sqrt(settings.runs))
    weights = (runs.weights * (z / z.sum())[:, None]).reshape(-1)
    errors = _errors(runs)
    certificates = {
        "log_evidence_stdev": stdev,
        "log_evidence_spread": float(np.std(log_z, ddof=1)),
        "accuracy": errors.stdev,
        "mean_error": errors.mean,
        "stages": float(np.mean(runs.stage)),
        "least_effective_share": float(np.min(runs.least_effective)),
        "least_acceptance": float(np.min(runs.least_acceptance)),
        "inside": float(np.mean(runs.inside)),
    }
    members = jnp.asarray(runs.particles.reshape(-1, runs.particles.shape[-1]))
    trust, advice = _verdict(certificates, free)
    return Ensemble(
        members,
        jnp.asarray(weights / weights.sum()),
        trust,
        advice,
        certificates,
        gradients,
        evaluations,
        log_evidence if proper else float("nan"),
        effective_size=_effective_size(errors),
    )


def _effective_size(errors: Errors) -> float:
    """Independent Gaussian draws whose moments have these errors; the better known one counts.

    Both are the largest over all controls of the scatter between a few runs, hence too large.
    """
    return 1 / max(min(errors.mean, np.sqrt(2) * errors.stdev), 1e-9) ** 2


def _errors(runs: _Run) -> Errors:
    """Errors of pooled moments from their scatter between runs, the largest of all controls."""
    mean = np.einsum("rp,rpn->rn", runs.weights, runs.particles)
    away = runs.particles - mean[:, None]
    stdev = np.sqrt(np.einsum("rp,rpn->rn", runs.weights, away**2))
    of_moments = (
        np.std(moment, axis=0, ddof=1) / np.mean(stdev, axis=0) / np.sqrt(len(stdev))
        for moment in (mean, stdev)
    )
    return Errors(*(float(np.max(errors)) for errors in of_moments))


def _cost(settings: Tempering, runs: _Run) -> tuple[int, int]:
    """Gradients and evaluations, those of every chain's start and of the weights included."""
    stages = int(np.sum(runs.stage)) * settings.particles
    first = settings.particles * settings.runs
    if settings.hamiltonian(runs.particles.shape[-1]):
        return stages * (settings.moves * settings.leapfrogs + 1), 2 * stages + first
    return 0, stages * (settings.moves + 3) + first


def _unfinished(settings: Tempering, runs: _Run) -> str:
    if np.any(runs.inside == 0):
        return (
            "The likelihood is zero at every draw that a run started from: check the model there "
            "with `assim check`, narrow the priors, or raise `particles`."
        )
    return (
        f"{settings.stages} stages took the likelihood's exponent to {np.min(runs.power):.2g} "
        "only: raise `stages`, or lower `share`."
    )


def _verdict(certificates: dict[str, float], free: bool) -> tuple[Trust, str]:
    stdev, spread = certificates["log_evidence_stdev"], certificates["log_evidence_spread"]
    acceptance = certificates["least_acceptance"]
    figures = f"log p(y) is known to {stdev:.2g} nats (runs scatter by {spread:.2g})"
    if free:
        return Trust.DOUBTFUL, UNINFORMED
    if acceptance < LEAST_ACCEPTANCE:
        return Trust.DOUBTFUL, (
            f"{figures}, but at some stage only {acceptance:.0%} of moves were accepted, so that "
            "particles may not have spread; raise `moves`, or `leapfrogs`."
        )
    if not spread < LARGEST_SPREAD:
        return Trust.DOUBTFUL, f"{figures}: too much to rely on; raise `particles` or `moves`."
    errors = Errors(certificates["mean_error"], certificates["accuracy"])
    if not errors.excess() <= 1:
        return Trust.DOUBTFUL, f"{figures}, {errors.words()} only; raise `particles`."
    return Trust.CERTIFIED, f"{figures}."
