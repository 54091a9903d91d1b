"""A calibration as a dataset: ranks, their histograms and distribution functions, with bands."""

import numpy as np
import xarray as xr

from assim.analysis.finding import Variable, flagged, flags
from assim.files.write.encode import encoded
from assim.findings.calibration import Calibration

_COUNTS = ("redrawn", "certified", "doubtful", "failed", "unsettled")


def calibration_dataset(calibration: Calibration) -> xr.Dataset:
    """Ranks of every quantity in every simulation, and what tests and bands say of them.

    The dimension `quantity` has its names, one a line, in its attribute `quantity_names`.
    """
    levels = list(calibration.coverage)
    content = {**_by_quantity(calibration), **_coverage(calibration, levels), **_ecdf(calibration)}
    names = list(calibration.names)
    quantity = flags("quantity", names, "quantity")
    words = {**quantity.attributes, "quantity_names": "\n".join(names)}
    content["quantity"] = quantity._replace(attributes=words)
    content["level"] = _number("level", levels, "probability of a central interval")
    attributes = {
        "assim_method": calibration.method,
        "assim_verdict": calibration.verdict(),
        **{f"assim_{count}": np.int32(getattr(calibration, count)) for count in _COUNTS},
        "assim_seconds": calibration.seconds,
    }
    return xr.Dataset(encoded(content), attrs=attributes)


def _by_quantity(calibration: Calibration) -> dict[str, Variable]:
    low, high = calibration.histogram_band
    largest = {"draws": np.int32(calibration.draws)}
    return {
        "rank": _count(("simulation", "quantity"), calibration.ranks, "rank of the truth", largest),
        "histogram": _count(("quantity", "bin"), calibration.histogram, "ranks in each bin"),
        "histogram_low": _count((), low, "lowest count of a bin in 99 of 100 cases"),
        "histogram_high": _count((), high, "highest count of a bin in 99 of 100 cases"),
        "p_value": _number(
            "quantity", calibration.p_values, "probability of bins as unequal as these"
        ),
        "ecdf_p_value": _number(
            "quantity",
            calibration.ecdf_p_values,
            "probability of a distribution function of ranks that strays as far",
        ),
        "inside": flagged(
            ("quantity",),
            calibration.inside,
            "whether the distribution function of ranks stays within its band",
            ("outside", "inside"),
        ),
    }


def _coverage(calibration: Calibration, levels: list[float]) -> dict[str, Variable]:
    shares = [[quantity.covered for quantity in calibration.coverage[level]] for level in levels]
    bands = [calibration.coverage[level][0] for level in levels]
    within = "share of truths within a central interval"
    return {
        "coverage": _number(("level", "quantity"), shares, within),
        "coverage_low": _number(
            "level", [band.low for band in bands], f"lowest {within} in 99 of 100 cases"
        ),
        "coverage_high": _number(
            "level", [band.high for band in bands], f"highest {within} in 99 of 100 cases"
        ),
    }


def _ecdf(calibration: Calibration) -> dict[str, Variable]:
    band = calibration.band
    share = "share of ranks below"
    held = {"simultaneous_level": band.level}
    return {
        "expected": _number("rank_place", band.at, f"expected {share}"),
        "ecdf": _number(("quantity", "rank_place"), calibration.ecdf, share),
        "ecdf_low": _number("rank_place", band.low, f"lower end of the band of the {share}", held),
        "ecdf_high": _number(
            "rank_place", band.high, f"upper end of the band of the {share}", held
        ),
    }


def _number(
    dims: str | tuple[str, ...], values: object, long_name: str, more: dict | None = None
) -> Variable:
    own = (dims,) if isinstance(dims, str) else dims
    return _count(own, np.asarray(values, dtype=float), long_name, more)


def _count(
    dims: tuple[str, ...], values: object, long_name: str, more: dict | None = None
) -> Variable:
    return Variable(dims, np.asarray(values), long_name, attributes=more or {})
