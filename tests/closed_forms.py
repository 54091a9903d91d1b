"""Covariances as matrices, in NumPy and from their definitions: what the laws compare with."""

import math

import numpy as np


def distances(places, period=None):
    """Between all pairs of points of an axis."""
    d = np.abs(np.subtract.outer(places, places))
    return d if period is None else np.minimum(d, period - d)


def exponential(times, tau, stdev):
    return np.outer(stdev, stdev) * np.exp(-distances(times) / tau)


MATERN = {
    "Matern12": lambda r: np.exp(-r),
    "Matern32": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    "Matern52": lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
    "Gaussian": lambda r: np.exp(-0.5 * r**2),
}


def on_torus(kind, places, periods, lengths, images=30):
    """Correlations of all pairs of points of a torus, summed over images one by one."""
    points = np.stack([a.ravel() for a in np.meshgrid(*places, indexing="ij")], axis=1)
    difference = points[:, None] - points
    turns = np.stack(
        [a.ravel() for a in np.meshgrid(*[np.arange(-images, images + 1)] * len(places))], axis=1
    )
    total, alone = np.zeros(difference.shape[:2]), 0.0
    for turn in turns * np.asarray(periods):
        r2 = np.sum(((difference + turn) / lengths) ** 2, axis=-1)
        total += MATERN[kind](np.sqrt(r2))
        alone += MATERN[kind](np.sqrt(np.sum((turn / lengths) ** 2)))
    return total / alone


def gaspari_cohn(r, c):
    """Two branches of their equation 4.10, by Horner's rule."""
    z = np.abs(np.asarray(r, float)) / c
    near = (((-z / 4 + 1 / 2) * z + 5 / 8) * z - 5 / 3) * z**2 + 1
    with np.errstate(divide="ignore"):
        far = ((((z / 12 - 1 / 2) * z + 5 / 8) * z + 5 / 3) * z - 5) * z + 4 - 2 / (3 * z)
    return np.select([z <= 1, z <= 2], [near, far], 0.0)


def diffusion(places, periods, lengths, iterations, mask=None):
    """Normalised A^(-M) W⁻¹ from dense matrices; `lengths` one a dimension, numbers or maps."""
    shape = tuple(len(p) for p in places)
    sea = np.ones(shape, bool) if mask is None else np.asarray(mask, bool)
    half, start, weight = np.eye(sea.size), np.eye(sea.size), np.ones(sea.size)
    for axis, (place, period, length) in enumerate(zip(places, periods, lengths, strict=True)):
        kappa = np.broadcast_to(np.square(length) / (2 * iterations - 3), shape)
        stiffness, width = _stiffness(axis, place, period, kappa, sea)
        if np.any(kappa > 0):
            matrix = np.diag(width) + stiffness
            half = np.linalg.inv(matrix) @ np.diag(width) @ half
            weight = weight * width
            start = np.linalg.inv(np.linalg.cholesky(matrix)).T @ start
    if iterations % 2 == 0:
        start = np.diag(weight**-0.5)
    root = np.linalg.matrix_power(half, iterations // 2) @ start
    inside = np.outer(sea.ravel(), sea.ravel())
    matrix = np.where(inside, root @ root.T, 0.0)
    scale = np.where(sea.ravel(), 1 / np.sqrt(np.where(sea.ravel(), np.diag(matrix), 1.0)), 0.0)
    return np.outer(scale, scale) * matrix


def _stiffness(axis, place, period, kappa, sea):
    """Minus the divergence of the fluxes between neighbours, point by point, and cell widths."""
    n, matrix = len(place), np.zeros((kappa.size, kappa.size))
    index = np.arange(kappa.size).reshape(kappa.shape)
    width = np.zeros(kappa.shape)
    for point in np.ndindex(kappa.shape):
        i = point[axis]
        sides = []
        for step in (-1, 1):
            j = i + step
            gap = abs(place[j % n] - place[i])
            if not 0 <= j < n:
                if period is None:
                    continue
                gap = period - gap
            sides.append(gap)
            other = (*point[:axis], j % n, *point[axis + 1 :])
            if sea[point] and sea[other]:
                g = (kappa[point] + kappa[other]) / 2 / gap
                matrix[index[point], index[point]] += g
                matrix[index[point], index[other]] -= g
        width[point] = sides[0] if len(sides) == 1 else math.fsum(sides) / 2
    return matrix, width.ravel()
