"""Names in files: of variables, of what stands beside observed ones, and of quality flags.

Every column that assim writes beside an observed variable v is called v and a suffix of
`Ancillary`; v names them and those of a user's findings in `ancillary_variables`, so that none is
taken for an observed variable when it is read.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from assim.files.times import NON_PHYSICAL

PASSIVE, MISSING, FLAGGED, BOUNDS, DOMAIN, WINDOW, OPERATOR_FAILED = 1, 10, 11, 12, 13, 14, 15
THINNED, WEIGHTLESS, BACKGROUND, SUPEROBBED = 16, 17, 19, 31
FLAGS = {
    0: "pass",
    1: "passive",
    10: "missing",
    11: "flagged_in_file",
    12: "bounds",
    13: "domain",
    14: "window",
    15: "operator_failed",
    16: "thinned",
    17: "no_weight",
    19: "background_check",
    31: "superobbed",
}
OBSERVABLE = "observable"  # attribute of series of an instrument: its name
QUANTILES = {"q05": "5 per cent quantile of", "q50": "median of", "q95": "95 per cent quantile of"}
STDEV, COVARIANCE, QC, INCREMENT = "_stddev", "_covariance", "_qc", "_increment"


def variable_name(instrument_name: str) -> str:
    """The name of an instrument as a NetCDF variable."""
    name = re.sub(r"\W", "_", instrument_name)
    return name if name[:1].isalpha() else f"v{name}"


def time_name(unit: str) -> str:
    """Name of the time dimension: "time", or "t" where time is not physical."""
    return "t" if unit == NON_PHYSICAL else "time"


class Ancillary(StrEnum):
    """Suffixes of the ancillary variables of an observed one."""

    STDEV = STDEV
    COVARIANCE = COVARIANCE
    QC = QC
    EFFECTIVE_QC = "_effective_qc"
    HOFX_BACKGROUND = "_hofx_background"
    HOFX_BACKGROUND_STDEV = f"_hofx_background{STDEV}"
    HOFX_ANALYSIS = "_hofx_analysis"
    HOFX_ANALYSIS_STDEV = f"_hofx_analysis{STDEV}"
    BIAS_BACKGROUND = "_bias_background"
    BIAS_ANALYSIS = "_bias_analysis"
    OMBG = "_ombg"
    OMAN = "_oman"
    INFLUENCE = "_influence"
    IMPACT = "_impact"
    PREDICTIVE_Q05 = "_predictive_q05"
    PREDICTIVE_Q50 = "_predictive_q50"
    PREDICTIVE_Q95 = "_predictive_q95"
    PREDICTIVE_PIT = "_predictive_pit"
    HOFX_FORECAST = "_hofx_forecast"
    HOFX_FORECAST_STDEV = f"_hofx_forecast{STDEV}"
    HOFX_FORECAST_Q05 = "_hofx_forecast_q05"
    HOFX_FORECAST_Q50 = "_hofx_forecast_q50"
    HOFX_FORECAST_Q95 = "_hofx_forecast_q95"
    HOFX_FORECAST_CRPS = "_hofx_forecast_crps"
    HOFX_FORECAST_RANK = "_hofx_forecast_rank"


@dataclass(frozen=True)
class Column:
    """One number a row of an instrument's table; whole numbers are flags.

    Its suffix is an `Ancillary` or that of a user's finding; None for the observed variable.
    """

    suffix: str | None
    values: np.ndarray
    long_name: str
    units: str


def is_ancillary(name: str, names: Container[str]) -> bool:
    """Whether a variable of a table is about another one in it, by its name."""
    return any(name.endswith(end) and name.removesuffix(end) in names for end in Ancillary)


AGREEMENT = {  # of predictions with readings, as summaries have it, and as people read it
    "bias": "bias",
    "rmse": "RMSE",
    "correlation": "correlation",
    "nash_sutcliffe": "Nash–Sutcliffe",
    "kling_gupta": "Kling–Gupta",
}
