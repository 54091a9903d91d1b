"""How well fields of members are known: a growth whose trajectory is log-normal."""

import dataclasses
from statistics import NormalDist

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis.fields import of_members
from assim.files.write.summary import summary
from assim.problem.operator import Function, PointSample
from assim.solve.posterior.ensemble import Ensemble, Trust, equal_weights


class Growth(assim.AbstractModel):
    """x(t + 1) = x(t) exp(k); nothing follows t = 1 where x(1) is above the most."""

    parameters: dict = eqx.field(default_factory=lambda: {"k": jnp.asarray(0.0)})
    most: float | jax.Array = np.inf
    dt: float = eqx.field(default=1.0, static=True)

    def step(self, x, theta, t):
        fails = (t > 0.5) & (x["x"] > self.most)
        return {"x": jnp.where(fails, jnp.nan, x["x"] * jnp.exp(theta["k"]))}

    def labels(self):
        return assim.Labels(
            state={"x": assim.Label()}, parameters={"k": assim.Label()}, time_unit="1"
        )


def growth(slots, most=np.inf, further=()):
    """k ~ N(0, 0.5) and one log-normal reading of x(1): k | y is Gaussian."""
    model = Growth(most=most)
    read = assim.Observations(
        "x", [1.2], assim.Points.at([1.0]), assim.operator.PointSample("x"), 0.2,
        assim.likelihood.LogNormal(),
    )  # fmt: skip
    priors = {"k": assim.prior.Normal(0.0, 0.5)}
    window = assim.Window.regular(model, slots)
    return assim.strong_constraint(model, window, {"x": 1.0}, None, [read, *further], priors)


@dataclasses.dataclass(frozen=True)
class Far:
    """Exact moments of x at the window's end."""

    slots: int

    @property
    def stdev(self):
        variance = 1 / (1 / 0.25 + 1 / 0.04)
        mean = variance * np.log(1.2) / 0.04
        s2 = self.slots**2 * variance
        return np.exp(self.slots * mean + s2 / 2) * np.sqrt(np.expm1(s2))


def test_errors_of_fields_are_those_over_repetitions():
    """Of weighted draws, the worst of all slot edges: within a fifth for 200 repetitions."""
    problem, number, slots = growth(2), 400, 2
    random, stdevs, stated = np.random.default_rng(0), [], []
    for _ in range(200):
        chi = random.normal(size=(number, 1)) * 0.4
        weights = np.exp(0.3 * chi[:, 0])
        weights /= weights.sum()
        worth = 1 / np.sum(weights**2)
        fields = of_members(problem, jnp.asarray(chi), jnp.asarray(weights), jnp.zeros(1), worth)
        stdevs.append(fields.stdev["x"][slots])
        stated.append(fields.errors.stdev)
    scatter = np.std(stdevs) / np.mean(stdevs)
    np.testing.assert_allclose(np.mean(stated), scatter, rtol=0.2)


VARIANCE = 1 / (1 / 0.25 + 1 / 0.04)  # of k | y
MEAN = VARIANCE * np.log(1.2) / 0.04


@pytest.mark.parametrize("share", [0.3, 0.002])
def test_trajectories_that_are_not_finite_are_counted(share):
    """After the last reading, so that log p is finite for all of them."""
    most = np.exp(NormalDist(MEAN, VARIANCE**0.5).inv_cdf(1 - share))
    problem = growth(2, jnp.asarray(most))
    methods = [assim.posterior.Laplace(), Given()]
    for posterior in assim.analyse(problem, posterior=methods).posteriors.values():
        outside = posterior.certificates["fields_outside"]
        assert abs(outside - share) < 4 * (share / 10_000) ** 0.5
        assert posterior.quantities["k"].mean == pytest.approx(MEAN, abs=0.03 * VARIANCE**0.5)
        assert posterior.trust is (Trust.CERTIFIED if share < 0.01 else Trust.DOUBTFUL)
        told = f"not finite for {100 * outside:.2g} per cent" in posterior.advice
        assert told == (share > 0.01)


def test_predictions_that_are_not_finite_are_left_out_one_by_one():
    """Of a reading of k^½ that does not count, where k < 0, beside one of k."""
    points, log = assim.Points.at([1.0]), lambda *read: jnp.log(PointSample("x")(*read))
    unused = [
        assim.Observations(name, [1.0], points, Function(read), 1.0, weight=np.zeros(1))
        for name, read in (("root", lambda *read: jnp.sqrt(log(*read))), ("log", log))
    ]
    methods = [assim.posterior.Laplace(), Given()]
    k = np.linspace(0, MEAN + 9 * VARIANCE**0.5, 400_001)
    p = np.exp(-((k - MEAN) ** 2) / (2 * VARIANCE))
    p /= p.sum()
    stdev = np.sqrt(p @ k - (p @ np.sqrt(k)) ** 2)
    analysis = assim.analyse(growth(1, further=unused), posterior=methods)
    for posterior in analysis.posteriors.values():
        np.testing.assert_allclose(posterior.predicted_stdev["root"], stdev, rtol=0.03)
        np.testing.assert_allclose(posterior.predicted_stdev["log"], VARIANCE**0.5, rtol=0.015)
        assert posterior.certificates["fields_outside"] == 0


class Given(assim.posterior.AbstractPosterior):
    """Draws of the exact posterior, as of eight chains or independent, certified by itself."""

    chains: int = eqx.field(default=1, static=True)
    judged: bool = eqx.field(default=False, static=True)
    shift: float = eqx.field(default=0.0, static=True)

    def name(self):
        return "given"

    def sample(self, problem, around, key, report=None):
        members = around.gaussian.draws(key, 10_000) + self.shift
        return Ensemble(
            members, equal_weights(10_000), Trust.CERTIFIED, "It is exact.",
            chains=self.chains, effective_size=10_000.0 if self.chains == 1 else 5000.0,
            judged=self.judged,
        )  # fmt: skip


@pytest.mark.parametrize("chains", [1, 8])
def test_fields_that_few_members_rule_are_doubtful(chains):
    near, far = (
        assim.analyse(growth(slots), posterior=Given(chains)).posterior for slots in (1, 16)
    )
    assert near.trust is Trust.CERTIFIED and near.certificates["field_accuracy"] < 0.015
    assert (
        far.trust is Trust.DOUBTFUL
        and "Of fields, standard deviations are known within" in far.advice
    )
    assert far.certificates["field_accuracy"] > 0.1
    assert "But for that: It is exact." in far.advice


@pytest.mark.slow
def test_chains_look_at_derived_quantities():
    """Of x(10), log-normal of σ = 1.9, whose deviation no draws know: not stated, or right."""
    end = {"end": assim.Derived(lambda trajectory: trajectory.at_end()["x"], "1")}
    nuts = assim.posterior.NUTS(max_gradients=60_000)
    posterior = assim.analyse(growth(10), posterior=nuts, quantities=end).posterior
    stdev = posterior.quantities["end"].stddev
    right = abs(stdev / Far(10).stdev - 1) < 0.05
    assert right or np.isnan(stdev) or posterior.trust is Trust.DOUBTFUL
    assert "heavy_tail_end" in posterior.certificates or not posterior.certificates["confirmed"]


def test_what_is_too_large_to_be_measured_is_looked_at_here_and_there(monkeypatch):
    """17 edges and a prediction, at the last of each: ruled by few members, or not."""
    monkeypatch.setattr("assim.analysis.fields.HELD", 100)
    near, far = (assim.analyse(growth(slots), posterior=Given()).posterior for slots in (1, 16))
    assert near.trust is Trust.CERTIFIED and "one of" not in near.advice
    assert far.trust is Trust.DOUBTFUL and "at one of 3 of their entries" in far.advice
    assert "Of fields, standard deviations are known within" in far.advice
    assert far.trajectory_stdev["x"].shape == (17,)


def test_a_method_that_judges_scalars_leaves_derived_quantities_and_fields_to_members():
    end = {"end": assim.Derived(lambda trajectory: trajectory.at_end()["x"], "1")}
    posterior = assim.analyse(growth(16), posterior=Given(judged=True), quantities=end).posterior
    assert posterior.quantities["k"].errors is None
    assert posterior.quantities["end"].errors is not None
    assert posterior.trust is Trust.DOUBTFUL


def test_no_member_with_a_finite_trajectory_is_doubtful():
    posterior = assim.analyse(growth(1), posterior=Given(shift=1e4)).posterior
    assert posterior.trust is Trust.DOUBTFUL
    assert posterior.advice.startswith("No member has a finite trajectory")


@pytest.mark.parametrize("share", [0.3, 0.002])
def test_quantities_that_are_not_finite_are_told(share):
    """Of √(k - least): moments are those of a truncated Gaussian, and the prior has them too."""
    least = NormalDist(MEAN, VARIANCE**0.5).inv_cdf(share)
    root = lambda trajectory: jnp.sqrt(trajectory.parameters["k"] - least)  # noqa: E731
    square = lambda trajectory: root(trajectory) ** 2  # noqa: E731
    asked = {"root": assim.Derived(root, "1"), "above": assim.Derived(square, "1")}
    of_prior = NormalDist(0, 0.5).cdf(least)
    z = (least - MEAN) / VARIANCE**0.5
    tail = NormalDist().pdf(z) / (1 - NormalDist().cdf(z))
    methods = [assim.posterior.Laplace(), Given()]
    analysis = assim.analyse(growth(1), posterior=methods, quantities=asked)
    for posterior in analysis.posteriors.values():
        outside = posterior.certificates["scalars_outside"]
        assert abs(outside - share) < 4 * (share / 10_000) ** 0.5
        for name in asked:
            quantity = posterior.quantities[name]
            assert quantity.outside[0] == outside
            assert (
                abs(quantity.outside[1] - of_prior) < 4 * (of_prior * (1 - of_prior) / 1000) ** 0.5
            )
            assert f"not finite for {100 * outside:.2g} per cent of the posterior" in quantity.note
        above = posterior.quantities["above"]
        assert above.mean == pytest.approx(VARIANCE**0.5 * (tail - z), rel=0.03)
        assert posterior.quantities["k"].outside == (0.0, 0.0)
        assert posterior.trust is (Trust.CERTIFIED if share < 0.01 else Trust.DOUBTFUL)
        told = f"not finite for {100 * outside:.2g} per cent" in posterior.advice
        assert told == (share > 0.01)
    written = summary(analysis)["quantities"]
    assert written["root"]["outside"]["posterior"] > 0 and "outside" not in written["k"]


def test_a_quantity_that_is_finite_nowhere_is_doubtful():
    asked = {"none": assim.Derived(lambda trajectory: jnp.log(-trajectory.at_end()["x"]), "1")}
    posterior = assim.analyse(growth(1), posterior=Given(), quantities=asked).posterior
    assert posterior.trust is Trust.DOUBTFUL
    assert posterior.advice.startswith("No member has a finite quantity none")
