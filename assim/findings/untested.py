"""What of the fit cannot be tested, and what error scales came to that are estimated."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.problem.observation import Observations


class Estimated(NamedTuple):
    """An error scale at the minimum, with the prior median and the distance in its units.

    Args:
        instruments: whose errors it scales.
        value: at the minimum.
        median: of its prior.
        distance: w, in prior standard deviations.
        stated: whether it is a factor on errors that are stated, of 1 where they are not.
    """

    instruments: tuple[str, ...]
    value: float
    median: float
    distance: float
    stated: bool

    def words(self, name: str) -> str:
        """What it came to."""
        side = "above" if self.distance > 0 else "below"
        times = " times the errors stated" if self.stated else ""
        if math.isnan(self.distance):
            return f"{name}, whose prior has no median, came to {self.value:.3g}{times}"
        return (
            f"{name} came to {self.value:.3g}{times}, {self.value / self.median:.2g} times its "
            f"prior median ({abs(self.distance):.1f} prior standard deviations {side} it)"
        )


def estimated_scales(analysis: Analysis) -> dict[str, Estimated]:
    """Scales of the errors of observations, by name."""
    control, observations = analysis.problem.control, analysis.problem.observations
    white = control.split(analysis.solution.chi)["scales"]
    names = dict.fromkeys(o.scale.name for o in observations if o.scale is not None)
    scales = {}
    for name in names:
        those = [o for o in observations if o.scale is not None and o.scale.name == name]
        prior = control.scales[name]
        scales[name] = Estimated(
            tuple(o.name for o in those),
            float(analysis.analysis.control.scales[name]),
            float(prior(jnp.zeros(()))),
            float(white[name]) if prior.weight() == 1 else float("nan"),
            any(_is_stated(o) for o in those),
        )
    return scales


def _is_stated(o: Observations) -> bool:
    return not np.all(np.asarray(o.covariance.variance()) == 1)


def untested(analysis: Analysis, scales: dict[str, Estimated]) -> Iterator[str]:
    """A line for each reason why χ² does not test the fit of instruments."""
    for name, scale in scales.items():
        yield (
            f"Fit of {_listed(scale.instruments)} not tested: the error scale {name} is estimated, "
            f"so that χ² says nothing; {scale.words(name)}."
        )
    if analysis.laplace is not None and not analysis.laplace.is_whole():
        yield (
            "Fit of each instrument and term alone not tested: eigenpairs that were not computed "
            f"hold up to {analysis.laplace.left_out:.3g} nats, and what is expected is not known; "
            "raise the rank."
        )
    known = [o for o in analysis.problem.observations if o.scale is None]
    for o in known:
        if not o.likelihood.chi_squared:
            kind = type(o.likelihood).__name__
            yield f"Fit of {o.name} not tested: its errors are {kind}, of which χ² is not known."
        elif not bool(o.counted_once()):
            yield f"Fit of {o.name} not tested: it has weights that are neither 0 nor 1."
        elif not o.covariance.independent():
            yield f"Single values of {o.name} not tested: their errors are correlated."
    if known and analysis.problem.digital_filter is not None:
        names = tuple(o.name for o in known)
        yield f"Fit of {_listed(names)} not tested: beside a digital filter χ² is not known."


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
