"""Priors of parameters and fields, as maps from a standard normal variable."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jax.scipy.stats import norm

from assim.arguments import finite, positive
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


NARROW = 1.0  # standard deviations between bounds up to which moments are sums over nodes
_NODES, _SHARES = np.polynomial.legendre.leggauss(10)  # on [-1, 1]
_TAIL = 0.25  # probability of a tail up to which it has more digits than Φ - ½, ...
_LOWER_QUARTILE = -0.6745  # and z there


def _centred(z: Array) -> Array:
    """Φ(z) - ½, which keeps its digits about 0."""
    return special.erf(z / jnp.sqrt(2.0)) / 2


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
        finite(self, location="mean")
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
        """W = -Φ⁻¹(2Φ(-θ/scale)), near zero by 2Φ - 1, which keeps its digits there."""
        z = value / self.scale
        near_zero = z < -_LOWER_QUARTILE
        low = ndtri(2 * _centred(jnp.where(near_zero, z, 0.5)))
        return jnp.where(near_zero, low, -ndtri(2 * ndtr(-jnp.where(near_zero, 1.0, z))))

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
        finite(self, location="mean")
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

    def _bounds(self) -> tuple[Array, Array]:
        """α ≤ 0 ≤ β, the bounds in standard deviations from the mean."""
        return (self.lower - self.location) / self.scale, (self.upper - self.location) / self.scale

    def __call__(self, w: Array) -> Array:
        """θ from Φ(w), by the nearer tail or by Φ - ½ in between, whichever has more digits."""
        alpha, beta = self._bounds()
        low, high = _centred(alpha), _centred(beta)
        upper_half, half = w > 0, ndtr(_below(w))  # probability of the nearer side of w
        tail = ndtr(jnp.where(upper_half, -beta, alpha)) + (high - low) * half
        near, far = jnp.where(upper_half, high, low), jnp.where(upper_half, low, high)
        centred = near * (1 - half) + far * half
        inside = jnp.abs(centred) < _TAIL
        z = -ndtri(jnp.where(inside, _TAIL, tail))
        middle = jnp.sqrt(2.0) * special.erfinv(2 * jnp.where(inside, centred, 0.0))
        return self.location + self.scale * jnp.where(inside, middle, jnp.where(upper_half, z, -z))

    def inverse(self, value: Array) -> Array:
        """W = Φ⁻¹ of the probability of [lower, θ]; NaN outside the bounds."""
        alpha, beta = self._bounds()
        z = (value - self.location) / self.scale
        whole = _centred(beta) - _centred(alpha)
        lower, upper = _between(alpha, z) / whole, _between(z, beta) / whole
        return jnp.where(lower < 0.5, ndtri(lower), -ndtri(upper))

    def _narrow(self) -> tuple[Array, Array, Array]:
        """Whether bounds are so near that moments are sums; mean and deviation, half widths."""
        alpha, beta = self._bounds()
        narrow = beta - alpha < NARROW
        half = jnp.where(narrow, (beta - alpha) / 2, 1.0)[..., None]
        centre = jnp.where(narrow, (alpha + beta) / 2, 0.0)[..., None]
        nodes = jnp.asarray(_NODES, half.dtype)
        density = jnp.asarray(_SHARES, half.dtype) * jnp.exp(
            -half * nodes * (centre + half * nodes / 2)
        )
        total = jnp.sum(density, axis=-1)
        mean = jnp.sum(density * nodes, axis=-1) / total
        square = jnp.sum(density * (nodes - mean[..., None]) ** 2, axis=-1) / total
        return narrow, mean, jnp.sqrt(square)

    def _wide(self) -> tuple[Array, Array]:
        """(φ(α) - φ(β))/Z, and 1 + (αφ(α) - βφ(β))/Z: without cancellation far from each other."""
        alpha, beta = self._bounds()
        finite = lambda z: jnp.where(jnp.isfinite(z), z, 0.0)  # noqa: E731
        low, high = norm.pdf(alpha), norm.pdf(beta)
        whole = _centred(beta) - _centred(alpha)
        return (low - high) / whole, 1 + (finite(alpha) * low - finite(beta) * high) / whole

    def mean(self) -> Array:
        """mean + stdev (φ(α) - φ(β))/Z, α and β the standardised bounds.

        Of bounds within a standard deviation by Gauss-Legendre quadrature over them, as the
        difference loses its digits.
        """
        narrow, inside, _ = self._narrow()
        middle = (self.lower + self.upper) / 2 + (self.upper - self.lower) / 2 * inside
        return jnp.where(narrow, middle, self.location + self.scale * self._wide()[0])

    def stdev(self) -> Array:
        """stdev √(1 + (αφ(α) - βφ(β))/Z - ((φ(α) - φ(β))/Z)²), or by quadrature as `mean`."""
        narrow, _, inside = self._narrow()
        first, second = self._wide()
        wide = self.scale * jnp.sqrt(jnp.where(narrow, 1.0, second - first**2))
        return jnp.where(narrow, (self.upper - self.lower) / 2 * inside, wide)


def _between(low: Array, high: Array) -> Array:
    """Φ(high) - Φ(low), by that form of both that keeps more digits."""
    inside = _centred(high) - _centred(low)
    below = ndtr(high) - ndtr(low)
    above = ndtr(-low) - ndtr(-high)
    in_tail = high < _LOWER_QUARTILE, low > -_LOWER_QUARTILE
    return jnp.select(in_tail, (below, above), inside)


class Uniform(_AbstractProper):
    """Uniform between the bounds: θ = lower + (upper - lower)Φ(w)."""

    lower: Array = eqx.field(converter=_real)
    upper: Array = eqx.field(converter=_real)

    def __check_init__(self) -> None:
        finite(self, "lower", "upper")
        if not np.all(np.asarray(self.lower) < np.asarray(self.upper)):
            raise ValueError(
                f"Uniform: lower must be below upper, got {self.lower} and {self.upper}"
            )

    def __call__(self, w: Array) -> Array:
        """θ = lower + (upper - lower)Φ(w), from the nearer bound."""
        away = (self.upper - self.lower) * ndtr(_below(w))
        return jnp.where(w > 0, self.upper - away, self.lower + away)

    def inverse(self, value: Array) -> Array:
        """W = Φ⁻¹((θ - lower)/(upper - lower)), from the nearer bound."""
        width = self.upper - self.lower
        lower, upper = (value - self.lower) / width, (self.upper - value) / width
        return jnp.where(lower < 0.5, ndtri(lower), -ndtri(upper))

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
