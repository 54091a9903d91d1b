"""Likelihoods: from observed and predicted values to normalised departures.

A likelihood is written -log p(y | Hx) = ½ dᵀd + c - log_constant. The half square of d carries
everything that depends on the state, so that Gauss-Newton sees every likelihood as a sum of
squares; c carries the log of an error scale that is estimated.
"""

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy
from jax.scipy.stats import norm

from assim.arguments import a_share, positive
from assim.problem.arrays import Array
from assim.problem.covariance import AbstractCovariance, Diagonal

_LOG_2PI = 1.8378770664093453


class AbstractLikelihood(eqx.Module):
    """How observed values scatter about predicted ones.

    What else is asked of a likelihood is a fact of its class; each default promises least.

    Attributes:
        logarithmic: whether errors are those of log y, whose standard deviation has no unit.
        additive: whether errors y - Hx have one law whatever Hx, so that values may be averaged.
        chi_squared: whether dᵀd is a χ² variable where what is assumed holds.
        uses_covariance: whether the law depends on R and its scale at all.
        positive: whether it needs predictions above 0.
        samples_density: whether `sample` draws from the density that d evaluates.
    """

    logarithmic: ClassVar[bool] = False
    additive: ClassVar[bool] = False
    chi_squared: ClassVar[bool] = False
    uses_covariance: ClassVar[bool] = True
    positive: ClassVar[bool] = False
    samples_density: ClassVar[bool] = True

    @abc.abstractmethod
    def departures(
        self, observed: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Normalised departures d, shape (m,), of errors with covariance scale²·R."""

    @abc.abstractmethod
    def log_constant(self, observed: Array, covariance: AbstractCovariance) -> Array:
        """log p + ½ dᵀd + m log(scale): what does not depend on the control."""

    @abc.abstractmethod
    def check(self, observed: Array) -> str | None:
        """What is wrong with observed values outside the likelihood's support, if any are."""

    @abc.abstractmethod
    def log_constants(self, observed: Array, stdev: Array) -> Array:
        """log p + ½ d² + log(scale) of every value where errors are independent, shape (m,)."""

    @abc.abstractmethod
    def sample(
        self, key: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Observations drawn about predicted values, with error covariance scale²·R."""

    def variance(self) -> float:
        """Variance of a whitened error, as `sample` draws it; NaN where it has none."""
        return 1.0

    def error_variance(
        self, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Variance of errors about each prediction μ, shape (m,), in the unit of y squared.

        scale²·diag(R) where errors are additive, as stated: `variance()` is not in it. Else that of
        the density where it peaks, 1/(∂d/∂μ)² at y = μ for independent errors with the variances
        of R: (σμ)² of log-normal errors, μ of Poisson counts. NaN where d has no derivative.
        """
        if self.additive:
            return scale**2 * covariance.variance()
        independent = Diagonal(jnp.sqrt(covariance.variance()).ravel())
        _, slope = jax.jvp(
            lambda mean: self.departures(predicted, mean, independent, scale),
            (predicted,),
            (jnp.ones_like(predicted),),
        )
        return slope**-2

    def is_density(
        self, observed: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Where p(y | Hx) is that of a normalised density, booleans of shape (m,): everywhere.

        One that is none where departures are large has no evidence there that compares.
        """
        del predicted, covariance, scale
        return jnp.ones(observed.shape, bool)

    def log_densities(
        self, observed: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """log p(y_i | Hx) of every value, shape (m,), where errors are independent: R diagonal."""
        d = self.departures(observed, predicted, covariance, scale)
        stdev = jnp.sqrt(covariance.variance())
        return self.log_constants(observed, stdev) - d**2 / 2 - jnp.log(scale)


class _AbstractWhitened(AbstractLikelihood):
    """Errors y - Hx of which each whitened one, r, has the density peak·exp(-d(r)²/2)."""

    additive = True

    @abc.abstractmethod
    def _root(self, r: Array) -> Array:
        """Signed root deviance d(r)."""

    @abc.abstractmethod
    def _log_peak(self) -> float | Array:
        """log of the density at r = 0."""

    def _whitened(self, key: Array, size: int) -> Array:
        """Draws of r: of good data, where gross errors are allowed for."""
        return jax.random.normal(key, (size,))

    def departures(
        self, observed: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """d(r) of r = R^(-1/2)(y - Hx)/scale."""
        return self._root(covariance.whiten(observed - predicted) / scale)

    def log_constant(self, observed: Array, covariance: AbstractCovariance) -> Array:
        """m log(peak) - log|R^(1/2)|."""
        return observed.size * self._log_peak() - covariance.log_sqrt_determinant()

    def log_constants(self, observed: Array, stdev: Array) -> Array:
        """log(peak) - log(stdev)."""
        return jnp.broadcast_to(self._log_peak() - jnp.log(stdev), observed.shape)

    def check(self, observed: Array) -> str | None:
        """Every value is possible."""
        return None

    def sample(
        self, key: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Hx + scale·R^(1/2) r."""
        return predicted + scale * covariance.sqrt(self._whitened(key, covariance.size()))


class Gaussian(_AbstractWhitened):
    """y = Hx + N(0, R): d = R^(-1/2)(y - Hx)."""

    chi_squared = True

    def _root(self, r: Array) -> Array:
        return r

    def _log_peak(self) -> float:
        return -0.5 * _LOG_2PI


class LogNormal(AbstractLikelihood):
    """log y = log Hx + N(0, R), with R the covariance of the logarithms."""

    logarithmic = chi_squared = positive = True

    def departures(
        self, observed: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """R^(-1/2)(log y - log Hx)/scale; NaN where Hx is not positive."""
        return covariance.whiten(jnp.log(observed) - jnp.log(predicted)) / scale

    def log_constant(self, observed: Array, covariance: AbstractCovariance) -> Array:
        """The Gaussian's, less Σ log y."""
        gaussian = -0.5 * observed.size * _LOG_2PI - covariance.log_sqrt_determinant()
        return gaussian - jnp.sum(jnp.log(observed))

    def log_constants(self, observed: Array, stdev: Array) -> Array:
        """The Gaussian's, less log y."""
        return -0.5 * _LOG_2PI - jnp.log(stdev) - jnp.log(observed)

    def check(self, observed: Array) -> str | None:
        """Values must be positive."""
        positive = np.all(np.asarray(observed) > 0)
        return None if positive else "a log-normal likelihood needs values > 0"

    def sample(
        self, key: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Hx·exp(scale·R^(1/2) w); NaN where Hx is not positive."""
        exact = jnp.where(predicted > 0, predicted, jnp.nan)
        white = jax.random.normal(key, (covariance.size(),))
        return exact * jnp.exp(scale * covariance.sqrt(white))

    def error_variance(
        self, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """scale²·diag(R)·(Hx)²."""
        return predicted**2 * (scale**2 * covariance.variance())


class StudentT(_AbstractWhitened):
    """Heavy tails: each whitened departure r has a t distribution with ν = dof > 0.

    d = sign(r) √((ν + 1) log(1 + r²/ν)): the smaller ν, the less an outlier pulls.
    """

    dof: float = eqx.field(default=4.0, static=True)

    def __check_init__(self) -> None:
        positive(self, "dof")

    def variance(self) -> float:
        """ν/(ν - 2); NaN for ν ≤ 2."""
        return self.dof / (self.dof - 2) if self.dof > 2 else math.nan

    def _root(self, r: Array) -> Array:
        return r * jnp.sqrt((self.dof + 1) / self.dof * log1p_ratio(r**2 / self.dof))

    def _log_peak(self) -> Array:
        half = self.dof / 2
        return gammaln(half + 0.5) - gammaln(half) - 0.5 * jnp.log(self.dof * jnp.pi)

    def _whitened(self, key: Array, size: int) -> Array:
        return jax.random.t(key, self.dof, (size,))


class Huber(_AbstractWhitened):
    """Gaussian within k = threshold standard deviations, exponential tails outside (Huber 1964).

    ρ(r) = r²/2 for |r| ≤ k, else k|r| - k²/2, and d = sign(r) √(2ρ); its normaliser is
    √2π(2Φ(k) - 1) + (2/k) exp(-k²/2). Draws are Gaussian: the model of good data, without outliers.
    """

    samples_density = False
    threshold: float = eqx.field(default=1.345, static=True)

    def __check_init__(self) -> None:
        positive(self, "threshold")

    def _root(self, r: Array) -> Array:
        k = self.threshold
        outside = jnp.abs(r) > k
        safe = jnp.where(outside, jnp.abs(r), k)
        return jnp.where(outside, jnp.sign(r) * jnp.sqrt(2 * k * safe - k**2), r)

    def _log_peak(self) -> Array:
        k = self.threshold
        return -jnp.log(jnp.sqrt(2 * jnp.pi) * (2 * norm.cdf(k) - 1) + 2 / k * jnp.exp(-(k**2) / 2))


class VariationalQC(_AbstractWhitened):
    """Gaussian errors, or with a small probability P a gross error of any size in ±w.

    Of each whitened departure r, p(r) = (1 - P) N(r; 0, 1) + P/(2w), that is
    d = sign(r) √(-2 log((γ + exp(-r²/2))/(γ + 1))) with γ = P√(2π)/((1 - P)2w) (Ingleby & Lorenc
    1993, QJRMS 119, 1195-1225; Andersson & Järvinen 1999, QJRMS 125, 697-722). The
    flat part goes on beyond ±w, so that the gradient is smooth: there p is no density. J is not
    convex, so that the minimum may depend on the first guess. Draws are Gaussian: the model of good
    data, without gross errors.

    Args:
        probability: P, prior probability of a gross error, between 0 and 1.
        width: w, half-width of the flat part, in standard deviations.
    """

    samples_density = False
    probability: float = eqx.field(default=0.01, static=True)
    width: float = eqx.field(default=10.0, static=True)

    def __check_init__(self) -> None:
        a_share(self, "probability")
        positive(self, "width")

    def _root(self, r: Array) -> Array:
        """Bounded by √(2 log(1 + 1/γ))."""
        return r * jnp.sqrt(mixture_ratio(r**2 / 2, self._flat()))

    def is_density(
        self, observed: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Where |r| ≤ w."""
        return jnp.abs(covariance.whiten(observed - predicted) / scale) <= self.width

    def _flat(self) -> float:
        """γ: the flat part over the peak of the Gaussian part."""
        p = self.probability
        return p * math.sqrt(2 * math.pi) / ((1 - p) * 2 * self.width)

    def _log_peak(self) -> float:
        return math.log((1 - self.probability) * (1 + self._flat())) - 0.5 * _LOG_2PI


class Poisson(AbstractLikelihood):
    """Counts y ~ Poisson(Hx), by their signed root deviance.

    d = sign(y - μ) √(2(y log(y/μ) - y + μ)), whose half square is the exact negative
    log-likelihood up to a constant. The errors' covariance is not used.
    """

    uses_covariance = False
    positive = True

    def departures(
        self, observed: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Signed root deviance; NaN where the mean is not positive."""
        del covariance, scale
        relative = (observed - predicted) / predicted
        return relative * jnp.sqrt(predicted * deviance_ratio(relative))

    def log_constant(self, observed: Array, covariance: AbstractCovariance) -> Array:
        """Σ y log y - y - log y!."""
        return jnp.sum(self.log_constants(observed, jnp.sqrt(covariance.variance())))

    def log_constants(self, observed: Array, stdev: Array) -> Array:
        """log(yʸ e^(-y)/y!)."""
        del stdev
        return xlogy(observed, observed) - observed - gammaln(observed + 1)

    def check(self, observed: Array) -> str | None:
        """Counts are whole and not negative."""
        counts = np.asarray(observed)
        whole = (counts >= 0) & (counts == np.round(counts))
        return None if np.all(whole) else "a Poisson likelihood needs whole counts >= 0"

    def sample(
        self, key: Array, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Counts with mean Hx; NaN where the mean is not finite or is negative."""
        del covariance, scale
        possible = jnp.isfinite(predicted) & (predicted >= 0)
        counts = jax.random.poisson(key, jnp.where(possible, predicted, 0.0))
        return jnp.where(possible, counts.astype(predicted.dtype), jnp.nan)

    def error_variance(
        self, predicted: Array, covariance: AbstractCovariance, scale: Array
    ) -> Array:
        """Hx, which is 0 where nothing is expected."""
        del covariance, scale
        return predicted


# ---- ratios of which root deviances are formed, smooth where a departure is nothing --------------


def log1p_ratio(s: Array) -> Array:
    """log(1 + s)/s for s > -1, smooth at 0."""
    small = jnp.abs(s) < 1e-2
    near, safe = jnp.where(small, s, 0.0), jnp.where(small, 1.0, s)  # no overflow in a branch
    series = _alternating(near, [1 / n for n in range(1, 9)])
    return jnp.where(small, series, jnp.log1p(safe) / safe)


def mixture_ratio(s: Array, flat: float) -> Array:
    """-log((γ + exp(-s))/(γ + 1))/s for s ≥ 0, smooth at 0."""
    small = s < 0.1
    near, far = jnp.where(small, s, 0.0), jnp.where(small, 1.0, s)
    series = _alternating(near, [1 / math.factorial(n) for n in range(1, 11)])  # (1 - exp(-s))/s
    lost = series / (1 + flat)
    return jnp.where(
        small,
        lost * log1p_ratio(-near * lost),
        (math.log1p(flat) - jnp.log(flat + jnp.exp(-far))) / far,
    )


def deviance_ratio(delta: Array) -> Array:
    """2((1 + δ) log(1 + δ) - δ)/δ² for δ ≥ -1, smooth at 0."""
    small, zero_count = jnp.abs(delta) < 1e-2, delta <= -1
    near, safe = jnp.where(small, delta, 0.0), jnp.where(small | zero_count, 1.0, delta)
    series = _alternating(near, [2 / (n * (n - 1)) for n in range(2, 10)])
    ratio = 2 * ((1 + safe) * jnp.log1p(safe) - safe) / safe**2
    return jnp.where(small, series, jnp.where(zero_count, 2.0, ratio))


def _alternating(s: Array, coefficients: list[float]) -> Array:
    """Σ_n (-1)^n a_n s^n by Horner's rule."""
    total = jnp.zeros_like(s)
    for coefficient in reversed(coefficients):
        total = coefficient - s * total
    return total
