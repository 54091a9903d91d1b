"""What tables of observations have beside an observed variable v, and how it is called.

Every column that assim writes beside v is called v and a suffix that is listed here; v names them
and those of a user's findings in `ancillary_variables`, so that none is taken for an observed
variable when it is read.
"""

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from assim.files.names import COVARIANCE as _COVARIANCE
from assim.files.names import QC as _QC
from assim.files.names import STDEV as _STDEV


class Ancillary(StrEnum):
    """Suffixes of the ancillary variables of an observed one."""

    STDEV = _STDEV
    COVARIANCE = _COVARIANCE
    QC = _QC
    EFFECTIVE_QC = "_effective_qc"
    HOFX_BACKGROUND = "_hofx_background"
    HOFX_BACKGROUND_STDEV = f"_hofx_background{_STDEV}"
    HOFX_ANALYSIS = "_hofx_analysis"
    HOFX_ANALYSIS_STDEV = f"_hofx_analysis{_STDEV}"
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
    HOFX_FORECAST_STDEV = f"_hofx_forecast{_STDEV}"
    HOFX_FORECAST_Q05 = "_hofx_forecast_q05"
    HOFX_FORECAST_Q50 = "_hofx_forecast_q50"
    HOFX_FORECAST_Q95 = "_hofx_forecast_q95"
    HOFX_FORECAST_CRPS = "_hofx_forecast_crps"
    HOFX_FORECAST_RANK = "_hofx_forecast_rank"


@dataclass(frozen=True)
class Column:
    """One number a row of an instrument's table; whole numbers are flags.

    Args:
        suffix: what it is called beside the observed variable, an `Ancillary` or that of a
            user's finding; None for that variable.
        values: one a row.
        long_name: what they are.
        units: their units.
    """

    suffix: str | None
    values: np.ndarray
    long_name: str
    units: str


def is_ancillary(name: str, names: Container[str]) -> bool:
    """Whether a variable of a table is about another one in it, by its name."""
    return any(name.endswith(end) and name.removesuffix(end) in names for end in Ancillary)
