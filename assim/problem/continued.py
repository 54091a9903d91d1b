"""A prior of a field, as the coordinate in which the field is handed on from window to window."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array
from assim.problem.bounds import Bounds
from assim.problem.prior import AbstractPrior

BULK = 4.0  # prior standard deviations within which the coordinate is the prior's own


def continued(prior: AbstractPrior) -> AbstractPrior:
    """The prior as a map x = T̃(w) that goes on over all of its support.

        T̃(w) = T(w),  |w| ≤ 4;      g(T̃(w)) = g(T(±4)) ± (g∘T)′(±4) (|w| - 4)  beyond

    with g the coordinate without bounds of the support: x itself, its logarithm above one bound or
    below, its logit between two. A field that grows or decays for many windows leaves any prior
    of where it began, whose own T⁻¹ has no digits left there. Of a normal and of a log-normal prior
    g∘T is a straight line, and T̃ is T.

    Raises:
        ValueError: a support that is not known, or of several kinds, or a T that does not rise.
    """
    support = _Support.of(prior)

    def at(w: float) -> tuple[Array, Array]:
        end, slope = jax.jvp(lambda w: support.free(prior(w)), (jnp.array(w),), (jnp.ones(()),))
        if not np.all(np.isfinite(end) & np.isfinite(slope) & (slope > 0)):
            raise ValueError(
                f"its prior {type(prior).__name__} does not rise within its support {w:g} standard "
                f"deviations from its median; keep digits in both tails of T"
            )
        return end, slope

    (low, falling), (high, rising) = at(-BULK), at(BULK)
    return _Continued(prior, support, (low, high), (falling, rising))


def support_ends(prior: AbstractPrior) -> tuple[np.ndarray, np.ndarray]:
    """Between which values a prior lies, of one shape.

    Raises:
        ValueError: they are not numbers in order.
    """
    lower, upper = np.broadcast_arrays(*(np.asarray(end, float) for end in prior.support()))
    if not np.all(lower < upper):
        raise ValueError(
            f"the support of its prior {type(prior).__name__} is not known: it is from {lower} to "
            f"{upper}; let its method support() give the ends of its values"
        )
    return lower, upper


class _Support(eqx.Module):
    """The coordinate without bounds of a prior's values, u = g((x - origin)/unit)."""

    bounds: Bounds | None
    origin: Array
    unit: Array

    @staticmethod
    def of(prior: AbstractPrior) -> "_Support":
        """Between its ends, which are finite or not for all of its entries alike."""
        lower, upper = support_ends(prior)
        below, above = np.isfinite(lower), np.isfinite(upper)
        if any(finite.any() != finite.all() for finite in (below, above)):
            raise ValueError(
                f"the prior {type(prior).__name__} has a finite bound at some places alone; give "
                "it one at all of them, or at none"
            )
        bounds: Bounds | None = None
        origin, unit = np.zeros(lower.shape), np.ones(lower.shape)
        if below.all() and above.all():
            bounds, origin, unit = Bounds(0.0, 1.0), lower, upper - lower
        elif below.all():
            bounds, origin = Bounds(lower=0.0), lower
        elif above.all():
            bounds, origin = Bounds(upper=0.0), upper
        return _Support(bounds, jnp.asarray(origin), jnp.asarray(unit))

    def free(self, x: Array) -> Array:
        """The coordinate; NaN or infinite outside the support."""
        y = (x - self.origin) / self.unit
        return y if self.bounds is None else self.bounds.free(y)

    def value(self, u: Array) -> Array:
        """Value with this coordinate."""
        return self.origin + self.unit * (u if self.bounds is None else self.bounds.bounded(u))


class _Continued(AbstractPrior):
    """See `continued`."""

    prior: AbstractPrior
    coordinate: _Support
    ends: tuple[Array, Array]  # u at w = -4 and 4
    slopes: tuple[Array, Array]  # ∂u/∂w there

    def __call__(self, w: Array) -> Array:
        """x = T̃(w)."""
        near = jnp.clip(w, -BULK, BULK)
        above = w > 0
        end, slope = (jnp.where(above, high, low) for low, high in (self.ends, self.slopes))
        beyond = self.coordinate.value(end + slope * (w - near))
        return jnp.where(jnp.abs(w) <= BULK, self.prior(near), beyond)

    def inverse(self, value: Array) -> Array:
        """w = T̃⁻¹(x); NaN or infinite outside the support."""
        low, high = (self.coordinate.value(end) for end in self.ends)
        inside, above = (value > low) & (value < high), value >= high
        within = self.prior.inverse(jnp.where(inside, value, self.prior(jnp.zeros_like(value))))
        u = self.coordinate.free(jnp.where(inside, low, value))
        upper = BULK + (u - self.ends[1]) / self.slopes[1]
        lower = -BULK + (u - self.ends[0]) / self.slopes[0]
        return jnp.where(inside, within, jnp.where(above, upper, lower))

    def mean(self) -> Array:
        """That of the prior."""
        return self.prior.mean()

    def stdev(self) -> Array:
        """That of the prior."""
        return self.prior.stdev()

    def weight(self) -> float:
        """That of the prior."""
        return self.prior.weight()
