"""The Laplace posterior: a Gaussian at the minimum of J, with a certificate."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

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
from assim.solve.posterior.hessian import exact_hessian
from assim.solve.posterior.laplace_posterior import LEFT_OUT, LaplacePosterior
from assim.solve.together import affordable, batch_size, by_columns
from assim.statistics.pareto import ParetoSmoothed, pareto_smooth

Array = jax.Array

SMALL = 64  # up to this size the exact Hessian is taken by default
FULL_CERTIFICATE = 200  # controls above which a tenth of the draws must do
FLATTEST = 1e-10  # curvature below which a direction counts as free
PROBES = 10  # of the trace of what is left out


class Laplace(AbstractPosterior):
    """Laplace approximation of the posterior: N(χ*, A⁻¹), A the Hessian of J at χ*.

    Args:
        rank: eigenpairs to keep for a large problem; all of them up to `dense_limit`.
        hessian: "exact" ∇²J, "gauss_newton" W + GᵀG, or "auto": exact up to 64 controls or where
            an error scale is estimated. An exact one that is not positive definite is replaced by
            Gauss-Newton's, and the result says so.
        eigensolver: "lanczos" or "randomised", above `dense_limit`.
        dense_limit: largest number of controls whose Hessian is formed whole.
        certificate: draws that measure k̂, at most 1,000 for over 200 controls; 0 for none.
        members: draws that are kept in the results; fewer where χ has over 20,000 entries.
    """

    rank: int = eqx.field(default=100, static=True)
    hessian: str = eqx.field(default="auto", static=True)
    eigensolver: str = eqx.field(default="lanczos", static=True)
    dense_limit: int = eqx.field(default=2000, static=True)
    certificate: int = eqx.field(default=10_000, static=True)
    members: int = eqx.field(default=1000, static=True)

    def __check_init__(self) -> None:
        for name, allowed in (
            ("hessian", ("auto", "exact", "gauss_newton")),
            ("eigensolver", ("lanczos", "randomised")),
        ):
            if (given := getattr(self, name)) not in allowed:
                raise ValueError(f"Laplace: {name} must be one of {allowed}, got {given!r}")
        for name, least in (("rank", 1), ("dense_limit", 0), ("certificate", 0), ("members", 1)):
            if (given := getattr(self, name)) < least:
                raise ValueError(f"Laplace: {name} must be at least {least}, got {given}")

    def name(self) -> str:
        """The name "laplace"."""
        return "laplace"

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """The certificate's weighted draws where they may be trusted, else draws of the Gaussian.

        Args:
            problem: the departure function.
            around: the Laplace posterior with these settings.
            key: of the draws.
            report: not needed.
        """
        n = problem.size()
        if around.sample is None:
            number = affordable(self.members, n, 1)
            chi, weights = gaussian_draws(around.gaussian, number, key), equal_weights(number)
        else:
            chi, weights = map(jax.device_put, around.sample)  # asarray would compile
        return Ensemble(
            chi,
            weights,
            around.trust(),
            around.advice(),
            around.certificates(),
            gradients=n if n <= self.dense_limit else 2 * self.rank + PROBES,
            evaluations=0 if np.isnan(around.k_hat) else self.certificate,
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
    weights exp(v - J)/q of draws from the Gaussian q.

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
    number = settings.certificate
    if chi.shape[0] > FULL_CERTIFICATE:
        number = min(number, 1000)
    draws, log_weights = map(np.asarray, _weighted_draws(problem, gaussian, key, number))
    smoothed = _certificate(log_weights[1:])
    sample = (draws[1:], smoothed.weights) if smoothed.trusted() else None
    flat = np.asarray(problem.weight()) == 0
    known = problem.proper() and float(left_out) <= LEFT_OUT
    information = np.sum(np.log1p(np.asarray(values))) + float(left_out)
    evidence = float(log_weights[0] - information / 2) if known else float("nan")
    free = float(np.sum(np.asarray(gaussian.stdev())[flat] ** 2)) if flat.any() else 0.0
    return LaplacePosterior(
        gaussian,
        float(left_out),
        smoothed.k_hat,
        smoothed.effective_draws,
        evidence,
        which,
        sample,
        free,
        problem.proper(),
        indefinite,
        float(np.mean(~np.isfinite(log_weights[1:]))) if number else 0.0,
    )


def _certificate(log_weights: np.ndarray) -> ParetoSmoothed:
    """Smoothed weights of the draws; NaN where there are none."""
    if log_weights.size == 0:
        return ParetoSmoothed(log_weights, float("nan"), float("nan"), float("nan"))
    return pareto_smooth(log_weights)


_Spectrum = tuple[Array, Array, Array]


def _spectrum(
    problem: DepartureFunction, chi: Array, settings: Laplace, key: Array, known: Array | None
) -> tuple[_Spectrum, str, bool]:
    """Eigenpairs of A - I with what they leave out, which A it is, and if ∇²J has negative ones."""
    exact = settings.hessian == "exact" or (
        settings.hessian == "auto" and (chi.shape[0] <= SMALL or problem.has_normaliser())
    )
    why, downwards = "", False
    if exact:
        if known is None and SMALL < chi.shape[0] <= settings.dense_limit:
            known = jnp.asarray(exact_hessian(problem, chi))
        spectrum = (
            _eigenpairs(problem, chi, settings, key, exact=True)
            if known is None
            else _decomposed(known)
        )
        curvatures = 1 + np.asarray(spectrum[0])
        if np.min(curvatures, initial=1.0) > FLATTEST:
            return spectrum, "exact Hessian", False
        why = ", as the exact Hessian is not positive definite here"
        downwards = bool(np.min(curvatures) < -INDEFINITE * np.max(np.abs(curvatures)))
    values, vectors, left_out = _eigenpairs(problem, chi, settings, key, exact=False)
    return (
        (jnp.maximum(values, -1 + FLATTEST), vectors, left_out),
        "Gauss-Newton Hessian" + why,
        downwards,
    )


@eqx.filter_jit
def _decomposed(matrix: Array) -> _Spectrum:
    """All eigenpairs of A - I from the matrix A, largest first."""
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2 - jnp.eye(matrix.shape[0]))
    return values[::-1], vectors[:, ::-1], jnp.zeros(())


@eqx.filter_jit
def _eigenpairs(
    problem: DepartureFunction, chi: Array, settings: Laplace, key: Array, exact: bool
) -> tuple[Array, Array, Array]:
    n = chi.shape[0]
    linearise = exact_linearisation if exact else gauss_newton_linearisation
    hessian = linearise(problem, chi).hessian
    misfit: Operator = lambda v: hessian(v) - v  # noqa: E731
    if n <= settings.dense_limit:
        return _decomposed(by_columns(hessian, jnp.eye(n)))
    rank = min(settings.rank, n)
    solver = lanczos_eigenpairs if settings.eigensolver == "lanczos" else randomised_eigenpairs
    first, second = jax.random.split(key)
    values, vectors = solver(misfit, n, rank, first)
    return values, vectors, remainder(misfit, vectors, problem.weight(), second)


def remainder(misfit: Operator, vectors: Array, weight: Array, key: Array) -> Array:
    """Σ λ ≥ Σ ln(1 + λ) of the rest, estimated from ten probes of the deflated operator's trace.

    Where coordinates have no weight, eigenvalues of either sign may cancel in the trace: then
    √(n - r) (Σ λ²)^½ ≥ Σ |λ| instead, from the same probes.
    """
    n, rank = vectors.shape
    trace, square = deflated_traces(misfit, vectors, key)
    bound = jnp.sqrt((n - rank) * square)
    return jnp.where(jnp.all(weight > 0), jnp.maximum(trace, 0.0), bound)


def deflated_traces(misfit: Operator, vectors: Array, key: Array) -> tuple[Array, Array]:
    """tr PMP and tr (PMP)² of a symmetric M, P the projection off its eigenvectors given.

    Estimated from ten probes of random signs (Hutchinson 1990).

    Args:
        misfit: v ↦ Mv.
        vectors: eigenvectors of M, shape (n, r).
        key: of the probes.
    """
    probes = jax.random.rademacher(key, (PROBES, vectors.shape[0]), dtype=vectors.dtype)
    deflated = probes - (probes @ vectors) @ vectors.T
    images = jax.lax.map(misfit, deflated)
    trace = jnp.mean(jnp.sum(deflated * images, axis=1))
    return trace, jnp.mean(jnp.sum(images**2, axis=1))


@eqx.filter_jit
def gaussian_draws(gaussian: Gaussian, number: int, key: Array) -> Array:
    """Draws of χ in antithetic pairs, shape (number, n), compiled once for each number."""
    return gaussian.draws(key, number)


@eqx.filter_jit
def _weighted_draws(
    problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int
) -> tuple[Array, Array]:
    """χ and log of density over proposal at χ* itself, then of draws in antithetic pairs.

    But for constants that is v - J(χ) + ½ |A^(1/2)(χ - χ*)|².
    """
    n = gaussian.chi.shape[0]
    batch = batch_size(problem, number + 1)
    rows = batch * -(-(number + 1) // batch)
    half = jax.random.normal(key, (rows // 2, n))
    white = jnp.concatenate([jnp.zeros((1, n)), half, -half])[:rows]

    def weighted(w: Array) -> tuple[Array, Array]:
        chi = gaussian.chi + gaussian.sqrt(w)
        return chi, jnp.sum(w**2) / 2 - negative_log_density(problem, chi)

    batches = white.reshape(-1, batch, n)
    chi, log_weights = jax.lax.map(jax.vmap(weighted), batches)
    return chi.reshape(rows, n)[: number + 1], log_weights.reshape(rows)[: number + 1]
