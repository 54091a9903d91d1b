"""4DEnVar on departure functions whose minimum and Hessian are known in closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.cost import gauss_newton_linearisation, gradient
from assim.solve.minimise.ensemble import FourDEnVar
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.minimise.loop import minimise
from assim.solve.minimise.status import Status
from assim.solve.posterior.about_members import laplace_of
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.laplace_posterior import Trust
from assim.solve.sensitivity import Sensed, basis, left_unseen, run, updated
from tests.solve.departures import Misfit, UnknownScale
from tests.solve.posterior.closed_posteriors import affine, linear, separable, walled, with_wall

N = 5
KEY = jax.random.key(0)
BARE = Laplace(certificate=0)


@pytest.fixture(scope="module")
def case():
    return linear(n=N, m=8)


def solved(problem, minimiser):
    return minimise(problem, minimiser, jnp.zeros(problem.size()))


@pytest.mark.parametrize("members", [N, 2, 1])
def test_is_the_minimum_of_4d_var_however_many_members_a_loop_has(case, members):
    solution = solved(case.problem, FourDEnVar(members=members, tolerance=1e-9))
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.chi, case.mean, atol=1e-8)


def test_a_loop_out_of_loops_has_the_gradient_that_members_tell(case):
    solution = solved(case.problem, FourDEnVar(n_outer=1, members=2))
    assert solution.status is Status.OUT_OF_LOOPS
    whole = float(jnp.linalg.norm(gradient(case.problem, solution.chi)))
    assert 0 < solution.gradient_norm <= (1 + 1e-6) * whole + float(jnp.linalg.norm(solution.chi))


def test_posterior_is_that_of_4d_var(case):
    minimiser = FourDEnVar(members=N)
    found = laplace_of(case.problem, jnp.asarray(case.mean), BARE, KEY, minimiser)
    covariance = jax.vmap(found.gaussian.covariance)(jnp.eye(N))
    np.testing.assert_allclose(covariance, case.covariance, atol=1e-8)
    assert found.log_evidence == pytest.approx(case.log_evidence, abs=1e-7)
    assert found.left_out < 1e-10 and found.certificates()["failed"] == 0
    assert found.hessian == "Gauss-Newton Hessian by 15 member trajectories"


def test_too_few_members_are_doubtful_and_say_so():
    case = linear(n=20, m=30)
    minimiser = dataclasses.replace(FourDEnVar(), members=1)
    settings = Laplace(certificate=1000)
    found = laplace_of(case.problem, jnp.asarray(case.mean), settings, KEY, minimiser)
    g = np.asarray(case.problem.data)[:, :-1]
    missing = np.trace(g.T @ g) / 2  # ten of twenty directions
    assert found.left_out == pytest.approx(missing, rel=0.5)
    assert found.trust() is Trust.DOUBTFUL and np.isnan(found.log_evidence)
    assert "20 members are too few" in found.advice()


def test_members_that_fail_are_left_out_and_counted():
    data = linear(n=N, m=8).problem.data
    walls = Misfit(walled, N, 1.0, with_wall(data, -5e-4))
    chi = jnp.zeros(N)
    directions = jnp.concatenate([jnp.eye(N), -jnp.eye(N)[:1]])
    members = run(walls, chi, directions, 1e-3)
    assert np.asarray(members.fine).tolist() == [True] * N + [False]
    np.testing.assert_allclose(updated(jnp.zeros((8, N)), members, None), data[:, :-1], atol=1e-9)
    solution = solved(walls, FourDEnVar(members=N, tolerance=1e-7))
    assert solution.state.failed > 0 and np.isfinite(solution.cost)
    found = laplace_of(walls, chi, BARE, KEY, FourDEnVar(members=N))
    assert found.failed > 0 and found.advice().startswith(f"{found.failed} of 15 members failed")


def test_nonlinear_departures_lead_to_the_minimum_of_gauss_and_newton():
    case = separable()
    ours = solved(case.problem, FourDEnVar(members=3))
    theirs = solved(case.problem, GaussNewton(tolerance=1e-9))
    assert ours.cost == pytest.approx(theirs.cost, abs=1e-5)
    np.testing.assert_allclose(ours.chi, case.mode, atol=2e-3)


class Band(Misfit):
    """Departures that see neighbours alone, on a line."""

    def distances(self, radius):
        places = jnp.arange(self.n)
        return jnp.abs(places[:, None] - places[None]) / radius


def banded(n):
    rng = np.random.default_rng(1)
    near = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 1
    g, y = near * rng.normal(size=(n, n)), rng.normal(size=n)
    covariance = np.linalg.inv(np.eye(n) + g.T @ g)
    return Band(affine, n, 1.0, jnp.asarray(np.column_stack([g, y]))), covariance @ g.T @ y, g


def test_localised_members_fewer_than_controls_find_what_observations_see():
    problem, minimum, g = banded(40)
    minimiser = FourDEnVar(members=8, radius=1.5, tolerance=1e-8)
    solution = solved(problem, minimiser)
    assert solution.status is Status.CONVERGED and len(solution.loops) < 10
    np.testing.assert_allclose(solution.chi, minimum, atol=1e-7)
    sampled = minimiser.sampled(problem, solution.chi, whole=False)
    np.testing.assert_allclose(sampled.problem.jacobian, g, atol=1e-7)
    assert sampled.unseen < 1e-12


def test_what_an_estimate_misses_is_measured_by_other_members(case):
    g = case.problem.data[:, :-1]
    signs = jax.random.rademacher(KEY, (200, N), dtype=float) / N**0.5
    probes = run(case.problem, jnp.zeros(N), signs, 1e-3)
    half = g.at[:, 2:].set(0.0)
    assert left_unseen(half, probes) == pytest.approx(float(jnp.sum(g[:, 2:] ** 2)), rel=0.2)


def test_basis_is_orthonormal_in_any_pieces():
    rows = jnp.concatenate([basis(KEY, 7, jnp.arange(3)), basis(KEY, 7, jnp.arange(3, 7))])
    np.testing.assert_allclose(rows @ rows.T, np.eye(7), atol=1e-12)


def test_sensed_problem_has_the_gradient_and_hessian_of_its_jacobian(case):
    g = case.problem.data[:, :-1]
    chi = jnp.ones(N)
    ours = gauss_newton_linearisation(Sensed(case.problem, g), chi)
    theirs = gauss_newton_linearisation(case.problem, chi)
    np.testing.assert_allclose(ours.gradient, theirs.gradient, rtol=1e-12)
    np.testing.assert_allclose(ours.hessian(chi), theirs.hessian(chi), rtol=1e-12)


def test_what_it_refuses(case):
    with pytest.raises(ValueError, match="error scales and amplitudes cannot be estimated"):
        FourDEnVar().init(UnknownScale(jnp.ones(3)), jnp.zeros(1))
    with pytest.raises(ValueError, match="and Misfit does not; leave it out"):
        FourDEnVar(radius=2.0).init(case.problem, jnp.zeros(N))
    with pytest.raises(ValueError, match="every radius must be positive, got -1"):
        FourDEnVar(radius=-1.0)
    with pytest.raises(ValueError, match="spread must be positive"):
        FourDEnVar(spread=0.0)
