"""Windows lengthened step by step: stages share what is compiled, and find what a leap misses."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Status
from assim.solve.minimise import loop
from assim.solve.minimise.checkpoints import AbstractCheckpoint, AbstractCheckpoints, Kept
from assim.solve.minimise.compiled import minimise_compiled, minimise_quasi_static_compiled
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import Leave, minimise, minimise_quasi_static
from assim.solve.minimise.quasi_newton import LBFGS
from tests.solve.departures import Departures, Misfit, lorenz63

COMPILED = "/jax/core/compile/backend_compile_duration"
INTERVALS = 40  # of 0.1, of Lorenz-63


class UpTo(eqx.Module):
    """A departure function of which departures after a horizon do not count yet."""

    whole: Misfit
    horizon: jax.Array

    def __call__(self, chi):
        d = self.whole(chi).normalised
        counted = jnp.arange(d.size) < self.horizon
        return Departures(jnp.where(counted, d, 0.0), jnp.zeros(()), jnp.zeros(()))

    def size(self):
        return self.whole.size()

    def weight(self):
        return self.whole.weight()

    def has_normaliser(self):
        return False

    def proper(self):
        return True

    def workspace(self):
        return self.whole.workspace()


def convection(seed):
    """Truth and noisy data of x and z; the truth is a draw from the prior."""
    rng = np.random.default_rng(seed)
    truth = jnp.asarray(rng.normal(size=3))
    exact = -lorenz63(truth, jnp.zeros((INTERVALS, 2))).reshape(INTERVALS, 2)
    return truth, exact + jnp.asarray(rng.normal(size=exact.shape))


def lengthened(data, stages):
    whole, total = Misfit(lorenz63, 3, 1.0, data), 2 * INTERVALS
    return [UpTo(whole, jnp.asarray(total * (k + 1) / stages)) for k in range(stages)]


def test_one_stage_is_the_plain_method():
    _, data = convection(0)
    (only,) = lengthened(data, 1)
    staged = minimise_quasi_static([only], GaussNewton(), jnp.zeros(3))
    plain = minimise(only, GaussNewton(), jnp.zeros(3))
    np.testing.assert_array_equal(staged.chi, plain.chi)
    assert [loop[:4] for loop in staged.loops] == [loop[:4] for loop in plain.loops]


@pytest.mark.parametrize("minimiser", [GaussNewton(), LBFGS()], ids=["gn", "lbfgs"])
def test_history_shows_the_stages(minimiser):
    _, data = convection(1)
    seen = []
    stages = lengthened(data, 5)
    solution = minimise_quasi_static(stages, minimiser, jnp.zeros(3), seen.append)
    loops = solution.loops
    assert sorted({loop.stage for loop in loops}) == [1, 2, 3, 4, 5]
    assert [loop.number for loop in loops] == list(
        range(loops[0].number, len(loops) + loops[0].number)
    )
    assert np.all(np.diff([loop.stage for loop in loops]) >= 0)
    assert [loop.number for loop in seen] == list(range(1, len(seen) + 1))
    for stage in range(1, 6):
        costs = [loop.cost for loop in loops if loop.stage == stage]
        assert np.all(np.diff(costs) <= 1e-12)
    assert abs(solution.cost - loops[-1].cost) < 1e-12


class Checkpoints(AbstractCheckpoints, AbstractCheckpoint):
    """Every loop of one minimisation."""

    def __init__(self, *loops):
        self.all = [*loops]

    def begin(self):
        return self

    def last(self):
        return self.all[-1] if self.all else None

    def keep(self, loop):
        self.all.append(loop)


def test_it_goes_on_from_any_checkpoint(monkeypatch):
    """From every loop of every stage, several first guesses at once, to the same bits."""
    monkeypatch.setattr(loop, "LONG", -1.0)
    _, data = convection(1)
    stages, guesses = lengthened(data, 3), jnp.asarray([[0.0] * 3, [0.5] * 3])
    solve = partial(minimise_quasi_static, stages, GaussNewton(), guesses)
    every = Checkpoints()
    whole = solve(checkpoints=every)
    assert {kept.stage for kept in every.all} == {1, 2, 3}
    told = lambda solution: [row._replace(seconds=0) for row in solution.loops]  # noqa: E731
    for number in range(len(every.all)):
        before = Checkpoints(*every.all[: number + 1])
        again = solve(checkpoints=before)
        np.testing.assert_array_equal(again.chi, whole.chi)
        assert told(again) == told(whole)
        assert len(before.all) == len(every.all)


def test_what_is_kept_of_another_problem_is_as_nothing():
    _, data = convection(1)
    solve = partial(minimise_quasi_static, lengthened(data, 2), GaussNewton(), jnp.zeros(3))
    other = Kept(2, [np.zeros(3)], np.zeros((1, 1, 7)))
    np.testing.assert_array_equal(solve(checkpoints=Checkpoints(other)).chi, solve().chi)


def test_early_stages_are_left_early():
    _, data = convection(2)
    stages = lengthened(data, 4)
    one = minimise_quasi_static(stages, GaussNewton(), jnp.zeros(3), early=Leave(n_outer=1))
    assert [sum(loop.stage == k for loop in one.loops) for k in (1, 2, 3)] == [1, 1, 1]
    loose = minimise_quasi_static(stages, GaussNewton(), jnp.zeros(3), early=Leave(100, 1.0))
    tight = minimise_quasi_static(stages, GaussNewton(), jnp.zeros(3), early=Leave(100, 1e-6))
    assert len(loose.loops) < len(tight.loops)


def test_all_stages_compile_once():
    _, data = convection(3)
    compiled = []
    listen = lambda event, seconds, **more: compiled.append(event)  # noqa: E731
    minimise_quasi_static(lengthened(data, 2), GaussNewton(), jnp.zeros(3))
    six = lengthened(data, 6)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        minimise_quasi_static(six, GaussNewton(), jnp.zeros(3))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled.count(COMPILED) == 0


@pytest.fixture(scope="module")
def twins():
    """J from the truth, from the background, and lengthened from there, of sixty twins."""
    method = GaussNewton(n_outer=60)
    drawn = [convection(seed) for seed in range(60)]

    @jax.jit
    def all_three(truth, data):
        whole = lengthened(data, 1)[0]
        right = minimise_compiled(whole, method, truth)
        plain = minimise_compiled(whole, method, jnp.zeros(3))
        staged = minimise_quasi_static_compiled(lengthened(data, 10), method, jnp.zeros(3))
        return right.cost, plain.cost, staged.cost, staged.chi

    return drawn, [np.stack(part) for part in zip(*(all_three(*one) for one in drawn), strict=True)]


def test_finds_the_minimum_that_a_leap_misses(twins, capsys):
    _, (right, plain, staged, _) = twins
    share = [np.mean(cost <= 1.01 * right) for cost in (plain, staged)]
    with capsys.disabled():
        print(f"\nLorenz-63, 4 time units: at once {share[0]:.0%}, lengthened {share[1]:.0%}")
    assert share[1] > share[0] + 0.2
    assert share[1] > 0.9


def test_both_ways_of_driving_agree(twins):
    drawn, (*_, staged, chi) = twins
    for i in range(3):
        stages = lengthened(drawn[i][1], 10)
        solution = minimise_quasi_static(stages, GaussNewton(n_outer=60), jnp.zeros(3))
        assert solution.status is Status.CONVERGED
        assert abs(solution.cost - staged[i]) < 1e-8 * staged[i]
        np.testing.assert_allclose(solution.chi, chi[i], atol=1e-6)


def test_under_vmap():
    data = jnp.stack([convection(seed)[1] for seed in range(4)])
    method = GaussNewton()
    one = lambda d: minimise_quasi_static_compiled(lengthened(d, 5), method, jnp.zeros(3)).chi  # noqa: E731
    together = jax.jit(jax.vmap(one))(data)
    for i in range(4):
        alone = minimise_quasi_static(lengthened(data[i], 5), method, jnp.zeros(3))
        np.testing.assert_allclose(together[i], alone.chi, atol=1e-6)


@pytest.mark.slow
def test_several_first_guesses():
    _, data = convection(4)
    starts = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    stages = lengthened(data, 4)
    solution = minimise_quasi_static(stages, NewtonCG(), starts)
    alone = [minimise_quasi_static(stages, NewtonCG(), start).cost for start in starts]
    assert solution.starts == 4
    assert solution.cost == pytest.approx(min(alone), rel=1e-9)


def test_stages_that_do_not_fit():
    _, data = convection(5)
    with pytest.raises(ValueError, match="at least one stage"):
        minimise_quasi_static([], GaussNewton(), jnp.zeros(3))
    shorter = UpTo(Misfit(lorenz63, 3, 1.0, data[:5]), jnp.asarray(10.0))
    with pytest.raises(ValueError, match="mask what a stage leaves out"):
        minimise_quasi_static([shorter, *lengthened(data, 1)], GaussNewton(), jnp.zeros(3))
