"""A mistake in a user's step stands near the call that met it: few frames of assim lie between."""

import traceback
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG

MOST = 15
ASSIM = Path(assim.__file__).parent


class Decay(assim.AbstractModel):
    """x ↦ 0.9 x, until the step of all is broken."""

    parameters: assim.Params = eqx.field(default_factory=dict)
    dt: float = eqx.field(default=1.0, static=True)

    broken: ClassVar[bool] = False

    def labels(self) -> assim.Labels:
        site = assim.Coordinate(np.arange(2.0))
        return assim.Labels({"x": assim.Label(("site",))}, {}, {"site": site})

    def step(self, x: assim.State, theta: assim.Params, t: assim.Array) -> assim.State:
        if self.broken:
            raise RuntimeError("a mistake in the step")
        return {"x": 0.9 * x["x"]}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("minimiser", [GaussNewton(), NewtonCG()], ids=["gauss-newton", "newton"])
def test_few_frames_from_analyse_to_the_step(minimiser, steps, monkeypatch):
    model = Decay()
    window = assim.Window.regular(model, 4, steps)
    points = assim.Points.at([1.0, 2.0], {"site": [0.0, 1.0]})
    observations = assim.Observations("x", [1.0, 0.7], points, assim.operator.PointSample("x"), 0.3)
    background = {"x": jnp.ones(2)}
    problem = assim.strong_constraint(
        model, window, background, assim.covariance.Diagonal(0.5), observations
    )
    monkeypatch.setattr(Decay, "broken", True)
    with pytest.raises(RuntimeError, match="a mistake in the step") as raised:
        assim.analyse(problem, minimiser)
    *between, last = traceback.extract_tb(raised.value.__traceback__)
    assert (last.filename, last.name) == (__file__, "step")
    own = [frame for frame in between if ASSIM in Path(frame.filename).parents]
    assert 5 < len(own) <= MOST, "\n".join(f"{frame.filename} {frame.name}" for frame in own)
