"""Values so far from all others that they hardly are values: a fill value that nobody declared."""

from collections.abc import Callable

import numpy as np

from assim.files.errors import DataError

FAR = 1e10  # times: more than one quantity varies, less than the usual fill values are away


def far_values(values: np.ndarray, scale: float = 0.0) -> np.ndarray:
    """Which values are `FAR` times larger than all others and than a scale, of the values' shape.

    They are at most half of the values, and of values without a scale at least `FAR` themselves:
    zeros say nothing of the unit.
    """
    sizes = np.sort(np.abs(values), axis=None)
    below = np.maximum(sizes[:-1], scale)
    gaps = (sizes[1:] > FAR * below) & (below > 0) & (np.arange(1, sizes.size) >= sizes.size / 2)
    if scale <= 0:
        gaps &= sizes[1:] >= FAR
    if not gaps.any():
        return np.zeros(np.shape(values), bool)
    return np.asarray(np.abs(values) >= sizes[1:][gaps].min())


def check_far(values: np.ndarray, where: str, scale: Callable[[], float] = float) -> None:
    """Raise DataError where some values of a field are far from all others and from a scale.

    The scale is asked for where it matters alone.
    """
    sizes = np.sort(np.abs(values), axis=None)[values.size // 2 - 1 :]  # the larger half
    if not np.any(sizes[1:] > FAR * sizes[:-1]):
        return
    far = far_values(values, scale())
    if far.any():
        raise DataError(f"{where}: {far_words(values, far)}; correct it, or declare it missing")


def typical(stdev: np.ndarray) -> float:
    """The median of the standard deviations that are finite; 0 where none is."""
    finite = stdev[np.isfinite(stdev)]
    return float(np.median(finite)) if finite.size else 0.0


def far_words(values: np.ndarray, far: np.ndarray, how: str = "larger than all others") -> str:
    """How many values are far, and the first of them."""
    first = np.asarray(values)[far].flat[0]
    alone, several = f"one value, {first:g}, is", f"{far.sum()} values, the first {first:g}, are"
    return f"{alone if far.sum() == 1 else several} more than {FAR:.0e} times {how}"
