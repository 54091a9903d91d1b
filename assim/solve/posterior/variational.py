"""Variational inference: the Gaussian of least reverse Kullback-Leibler divergence, by Adam."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, check_settings, positive
from assim.devices import over_members, program
from assim.solve.cost import DepartureFunction, scored_density
from assim.solve.posterior.ensemble import (
    AbstractPosterior,
    Ensemble,
    Report,
    Trust,
    equal_weights,
    failed,
)
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace_posterior import OUTSIDE, UNINFORMED, LaplacePosterior
from assim.solve.posterior.unweighted import moved
from assim.solve.together import affordable, batch_size, log_density
from assim.statistics.accuracy import Errors
from assim.statistics.importance_weights import ImportanceWeights, importance_weights

if TYPE_CHECKING:
    import optax

Array = jax.Array

FULL_LIMIT = 500  # controls up to which a whole covariance is fitted
STEEPEST = 1e4  # norm of a score beyond which it is shortened: one wild draw moves nothing
SETTLED = 0.2  # of the bound's slope, in standard deviations, that counts as none
MEASURED = 400  # draws that it is measured with
DECAY = 100.0  # of the step, from the first to the last
PARTS = 10  # in which progress is told
NARROW = (
    "reverse Kullback-Leibler fits are too narrow wherever the posterior is not of their family, "
    "and off where steps were too few; correct it by importance weights, or run a chain (NUTS or "
    "MCLMC)."
)


class Approximation(eqx.Module):
    """q: χ = c(m + L ε), ε ~ N(0, I), with c the identity or the Laplace coordinates."""

    gaussian: Gaussian  # whose coordinates are used; χ* = 0 and A = I for plain ones
    mean: Array  # m, shape (n,)
    log_stdev: Array  # log of L's diagonal, shape (n,)
    below: Array  # L under its diagonal, shape (n, n), or (0, 0) where L is diagonal

    def at(self, white: Array) -> Array:
        """χ of ε."""
        return self.gaussian.at(self.mean + self._times(white))

    def log_density(self, white: Array) -> Array:
        """Log q over (2π)^(-n/2), at the χ of ε."""
        stretch = jnp.sum(jnp.log1p(self.gaussian.eigenvalues)) / 2 - jnp.sum(self.log_stdev)
        return stretch - jnp.sum(white**2) / 2

    def _times(self, white: Array) -> Array:
        scaled = jnp.exp(self.log_stdev) * white
        return scaled if self.below.size == 0 else scaled + jnp.tril(self.below, -1) @ white

    def pull(self, white: Array) -> Array:
        """-∇ log q in those coordinates, L⁻ᵀ ε."""
        if self.below.size == 0:
            return white * jnp.exp(-self.log_stdev)
        root = jnp.tril(self.below, -1) + jnp.diag(jnp.exp(self.log_stdev))
        return jax.scipy.linalg.solve_triangular(root, white, lower=True, trans=1)


class Variational(AbstractPosterior):
    """The Gaussian q that maximises E_q[log p(χ, y) - log q(χ)], a lower bound of log p(y).

    Automatic differentiation variational inference (Kucukelbir et al. 2017, JMLR 18, 14): draws
    are reparameterised, their gradient is that along the path alone, whose noise vanishes where q
    is the posterior (Roeder, Wu & Duvenaud 2017), and Adam's step decays a hundredfold. q is
    found where the posterior is high, and is narrower than the posterior wherever that is not
    Gaussian, or correlated and q is not.

    Args:
        family: "full_rank" for a whole covariance, up to 500 controls, or "mean_field" for
            independent coordinates.
        coordinates: "whitened", those in which Laplace is N(0, I), or "plain", χ itself.
        steps: of Adam.
        draws_per_step: gradients of each, in antithetic pairs.
        step_size: the first, in the units of the coordinates.
        number: draws of the result; fewer where they would hold over 20 million numbers.
    """

    local = True
    family: str = eqx.field(default="full_rank", static=True)
    coordinates: str = eqx.field(default="whitened", static=True)
    steps: int = eqx.field(default=500, static=True)
    draws_per_step: Size = eqx.field(default=20, static=True)
    step_size: float = eqx.field(default=0.05, static=True)
    number: Size = eqx.field(default=10_000, static=True)

    def __check_init__(self) -> None:
        check_settings(self, family=("full_rank", "mean_field"), coordinates=("whitened", "plain"))
        check_settings(self, steps=PARTS, draws_per_step=2, number=100)
        positive(self, "step_size")

    def name(self) -> str:
        """Variational."""
        return "variational"

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Draws of q, with its bound of the evidence and its k̂ as a proposal."""
        n = problem.size()
        if self.family == "full_rank" and n > FULL_LIMIT:
            return failed(
                around.chi[None],
                f"A whole covariance of {n} controls is too large to fit: take family = "
                '"mean_field", or run MCLMC.',
            )
        first, second = jax.random.split(key)
        state = _begin(self, around.gaussian)
        for part in range(PARTS):
            state = _advance(problem, self, state, first, jnp.asarray(part))
            if report is not None:
                report(f"{part + 1} of {PARTS} parts: bound {float(state.bound):.3f}")
        number, measured = affordable(self.number, n), affordable(MEASURED, n)
        chi, log_weights = _weighted(problem, state.fit, second, number)
        slope = float(_steepness(problem, state.fit, first, measured))
        spent = self._gradients() + 2 * ((measured + 1) // 2)
        return _ensemble(problem, around, chi, np.asarray(log_weights), slope, spent)

    def _gradients(self) -> int:
        """Of all steps."""
        return PARTS * (self.steps // PARTS) * 2 * ((self.draws_per_step + 1) // 2)


class _State(NamedTuple):
    fit: Approximation
    optimiser: "optax.OptState"
    bound: Array  # log p - log q averaged over the last step's draws, where finite


def _begin(settings: Variational, gaussian: Gaussian) -> _State:
    """Laplace in its own coordinates; in plain ones its standard deviations."""
    n = gaussian.chi.shape[0]
    mean, log_stdev = jnp.zeros(n), jnp.zeros(n)
    if settings.coordinates == "plain":
        mean, log_stdev = gaussian.chi, jnp.log(gaussian.stdev())
        gaussian = Gaussian(jnp.zeros(n), jnp.zeros(0), jnp.zeros((n, 0)))
    size = n if settings.family == "full_rank" else 0
    fit = Approximation(gaussian, mean, log_stdev, jnp.zeros((size, size)))
    state = _optimiser(settings).init(_parameters(fit))
    return _State(fit, state, jnp.zeros(()))


def _optimiser(settings: Variational) -> "optax.GradientTransformation":
    import optax  # when it is used

    total = PARTS * (settings.steps // PARTS)
    return optax.adam(optax.exponential_decay(settings.step_size, total, 1 / DECAY))


def _parameters(fit: Approximation) -> tuple[Array, Array, Array]:
    return fit.mean, fit.log_stdev, fit.below


@program
def _advance(
    problem: DepartureFunction, settings: Variational, state: _State, key: Array, part: Array
) -> _State:
    """A tenth of all steps."""
    here = jax.random.fold_in(key, part)

    def step(state: _State, key: Array) -> tuple[_State, None]:
        slopes, bound = _slopes(problem, state.fit, key, settings.draws_per_step)
        before = _parameters(state.fit)
        updates, inner = _optimiser(settings).update(slopes, state.optimiser, before)
        fit = Approximation(
            state.fit.gaussian, *(b + u for b, u in zip(before, updates, strict=True))
        )
        return _State(fit, inner, bound), None

    keys = jax.random.split(here, settings.steps // PARTS)
    return jax.lax.scan(step, state, keys)[0]


def _slopes(
    problem: DepartureFunction, fit: Approximation, key: Array, draws: int
) -> tuple[tuple[Array, Array, Array], Array]:
    """Gradient of the bound, its sign reversed, and the bound; draws without density are left out.

    ∂/∂m = E[g], ∂/∂L = E[g εᵀ] with g = ∇ log p + L⁻ᵀ ε: the path's share alone.
    """
    n, half = fit.mean.shape[0], (draws + 1) // 2
    white = jax.random.normal(key, (half, n))
    white = jnp.concatenate([white, -white])

    def slope(white: Array) -> tuple[Array, Array]:
        density, score = scored_density(problem, fit.at(white))
        score = fit.gaussian.sqrt(score)
        score = score * jnp.minimum(1.0, STEEPEST / (jnp.linalg.norm(score) + 1e-300))
        return density - fit.log_density(white), score + fit.pull(white)

    values, g = over_members(slope, white, batch_size(problem))
    inside = jnp.isfinite(values)
    share = inside / jnp.maximum(jnp.sum(inside), 1)
    g = share[:, None] * g
    diagonal = jnp.sum(g * white, axis=0) * jnp.exp(fit.log_stdev)
    below = -jnp.tril(g.T @ white, -1) if fit.below.size else fit.below
    bound = jnp.sum(jnp.where(inside, share * values, 0.0))
    return (-jnp.sum(g, axis=0), -diagonal, below), bound


@program
def _weighted(
    problem: DepartureFunction, fit: Approximation, key: Array, number: int
) -> tuple[Array, Array]:
    white = jax.random.normal(key, (number, fit.mean.shape[0]))
    chi = jax.vmap(fit.at)(white)
    return chi, log_density(problem, chi) - jax.vmap(fit.log_density)(white)


@program
def _steepness(problem: DepartureFunction, fit: Approximation, key: Array, draws: int) -> Array:
    """The largest slope of the bound by m, in q's own standard deviations, or by log_stdev."""
    (mean, log_stdev, _), _ = _slopes(problem, fit, key, draws)
    return jnp.max(jnp.maximum(jnp.abs(mean) * jnp.exp(fit.log_stdev), jnp.abs(log_stdev)))


# ---- what it is worth ----------------------------------------------------------------------------


def _ensemble(
    problem: DepartureFunction,
    around: LaplacePosterior,
    chi: Array,
    log_weights: np.ndarray,
    slope: float,
    gradients: int,
) -> Ensemble:
    sound = bool(np.all(np.isfinite(np.asarray(chi)))) and bool(np.isfinite(log_weights).any())
    along = jax.vmap(around.gaussian.z)(chi) @ around.gaussian.eigenvectors
    importance = importance_weights(np.asarray(along), log_weights)
    weights, away = importance.smoothed.weights, Errors(np.nan, np.nan)
    if sound and importance.smoothed.trusted():
        away = moved(problem, around.gaussian, chi, weights)
    bound, bound_stdev = _bound(log_weights)
    certificates = {
        "bound": bound,
        "bound_stdev": bound_stdev,
        **importance.certificates(),
        "slope": slope,
        "mean_moved": away.mean,
        "stdev_moved": away.stdev,
        "stdev_ratio": _stdev_ratio(np.asarray(chi), weights),
    }
    return Ensemble(
        chi,
        equal_weights(chi.shape[0]),
        *_verdict(importance, away, slope, sound, around.free),
        certificates,
        gradients=gradients,
        evaluations=chi.shape[0],
        effective_size=float(chi.shape[0]) if sound else float("nan"),
    )


def _bound(log_weights: np.ndarray) -> tuple[float, float]:
    """E_q[log p - log q] with its standard error; -∞ where q reaches to where p is nothing."""
    if not np.all(np.isfinite(log_weights)):
        return -float("inf"), float("nan")
    return float(np.mean(log_weights)), float(np.std(log_weights) / np.sqrt(log_weights.size))


def _stdev_ratio(chi: np.ndarray, weights: np.ndarray) -> float:
    """Of the standard deviations over those of the weighted draws, the farthest from one."""
    if not np.sum(weights) > 0:
        return float("nan")
    away = chi - weights @ chi
    right = np.sqrt(weights @ away**2)
    ratio = np.std(chi, axis=0) / np.maximum(right, 1e-300)
    return float(ratio[np.argmax(np.abs(np.log(np.maximum(ratio, 1e-300))))])


def _verdict(
    importance: ImportanceWeights, away: Errors, slope: float, sound: bool, free: bool
) -> tuple[Trust, str]:
    if not sound:
        return Trust.FAILED, (
            "The fit left every place where the density is finite: lower `step_size`, or run a "
            "chain (NUTS or MCLMC)."
        )
    if free:
        return Trust.DOUBTFUL, UNINFORMED
    if not slope < SETTLED:
        return Trust.DOUBTFUL, (
            f"The bound still has a slope of {slope:.2g} by a standard deviation: raise "
            "`steps` or `draws_per_step`."
        )
    if importance.outside > OUTSIDE:
        return Trust.DOUBTFUL, (
            f"Log p is -∞ at {100 * importance.outside:.0f} per cent of the fit's draws: the "
            "posterior has an edge that a Gaussian does not; check the model there, or run NUTS."
        )
    figures = f"Of the fit as a proposal {importance.figures()}"
    if not importance.trusted():
        return Trust.DOUBTFUL, f"{figures}, but {importance.beyond()}: {NARROW}"
    figures += f"; weights move {away.moves()}"
    if not away.excess() <= 1:
        return Trust.DOUBTFUL, f"{figures}: {NARROW}"
    return Trust.CERTIFIED, f"{figures}: it is close to the posterior."
