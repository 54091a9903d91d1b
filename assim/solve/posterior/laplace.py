"""The Laplace posterior: a Gaussian at the minimum of J, with a certificate."""

import math
from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size, check_settings
from assim.devices import program
from assim.solve.cost import (
    INDEFINITE,
    DepartureFunction,
    exact_linearisation,
    gauss_newton_linearisation,
    negative_log_density,
)
from assim.solve.krylov import Operator, lanczos_eigenpairs, randomised_eigenpairs
from assim.solve.posterior.ensemble import AbstractPosterior, Ensemble, Report, equal_weights
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace_posterior import LEFT_OUT, LaplacePosterior
from assim.solve.posterior.weighing import weigh
from assim.solve.together import affordable, by_columns

Array = jax.Array

SMALL = 64  # up to this size the exact Hessian is taken by default
FLATTEST = 1e-10  # curvature below which a direction counts as free
PROBES = 10  # of the trace of what is left out
CONSTANT = 1e-10  # share of the steepest slope of the volume below which an entry does not move it
NEARBY = 0.1  # distance of the points at which that is looked at, in prior standard deviations


def is_small(problem: DepartureFunction) -> bool:
    """Whether an exact Hessian is worth its columns: few controls, or an error scale among them."""
    return problem.size() <= SMALL or problem.has_normaliser()


class Laplace(AbstractPosterior):
    """Laplace approximation of the posterior: N(χ*, A⁻¹), A the Hessian of J at χ*.

    Args:
        rank: eigenpairs to keep for a large problem; all of them up to `dense_limit`.
        hessian: "exact" ∇²J, "gauss_newton" W + GᵀG, or "auto": exact up to 64 controls or where
            an error scale is estimated. An exact one that is not positive definite is replaced by
            Gauss-Newton's, and the result says so.
        eigensolver: "lanczos" or "randomised", above `dense_limit`.
        dense_limit: largest number of controls whose Hessian is formed whole.
        certificate: draws that measure k̂ and correct the Gaussian, 0 for none; up to four times
            as many where moments are not known well enough, half of them first for over 200
            controls.
        members: draws that are kept where weights correct nothing, and draws from the prior;
            fewer where χ has over 20,000 entries.
    """

    rank: Size = eqx.field(default=100, static=True)
    hessian: str = eqx.field(default="auto", static=True)
    eigensolver: str = eqx.field(default="lanczos", static=True)
    dense_limit: int = eqx.field(default=2000, static=True)
    certificate: int = eqx.field(default=10_000, static=True)
    members: Size = eqx.field(default=1000, static=True)

    def __check_init__(self) -> None:
        check_settings(self, hessian=("auto", "exact", "gauss_newton"))
        check_settings(self, eigensolver=("lanczos", "randomised"))
        check_settings(self, rank=1, dense_limit=0, certificate=0, members=1)

    def name(self) -> str:
        """The name "laplace"."""
        return "laplace"

    def without_certificate(self) -> "Laplace":
        """The same Hessian, whose k̂ is not measured."""
        return replace(self, certificate=0)

    def exact(self, problem: DepartureFunction) -> bool:
        """Whether the exact Hessian is asked for."""
        return self.hessian == "exact" or (self.hessian == "auto" and is_small(problem))

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """The certificate's weighted draws where they correct it, else draws of the Gaussian.

        `around` is the Laplace posterior with these settings.
        """
        n, probes = problem.size(), 3 * PROBES if self.exact(problem) else PROBES
        if around.sample is None:
            number = affordable(self.members, n, 1)
            chi, weights = around.gaussian.draws(key, number), equal_weights(number)
        else:
            chi, weights = map(jax.device_put, around.sample)  # asarray would compile
        return Ensemble(
            chi,
            weights,
            around.trust(),
            around.advice(),
            around.certificates(),
            gradients=n if n <= self.dense_limit else 2 * self.rank + probes,
            evaluations=around.spent,
            log_evidence=around.log_evidence,
        )


def laplace(
    problem: DepartureFunction,
    chi: Array,
    settings: Laplace,
    key: Array,
    exact: Array | None = None,
) -> LaplacePosterior:
    """Laplace posterior about a minimum of J.

    log p(y) ≈ v - J(χ*) - ½ log |A|, log |A| = Σ ln(1 + λ), but for the constants of the likelihood
    (MacKay 2003, chapter 27): Laplace's integral of exp(v - J), so A need not be near I, and jumps
    may stand for the prior of states. k̂ is measured by importance sampling: Pareto-smoothed
    weights exp(v - J)/q of draws from the Gaussian q (`weigh`).

    Args:
        problem: the departure function.
        chi: χ*, a minimum of J.
        settings: what to compute, and how.
        key: of the random draws.
        exact: ∇²J at χ* as a matrix, where the minimiser already has it.
    """
    spectrum, which, indefinite = _spectrum(problem, chi, settings, key, exact)
    values, vectors, left_out = spectrum
    gaussian = Gaussian(chi, values, vectors)
    weighing = weigh(problem, gaussian, key, settings.certificate)
    flat = np.asarray(problem.weight()) == 0
    known = problem.proper() and float(left_out) <= LEFT_OUT
    information = np.sum(np.log1p(np.asarray(values))) + float(left_out)
    return LaplacePosterior(
        gaussian,
        left_out=float(left_out),
        importance=weighing.importance,
        log_mass=(log_mass := float(weighing.at_minimum - information / 2)),
        log_evidence=log_mass if known else math.nan,
        hessian=which,
        sample=weighing.sample(),
        flat_variance=float(np.sum(np.asarray(gaussian.stdev())[flat] ** 2)) if flat.any() else 0.0,
        proper=problem.proper(),
        indefinite=indefinite,
        spent=weighing.spent,
        lines=weighing.lines,
    )


_Spectrum = tuple[Array, Array, Array]


def _spectrum(
    problem: DepartureFunction, chi: Array, settings: Laplace, key: Array, known: Array | None
) -> tuple[_Spectrum, str, bool]:
    """Eigenpairs of A - I with what they leave out, which A it is, and if ∇²J has negative ones."""
    why, downwards = "", False
    if settings.exact(problem):
        if known is None and SMALL < chi.shape[0] <= settings.dense_limit:
            known = jnp.asarray(exact_hessian(problem, chi))
        if known is None:
            spectrum = _eigenpairs(problem, chi, settings, key, exact=True)
        else:
            spectrum = _decomposed(known)
        curvatures = 1 + np.asarray(spectrum[0])
        if np.min(curvatures, initial=1.0) > FLATTEST:
            return spectrum, "exact Hessian", False
        why = ", as the exact Hessian is not positive definite here"
        downwards = bool(np.min(curvatures) < -INDEFINITE * np.max(np.abs(curvatures)))
    values, vectors, left_out = _eigenpairs(problem, chi, settings, key, exact=False)
    spectrum = jnp.maximum(values, -1 + FLATTEST), vectors, left_out
    return spectrum, "Gauss-Newton Hessian" + why, downwards


@program
def _decomposed(matrix: Array) -> _Spectrum:
    """All eigenpairs of A - I from the matrix A, largest first."""
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2 - jnp.eye(matrix.shape[0]))
    return values[::-1], vectors[:, ::-1], jnp.zeros(())


@program
def _eigenpairs(
    problem: DepartureFunction, chi: Array, settings: Laplace, key: Array, exact: bool
) -> _Spectrum:
    n = chi.shape[0]
    linearise = exact_linearisation if exact else gauss_newton_linearisation
    hessian = linearise(problem, chi).hessian
    if n <= settings.dense_limit:
        return _decomposed(by_columns(hessian, jnp.eye(n)))
    misfit: Operator = lambda v: hessian(v) - v  # noqa: E731
    solver = lanczos_eigenpairs if settings.eigensolver == "lanczos" else randomised_eigenpairs
    first, second = jax.random.split(key)
    values, vectors = solver(misfit, n, min(settings.rank, n), first)
    newton = gauss_newton_linearisation(problem, chi).hessian if exact else None
    return values, vectors, remainder(misfit, vectors, problem.weight(), second, newton)


def remainder(
    misfit: Operator, vectors: Array, weight: Array, key: Array, newton: Operator | None = None
) -> Array:
    """Σ λ ≥ Σ ln(1 + λ) of the rest, estimated from ten probes of the deflated operator's trace.

    Where coordinates have no weight, eigenvalues of either sign may cancel in the trace: then
    √(n - r) (Σ λ²)^½ ≥ Σ |λ| instead, from the same probes. So they may in an exact Hessian: then
    Gauss-Newton's trace and √(n - r) (Σ δ²)^½ of the difference, where that is less.

    Args:
        misfit: v ↦ (A - I)v.
        vectors: eigenvectors that are known, shape (n, r).
        weight: diagonal of W.
        key: of the probes.
        newton: v ↦ (W + GᵀG)v where A is the exact Hessian, else None.
    """
    n, rank = vectors.shape
    trace, square = deflated_traces(misfit, vectors, key)
    bound = jnp.sqrt((n - rank) * square)
    if newton is None:
        return jnp.where(jnp.all(weight > 0), jnp.maximum(trace, 0.0), bound)
    trace, _ = deflated_traces(lambda v: newton(v) - v, vectors, key)
    _, square = deflated_traces(lambda v: misfit(v) + v - newton(v), vectors, key)
    less = jnp.maximum(trace, 0.0) + jnp.sqrt((n - rank) * square)
    return jnp.where(jnp.all(weight > 0), jnp.minimum(less, bound), bound)


def deflated_traces(misfit: Operator, vectors: Array, key: Array) -> tuple[Array, Array]:
    """tr PMP and tr (PMP)² of v ↦ Mv, P the projection off M's eigenvectors, shape (n, r).

    Estimated from ten probes of random signs (Hutchinson 1990).
    """
    probes = jax.random.rademacher(key, (PROBES, vectors.shape[0]), dtype=vectors.dtype)
    deflated = probes - (probes @ vectors) @ vectors.T
    images = jax.lax.map(misfit, deflated)
    trace = jnp.mean(jnp.sum(deflated * images, axis=1))
    return trace, jnp.mean(jnp.sum(images**2, axis=1))


# ---- the exact Hessian, each part of J by as few columns as it needs -----------------------------


def exact_hessian(problem: DepartureFunction, chi: Array) -> np.ndarray:
    """∇²J at χ, the volume v included, shape (n, n).

    A column of ∇²v costs as much as n of the rest. Where the departures are linear in the
    trajectory, v depends on parameters and amplitudes alone: entries along which it has no slope,
    at χ and at two points nearby, have no column.
    """
    n = chi.shape[0]
    matrix = np.array(_density_columns(problem, chi))
    away = NEARBY * jax.random.normal(jax.random.key(0), (3, n), chi.dtype).at[0].set(0.0)
    slopes = np.abs(_volume_slopes(problem, chi[None] + away))
    slopes = slopes[np.isfinite(slopes).all(axis=1)]  # nearby, the model may not be finite
    moving = np.flatnonzero(slopes.max(axis=0, initial=0.0) > CONSTANT * slopes.max(initial=0.0))
    if moving.size:
        matrix[moving] += np.asarray(_volume_columns(problem, chi, jnp.eye(n)[moving]))
    return (matrix + matrix.T) / 2


@program
def _density_columns(problem: DepartureFunction, chi: Array) -> Array:
    slope = jax.grad(partial(negative_log_density, problem))
    return by_columns(jax.linearize(slope, chi)[1], jnp.eye(chi.shape[0], dtype=chi.dtype))


@program
def _volume_slopes(problem: DepartureFunction, points: Array) -> Array:
    return jax.lax.map(jax.grad(lambda chi: problem(chi).volume), points)


@program
def _volume_columns(problem: DepartureFunction, chi: Array, directions: Array) -> Array:
    slope = jax.grad(lambda chi: problem(chi).volume)
    return by_columns(jax.linearize(slope, chi)[1], directions)


# ---- one traceable program, for batches of problems ----------------------------------------------


def local_gaussian(
    problem: DepartureFunction, chi: Array, settings: Laplace, key: Array
) -> Gaussian:
    """N(χ, A⁻¹) with A the Hessian of J at χ, as `laplace` finds it, without a certificate.

    χ is a minimum of J. The exact Hessian is replaced by Gauss-Newton's where it is not positive
    definite. Above `dense_limit` the eigenpairs are Gauss-Newton's and randomised.
    """
    n = chi.shape[0]
    hessian = gauss_newton_linearisation(problem, chi).hessian
    if n > settings.dense_limit:
        misfit: Operator = lambda v: hessian(v) - v  # noqa: E731
        values, vectors = randomised_eigenpairs(misfit, n, min(settings.rank, n), key)
        return Gaussian(chi, jnp.maximum(values, -1 + FLATTEST), vectors)
    values, vectors = _tamed(hessian, n)
    if settings.exact(problem):
        exact = _tamed(exact_linearisation(problem, chi).hessian, n)
        positive = jnp.min(exact[0], initial=0.0) > -1 + FLATTEST
        values = jnp.where(positive, exact[0], values)
        vectors = jnp.where(positive, exact[1], vectors)
    return Gaussian(chi, jnp.maximum(values, -1 + FLATTEST), vectors)


def _tamed(hessian: Operator, n: int) -> tuple[Array, Array]:
    """Eigenpairs of A - I, largest first; a wild matrix has those of zero."""
    matrix = by_columns(hessian, jnp.eye(n))
    matrix = (matrix + matrix.T) / 2 - jnp.eye(n)
    matrix = jnp.where(jnp.all(jnp.isfinite(matrix)), matrix, 0.0)
    values, vectors = jnp.linalg.eigh(matrix)
    return values[::-1], vectors[:, ::-1]


def dual_gaussian(problem: DepartureFunction, chi: Array) -> Gaussian:
    """N(χ, A⁻¹) with A = I + GᵀG by the eigenpairs of GGᵀ, of which there are as many as data.

    Exact, and cheaper than `local_gaussian` where there are fewer data than controls. χ is a
    minimum of J; W = I, and no normaliser.
    """
    d, pull = jax.vjp(lambda chi: problem(chi).normalised, chi)
    g = by_columns(lambda row: pull(row)[0], jnp.eye(d.size))
    values, vectors = jnp.linalg.eigh(g @ g.T)
    values, vectors = jnp.maximum(values[::-1], 0.0), vectors[:, ::-1]
    seen = values > jnp.finfo(values.dtype).eps * values[0]
    scale = jnp.where(seen, 1 / jnp.sqrt(jnp.where(seen, values, 1.0)), 0.0)
    return Gaussian(chi, jnp.where(seen, values, 0.0), (g.T @ vectors) * scale[None])
