"""Fifty members of a program, one of which fails: the analysis is that of the other 49 in JAX."""

import jax
import numpy as np
import pytest

import assim
from assim.analysis.cycle.cycle import Cycle
from tests.couple.cells import Cells, X, cells

LIMIT = 3.55  # above which one of fifty members begins


def analysed(model, members, carry=None):
    """One window of an ETKF, and what it began with."""
    window = assim.Window.regular(model, slots=1, steps=2)
    places = assim.Points.at(np.full(3, 1.0), {"cell": np.arange(3.0)})
    seen = assim.Observations(
        "x", np.array([2.9, 1.8, 1.0]), places, assim.operator.PointSample("x"), stdev=0.1
    )
    problem = assim.strong_constraint(
        model,
        window,
        background=X,
        covariance=assim.covariance.Diagonal(0.3),
        observations=seen,
        parameters={"rate": assim.prior.LogNormal(0.1, 0.3)},
    )
    cycle = Cycle(problem, assim.scheme.ETKF(members=members), assim.scheme.Plan(1, 1))
    carry = cycle.start() if carry is None else carry
    rows = cycle.plan.rows(cycle.batches(problem.observations, window.edges), 0)
    return carry, *cycle.window(carry, 0, window.edges, rows)[1:]


@pytest.mark.slow
def test_one_of_fifty_members_fails(tmp_path):
    model = cells(f"die:{LIMIT}", scratch=tmp_path)
    carry, ours, measures = analysed(model, 50)
    assert int(measures.failed_members) == 1
    (failure,) = model.failures()
    without = lambda leaf: np.delete(np.asarray(leaf), failure.member, axis=0)  # noqa: E731
    others = carry._replace(members=jax.tree.map(without, carry.members))
    _, theirs, _ = analysed(Cells(), 49, others)
    for kind in ("background", "background_stdev", "analysis", "analysis_stdev"):
        np.testing.assert_allclose(getattr(ours, kind)["x"], getattr(theirs, kind)["x"], rtol=1e-12)
    # the mean over another number of members of what is no linear function of z
    np.testing.assert_allclose(ours.scalars["rate"], theirs.scalars["rate"], rtol=1e-3)
