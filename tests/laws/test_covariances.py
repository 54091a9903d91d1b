"""Laws of covariances C = L Lᵀ."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.problem.arrays import Coordinate
from assim.problem.covariance import (
    AbstractCovariance,
    Autoregressive,
    Blocks,
    Dense,
    Diagonal,
    Diffusion,
    Ensemble,
    GaspariCohn,
    Kronecker,
    LowRank,
    Spectral,
    Sum,
    check_invertible,
)
from assim.problem.covariance.gaspari_cohn import gaspari_cohn
from assim.solve.together import by_columns
from tests.registry import COVARIANCES, CovarianceEntry

DRAWS = 4000


class Fitted(NamedTuple):
    entry: CovarianceEntry
    covariance: AbstractCovariance
    factor: np.ndarray  # L, from its columns
    draws: np.ndarray  # of the white vectors of `many`


@functools.cache
def fitted(name):
    """A covariance with what its root makes of unit vectors and of noise, compiled once."""
    entry = COVARIANCES[name]
    covariance = entry.make().on(entry.shape, entry.axes)
    n = covariance.size()
    fields = np.asarray(members(covariance, np.concatenate([np.eye(n), many(n)])))
    return Fitted(entry, covariance, fields[:n].reshape(n, -1).T, fields[n:])


def many(n):
    return np.random.default_rng(7).normal(size=(DRAWS, n))


@pytest.fixture(params=COVARIANCES)
def name(request):
    return request.param


@pytest.fixture
def entry(name):
    return COVARIANCES[name]


@pytest.fixture
def covariance(name):
    return fitted(name).covariance


@pytest.fixture
def factor(name):
    return fitted(name).factor


@jax.jit
def sqrt(covariance, w):
    return covariance.sqrt(w)


@jax.jit
def whiten(covariance, field):
    return covariance.whiten(field)


def white(covariance, seed=0):
    return np.random.default_rng(seed).normal(size=covariance.size())


@jax.jit
def members(covariance, w):
    return jax.vmap(covariance.sqrt)(w)


def test_sqrt_gives_a_field(covariance, entry):
    field = jax.eval_shape(covariance.sqrt, white(covariance))
    assert field.shape == entry.shape
    assert field.dtype == jnp.float64


def test_sqrt_is_linear(covariance, factor):
    """Of two vectors together what it is of each, and nothing of nothing."""
    a, b = white(covariance, 1), white(covariance, 2)
    expected = (factor @ (2.0 * a - 3.0 * b)).reshape(covariance.variance().shape)
    np.testing.assert_allclose(sqrt(covariance, 2 * a - 3 * b), expected, rtol=1e-12, atol=1e-12)
    assert np.all(sqrt(covariance, np.zeros(covariance.size())) == 0)


@jax.jit
def transposed(covariance, w, v):
    return jax.linear_transpose(covariance.sqrt, w)(v)[0]


def test_transpose(covariance, entry):
    w = white(covariance)
    v = np.random.default_rng(3).normal(size=entry.shape)
    back = transposed(covariance, w, v)
    one, other = np.vdot(sqrt(covariance, w), v), np.vdot(w, back)
    assert abs(one - other) <= 1e-14 * np.linalg.norm(w) * np.linalg.norm(back)


def test_it_is_the_matrix_of_its_definition(covariance, entry, factor):
    """Where Γ is sampled, each row and column may be off by that much."""
    matrix = entry.matrix()
    found = factor @ factor.T
    tolerance = 1e-11
    if isinstance(covariance, Diffusion):
        tolerance += 4 * covariance.uncertainty()
    np.testing.assert_allclose(found, matrix, rtol=1e-9, atol=tolerance * np.max(matrix))


def test_sample_covariance(name, factor):
    """Of 4,000 draws, within 6 of the standard errors of Gaussian samples (Isserlis 1918)."""
    matrix, draws = factor @ factor.T, fitted(name).draws.reshape(DRAWS, -1)
    variance = np.diag(matrix)
    stderr = np.sqrt((matrix**2 + np.outer(variance, variance)) / DRAWS)
    assert np.all(np.abs(draws.T @ draws / DRAWS - matrix) <= 6 * stderr + 1e-14)


def test_variance_is_the_diagonal(covariance, entry, factor):
    assert covariance.variance().shape == entry.shape
    diagonal = np.sum(factor**2, axis=1).reshape(entry.shape)
    tolerance = 1e-12
    if isinstance(covariance, Diffusion):
        tolerance += 4 * covariance.uncertainty()
    np.testing.assert_allclose(covariance.variance(), diagonal, rtol=tolerance, atol=1e-14)


def test_whiten_inverts_sqrt(covariance, factor):
    """To rounding times the condition of L, which is what inverting it costs."""
    w = white(covariance)
    if covariance.no_inverse():
        with pytest.raises(ValueError, match=f"{type(covariance).__name__}.*cannot be inverted"):
            whiten(covariance, sqrt(covariance, w))
        return
    condition = np.linalg.cond(factor)
    np.testing.assert_allclose(
        whiten(covariance, sqrt(covariance, w)), w, rtol=1e-12, atol=1e-14 * max(condition, 100)
    )


def test_determinant(covariance, factor):
    if covariance.no_inverse():
        with pytest.raises(ValueError, match="cannot be inverted"):
            covariance.log_sqrt_determinant()
        return
    _, log_determinant = np.linalg.slogdet(factor)
    np.testing.assert_allclose(covariance.log_sqrt_determinant(), log_determinant, rtol=1e-10)


def test_on_is_repeatable(covariance, entry):
    w = white(covariance)
    again = covariance.on(entry.shape, entry.axes)
    assert np.array_equal(sqrt(again, w), sqrt(covariance, w))


def test_vmap(name, covariance):
    drawn = many(covariance.size())[5]
    expected = sqrt(covariance, drawn)
    np.testing.assert_allclose(fitted(name).draws[5], expected, rtol=1e-12, atol=1e-12)


@jax.jit
def curvatures(covariance, w):
    """Eigenvalues of ∇²J for J(w) = ½|w|² + Σ (1 - cos Lw), whose columns are formed together."""

    def cost(w):
        return jnp.sum(w**2) / 2 + jnp.sum(1 - jnp.cos(covariance.sqrt(w)))

    hessian = jax.linearize(jax.grad(cost), w)[1]
    return jnp.linalg.eigh(by_columns(hessian, jnp.eye(w.size)))[0]


def test_hessian_by_columns(covariance, factor):
    """I + LᵀL at w = 0: XLA lays out a batch of columns otherwise than one of them."""
    n = covariance.size()
    expected = np.linalg.eigvalsh(np.eye(n) + factor.T @ factor)
    np.testing.assert_allclose(
        curvatures(covariance, np.zeros(n)), expected, rtol=1e-10, atol=1e-12 * expected[-1]
    )


def even(shape):
    return tuple(Coordinate(np.arange(float(n))) for n in shape)


KINDS = "|".join(sorted({type(fitted.make()).__name__ for fitted in COVARIANCES.values()}))


@pytest.mark.parametrize("name", [n for n, entry in COVARIANCES.items() if entry.misfit])
def test_misfit_is_refused(name):
    entry = COVARIANCES[name]
    with pytest.raises(ValueError, match=f"^({KINDS}): .*(fit|dimension|lengths)"):
        entry.make().on(entry.misfit, even(entry.misfit))


def test_dense_is_the_matrix():
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    factor = np.asarray(members(Dense(matrix).on((2,)), np.eye(2))).T
    np.testing.assert_allclose(factor @ factor.T, matrix, rtol=1e-14)


def test_dense_is_factorised_once(monkeypatch):
    given = Dense(np.eye(4))
    monkeypatch.setattr(np.linalg, "cholesky", None)
    fitted = given.on((2, 2))
    assert fitted.shape == (2, 2) and fitted.factor is given.factor


@pytest.mark.parametrize("length", [50.0, 900.0, 1e9])
@pytest.mark.parametrize("period", [None, 9.0])
def test_localisation_much_longer_than_the_axis(length, period):
    """The correlation all the same, and no more than a few white values a point."""
    axis = Coordinate(np.arange(9.0), period=period)
    covariance = GaspariCohn(length).on((9,), (axis,))
    assert covariance.size() <= 8 * 9
    factor = np.asarray(members(covariance, np.eye(covariance.size()))).T
    apart = np.abs(np.subtract.outer(np.arange(9.0), np.arange(9.0)))
    if period is None:
        expected = gaspari_cohn(apart / length)
    else:
        turns = np.arange(-300, 301) * period
        total = lambda x: np.sum(gaspari_cohn((np.add.outer(x, turns)) / length), axis=-1)  # noqa: E731
        expected = total(apart) / total(0.0) if length < 1e3 else np.ones((9, 9))
    np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-11)


def test_localisation_longer_than_an_axis_of_many_points_is_refused():
    with pytest.raises(ValueError, match=r"GaspariCohn: an axis of 5000.*length 0"):
        GaspariCohn(1e9).on((5000,), even((5000,)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Diagonal(0.0), "Diagonal.*stdev.*positive"),
        (lambda: Diagonal([1.0, np.nan]), "Diagonal.*stdev"),
        (lambda: Dense(np.ones((2, 3))), "Dense.*square"),
        (lambda: Dense(np.array([[1.0, 0.5], [0.0, 1.0]])), "Dense.*symmetric"),
        (lambda: Dense(np.array([[1.0, 2.0], [2.0, 1.0]])), "Dense.*positive definite"),
        (lambda: Blocks([Diagonal(1.0)], [1, 2]), "Blocks.*length"),
        (lambda: Diffusion(-1.0, 1.0), "Diffusion.*stdev.*positive"),
        (lambda: Diffusion(1.0, -1.0), "Diffusion.*length"),
        (lambda: Diffusion(1.0, 1.0, 1), "Diffusion.*2 iterations"),
        (lambda: Diffusion(1.0, 1.0, mask=[0, 0]), "Diffusion.*mask"),
        (lambda: Diffusion(1.0, 1.0, samples=1), "Diffusion.*samples"),
        (lambda: Diffusion(1.0, 1.0).size(), "Diffusion.*on.shape"),
        (lambda: Spectral(1.0, 1.0, "matern"), "Spectral.*kind.*Matern32"),
        (lambda: Spectral(1.0, 0.0), "Spectral.*length"),
        (lambda: Spectral(1.0, 1.0).on((4,), even((4,))), "Spectral.*periodic.*Diffusion"),
        (lambda: Spectral(1.0, 1.0).on((4,)), "Spectral.*positions.*not known.*Coordinate"),
        (lambda: Diffusion(1.0, 1.0).on((4,)), "Diffusion.*not known.*Coordinate"),
        (lambda: Autoregressive(1.0).on((4,)), "Autoregressive.*not known.*Coordinate"),
        (lambda: GaspariCohn(1.0).on((2,), (np.array([1.0, 0.0]),)), "GaspariCohn.*0 is at 1"),
        (lambda: GaspariCohn(-1.0), "GaspariCohn.*length"),
        (lambda: Ensemble([[1.0, 2.0]]), "Ensemble.*2 members"),
        (lambda: Ensemble([[1.0], [np.nan]]), "Ensemble.*finite"),
        (lambda: Ensemble([[1.0], [2.0]], Diagonal(2.0)).on((1,)), "Ensemble.*variance must be 1"),
        (lambda: Sum([]), "Sum.*weight"),
        (lambda: Sum([Diagonal(1.0)], [-1.0]), "Sum.*negative"),
        (lambda: LowRank([[1.0]], [1.0, 2.0]), "LowRank.*one value"),
        (lambda: LowRank([[1.0]], [-1.0]), "LowRank.*negative"),
        (lambda: LowRank([[1.0]], stdev=0.0), "LowRank.*stdev"),
        (lambda: Kronecker([]), "Kronecker.*factor"),
        (lambda: Autoregressive(0.0), "Autoregressive.*time"),
        (lambda: Autoregressive(1.0, -1.0), "Autoregressive.*stdev"),
        (
            lambda: check_invertible(Sum([Diagonal(1.0)]).on((2,)), "R of ship"),
            "R of ship: Sum.*cannot be inverted.*not square.*Diagonal",
        ),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
