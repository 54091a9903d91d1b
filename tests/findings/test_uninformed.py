"""Scalars that no observation depends on are named, and no others."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import assim
from assim import AbstractModel, Array, Label, Labels, Params, State, Window
from assim.findings.fit import goodness_of_fit
from assim.findings.uninformed import uninformed
from assim.problem.departure import Problem
from assim.problem.model_error import ModelError
from assim.problem.prior import LogNormal, Normal


class Two(AbstractModel):
    """Two stores of their own; `late` acts after time 5, `weights` by its first entry alone."""

    dt: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(
        default_factory=lambda: {
            "seen": jnp.asarray(0.9),
            "idle": jnp.asarray(0.9),
            "late": jnp.asarray(1.0),
            "square": jnp.asarray(0.0),
            "weights": jnp.zeros(2),
        }
    )

    def labels(self) -> Labels:
        parameters = {name: Label() for name in self.parameters}
        parameters["weights"] = Label(("k",))
        coordinates = {"k": assim.Coordinate(np.arange(2.0))}
        return Labels({"a": Label(), "b": Label()}, parameters, coordinates)

    def step(self, x: State, theta: Params, t: Array) -> State:
        late = jnp.where(t > 5.0, theta["late"], 1.0)
        extra = theta["square"] ** 2 + theta["weights"][0]
        return {"a": theta["seen"] * late * x["a"] + extra, "b": theta["idle"] * x["b"]}


def posed(slots: int = 3, **options) -> Problem:
    model = Two()
    window = Window.regular(model, slots)
    times = assim.Points.at(np.arange(1.0, slots + 1))
    noise = 0.01 * np.random.default_rng(1).standard_normal(slots)
    values = 0.9 ** np.arange(1.0, slots + 1) + noise
    seen = assim.Observations("a", values, times, assim.operator.PointSample("a"), 0.01)
    priors = {name: Normal(value, 0.1) for name, value in model.parameters.items()}
    given = (
        model,
        window,
        {"a": LogNormal(1.0, 0.1), "b": LogNormal(1.0, 0.1)},
        None,
        seen,
        priors,
    )
    if options:
        return assim.weak_constraint(*given, **options)
    return assim.strong_constraint(*given)


def test_what_nothing_depends_on():
    """The gradient of `square` is 0 at the median alone: it is informed."""
    assert set(uninformed(posed())) == {"b", "idle", "late", "weights[1]"}
    assert set(uninformed(posed(8))) == {"b", "idle", "weights[1]"}


def test_under_weak_constraint():
    """States as the control do not hide it behind the jumps."""
    error = ModelError({"a": assim.covariance.Diagonal(0.1), "b": assim.covariance.Diagonal(0.1)})
    names = uninformed(posed(model_error=error, formulation="state"))
    assert set(names) == {"b", "idle", "late", "weights[1]"}


def test_the_verdict_names_them():
    fit = goodness_of_fit(assim.analyse(posed()))
    assert set(fit.uninformed) == {"b", "idle", "late", "weights[1]"}
    assert fit.summary()["uninformed"] == list(fit.uninformed)
    assert any("no observation depends on it" in remark for remark in fit.remarks())
    assert "idle" not in " ".join(fit._faults())  # a note, which decides nothing
