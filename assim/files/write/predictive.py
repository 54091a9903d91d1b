"""Predictive checks for feedback.nc and summary.json."""

from collections.abc import Mapping
from typing import Any

from assim.files.ancillary import Ancillary
from assim.files.write.consistency import RowColumn
from assim.findings.predictive import PredictiveCheck


def predictive_columns(check: PredictiveCheck) -> list[RowColumn]:
    """Quantiles of new readings in place of those made, and the rank of these among them."""
    found = check.predicted
    quantile = "per cent quantile of what the posterior predicts of"
    rank = "probability integral transform of"
    return [
        RowColumn(Ancillary.PREDICTIVE_Q05, found.q05, f"5 {quantile}", False),
        RowColumn(Ancillary.PREDICTIVE_Q50, found.q50, f"50 {quantile}", False),
        RowColumn(Ancillary.PREDICTIVE_Q95, found.q95, f"95 {quantile}", False),
        RowColumn(Ancillary.PREDICTIVE_PIT, found.pit, rank, True),
    ]


def predictive_summary(checks: Mapping[str, PredictiveCheck]) -> dict[str, dict[str, Any]]:
    """Coverage and scores by instrument."""
    return {name: _scores(check) for name, check in checks.items()}


def _scores(check: PredictiveCheck) -> dict[str, Any]:
    half, ninety = check.coverage
    return {
        "coverage_50": half,
        "coverage_90": ninety,
        "coverage_50_band": list(check.band[0]),
        "coverage_90_band": list(check.band[1]),
        "crps": check.crps,
        "crps_prior": check.crps_prior,
        "log_score": check.log_score,
        "count": int(check.observations.counted().sum()),
        "held_back": check.held_back,
    }
