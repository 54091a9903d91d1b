"""A model that does nothing, so that what a page states can be computed at once."""

import equinox as eqx

import assim


class Walk(assim.AbstractModel):
    """x(t+1) = x(t), y(t+1) = y(t)."""

    dt: float = eqx.field(default=1.0, static=True)
    parameters: assim.Params = eqx.field(default_factory=dict)

    def labels(self):
        label = assim.Label((), "1")
        return assim.Labels({"x": label, "y": label}, {}, time_unit="1")

    def step(self, x, theta, t):
        return x
