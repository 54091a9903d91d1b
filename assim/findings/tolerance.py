"""Whether the tolerances of an integration are far below the values of every field."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from assim.problem.arrays import State
from assim.problem.model import AbstractDynamics

_NEGLIGIBLE = 1e-4  # share of a field's values below which an error of one step is none
_ROUNDING = 1e-12  # share of a field's size below which its values may be rounding errors


class Coarse(NamedTuple):
    """A field for which the tolerance is coarse, in words, and whether it is above its values."""

    words: str
    above: bool


def coarse_tolerances(model: AbstractDynamics, states: State) -> Iterator[Coarse]:
    """The fields whose values are not far above the tolerance of the model's integrator.

    An `atol` is held against the values at the start, if they are not 0 there; the sizes that
    tolerances follow where no `atol` is given, against all values.

    Args:
        model: M.
        states: every field at every slot edge.
    """
    for name, unit in model.tolerance_sizes().items():
        size = float(np.max(np.abs(states[name])))
        if _ROUNDING * unit < size < _NEGLIGIBLE * unit:
            what = f"tolerances of the integrator are for {name} of about {float(unit):.2g}"
            way_out = (
                f"give {name} a background and a spread of its size, or the integrator an atol"
            )
            yield Coarse(f"{what}, and it is about {size:.2g}: {way_out}", above=False)
    atol = model.absolute_tolerance()
    if atol is None:
        return
    for name, value in states.items():
        size = float(np.max(np.abs(value[0]))) or float(np.max(np.abs(value)))
        if atol > _NEGLIGIBLE * size > 0:
            what = f"atol = {atol:g} of the integrator, where {name} is about {size:.2g}"
            way_out = "leave atol out, and it follows the size of each field"
            yield Coarse(f"{what}: {way_out}", atol >= size)
