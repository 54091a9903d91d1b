"""The tangent linear of all that is observed as a matrix, of problems that are small."""

from typing import NamedTuple

import jax
import numpy as np

from assim.analysis.analyse import Analysis
from assim.devices import program
from assim.problem import assumed
from assim.problem.departure import Problem

Array = jax.Array

_CONTROLS, _VALUES = 64, 1000  # up to which it is formed


class Linearised(NamedTuple):
    """Innovations y of the tangent linear at the minimum, y = Gχ + errors of N(0, I) as stated.

    Args:
        innovation: y = d + Gχ*, of the values that count, shape (m,).
        slope: G, shape (m, n), without the columns of scales.
        weight: diagonal of W, shape (n,).
        controls: names of the columns of G.
        instrument: which instrument each value is of, in the problem's order, shape (m,).
        row: number of each value among those of its instrument, shape (m,).
        scale: name of the estimated scale of each value's error; "" where it is known, shape (m,).
    """

    innovation: np.ndarray
    slope: np.ndarray
    weight: np.ndarray
    controls: tuple[str, ...]
    instrument: np.ndarray
    row: np.ndarray
    scale: np.ndarray

    def resolution(self) -> np.ndarray:
        """I - H with H = G(W + GᵀG)⁻¹Gᵀ, so that d = (I - H)y, shape (m, m)."""
        hessian = np.diag(self.weight) + self.slope.T @ self.slope
        hat = self.slope @ np.linalg.pinv(hessian, hermitian=True) @ self.slope.T
        return np.eye(len(self.innovation)) - hat


def linearised(analysis: Analysis) -> Linearised | None:
    """The tangent linear of a problem in which error scales are estimated.

    None where no scale is, where the problem is too large, and where d is not Gaussian or consists
    of more than single observations.
    """
    problem, chi = analysis.problem, analysis.solution.chi
    observations = problem.observations
    if not _applies(problem):
        return None
    departures, slopes, scales = jax.tree.map(np.asarray, _tangent(problem, chi))
    is_scale = np.asarray(scales) > 0
    counted = [np.flatnonzero(o.counted()) for o in observations]
    rows = [*zip(observations, counted, strict=True)]
    slope = np.concatenate([-slopes[o.name][used] for o, used in rows])[:, ~is_scale]
    d = np.concatenate([departures[o.name][used] for o, used in rows])
    sizes = [len(used) for used in counted]
    names = ["" if o.scale is None else o.scale.name for o in observations]
    return Linearised(
        d + slope @ np.asarray(chi)[~is_scale],
        slope,
        np.asarray(problem.weight())[~is_scale],
        tuple(n for n, skip in zip(problem.control.names(), is_scale, strict=True) if not skip),
        np.repeat(np.arange(len(sizes)), sizes),
        np.concatenate(counted),
        np.repeat(names, sizes),
    )


def _applies(problem: Problem) -> bool:
    observations, control = problem.observations, problem.control
    small = problem.size() <= _CONTROLS and sum(o.values.size for o in observations) <= _VALUES
    scaled = any(o.scale is not None for o in observations)
    plain = not control.later and control.amplitude_scale is None
    gaussian = all(o.likelihood.chi_squared for o in observations)
    return small and scaled and plain and gaussian and bool(assumed.counted_once(problem))


@program
def _tangent(problem: Problem, chi: Array) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """d and ∂d/∂χ of every instrument at the scales of χ, and 1 for an entry of χ that is one."""
    control = problem.control
    scales, blank = control(chi).scales, control.blank()
    blank["scales"] = {name: value + 1 for name, value in blank["scales"].items()}

    def departures(chi: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        d = assumed.departures(problem, scales, problem.simulate(chi).predictions)
        return d, d

    slopes, d = jax.jacfwd(departures, has_aux=True)(chi)
    return d, slopes, control.join(blank)
