"""How many evaluations of the model fit in memory together, and many densities in batches."""

from collections.abc import Callable

import jax

from assim.contiguous import in_order
from assim.devices import over_members
from assim.solve.cost import DepartureFunction, negative_log_density

Array = jax.Array

BATCH_VALUES = 50_000  # numbers that all evaluations which run together may hold
COLUMNS = 100  # columns or rows of a derivative that are integrated together
HELD = 20_000_000  # numbers that draws which are kept may hold


def batch_size(problem: DepartureFunction, number: int | None = None) -> int:
    """How many of `number` evaluations (of any number) are integrated together, one at least."""
    many = max(1, BATCH_VALUES // problem.workspace())
    return many if number is None else max(1, min(number, many))


def by_columns(push: Callable[[Array], Array], directions: Array) -> Array:
    """push(v) of every row v, shape (rows, …), `COLUMNS` of them integrated together."""
    columns: Array = over_members(lambda v: in_order(push(v)), directions, COLUMNS)
    return columns


def affordable(number: int, n: int, least: int = 10) -> int:
    """Draws of n controls that memory can hold, at most `number`, and `least` however large n."""
    return min(number, max(least, HELD // n))


def log_density(problem: DepartureFunction, chi: Array) -> Array:
    """v - J of many χ in batches, shape (N,); -∞ where it is not finite. Traceable."""
    density = lambda chi: -negative_log_density(problem, chi)  # noqa: E731
    densities: Array = over_members(density, chi, batch_size(problem))
    return densities
