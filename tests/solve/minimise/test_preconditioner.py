"""The spectral preconditioner on matrices, and in both minimisers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Status
from assim.solve.cost import gauss_newton_linearisation
from assim.solve.krylov import lanczos
from assim.solve.minimise.compiled import minimise_compiled
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.minimise.preconditioner import Preconditioner, identity, learnt
from tests.solve.departures import Misfit

N = 90  # more than the minimisers form a matrix for


def matrix(seed=0, values=None):
    rng = np.random.default_rng(seed)
    values = np.append([1e4, 3e3, 1e3, 200.0, 50.0], np.ones(N - 5)) if values is None else values
    q = np.linalg.qr(rng.normal(size=(N, N)))[0]
    return jnp.asarray((q * values) @ q.T)


def inner_loop(a, b, before, size=N, tolerance=1e-8):
    operator = lambda z: before.sqrt(a @ before.sqrt(z))  # noqa: E731
    pairs = lanczos(operator, before.sqrt(b), size, tolerance)
    return pairs, learnt(before, pairs, *pairs.ritz())


def test_no_pairs_change_nothing():
    b = jnp.asarray(np.random.default_rng(1).normal(size=N))
    none = identity(0, N)
    np.testing.assert_array_equal(none.sqrt(b), b)
    empty = identity(7, N)
    np.testing.assert_array_equal(empty.sqrt(b), b)


def test_square_root_and_its_inverse():
    rng = np.random.default_rng(2)
    u = np.linalg.qr(rng.normal(size=(N, 4)))[0].T
    p = Preconditioner(jnp.asarray(u), jnp.array([100.0, 9.0, 4.0, 0.25]))
    v = jnp.asarray(rng.normal(size=N))
    np.testing.assert_allclose(p.inverse_sqrt(p.sqrt(v)), v, rtol=1e-12)
    whole = np.eye(N) + u.T @ np.diag(np.asarray(p.values) - 1) @ u
    np.testing.assert_allclose(p.sqrt(p.sqrt(v)), np.linalg.solve(whole, v), rtol=1e-12)


def test_learns_the_eigenpairs():
    """An inner loop that has seen the whole spectrum leaves nothing for the next."""
    a = matrix()
    b = jnp.asarray(np.random.default_rng(3).normal(size=N))
    pairs, p = inner_loop(a, b, identity(8, N))
    assert int(pairs.iterations) == 6  # as many as there are distinct eigenvalues
    np.testing.assert_allclose(p.values[:5], [1e4, 3e3, 1e3, 200, 50], rtol=1e-8)
    again, _ = inner_loop(a, jnp.flip(b), p)
    assert int(again.iterations) == 1
    solution = p.sqrt(again.basis[0] * again.norm / again.diagonal[0])
    np.testing.assert_allclose(a @ solution, jnp.flip(b), rtol=1e-6, atol=1e-8)


def test_corrects_pairs_that_have_changed():
    """Told of another matrix first: the pairs after the second are those of the second."""
    b = jnp.asarray(np.random.default_rng(4).normal(size=N))
    rough = matrix() + 30 * jnp.outer(b, b) / (b @ b)
    _, p = inner_loop(rough, b, identity(20, N))
    _, p = inner_loop(matrix(), b, p)
    np.testing.assert_allclose(p.values[:5], [1e4, 3e3, 1e3, 200, 50], rtol=1e-6)
    np.testing.assert_allclose(p.vectors @ p.vectors.T, np.eye(20), atol=1e-10)


def test_only_room_for_the_farthest_from_one():
    a = matrix(values=np.append([1e4, 100.0, 0.01, 3.0], np.ones(N - 4)))
    _, p = inner_loop(a, jnp.asarray(np.random.default_rng(5).normal(size=N)), identity(3, N))
    np.testing.assert_allclose(np.sort(p.values), [0.01, 100, 1e4], rtol=1e-6)


def test_negative_curvature_is_not_learnt():
    a = matrix(values=np.append([1e3, -50.0, 20.0], np.ones(N - 3)))
    _, p = inner_loop(a, jnp.asarray(np.random.default_rng(6).normal(size=N)), identity(5, N))
    assert np.all(p.values > 0)
    np.testing.assert_allclose(np.sort(p.values)[-2:], [20, 1e3], rtol=1e-6)


# ---- in the minimisers ---------------------------------------------------------------------------


def curved(chi, data):
    """Stiff in some directions, with curvature that turns as χ moves."""
    stiff = jnp.geomspace(100.0, 0.1, N)
    bent = chi + 0.3 * jnp.tanh(jnp.roll(chi, 1))
    return stiff * (bent - data)


@functools.cache
def solved(kind, rank, globalisation="damping"):
    data = jnp.asarray(np.random.default_rng(7).normal(size=N))
    problem = Misfit(curved, N, 1.0, data)
    method = kind(precondition=rank, globalisation=globalisation)
    return problem, minimise(problem, method, jnp.zeros(N))


@pytest.mark.parametrize(
    ("kind", "globalisation"),
    [
        (GaussNewton, "damping"),
        (NewtonCG, "trust_region"),
        pytest.param(GaussNewton, "trust_region", marks=pytest.mark.slow),
        pytest.param(NewtonCG, "damping", marks=pytest.mark.slow),
    ],
)
def test_same_minimum_in_fewer_iterations(kind, globalisation):
    _, plain = solved(kind, 0)
    _, with_pairs = solved(kind, 60, globalisation)
    assert plain.status is with_pairs.status is Status.CONVERGED
    np.testing.assert_allclose(with_pairs.chi, plain.chi, atol=1e-5)
    assert abs(with_pairs.cost - plain.cost) < 1e-9 * plain.cost
    inner = [sum(loop.inner_iterations for loop in s.loops) for s in (plain, with_pairs)]
    assert inner[1] < 0.7 * inner[0], inner
    assert with_pairs.loops[0].inner_iterations == plain.loops[0].inner_iterations


def test_pairs_in_the_state_belong_to_the_hessian():
    """What is passed on approximates W + GᵀG at the minimum in χ: Rayleigh quotients agree."""
    problem, solution = solved(GaussNewton, 60)
    a = np.asarray(jax.vmap(gauss_newton_linearisation(problem, solution.chi).hessian)(jnp.eye(N)))
    p = solution.state.preconditioner
    u, exact = np.asarray(p.vectors), np.linalg.eigvalsh(a)[::-1]
    np.testing.assert_allclose(np.sum(u @ a * u, axis=1), p.values, rtol=0.15)
    np.testing.assert_allclose(np.sort(p.values)[::-1][:10], exact[:10], rtol=0.05)
    root = np.asarray(jax.vmap(p.sqrt)(jnp.eye(N)))
    before, after = np.linalg.cond(a), np.linalg.cond(root @ a @ root)
    assert after < before / 20, (before, after)


def test_compiled_loop():
    problem, solution = solved(GaussNewton, 60)
    state = jax.jit(lambda chi: minimise_compiled(problem, GaussNewton(precondition=60), chi))(
        jnp.zeros(N)
    )
    np.testing.assert_allclose(state.chi, solution.chi, atol=1e-8)


def test_no_negative_number_of_pairs():
    with pytest.raises(ValueError, match="precondition must not be negative"):
        GaussNewton(precondition=-1)
