"""The epidemic with confinement: persons, final size, times in bed, and growth at its start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from assim.models import ConfinedEpidemic
from assim.problem.integrator import FixedStep
from assim.problem.window import Window, integrate


def outbreak(stages, times, parameters=None, **start):
    none = {"susceptible": 760.0, "infectious": 0.5, "recovered": 40.0}
    none |= {"in_bed": np.zeros(stages), "convalescent": np.zeros(stages)}
    x = {name: jnp.asarray(value) for name, value in {**none, **start}.items()}
    theta = {name: jnp.asarray(value) for name, value in (parameters or {}).items()}
    model = ConfinedEpidemic(stages, FixedStep(0.05, "Dopri8"))
    window = Window.at(model, times)
    run = jax.jit(lambda x: integrate(model, x, {**model.parameters, **theta}, window).states)
    return {name: np.asarray(value) for name, value in run(x).items()}


@pytest.mark.parametrize("stages", [1, 3])
def test_final_size_and_person_days(stages):
    """log(S_0/S_∞) = R_0 (S_0 + I_0 - S_∞)/N, and each case is in bed for τ_B in the mean."""
    times = np.linspace(0.0, 60.0, 601)
    there = outbreak(stages, times)
    persons = sum(value.reshape(601, -1).sum(axis=1) for value in there.values())
    np.testing.assert_allclose(persons, 800.5, rtol=1e-12)
    left = there["susceptible"][-1]
    size = 760.5 - left
    assert 300 < size < 700
    assert abs(np.log(760 / left) - 4.0 * 0.4 * size / 800.5) < 1e-6
    for name, time in (("in_bed", 3.0), ("convalescent", 2.0)):
        days = np.trapezoid(there[name].sum(axis=1), times)
        np.testing.assert_allclose(days, time * size, rtol=1e-4)


@pytest.mark.parametrize("stages", [1, 4])
def test_times_in_bed_have_erlangs_distribution(stages):
    """Of a hundred who go to bed at once, without infection."""
    times = np.linspace(0.0, 8.0, 9)
    in_bed = np.eye(stages)[0] * 100
    there = outbreak(stages, times, {"beta": 0.0}, infectious=0.0, in_bed=in_bed)
    bed, up = (scipy.stats.erlang(stages, scale=mean / stages) for mean in (3.0, 2.0))
    np.testing.assert_allclose(there["in_bed"].sum(axis=1), 100 * bed.sf(times), rtol=1e-7)
    hours = np.linspace(0.0, 8.0, 8001)  # who rose at s is convalescent at 8 by chance 1 - F(8 - s)
    expected = 100 * np.trapezoid(bed.pdf(hours) * up.sf(8.0 - hours), hours)
    np.testing.assert_allclose(there["convalescent"][-1].sum(), expected, rtol=1e-5)


def test_first_infections_grow_exponentially():
    """At the rate β S/N - 1/τ_I."""
    there = outbreak(2, [0.0, 0.5, 1.0], susceptible=1e6, infectious=1e-3, recovered=1e6)
    rate = np.log(there["infectious"][2] / there["infectious"][1]) / 0.5
    assert abs(rate - (4.0 / 2 - 1 / 0.4)) < 1e-6


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"stages must .* at least 1, got 0"):
        ConfinedEpidemic(stages=0)
