"""The departures' sensitivity to χ from member trajectories, without tangent and adjoint.

Members χ + ε u_i about χ, u_i of unit length, have departures d(χ + ε u_i), whose differences

    s_i = (d(χ + ε u_i) - d(χ)) / ε ≈ G u_i

are all that is asked of the model. An estimate of G that is known already is moved by the least
change that explains them (Broyden's update by several secants at once),

    G_j ← G_j + ρ_j ∘ Uᵀ(U diag(ρ_j) Uᵀ)⁻¹ (s_j - U G_j)        for every departure j,

with ρ_j = 1, or the taper of Gaspari & Cohn by the distance of an entry of χ from the departure.
Of a model that is linear G is exact where directions span everything that ρ_j leaves: n members
without localisation, with it as many as entries lie within 2c of an observation.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.devices import over_members
from assim.solve.cost import DepartureFunction, Values
from assim.solve.together import batch_size

Array = jax.Array

ROWS = 100  # departures whose own systems are solved together
RIDGE = 1e-12  # of the trace of a system, which may be singular
PROBES = 10  # members on which an estimate is tried


class Members(NamedTuple):
    """Differences of the departures of members; zeros for a member that failed.

    Args:
        directions: U, shape (k, n).
        differences: s, shape (k, m).
        fine: which of them are finite, shape (k,).
    """

    directions: Array
    differences: Array
    fine: Array


def run(problem: DepartureFunction, chi: Array, directions: Array, spread: float) -> Members:
    """Run members about χ, all but the first of which is χ itself."""
    rows = jnp.concatenate([jnp.zeros((1, chi.size)), spread * directions])
    depart = lambda away: problem(chi + away).normalised  # noqa: E731
    d = over_members(depart, rows, batch_size(problem))
    differences = (d[1:] - d[:1]) / spread
    fine = jnp.all(jnp.isfinite(differences), axis=1)
    return Members(directions, jnp.where(fine[:, None], differences, 0.0), fine)


def updated(jacobian: Array, members: Members, taper: Array | None) -> Array:
    """G after what members say, from what was known, shape (m, n).

    Args:
        jacobian: G as it was known, zeros where nothing was.
        members: of orthonormal directions where there is no taper.
        taper: ρ, shape (m, n), or None.
    """
    u = jnp.where(members.fine[:, None], members.directions, 0.0)
    left = jnp.where(members.fine[:, None], members.differences - u @ jacobian.T, 0.0)
    if taper is None:
        return jacobian + left.T @ u
    failed = jnp.diag(1.0 - members.fine)

    def change(given: tuple[Array, Array]) -> Array:
        rho, own = given
        gram = (u * rho[None]) @ u.T
        ridge = RIDGE * jnp.trace(gram) * jnp.eye(own.size)
        weights = jax.scipy.linalg.solve(gram + ridge + failed, own, assume_a="pos")
        return rho * (weights @ u)

    rows = over_members(change, (taper, left.T), ROWS)
    return jacobian + jnp.where(jnp.isfinite(rows), rows, 0.0)


def left_unseen(jacobian: Array, members: Members) -> Array:
    """tr (G - Ĝ)ᵀ(G - Ĝ) = Σ λ that an estimate leaves out, by members it was not made from.

    Of directions of random signs, of unit length (Hutchinson 1990); ∞ where none is finite.
    """
    left = members.differences - members.directions @ jacobian.T
    squares = jnp.where(members.fine, jnp.sum(left**2, axis=1), 0.0)
    number = jnp.sum(members.fine)
    return jnp.where(number > 0, jacobian.shape[1] * jnp.sum(squares) / number, jnp.inf)


def basis(key: Array, n: int, places: Array) -> Array:
    """Rows of a random orthonormal basis of n dimensions, shape (k, n).

    Cosines of all frequencies, in random order, on entries with random signs. Rows of one key are
    orthogonal to one another, whenever they are made, and fill no memory until then.

    Args:
        key: of the basis.
        n: its size.
        places: of the rows, whole numbers below n, shape (k,).
    """
    for_signs, for_order = jax.random.split(key)
    signs = jax.random.rademacher(for_signs, (n,), dtype=float)
    number = jax.random.permutation(for_order, n)[places][:, None]
    angle = jnp.pi * number * (2 * jnp.arange(n)[None] + 1) / (2 * n)
    scale = jnp.sqrt(jnp.where(number == 0, 1.0, 2.0) / n)
    return scale * jnp.cos(angle) * signs[None]


# ---- the departure function with that sensitivity as its derivative ------------------------------


class Sensed(eqx.Module):
    """The departures of a problem, whose derivative is G wherever it is asked for.

    Right at the χ of whose members G was made: there J, its gradient and W + GᵀG are had as of any
    problem. Second derivatives are zero.
    """

    problem: DepartureFunction
    jacobian: Array  # G, shape (m, n)

    def __call__(self, chi: Array) -> Values:
        """Departures; c and v are constants, which are left out."""
        zero = jnp.zeros(())
        return Values(_departures(chi, self.problem, self.jacobian), zero, zero)

    def size(self) -> int:
        """Length of χ."""
        return self.problem.size()

    def scalars(self, chi: Array) -> dict[str, Array]:
        """As the problem."""
        return self.problem.scalars(chi)

    def weight(self) -> Array:
        """Diagonal of W."""
        return self.problem.weight()

    def has_normaliser(self) -> bool:
        """No: problems that have one are refused."""
        return False

    def proper(self) -> bool:
        """Whether the prior integrates to one."""
        return self.problem.proper()

    def workspace(self) -> int:
        """Numbers that one evaluation holds."""
        return self.problem.workspace()


class Sampled(NamedTuple):
    """A problem with its derivatives at one χ, of member trajectories about it or its own.

    Args:
        problem: the departure function.
        members: trajectories that its derivative was made from and tried on; 0 for its own.
        failed: those of them that were not finite, and are left out.
        unseen: estimate of Σ λ of GᵀG that it misses.
    """

    problem: DepartureFunction
    members: Array
    failed: Array
    unseen: Array


@eqx.filter_custom_jvp
def _departures(chi: Array, problem: DepartureFunction, jacobian: Array) -> Array:
    del jacobian
    return problem(chi).normalised


@_departures.def_jvp
def _along(
    primals: tuple[Array, DepartureFunction, Array], tangents: tuple[Array, None, None]
) -> tuple[Array, Array]:
    chi, problem, jacobian = primals
    return _departures(chi, problem, jacobian), jacobian @ tangents[0]
