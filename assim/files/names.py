"""Names in files: of variables, of what is said about them, and of quality flags."""

import re

from assim.files.times import NON_PHYSICAL


def variable_name(instrument_name: str) -> str:
    """The name of an instrument as a NetCDF variable."""
    name = re.sub(r"\W", "_", instrument_name)
    return name if name[:1].isalpha() else f"v{name}"


PASSIVE, MISSING, BOUNDS, DOMAIN, WINDOW, OPERATOR_FAILED = 1, 10, 12, 13, 14, 15


THINNED, BACKGROUND, SUPEROBBED = 16, 19, 31


FLAGS = {
    0: "pass",
    1: "passive",
    10: "missing",
    12: "bounds",
    13: "domain",
    14: "window",
    15: "operator_failed",
    16: "thinned",
    19: "background_check",
    31: "superobbed",
}


STDEV, COVARIANCE, QC, INCREMENT = "_stddev", "_covariance", "_qc", "_increment"


def time_name(unit: str) -> str:
    """Name of the time dimension: "time", or "t" where time is not physical."""
    return "t" if unit == NON_PHYSICAL else "time"
