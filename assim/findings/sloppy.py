"""Stiff and sloppy directions: which combinations of what is estimated the data determine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.finding import AbstractFinding, Variable, flagged, flags
from assim.devices import program
from assim.problem.departure import Departures
from assim.solve.cost import DepartureFunction
from assim.solve.cost import cost as cost_at
from assim.solve.minimise.compiled import minimise_compiled
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.minimise.status import Status
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import is_small

Array = jax.Array

MOST_NAMES = 3  # in the words for a direction
NEGLIGIBLE = 0.1  # share of the largest component below which words leave one out


@dataclass(frozen=True)
class Directions:
    """Eigenpairs of what the data say of some coordinates of χ, all others integrated out.

    Args:
        names: of the coordinates, p of them.
        eigenvalues: λ, stiffest first, shape (p,): data over prior, in units of prior variance.
        eigenvectors: unit vectors v as columns, in whitened coordinates, shape (p, p).
        prior: vᵀWv of each, shape (p,): 1 where the prior is proper.
        stdev: posterior standard deviation along each, (λ + vᵀWv)^(-1/2) where W = 1; the prior's
            is 1.
    """

    names: tuple[str, ...]
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    prior: np.ndarray
    stdev: np.ndarray

    @property
    def informed(self) -> np.ndarray:
        """Whether the data say more than the prior, λ > vᵀWv, shape (p,)."""
        return self.eigenvalues > self.prior

    @property
    def participation(self) -> np.ndarray:
        """v_i², the share of every name in every direction; columns add up to 1."""
        return self.eigenvectors**2

    @property
    def condition(self) -> float:
        """λmax/λmin of all directions; infinite where the data leave one to the prior."""
        least = float(np.min(self.eigenvalues, initial=np.inf))
        return float(self.eigenvalues[0]) / least if least > 0 else float("inf")

    @property
    def condition_informed(self) -> float:
        """λmax/λmin of the informed directions; NaN where there is none."""
        values = self.eigenvalues[self.informed]
        return float(np.max(values) / np.min(values)) if values.size else float("nan")

    def words(self, k: int) -> str:
        """Direction k as text, its largest components first: "0.71 alpha - 0.70 gamma"."""
        v = self.eigenvectors[:, k]
        order = np.argsort(-np.abs(v))[:MOST_NAMES]
        kept = [i for i in order if abs(v[i]) > NEGLIGIBLE * abs(v[order[0]])]
        terms = [f"{'-' if v[i] < 0 else '+'} {abs(v[i]):.2f} {self.names[i]}" for i in kept]
        return " ".join(terms).removeprefix("+ ")


def directions(
    gaussian: Gaussian, weight: Array, names: Sequence[str], coordinates: Sequence[str]
) -> Directions:
    """Eigenpairs of C⁻¹ - W restricted to some coordinates, C their posterior covariance.

    C⁻¹ is the Schur complement of the Hessian onto these coordinates, so that the uncertainty of
    all others counts; for all of χ, C⁻¹ - W is the misfit's Hessian itself. Stiff and sloppy are
    the words of Gutenkunst et al. (2007, PLoS Comput. Biol. 3, e189), here relative to the prior.

    Args:
        gaussian: the Laplace approximation.
        weight: diagonal of W, shape (n,).
        names: of the entries of χ, as `problem.control.names()` gives them.
        coordinates: some of these names, in the order of the results.

    Raises:
        ValueError: a name that is not there, or none at all.
    """
    if not coordinates:
        raise ValueError("directions: name at least one of the entries of χ")
    if unknown := sorted(set(coordinates) - set(names)):
        raise ValueError(
            f"directions: no entry of χ is called {unknown[0]!r}; they are {', '.join(names)}"
        )
    entries = np.array([names.index(name) for name in coordinates])
    root = np.asarray(_root(gaussian, jnp.asarray(entries)), float)
    prior = np.asarray(weight, float)[entries]
    values, vectors = _data_directions(root, prior)
    vectors = vectors * np.sign(vectors[np.argmax(np.abs(vectors), axis=0), range(len(entries))])
    along = np.linalg.norm(root.T @ vectors, axis=0)
    return Directions(tuple(coordinates), values, vectors, prior @ vectors**2, along)


@program
def _root(gaussian: Gaussian, entries: Array) -> Array:
    return gaussian.root(entries)


def _data_directions(root: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenpairs of C⁻¹ - W, the largest first, from M with C = MMᵀ and the diagonal of W.

    By the singular values of M, of which small ones are known although C rounds them off.
    """
    vectors, singular, _ = np.linalg.svd(root, full_matrices=False)
    vectors, precision = vectors[:, ::-1], singular[::-1] ** -2
    if np.all(prior == 1):
        return precision - 1, vectors
    values, vectors = np.linalg.eigh((vectors * precision) @ vectors.T - np.diag(prior))
    return values[::-1], vectors[:, ::-1]


@dataclass(frozen=True)
class Profile:
    """J along a direction, minimised over all others.

    Args:
        names: of the coordinates that the direction combines.
        direction: unit vector in their whitened values, shape (p,).
        t: distances from the minimum in posterior standard deviations, shape (k,).
        rise: J - J(χ*) at each, shape (k,); infinite where the model fails.
        quadratic: t²/2, what the Laplace approximation says.
        chi: the whole of χ there, shape (k, n).
        converged: whether the minimisation over the others settled.
    """

    names: tuple[str, ...]
    direction: np.ndarray
    t: np.ndarray
    rise: np.ndarray
    quadratic: np.ndarray
    chi: np.ndarray
    converged: np.ndarray


T = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)


def profile(
    problem: DepartureFunction,
    gaussian: Gaussian,
    directions: Directions,
    k: int,
    names: Sequence[str],
    t: Sequence[float] = T,
    minimiser: AbstractMinimiser | None = None,
) -> Profile:
    """min J(χ) subject to vᵀ(χ - χ*) = tσ, σ² = vᵀA⁻¹v: the profile likelihood with its prior.

    Raue et al. (2009, Bioinformatics 25, 1923). Each is minimised from where the Laplace
    approximation has it, by Newton's method in the complement of v.

    Args:
        problem: the departure function.
        gaussian: the Laplace approximation, at the minimum of J.
        directions: as `directions` gives them.
        k: number of the direction v: 0 the stiffest, -1 the sloppiest.
        names: of the entries of χ.
        t: distances, in posterior standard deviations.
        minimiser: NewtonCG up to 64 controls or where an error scale is estimated, else
            GaussNewton.
    """
    if minimiser is None:
        minimiser = NewtonCG() if is_small(problem) else GaussNewton()
    entries = jnp.asarray([names.index(name) for name in directions.names])
    direction = directions.eigenvectors[:, k]
    v = jnp.zeros(problem.size()).at[entries].set(jnp.asarray(direction))
    chi, cost, status, least = _profile(problem, gaussian, v, jnp.asarray(t, float), minimiser)
    distances = np.asarray(t, float)
    return Profile(
        directions.names,
        direction,
        distances,
        np.asarray(cost) - float(least),
        distances**2 / 2,
        np.asarray(chi),
        np.asarray(status) == Status.CONVERGED,
    )


@program
def _profile(
    problem: DepartureFunction,
    gaussian: Gaussian,
    direction: Array,
    t: Array,
    minimiser: AbstractMinimiser,
) -> tuple[Array, Array, Array, Array]:
    spread = gaussian.covariance(direction)
    sigma = jnp.linalg.norm(gaussian.sqrt(direction))

    def conditional_minimum(t: Array) -> tuple[Array, Array, Array]:
        across = _Across(problem, gaussian.chi + t * sigma * direction, direction)
        guess = across.project(t / sigma * spread)  # of a Gaussian the conditional mean
        state = minimise_compiled(across, minimiser, guess)
        chi = across.chi(state.chi)
        return chi, cost_at(problem, chi), state.status

    return *jax.lax.map(conditional_minimum, t), cost_at(problem, gaussian.chi)


class _Across(eqx.Module):
    """J on the plane through a point across a direction, as a departure function of its own.

    χ = point + (1 - vvᵀ)z. The prior of χ is part of d, and vᵀz too, so that the Hessian in z is
    1 + something not negative, as a minimiser expects.
    """

    problem: DepartureFunction
    point: Array
    direction: Array

    def project(self, z: Array) -> Array:
        """(1 - vvᵀ)z."""
        return z - self.direction * (self.direction @ z)

    def chi(self, z: Array) -> Array:
        """χ of z."""
        return self.point + self.project(z)

    def __call__(self, z: Array) -> Departures:
        """All departures, those of the prior among them."""
        chi = self.chi(z)
        value = self.problem(chi)
        prior = jnp.sqrt(self.problem.weight()) * chi
        parts = [value.normalised, prior, (self.direction @ z)[None]]
        return Departures(jnp.concatenate(parts), value.normaliser, value.volume)

    def size(self) -> int:
        """Length of z."""
        return self.problem.size()

    def scalars(self, chi: Array) -> dict[str, Array]:
        """None: not of interest."""
        del chi
        return {}

    def weight(self) -> Array:
        """None: the prior is in d."""
        return jnp.zeros_like(self.point)

    def has_normaliser(self) -> bool:
        """As the problem."""
        return self.problem.has_normaliser()

    def proper(self) -> bool:
        """Not of interest."""
        return False

    def workspace(self) -> int:
        """As the problem, and the prior's departures."""
        return self.problem.workspace() + self.problem.size()


@dataclass(frozen=True)
class Sloppy(AbstractFinding):
    """Stiff and sloppy directions of an analysis.

    Args:
        directions: of all estimated scalars, the rest of χ integrated out.
        profile: of J along the sloppiest of them, where asked for.
    """

    name: ClassVar[str] = "sloppy"

    directions: Directions
    profile: Profile | None = None

    def variables(self) -> dict[str, Variable]:
        """Eigenvalues on `direction`, components by `coordinate`, and the profile, if there is one.

        Coordinates are the whitened values of what was estimated, named by `flag_meanings`.
        """
        return {
            **_of_directions(self.directions),
            **({} if self.profile is None else _of_profile(self.directions, self.profile)),
        }

    def summary(self) -> dict[str, Any]:
        """The directions, each in words."""
        directions = self.directions
        columns = zip(directions.eigenvalues, directions.stdev, directions.informed, strict=True)
        return {
            "coordinates": list(directions.names),
            "condition_number": directions.condition,
            "condition_number_informed": directions.condition_informed,
            "informed": int(np.sum(directions.informed)),
            "directions": [
                {
                    "eigenvalue": float(value),
                    "stddev": float(stdev),
                    "informed": bool(informed),
                    "words": directions.words(k),
                }
                for k, (value, stdev, informed) in enumerate(columns)
            ],
        }


def _of_directions(directions: Directions) -> dict[str, Variable]:
    """Eigenpairs, and condition numbers that are finite."""
    numbers, along = np.arange(1, len(directions.names) + 1), ("direction",)
    both = ("coordinate", "direction")
    content = {
        "direction": Variable(along, numbers, "number of the direction, the stiffest first"),
        "coordinate": flags(
            "coordinate", directions.names, "whitened coordinate of what was estimated"
        ),
        "direction_eigenvalue": Variable(
            along, directions.eigenvalues, "precision by the data over that of the prior"
        ),
        "direction_prior": Variable(
            along, directions.prior, "precision by the prior, 0 along flat priors"
        ),
        "direction_stddev": Variable(
            along, directions.stdev, "posterior standard deviation, in those of the prior"
        ),
        "direction_component": Variable(
            both, directions.eigenvectors, "component of the unit vector of the direction"
        ),
        "direction_participation": Variable(
            both, directions.participation, "share of the coordinate in the direction"
        ),
    }
    for name, value, of in (
        ("condition_number", directions.condition, "all directions"),
        (
            "condition_number_informed",
            directions.condition_informed,
            "the informed directions",
        ),
    ):
        if np.isfinite(value):
            content[name] = Variable((), value, f"largest over smallest eigenvalue of {of}")
    return content


def _of_profile(directions: Directions, along: Profile) -> dict[str, Variable]:
    """Rise of J along one direction; missing where the model fails."""
    rise = np.where(np.isfinite(along.rise), along.rise, np.nan)
    number = np.argmax(np.abs(directions.eigenvectors.T @ along.direction)) + 1
    what, dims = "distance from the minimum, in posterior standard deviations", ("profile",)
    return {
        "profile_distance": Variable(dims, along.t, what),
        "profile_rise": Variable(dims, rise, "cost above its minimum, all else minimised over"),
        "profile_quadratic": Variable(
            dims, along.quadratic, "the same by the Laplace approximation"
        ),
        "profile_converged": flagged(
            dims,
            along.converged,
            "whether the other directions were minimised over",
            ("not_settled", "settled"),
        ),
        "profile_direction": Variable((), number, "number of the direction that is profiled"),
    }


MOST = 40  # named coordinates


def stiff_and_sloppy(analysis: Analysis, with_profile: bool = False) -> Sloppy | None:
    """Eigenpairs of what the data say of the estimated scalars, in their whitened coordinates.

    Args:
        analysis: an analysis with a posterior.
        with_profile: whether J is minimised along the sloppiest direction.

    Returns:
        None without a posterior, or where no scalar or more than 40 are estimated.
    """
    if analysis.laplace is None:
        return None
    problem, names = analysis.problem, analysis.problem.control.names()
    scalars = [name for name in names if "[" not in name and "." not in name]
    if not 0 < len(scalars) <= MOST:
        return None
    gaussian = analysis.laplace.gaussian
    eigenpairs = directions(gaussian, problem.weight(), names, scalars)
    along = profile(problem, gaussian, eigenpairs, -1, names) if with_profile else None
    return Sloppy(eigenpairs, along)
