"""Members that the model does not carry are left out: the analysis is that of the others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis.cycle.members import forecast, read
from assim.problem.cycled import in_carried_coordinates
from assim.solve.minimise.status import Status
from tests.cycle.toy import Linear, twin

MEMBERS = 50
SCHEMES = {
    "ETKF": (assim.scheme.ETKF, {}, 1),
    "LETKF": (assim.scheme.LETKF, {"radius": 2.0}, 1),
    "IEnKS": (assim.scheme.IEnKS, {}, 2),
}


class Fragile(Linear):
    """It is lost where the last entry is large."""

    limit: float = np.inf

    def step(self, x, theta, t):
        after = super().step(x, theta, t)
        return {"x": jnp.where(jnp.max(after["x"]) > self.limit, jnp.nan, after["x"])}


def cycle(name, members, limit):
    """The twin with a model that fails so, and its cycle."""
    scheme, settings, slots = SCHEMES[name]
    plan = assim.scheme.Plan(slots, 1)
    given = twin(scheme(members=members, **settings), plan, 2, {"drift": assim.prior.Normal(0, 1)})
    problem = dataclasses.replace(given.cycle.problem, model=Fragile(limit=limit))
    return given, dataclasses.replace(given.cycle, problem=problem)


def window(given, own, carry, number=0):
    plan = own.plan
    edges, rows = plan.stretch(given.edges, number), plan.rows(given.batches, number)
    return own.window(carry, number, edges, rows)


def largest(own, carry):
    """Of every member, its largest entry after the window's start."""
    problem = in_carried_coordinates(own.problem)
    seen = read(problem, forecast(problem, carry.members, jax.random.key(0)))
    return np.asarray(jnp.max(seen.states["x"][:, 1:], axis=(1, 2)))


@pytest.mark.parametrize("failing", [1, 5])
@pytest.mark.parametrize("name", SCHEMES)
def test_the_analysis_is_that_of_the_others(name, failing):
    given, sound = cycle(name, MEMBERS, np.inf)
    carry = sound.start()
    reached = largest(sound, carry)
    limit = float(np.mean(np.sort(reached)[-failing - 1 :][:2]))
    _, own = cycle(name, MEMBERS, limit)
    _, fewer = cycle(name, MEMBERS - failing, np.inf)
    others = jax.tree.map(lambda leaf: leaf[reached < limit], carry.members)
    ours, analysed, measures = window(given, own, carry)
    theirs, expected, _ = window(given, fewer, carry._replace(members=others))
    assert int(measures.failed_members) == failing
    assert Status(int(measures.status)) is Status.CONVERGED
    for kind in ("background", "analysis", "background_stdev", "analysis_stdev", "scalars_stdev"):
        for key, value in getattr(expected, kind).items():
            np.testing.assert_allclose(getattr(analysed, kind)[key], value, rtol=1e-6, atol=1e-8)
    for a, b in zip(*map(jax.tree.leaves, (ours.members, theirs.members)), strict=True):
        assert len(a) == MEMBERS
        covariances = [np.cov(v.reshape(len(v), -1).T) for v in (a, b)]
        np.testing.assert_allclose(a.mean(axis=0), b.mean(axis=0), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(*covariances, rtol=1e-5, atol=1e-7)
        assert np.min(np.std(a, axis=0)) > 0 and len(np.unique(np.asarray(a), axis=0)) == MEMBERS
    _, after, again = window(given, own, ours, 1)
    assert np.all(np.isfinite(after.analysis["x"])) and int(again.failed_members) < MEMBERS // 2


@pytest.mark.parametrize("name", SCHEMES)
def test_one_member_alone_is_no_ensemble(name):
    given, sound = cycle(name, MEMBERS, np.inf)
    carry = sound.start()
    _, own = cycle(name, MEMBERS, float(np.mean(np.sort(largest(sound, carry))[:2])))
    _, _, measures = window(given, own, carry)
    assert int(measures.failed_members) == MEMBERS - 1
    assert Status(int(measures.status)) is Status.NON_FINITE
