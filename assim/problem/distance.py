"""How far observations lie from grid points and from entries of χ, for localisation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from assim.problem.arrays import Array, Coordinate, Labels
from assim.problem.interpolation import on_axis
from assim.problem.observation import Observations

if TYPE_CHECKING:
    from assim.problem.departure import Problem

Radius = float | Mapping[str, float]
LOCATED = ("background", "fields", "model_error")  # kinds of entries of χ that may lie somewhere


def apart(
    o: Observations, axes: Mapping[str, Coordinate], place: Mapping[str, Array], radius: Radius
) -> Array:
    """|δ/c| of an instrument's values from a grid point, shape (m,).

    The shorter way round where an axis is periodic. A dimension along which the values have no
    position, or for which there is no radius, adds nothing.

    Args:
        o: the instrument.
        axes: of the grid, by name.
        place: of the point along each of them.
        radius: c in the axes' units, a number or one for each dimension.
    """
    square = jnp.zeros(o.values.shape)
    for dim, axis in axes.items():
        c = radius.get(dim) if isinstance(radius, Mapping) else radius
        if c is None or dim not in o.points.coordinates:
            continue
        away = jnp.abs(on_axis(axis, o.points.coordinates[dim]) - place[dim])
        if axis.period is not None:
            away = away % axis.period
            away = jnp.minimum(away, axis.period - away)
        square = square + (away / c) ** 2
    return jnp.sqrt(square)


def grid_places(axes: Mapping[str, Coordinate]) -> dict[str, Array]:
    """Positions of all grid points along every axis, each flattened."""
    grid = jnp.meshgrid(*(jnp.asarray(axis.values) for axis in axes.values()), indexing="ij")
    return {dim: g.ravel() for dim, g in zip(axes, grid, strict=True)}


def distances(problem: "Problem", radius: Radius) -> Array:
    """|δ/c| of every departure from every entry of χ, shape (m, n); 0 where that has no place.

    An entry has the place of a grid point where its field has one white value a point.

    Raises:
        ValueError: departures without a place: of correlated errors, of a digital filter or of
            jumps between states; or a radius along what is no dimension, or that nothing has.
    """
    labels = problem.model.labels()
    _check(problem, labels, radius)
    rows: dict[str, dict[str, Array]] = {}
    located = False
    for kind, part in problem.control.blank().items():
        rows[kind] = {}
        for name, white in part.items():
            known = kind in LOCATED and name in labels.state
            dims = labels.state[name].dims if known else ()
            axes = {dim: labels.coordinates[dim] for dim in dims}
            own = _of_field(problem.observations, axes, white.size, radius)
            located |= own is not None
            rows[kind][name] = _nowhere(problem, white.size) if own is None else own
    if not located:
        raise ValueError(
            "localisation: no entry of the control lies at a grid point, so that nothing can be "
            "localised; leave the radius out, or give fields covariances of one white value a point"
        )
    return jnp.concatenate(jax.tree.leaves(rows)).T


def _of_field(
    observations: tuple[Observations, ...],
    axes: Mapping[str, Coordinate],
    size: int,
    radius: Radius,
) -> Array | None:
    """Of so many white values of a field on these axes, shape (size, m); None where not located."""
    places = grid_places(axes) if axes else {}
    points = next(iter(places.values())).size if places else 0
    if not points or not size or size % points:
        return None
    each = jax.vmap(
        lambda place: jnp.concatenate([apart(o, axes, place, radius) for o in observations])
    )
    return jnp.tile(each(places), (size // points, 1))


def _nowhere(problem: "Problem", size: int) -> Array:
    return jnp.zeros((size, sum(o.values.size for o in problem.observations)))


def _check(problem: "Problem", labels: Labels, radius: Radius) -> None:
    for dim in radius if isinstance(radius, Mapping) else ():
        if dim not in labels.coordinates:
            have = ", ".join(labels.coordinates)
            raise ValueError(f"localisation: no dimension {dim!r}; the model has {have}")
    for o in problem.observations:
        if not o.covariance.independent():
            raise ValueError(
                f"localisation: errors of observations must be independent, those of {o.name!r} "
                f"are {type(o.covariance).__name__}; give stdev, or leave the radius out"
            )
    if problem.digital_filter is not None or problem.control.later:
        what = "a digital filter" if problem.digital_filter is not None else "states as the control"
        raise ValueError(
            f"localisation: departures of {what} have no place; leave it or the radius out"
        )
