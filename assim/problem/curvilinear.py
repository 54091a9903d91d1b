"""Grids whose positions are two-dimensional arrays, and where a place lies on them."""

from dataclasses import dataclass

import numpy as np

NORTH, EAST = "degrees_north", "degrees_east"
_TOLERANCE = 1e-9  # of a cell: places on the edge of two cells belong to either


@dataclass(frozen=True)
class Curvilinear:
    """Positions of the points of a curvilinear grid, such as latitude(y, x) and longitude(y, x).

    The fields live on two axes of indices, `Coordinate(np.arange(n))`; `locate` finds where a
    place lies along them. On the sphere the edges of the cells are great circles.

    Args:
        first: latitudes in degrees (or positions in a plane), shape (ny, nx); NaN where the grid
            has no point.
        second: longitudes in degrees, in any convention, shape (ny, nx).
        dims: names of the two axes of indices.
        names: names of `first` and `second` in files of observations.
        units: units of `first` and `second`; others than those of latitude and longitude make
            them positions in a plane.
        wraps: whether the last column is the neighbour of the first; the second axis then has
            the period nx.

    Raises:
        ValueError: arrays that do not fit each other, or fewer than two rows or columns.
    """

    first: np.ndarray
    second: np.ndarray
    dims: tuple[str, str] = ("y", "x")
    names: tuple[str, str] = ("latitude", "longitude")
    units: tuple[str, str] = (NORTH, EAST)
    wraps: bool = False

    def __post_init__(self) -> None:
        first_shape, second_shape = np.shape(self.first), np.shape(self.second)
        if len(first_shape) != 2 or first_shape != second_shape or min(first_shape) < 2:
            raise ValueError(
                f"Curvilinear: {self.names[0]} and {self.names[1]} must have the same two "
                f"dimensions of length 2 or more, got {first_shape} and {second_shape}"
            )

    @property
    def spherical(self) -> bool:
        """Whether positions are latitudes and longitudes."""
        return self.units == (NORTH, EAST)

    def locate(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position of m places along the two axes of indices, shape (m,) each; NaN outside.

        The four grid points round a place, with weights from the inverse of the bilinear map of
        their cell: exact for linear functions in a plane, of second order on the sphere, where
        the cell is seen in the gnomonic projection about the place (great circles are straight
        lines; neither the poles nor the meridian of 180° are special). Computed once, in NumPy.
        """
        from scipy.spatial import cKDTree  # late: slow to import, and few need it

        places = self._points(np.asarray(first, float), np.asarray(second, float))
        sites, corners = self._cells()
        centres = corners.mean(axis=1)
        largest = np.sqrt(np.sum((corners - centres[:, None]) ** 2, axis=2).max())
        tree = cKDTree(centres)
        positions = np.full((places.shape[0], 2), np.nan)
        open_rows = np.flatnonzero(np.isfinite(places).all(axis=1))
        tried, number = 0, min(4, len(centres))
        while open_rows.size:
            distance, cells = tree.query(places[open_rows], np.arange(1, number + 1))
            for rank in range(tried, number):
                still = np.isnan(positions[open_rows, 0])
                rows, candidates = open_rows[still], cells[still, rank]
                inside, offset = self._offsets(places[rows], corners[candidates])
                positions[rows[inside]] = sites[candidates[inside]] + offset[inside]
            beyond = (distance[:, -1] > largest) | (number == len(centres))
            open_rows = open_rows[np.isnan(positions[open_rows, 0]) & ~beyond]
            tried, number = number, min(4 * number, len(centres))
        return positions[:, 0], positions[:, 1]

    def _points(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Unit vectors on the sphere, or positions in the plane."""
        if not self.spherical:
            return np.stack([first, second], axis=-1)
        latitude, longitude = np.deg2rad(first), np.deg2rad(second)
        level = np.cos(latitude)
        vectors = [level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)]
        return np.stack(vectors, axis=-1)

    def _cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of the first corner of every whole cell, and its four corners."""
        points = self._points(np.asarray(self.first, float), np.asarray(self.second, float))
        if self.wraps:
            points = np.concatenate([points, points[:, :1]], axis=1)
        below, above = points[:-1], points[1:]
        around = [below[:, :-1], below[:, 1:], above[:, :-1], above[:, 1:]]
        corners = np.stack(around, axis=2)
        whole = np.isfinite(corners).all(axis=(2, 3))
        return np.argwhere(whole), corners[whole]

    def _offsets(self, places: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which places lie in their cells, and where in them: fractions of a row and a column."""
        if not self.spherical:
            return _inverse_bilinear(corners - places[:, None])
        ahead = np.einsum("mkd,md->mk", corners, places)
        seen = np.all(ahead > 0.1, axis=1)  # a cell wider than a hemisphere has no projection
        east, north = _tangents(places)
        plane = np.stack([np.einsum("mkd,md->mk", corners, axis) for axis in (east, north)], axis=2)
        inside, offset = _inverse_bilinear(plane / np.where(seen[:, None], ahead, 1.0)[:, :, None])
        return np.asarray(inside & seen), offset


def _tangents(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors that are orthogonal to each unit vector and to each other."""
    axis = np.eye(3)[np.argmin(np.abs(normal), axis=1)]
    tangent = np.cross(normal, axis)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return tangent, np.cross(normal, tangent)


def _inverse_bilinear(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the origin lies in quadrilaterals (m, 4, 2): a + s e + r (f + s g) = 0.

    Crossing with f + s g leaves s²(e×g) + s(a×g + e×f) + a×f = 0, whose roots are taken without
    cancellation; r follows by projection.
    """
    a = corners[:, 0]
    e, f = corners[:, 1] - a, corners[:, 2] - a
    g = a - corners[:, 1] - corners[:, 2] + corners[:, 3]
    square, linear, constant = _cross(e, g), _cross(a, g) + _cross(e, f), _cross(a, f)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(linear**2 - 4 * square * constant)
        q = -(linear + np.where(linear < 0, -root, root)) / 2
        best = np.full((a.shape[0], 2), np.nan)
        for s in (constant / q, q / square):
            side = f + s[:, None] * g
            r = -np.sum((a + s[:, None] * e) * side, axis=1) / np.sum(side**2, axis=1)
            pair = np.stack([r, s], axis=1)
            fits = np.all(np.abs(pair - 0.5) <= 0.5 + _TOLERANCE, axis=1)
            best = np.where(fits[:, None] & np.isnan(best), pair, best)
    return np.isfinite(best).all(axis=1), np.clip(best, 0.0, 1.0)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
