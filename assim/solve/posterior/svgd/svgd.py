"""Stein variational gradient descent on the subspace that observations inform."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, check_settings, positive
from assim.devices import program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.crosscheck import crosschecked, stated_moments
from assim.solve.posterior.ensemble import (
    AbstractPosterior,
    Ensemble,
    Report,
    Trust,
    equal_weights,
    failed,
)
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.informed import Informed, either, informed, survives
from assim.solve.posterior.laplace import PROBES
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.metric import FORMED, Cut, averaged, averaged_cost, cut
from assim.solve.posterior.svgd.kernels import KERNELS, stein_discrepancy
from assim.solve.posterior.svgd.stein_flow import (
    Particles,
    Transport,
    moved,
    polished,
    sharding,
    started,
    stein_residual,
)
from assim.solve.posterior.svgd.svgd_verdict import Measured, verdict
from assim.solve.posterior.unweighted import moved_of_laplace
from assim.solve.together import log_density

Array = jax.Array

CHUNK = 50  # steps of one compiled call
WIDER = 1.1  # than Laplace, by which particles start
LEAST_DRAWS, MOST_DRAWS = 10, 100  # over which the Hessian is averaged
COLUMNS_OF_METRIC = 1000  # columns of Hessians that the average may take beyond the least
COLUMNS = 8  # multiples of which the subspace is filled up to, so that few shapes compile
MOST_NOISY = 2000  # particles whose kernel matrix can be factorised
NO_START = (
    "SVGD did not start: the model is not finite even next to the minimum; minimise again, "
    "from several first guesses."
)


class SVGD(AbstractPosterior):
    """Stein variational gradient descent, projected, whitened and polished.

    Particles a in the informed subspace, |λ| > cutoff and coordinates without a prior, follow the
    Stein force (Liu & Wang 2016) with Adam; an affine map then makes Stein's identity hold for
    linear functions, as it does for the posterior. The complement is drawn, not moved.

    Args:
        particles: N.
        kernel: "rbf" exp(-|δ|²/h) or "imq" (1 + |δ|²/h)^(-1/2).
        steps: of transport; each costs N gradients.
        step: length of Adam's first step, which decays a hundredfold.
        bandwidth: h in medians of the squared distances. A narrower kernel sees more of the
            posterior's shape where directions are few; where they are many it sees no neighbour.
        polish: most steps of the affine polish; each costs N gradients.
        cutoff: |λ| above which a direction counts as informed.
        averaged: whether the Hessian is averaged over Laplace draws: ten, or up to a hundred
            where controls are few.
        stochastic: whether particles move with noise, so that they are draws in the limit of small
            steps whatever N; Euler steps of length `step`, no polish.
        plain: textbook SVGD instead, for comparison: h = median/ln N in all whitened
            coordinates, neither projected nor polished. Its spread collapses.
        members: most members of the result, where particles are combined with several draws of
            the complement.
    """

    local = True
    particles: Size = eqx.field(default=100, static=True)
    kernel: str = eqx.field(default="rbf", static=True)
    steps: int = eqx.field(default=300, static=True)
    step: float = eqx.field(default=0.5, static=True)
    bandwidth: float = eqx.field(default=1.0, static=True)
    polish: int = eqx.field(default=200, static=True)
    cutoff: float = eqx.field(default=0.1, static=True)
    averaged: bool = eqx.field(default=True, static=True)
    stochastic: bool = eqx.field(default=False, static=True)
    plain: bool = eqx.field(default=False, static=True)
    members: Size = eqx.field(default=2000, static=True)

    def __check_init__(self) -> None:
        check_settings(self, kernel=KERNELS, particles=2, steps=0, polish=0, members=2, cutoff=0)
        positive(self, "step", "bandwidth")
        if self.stochastic and self.plain:
            raise ValueError("SVGD: choose stochastic or plain, not both")
        if self.stochastic and self.particles > MOST_NOISY:
            raise ValueError(
                f"SVGD: stochastic takes at most {MOST_NOISY} particles, got {self.particles}"
            )

    def name(self) -> str:
        """Name in results: "svgd" or "svgd_plain"."""
        return "svgd_plain" if self.plain else "svgd"

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """The ensemble with its certificates; see `AbstractPosterior.sample`."""
        keys = jax.random.split(key, 6)
        gaussian, missing, gradients = _metric(problem, self, around.gaussian, keys[0])
        chosen = np.asarray(informed(gaussian, problem.weight(), self.cutoff)) | self.plain
        rank, n = int(chosen.sum()), gaussian.chi.shape[0]
        subspace = _subspace(gaussian, chosen)
        particles, spent = _placed(problem, subspace, self.particles, keys[1])
        if not np.all(np.isfinite(np.asarray(particles.density))):
            chi = jnp.broadcast_to(gaussian.chi[None], (self.particles, n))
            return failed(chi, NO_START, gradients + spent * self.particles)
        steps = self.steps if rank else 0
        particles, stayed = _transported(problem, subspace, particles, self, keys[2], steps, report)
        polish = 0 if self.plain or self.stochastic or rank == 0 else self.polish
        final = polished(problem, subspace, particles, polish)
        gradients += (spent + steps + int(final.steps) + 2) * self.particles
        a, rest = final.particles.a, final.particles.rest
        drawn = subspace.members(a, rest, n - rank, self.members, keys[4])
        chi, outside = _inside(problem, drawn, subspace.several(a, rest))
        numbers = _numbers(problem, subspace, final.particles, keys[3])
        numbers = jax.tree.map(float, numbers | _against(around.gaussian, chi))
        numbers |= {"stayed": float(stayed), "outside": outside}
        measured = Measured(**numbers, particles=self.particles, rank=rank, free=n - rank)
        left, smallest = float(missing.nats), float(missing.smallest)
        certificates = measured.certificates() | {
            "laplace_k_hat": around.k_hat,
            "information_left_out": around.left_out + left + _left_out(gaussian, chosen),
            "polish_steps": float(final.steps),
        }
        judged = verdict(measured, around, self.plain, left if smallest <= self.cutoff else np.inf)
        weights, stated = equal_weights(chi.shape[0]), stated_moments(subspace, a)
        ensemble = Ensemble(chi, weights, *judged, certificates, gradients, drawn.shape[0])
        ensemble = _if_gaussian(problem, around, ensemble, rank)
        return crosschecked(problem, ensemble, stated, keys[5], report)


def _if_gaussian(
    problem: DepartureFunction, around: LaplacePosterior, ensemble: Ensemble, rank: int
) -> Ensemble:
    """Particles that nothing moved are certified where Laplace may be published without weights."""
    if rank or ensemble.trust is not Trust.CERTIFIED:
        return ensemble
    moves = moved_of_laplace(problem, around)
    if moves.excess() <= 1:
        return ensemble
    why = (
        f"weights would move its moments, {moves.moves()}" if moves.measured() else around.advice()
    )
    return ensemble.doubted(f"These are draws of Laplace's Gaussian: {why}")


def _metric(
    problem: DepartureFunction, settings: SVGD, gaussian: Gaussian, key: Array
) -> tuple[Gaussian, Cut, int]:
    """Whose eigenpairs span the subspace, what it leaves out, and the gradients that it took."""
    if not settings.averaged or settings.plain:
        return gaussian, Cut(jnp.zeros(()), jnp.zeros(())), 0
    n = problem.size()
    draws = max(LEAST_DRAWS, min(MOST_DRAWS, COLUMNS_OF_METRIC // n))
    metric, missing = _averaged(problem, gaussian, key, draws, settings.cutoff)
    spent = averaged_cost(problem, draws) + (PROBES * draws if n > FORMED else 0)
    return metric, missing, spent


@program
def _averaged(
    problem: DepartureFunction, gaussian: Gaussian, key: Array, draws: int, cutoff: float
) -> tuple[Gaussian, Cut]:
    """The averaged metric, and what it leaves out.

    Laplace's own eigenpairs where the average loses directions which Laplace informs.
    """
    metric = averaged(problem, gaussian, key, draws)
    missing = cut(problem, gaussian, metric, key, draws)
    better = survives(metric, gaussian, problem.weight(), cutoff)
    return either(better, metric, gaussian), missing


def _subspace(gaussian: Gaussian, chosen: np.ndarray) -> Informed:
    """The chosen eigenpairs, filled up by others to a multiple of eight columns."""
    columns = max(1, min(chosen.size, -(-int(chosen.sum()) // COLUMNS) * COLUMNS))
    order = np.argsort(~chosen, kind="stable")[:columns]
    return _selected(gaussian, jnp.asarray(order), jnp.asarray(chosen[order]))


@program
def _selected(gaussian: Gaussian, order: Array, keep: Array) -> Informed:
    values = jnp.where(keep, gaussian.eigenvalues[order], 0.0)
    shrink = jnp.where(keep, 1 / jnp.sqrt(1 + values), 0.0)
    return Informed(gaussian, gaussian.eigenvectors[:, order], shrink)


def _left_out(gaussian: Gaussian, chosen: np.ndarray) -> float:
    """Σ |ln(1 + λ)| over the eigenpairs that are left to the Laplace approximation."""
    return float(np.sum(np.abs(np.log1p(np.asarray(gaussian.eigenvalues)[~chosen]))))


def _placed(
    problem: DepartureFunction, subspace: Informed, number: int, key: Array
) -> tuple[Particles, int]:
    """Particles as they start, and how many rounds of evaluations it took."""
    first, second = jax.random.split(key)
    a = WIDER * jax.random.normal(first, (number, subspace.shrink.shape[0])) * subspace.mask[None]
    rest = subspace.antithetic(second, number)
    if (rows := sharding(number)) is not None:
        a, rest = jax.device_put((a, rest), rows)
    particles, rounds = started(problem, subspace, a, rest)
    return particles, int(rounds)


_State = tuple[object, Array]


@program
def _steps(
    problem: DepartureFunction,
    subspace: Informed,
    transport: Transport,
    particles: Particles,
    state: _State,
    steps: Array,
    key: Array,
    first: Array,
) -> tuple[Particles, _State, Array]:
    """Some steps of transport, and the share of the moves that led to where log p is not finite."""

    def move(number: Array, carry: tuple) -> tuple:
        particles, state, stayed = carry
        now = jax.random.fold_in(key, number)
        increment, state = transport.increment(particles, state, jnp.asarray(number, float), now)
        particles, share = moved(problem, subspace, particles, particles.a + increment)
        return particles, state, stayed + share / jnp.maximum(steps, 1)

    start = (particles, state, jnp.zeros(()))
    return jax.lax.fori_loop(first, first + steps, move, start)


def _transported(
    problem: DepartureFunction,
    subspace: Informed,
    particles: Particles,
    settings: SVGD,
    key: Array,
    steps: int,
    report: Report | None,
) -> tuple[Particles, Array]:
    """All steps, and the share of rejected moves over the last of them."""
    share = 1 / np.log(max(settings.particles, 3)) if settings.plain else settings.bandwidth
    transport = Transport(
        settings.kernel,
        jnp.asarray(float(max(settings.steps, 1))),
        jnp.asarray(settings.step),
        jnp.asarray(share),
        settings.stochastic,
    )
    state, stayed = transport.init(particles), jnp.zeros(())
    for first in range(0, steps, CHUNK):
        length = jnp.asarray(min(CHUNK, steps - first))
        particles, state, stayed = _steps(
            problem, subspace, transport, particles, state, length, key, jnp.asarray(first)
        )
        if report is not None:
            spread = float(jnp.mean(jnp.var(particles.a, axis=0)))
            report(f"SVGD: step {first + int(length)} of {steps}, mean variance {spread:.3f}")
    return particles, stayed


@program
def _numbers(
    problem: DepartureFunction, subspace: Informed, particles: Particles, key: Array
) -> dict[str, Array]:
    """Residuals, discrepancy, noise, and the share outside of a Gaussian about the particles.

    Its c are drawn anew: those of the particles may have been drawn nearer to χ* at the start.
    """
    rank = jnp.sum(subspace.mask)
    residual = stein_residual(subspace, particles)
    number = particles.a.shape[0]
    covariance, mean = residual.norms(rank)
    ksd = stein_discrepancy(particles.a, particles.score, equal_weights(number), rank)
    _, mirrored = subspace.scored(problem, particles.a, -particles.rest)
    noise = jnp.sum((particles.score - mirrored) ** 2) / (4 * number * jnp.maximum(rank, 1.0))
    spread = jnp.std(particles.a, axis=0)
    around = residual.centre[None] + jax.random.normal(key, particles.a.shape) * spread[None]
    rest = subspace.antithetic(jax.random.fold_in(key, 1), number)
    density, _ = subspace.scored(problem, around, rest)
    return {
        "stein_covariance": covariance,
        "stein_mean": mean,
        "ksd": ksd.value,
        "ksd_of_draws": ksd.of_draws,
        "noise": jnp.sqrt(noise),
        "beyond": jnp.mean(jnp.isinf(density)),
    }


@program
def _against(gaussian: Gaussian, chi: Array) -> dict[str, Array]:
    """Least and largest ratio of the members' standard deviations to Laplace's."""
    ratio = jnp.std(chi, axis=0) / gaussian.stdev()
    return {"narrowest": jnp.min(ratio), "widest": jnp.max(ratio)}


def _inside(problem: DepartureFunction, drawn: Array, own: Array) -> tuple[Array, float]:
    """Members at which log p is finite, and the share of the others.

    The particles themselves, all evaluated before, where fewer than those would be left.
    """
    fine = np.isfinite(np.asarray(_densities(problem, drawn)))
    if fine.all():
        return drawn, 0.0
    kept = drawn[fine] if fine.sum() >= own.shape[0] else own
    return kept, float(1 - fine.mean())


_densities = program(log_density)
