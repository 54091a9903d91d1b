"""Priors of parameters and fields, as maps from a standard normal variable."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jax.scipy.stats import norm

from assim.arguments import positive
from assim.problem.arrays import Array


@jax.custom_jvp
def ndtr(w: Array) -> Array:
    """Φ(w), with the derivative φ(w) in closed form: a fraction of the code to compile."""
    return special.ndtr(w)


@ndtr.defjvp
def _ndtr_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (w,), (dw,) = primals, tangents
    return ndtr(w), dw * jnp.exp(-(w**2) / 2) / jnp.sqrt(2 * jnp.pi)


@jax.custom_jvp
def ndtri(p: Array) -> Array:
    """w = Φ⁻¹(p), with the derivative 1/φ(w) in closed form."""
    return special.ndtri(p)


@ndtri.defjvp
def _ndtri_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (p,), (dp,) = primals, tangents
    w = ndtri(p)
    return w, dp * jnp.exp(w**2 / 2) * jnp.sqrt(2 * jnp.pi)


def _real(value: float | Array) -> Array:
    return jnp.asarray(value, dtype=float)


def _below(w: Array) -> Array:
    """-|w|, with the derivative of the branch `w > 0` of the caller: that of |w| is not 1 at 0."""
    return jnp.where(w > 0, -w, w)


class AbstractPrior(eqx.Module):
    """A prior as the increasing map θ = T(w) of w ~ N(0, 1), elementwise.

    Constructor arguments may be arrays of the quantity's shape.
    """

    @abc.abstractmethod
    def __call__(self, w: Array) -> Array:
        """θ = T(w)."""

    @abc.abstractmethod
    def inverse(self, value: Array) -> Array:
        """w = T⁻¹(θ); NaN or infinite outside the support."""

    @abc.abstractmethod
    def mean(self) -> Array:
        """Expectation of θ; NaN where it does not exist."""

    @abc.abstractmethod
    def stdev(self) -> Array:
        """Standard deviation of θ; infinite where it does not exist."""

    @abc.abstractmethod
    def weight(self) -> float:
        """1, or 0 for an improper prior whose w is flat."""

    def support(self) -> tuple[Array, Array]:
        """Ends of the values, which may be infinite: T(-∞) and T(∞) where it does not say."""
        return self(jnp.array(-jnp.inf)), self(jnp.array(jnp.inf))


class _AbstractProper(AbstractPrior):
    """A prior that integrates to one."""

    def weight(self) -> float:
        """1."""
        return 1.0


class Normal(_AbstractProper):
    """θ = mean + stdev·w."""

    location: Array = eqx.field(converter=_real)
    scale: Array = eqx.field(converter=_real)

    def __init__(self, mean: float | Array, stdev: float | Array) -> None:
        """Normal distribution with this mean and standard deviation."""
        self.location, self.scale = _real(mean), _real(stdev)

    def __check_init__(self) -> None:
        positive(self, scale="stdev")

    def __call__(self, w: Array) -> Array:
        """θ = mean + stdev·w."""
        return self.location + self.scale * w

    def inverse(self, value: Array) -> Array:
        """W = (θ - mean)/stdev."""
        return (value - self.location) / self.scale

    def mean(self) -> Array:
        """The mean."""
        return self.location

    def stdev(self) -> Array:
        """The standard deviation."""
        return self.scale


class LogNormal(_AbstractProper):
    """θ = median·exp(log_stdev·w), a positive quantity.

    Args:
        median: median of θ, exp of the mean of log θ.
        log_stdev: standard deviation of log θ.
    """

    median: Array = eqx.field(converter=_real)
    log_stdev: Array = eqx.field(converter=_real)

    def __check_init__(self) -> None:
        positive(self, "median", "log_stdev")

    def __call__(self, w: Array) -> Array:
        """θ = median·exp(log_stdev·w)."""
        return self.median * jnp.exp(self.log_stdev * w)

    def inverse(self, value: Array) -> Array:
        """W = log(θ/median)/log_stdev."""
        return jnp.log(value / self.median) / self.log_stdev

    def mean(self) -> Array:
        """median·exp(log_stdev²/2)."""
        return self.median * jnp.exp(self.log_stdev**2 / 2)

    def stdev(self) -> Array:
        """mean·√(exp(log_stdev²) - 1)."""
        return self.mean() * jnp.sqrt(jnp.expm1(self.log_stdev**2))


class HalfNormal(_AbstractProper):
    """θ = |N(0, scale²)| as the increasing map scale·Φ⁻¹((1 + Φ(w))/2)."""

    scale: Array = eqx.field(converter=_real)

    def __check_init__(self) -> None:
        positive(self, "scale")

    def __call__(self, w: Array) -> Array:
        """θ, by the nearer tail, which keeps its digits at both ends."""
        near_zero = jnp.sqrt(2.0) * special.erfinv(ndtr(jnp.where(w < 0, w, -1.0)))
        far = -ndtri(ndtr(-jnp.where(w < 0, 1.0, w)) / 2)
        return self.scale * jnp.where(w < 0, near_zero, far)

    def inverse(self, value: Array) -> Array:
        """W = -Φ⁻¹(2Φ(-θ/scale))."""
        return -ndtri(2 * ndtr(-value / self.scale))

    def mean(self) -> Array:
        """scale·√(2/π)."""
        return self.scale * jnp.sqrt(2 / jnp.pi)

    def stdev(self) -> Array:
        """scale·√(1 - 2/π)."""
        return self.scale * jnp.sqrt(1 - 2 / jnp.pi)


class HalfCauchy(_AbstractProper):
    """θ = scale·tan(πΦ(w)/2), median `scale`; neither mean nor variance exists."""

    scale: Array = eqx.field(converter=_real)

    def __check_init__(self) -> None:
        positive(self, "scale")

    def __call__(self, w: Array) -> Array:
        """θ, by the nearer tail, which keeps its digits at both ends."""
        near = jnp.tan(jnp.pi / 2 * ndtr(_below(w)))
        return self.scale * jnp.where(w > 0, 1 / near, near)

    def inverse(self, value: Array) -> Array:
        """W = Φ⁻¹(2 arctan(θ/scale)/π)."""
        ratio = value / self.scale
        tail = ndtri(2 / jnp.pi * jnp.arctan(jnp.minimum(ratio, 1 / ratio)))
        return jnp.where(ratio > 1, -tail, tail)

    def mean(self) -> Array:
        """Does not exist: NaN."""
        return jnp.full_like(self.scale, jnp.nan)

    def stdev(self) -> Array:
        """Does not exist: infinite."""
        return jnp.full_like(self.scale, jnp.inf)


class TruncatedNormal(_AbstractProper):
    """N(mean, stdev²) restricted to [lower, upper]; `mean` is that of the normal before.

    Raises:
        ValueError: bounds that are not in order, or that leave the mean outside.
    """

    location: Array
    scale: Array
    lower: Array
    upper: Array

    def __init__(
        self,
        mean: float | Array,
        stdev: float | Array,
        lower: float | Array = -jnp.inf,
        upper: float | Array = jnp.inf,
    ) -> None:
        """Normal distribution with mean and stdev, kept between the bounds."""
        self.location, self.scale = _real(mean), _real(stdev)
        self.lower, self.upper = _real(lower), _real(upper)

    def __check_init__(self) -> None:
        positive(self, scale="stdev")
        mean, lower, upper = map(np.asarray, (self.location, self.lower, self.upper))
        if not np.all((lower <= mean) & (mean <= upper) & (lower < upper)):
            raise ValueError(
                f"TruncatedNormal: the prior excludes its own mean: mean = {self.location} must "
                f"lie between lower = {self.lower} and upper = {self.upper}"
            )

    def support(self) -> tuple[Array, Array]:
        """The bounds, which T(±∞) has but for rounding."""
        return self.lower, self.upper

    def _tails(self) -> tuple[Array, Array, Array]:
        """Probability below, inside and above the bounds."""
        below = ndtr((self.lower - self.location) / self.scale)
        above = ndtr((self.location - self.upper) / self.scale)
        return below, 1 - below - above, above

    def __call__(self, w: Array) -> Array:
        """θ from Φ(w), by the nearer tail, which keeps its digits at both ends."""
        below, inside, above = self._tails()
        upper_half = w > 0
        tail = ndtri(jnp.where(upper_half, above, below) + inside * ndtr(_below(w)))
        return self.location + self.scale * jnp.where(upper_half, -tail, tail)

    def inverse(self, value: Array) -> Array:
        """W = Φ⁻¹ of the probability of [lower, θ]; NaN outside the bounds."""
        below, inside, above = self._tails()
        z = (value - self.location) / self.scale
        lower = (ndtr(z) - below) / inside
        upper = (ndtr(-z) - above) / inside
        return jnp.where(lower < 0.5, ndtri(lower), -ndtri(upper))

    def _densities(self) -> tuple[Array, Array, Array, Array]:
        alpha = (self.lower - self.location) / self.scale
        beta = (self.upper - self.location) / self.scale
        finite = lambda z: jnp.where(jnp.isfinite(z), z, 0.0)  # noqa: E731
        low, high = norm.pdf(alpha), norm.pdf(beta)
        return low, high, finite(alpha) * low, finite(beta) * high

    def mean(self) -> Array:
        """mean + stdev (φ(α) - φ(β))/Z, α and β the standardised bounds."""
        low, high, _, _ = self._densities()
        return self.location + self.scale * (low - high) / self._tails()[1]

    def stdev(self) -> Array:
        """stdev √(1 + (αφ(α) - βφ(β))/Z - ((φ(α) - φ(β))/Z)²)."""
        low, high, alpha_low, beta_high = self._densities()
        inside = self._tails()[1]
        variance = 1 + (alpha_low - beta_high) / inside - ((low - high) / inside) ** 2
        return self.scale * jnp.sqrt(variance)


class Uniform(_AbstractProper):
    """Uniform between the bounds: θ = lower + (upper - lower)Φ(w)."""

    lower: Array = eqx.field(converter=_real)
    upper: Array = eqx.field(converter=_real)

    def __check_init__(self) -> None:
        if not np.all(np.asarray(self.lower) < np.asarray(self.upper)):
            raise ValueError(
                f"Uniform: lower must be below upper, got {self.lower} and {self.upper}"
            )

    def __call__(self, w: Array) -> Array:
        """θ = lower + (upper - lower)Φ(w)."""
        return self.lower + (self.upper - self.lower) * ndtr(w)

    def inverse(self, value: Array) -> Array:
        """W = Φ⁻¹((θ - lower)/(upper - lower))."""
        return ndtri((value - self.lower) / (self.upper - self.lower))

    def mean(self) -> Array:
        """Middle of the bounds."""
        return (self.lower + self.upper) / 2

    def stdev(self) -> Array:
        """(upper - lower)/√12."""
        return (self.upper - self.lower) / jnp.sqrt(12.0)


class Jeffreys(AbstractPrior):
    """The scale-invariant improper prior p(θ) ∝ 1/θ: log θ is flat.

    θ = start·exp(w) with w of weight zero; `start` is only where the search begins.
    """

    start: Array = eqx.field(default=1.0, converter=_real)

    def __check_init__(self) -> None:
        positive(self, "start")

    def __call__(self, w: Array) -> Array:
        """θ = start·exp(w)."""
        return self.start * jnp.exp(w)

    def inverse(self, value: Array) -> Array:
        """W = log(θ/start)."""
        return jnp.log(value / self.start)

    def mean(self) -> Array:
        """Does not exist: NaN."""
        return jnp.full_like(self.start, jnp.nan)

    def stdev(self) -> Array:
        """Does not exist: infinite."""
        return jnp.full_like(self.start, jnp.inf)

    def weight(self) -> float:
        """Improper: w has no prior of its own."""
        return 0.0
