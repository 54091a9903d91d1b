"""Scalars of the control that no observation depends on: their posterior is their prior."""

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import program
from assim.problem.control import Control
from assim.problem.departure import Problem

Array = jax.Array

_DRAWS = 8  # from the prior, beside the background
_NEGLIGIBLE = 1e-4  # of a departure's standard deviation, for one of the prior
_AT_MEDIAN = 0.01  # prior standard deviations: where a minimum lies that nothing has moved

UNINFORMED = (
    "no observation depends on it anywhere in the bulk of its prior, so that its posterior is its "
    "prior; drop it, or observe what it acts on. What acts for a short time alone may have been "
    "stepped over: give it slot edges of its own."
)


def uninformed(problem: Problem, chi: Array | None = None) -> tuple[str, ...]:
    """Names of parameters, error scales, bias coefficients and scalar fields without effect.

    Such is χ_i where ∂(wᵀd + c)/∂χ_i, with w ~ N(0, I) so that its variance is |∂d/∂χ_i|², is
    below 10⁻⁴ at the background and at eight draws from the prior. Draws at which the model is not
    finite say nothing.

    Args:
        problem: the problem.
        chi: its minimum; what lies away from its prior median there is informed. None to ask of
            all.
    """
    asked = _scalars(problem.control)
    if chi is not None:
        still = dict(
            zip(problem.control.names(), np.abs(np.asarray(chi)) < _AT_MEDIAN, strict=True)
        )
        asked = {name: size for name, size in asked.items() if still[name]}
    if not asked:
        return ()
    forced = problem.as_forcing()
    slopes = np.asarray(_slopes(forced))
    finite = slopes[np.isfinite(slopes).all(axis=1)]
    if not finite.size:
        return ()
    largest = dict(zip(forced.control.names(), np.max(np.abs(finite), axis=0), strict=True))
    return _together({name: size for name, size in asked.items() if largest[name] < _NEGLIGIBLE})


def _scalars(control: Control) -> dict[str, tuple[str, int]]:
    """Of each entry of χ that is a scalar of its own: the variable's name, and its size."""
    scalars: dict[str, tuple[str, int]] = {}
    for kind, part in control.blank().items():
        for name, value in part.items():
            own = kind in ("biases", "parameters", "scales")
            if own or (kind in ("background", "fields") and value.size == 1):
                single = value.size == 1
                entries = [name] if single else [f"{name}[{i}]" for i in range(value.size)]
                scalars |= dict.fromkeys(entries, (name, value.size))
    return scalars


def _together(entries: dict[str, tuple[str, int]]) -> tuple[str, ...]:
    """Names of these entries; of an array of which all are among them its own."""
    number: dict[str, int] = {}
    for variable, _ in entries.values():
        number[variable] = number.get(variable, 0) + 1
    whole = lambda variable, size: number[variable] == size  # noqa: E731
    names = (variable if whole(variable, size) else e for e, (variable, size) in entries.items())
    return tuple(dict.fromkeys(names))


@program
def _slopes(problem: Problem) -> Array:
    """∇(wᵀd + c) at the background and at draws from the prior, shape (1 + draws, n)."""
    first, second = jax.random.split(jax.random.key(0))
    number = len(problem.observations)
    draws = jax.random.normal(first, (_DRAWS, problem.size()))
    places = jnp.concatenate([jnp.zeros((1, problem.size())), draws])

    def along(chi: Array, key: Array) -> Array:
        simulation = problem.simulate(chi)
        scales, total = simulation.control.scales, jnp.zeros(())
        for o, own in zip(problem.observations, jax.random.split(key, number), strict=True):
            d = o.normalised(simulation.predictions[o.name], scales)
            total += jax.random.normal(own, d.shape) @ d + o.normaliser(scales)
        return total

    keys = jax.random.split(second, len(places))
    return jax.lax.map(lambda at: jax.grad(along)(*at), (places, keys))
