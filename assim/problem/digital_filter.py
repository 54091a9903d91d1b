"""A digital filter as a weak constraint: trajectories that oscillate fast cost more."""

from collections.abc import Mapping
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.arguments import hint
from assim.problem.arrays import Array, Labels, State
from assim.problem.window import Window

_REGULAR = 1e-6  # share of a slot by which slots may differ in length


class DigitalFilter(eqx.Module):
    """Jc = ½ Σ_v α_v |Σ_k w_k x_v(t_k) - x_v(t_c)|², the fast part of a trajectory.

    w are the weights of a low-pass filter over all slot edges t_k, of sum 1, and t_c is the middle
    one; the norm is the sum over grid points. It penalises what the filter would take away, such
    as gravity waves that a balanced state does not have (Polavarapu, Tanguay & Fillion 2000, Mon.
    Weather Rev. 128, 2491-2510; Gauthier & Thépaut 2001, 129, 2089-2102). The filter is that of
    `dolph_chebyshev`.

    α is a weight, no inverse variance of something that was drawn: a problem with a filter has no
    evidence, nor expectations of J.

    Args:
        weight: α, in the inverse square of the field's unit: a number for all fields alike, or one
            a field, by name; fields without one are not filtered.
        cutoff: shortest period that passes, in the model's time unit; at least two slots.
        coefficients: w with 1 taken from the middle one, shape (slots + 1,); set by `on`.
    """

    weight: float | Mapping[str, float | Array]
    cutoff: float = eqx.field(static=True)
    coefficients: Array | None = None

    def __check_init__(self) -> None:
        given = self.weight.values() if isinstance(self.weight, Mapping) else (self.weight,)
        if not given:
            raise ValueError("DigitalFilter: weight names no field; give a number, or one a field")
        if not all(np.isfinite(value) and value > 0 for value in given):
            raise ValueError(
                f"DigitalFilter: weight must be positive and finite, got {self.weight}"
            )
        if not (np.isfinite(self.cutoff) and self.cutoff > 0):
            raise ValueError(
                f"DigitalFilter: cutoff must be positive and finite, got {self.cutoff}"
            )

    def on(self, labels: Labels, window: Window) -> Self:
        """This filter for a model's fields and a window.

        Raises:
            ValueError: a field that the model lacks, slots of different lengths or of an odd
                number, so that no edge is in the middle, or a cutoff below two slots.
        """
        names = self.weight if isinstance(self.weight, Mapping) else labels.state
        for name in names:
            if name not in labels.state:
                near = hint(name, labels.state)
                raise ValueError(f"DigitalFilter: the model has no field {name!r}; {near}")
        cutoff, middle = self._slots_of_cutoff(window), window.slots // 2
        coefficients = dolph_chebyshev(middle, cutoff)
        coefficients[middle] -= 1.0
        alpha = (
            self.weight if isinstance(self.weight, Mapping) else dict.fromkeys(names, self.weight)
        )
        fitted = {name: jnp.asarray(value, dtype=float) for name, value in alpha.items()}
        return type(self)(fitted, self.cutoff, jnp.asarray(coefficients))

    def _slots_of_cutoff(self, window: Window) -> float:
        """The cutoff in slots of a window that can be filtered."""
        edges = np.asarray(window.edges)
        lengths = np.diff(edges.astype(float))
        slot = float(lengths.mean())
        slack = _REGULAR * slot + 4 * np.finfo(edges.dtype).eps * np.abs(edges).max()
        if np.ptp(lengths) > slack:
            raise ValueError(
                f"DigitalFilter: slots must be of one length, got {lengths.min():g} to "
                f"{lengths.max():g}; give slots = N in place of times"
            )
        if window.slots % 2:
            raise ValueError(
                "DigitalFilter: the number of slots must be even, so that an edge lies in the "
                f"middle of the window, got {window.slots}"
            )
        if self.cutoff < 2 * slot - slack:
            raise ValueError(
                f"DigitalFilter: cutoff must be at least two slots, {2 * slot:g}, got "
                f"{self.cutoff:g}; give more slots, or a longer cutoff"
            )
        return self.cutoff / slot

    def departures(self, states: State) -> Array:
        """√α_v (Σ_k w_k x_v(t_k) - x_v(t_c)) of all fields filtered, in one vector.

        Args:
            states: of a trajectory, every field at every slot edge.
        """
        assert self.coefficients is not None and isinstance(self.weight, Mapping)
        fast = {n: jnp.tensordot(self.coefficients, states[n], axes=1) for n in sorted(self.weight)}
        return jnp.concatenate([jnp.sqrt(self.weight[n]) * v.ravel() for n, v in fast.items()])


def dolph_chebyshev(half: int, cutoff: float) -> np.ndarray:
    """Weights of the Dolph-Chebyshev window of N = 2M + 1 points, of sum 1, shape (N,).

        w_n = (1 + 2r Σ_{m=1}^{M} T_{2M}(x₀ cos(πm/N)) cos(2πmn/N))/N,    n = -M … M

    with x₀ = 1/cos(π/τ) and r = 1/T_{2M}(x₀) (Lynch 1997, Mon. Weather Rev. 125, 655-660). Of
    all windows of N points it has the least response at periods below the cutoff, r at most. At
    τ = 2 it is the binomial filter.

    Args:
        half: M.
        cutoff: τ, the shortest period that passes, in intervals between points, at least 2.
    """
    points = 2 * half + 1
    m = np.arange(1, half + 1)
    response = _relative_chebyshev(2 * half, np.cos(np.pi * m / points), np.pi / max(cutoff, 2.0))
    n = np.arange(-half, half + 1)
    waves = np.cos(2 * np.pi * np.outer(n, m) / points)
    return (1 + 2 * waves @ response) / points


def _relative_chebyshev(degree: int, cosine: np.ndarray, angle: float) -> np.ndarray:
    """T(x₀ cosine)/T(x₀) with x₀ = 1/cos(angle), of an even degree, where x₀ may be infinite."""
    if np.pi / 2 - angle < 1e-9:
        return cosine**degree
    x0 = 1 / np.cos(angle)
    inside = x0 * cosine < 1
    low = np.cos(degree * np.arccos(np.where(inside, x0 * cosine, 1.0)))
    b = degree * np.arccosh(x0)
    a = degree * np.arccosh(np.where(inside, 1.0, x0 * cosine))
    high = np.exp(a - b) * (1 + np.exp(-2 * a)) / (1 + np.exp(-2 * b))
    return np.where(inside, 2 * low * np.exp(-b) / (1 + np.exp(-2 * b)), high)
