"""Whether an absolute tolerance of an integration is far below the values of every field."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from assim.problem.arrays import State
from assim.problem.model import AbstractDynamics

_NEGLIGIBLE = 1e-4  # share of a field's values below which an error of one step is none


class Coarse(NamedTuple):
    """A field for which the tolerance is coarse, in words, and whether it is above its values."""

    words: str
    above: bool


def coarse_tolerances(model: AbstractDynamics, states: State) -> Iterator[Coarse]:
    """The fields whose values, at the start if they are not 0 there, are not far above it.

    Args:
        model: whose integrator has an `atol` of its own; of others nothing is said.
        states: every field at every slot edge.
    """
    atol = model.absolute_tolerance()
    if atol is None:
        return
    for name, value in states.items():
        size = float(np.max(np.abs(value[0]))) or float(np.max(np.abs(value)))
        if atol > _NEGLIGIBLE * size > 0:
            what = f"atol = {atol:g} of the integrator, where {name} is about {size:.2g}"
            way_out = "leave atol out, and it follows the size of each field"
            yield Coarse(f"{what}: {way_out}", atol >= size)
