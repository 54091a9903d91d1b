"""Whatever the engine returns as a Dataset, with units, dates and long names."""

from functools import singledispatch
from typing import Any

import xarray as xr

from assim.analysis.analyse import Analysis
from assim.analysis.analysed import AnalysedWindow
from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.measures import Measures
from assim.analysis.finding import AbstractFinding
from assim.analysis.forecast import Forecast
from assim.analysis.posterior import Posterior
from assim.files.write.analysed import window_dataset
from assim.files.write.calibration import calibration_dataset
from assim.files.write.cycle import cycle_dataset
from assim.files.write.encode import of_findings
from assim.files.write.forecast import forecast_dataset
from assim.files.write.results import analysis_dataset, posterior_dataset
from assim.findings.calibration import Calibration


@singledispatch
def to_dataset(result: Any, *context: Any) -> xr.Dataset:
    """A result with its labels, in the layout of the file that a run writes of it.

    | Result | Dataset |
    |---|---|
    | `Analysis` | the analysed state at the window's start: analysis.nc |
    | `AnalysedWindow`, as `Cycle.window` gives it | the trajectory at the slot edges |
    | `Cycle`, its slot edges, and the measures of its windows | series over the windows |
    | `Posterior`, with its analysis | its members: posterior.nc |
    | `Forecast` | mean, standard deviation and quantiles of every field: forecast.nc |
    | a finding (`AbstractFinding`) | its variables in diagnostics.nc |
    | `Calibration` | ranks and coverage: calibration.nc |

    Args:
        result: one of these.
        context: the analysis of a posterior; of a cycle, the edges of its slots, and what `scan`
            measured or a list of what `window` did.

    Raises:
        TypeError: something else, or a posterior without its analysis.
    """
    raise TypeError(
        "to_dataset: expected an Analysis, an AnalysedWindow, a Posterior with its analysis, a "
        "Cycle with its edges and measures, a Forecast, a finding or a Calibration, got "
        f"{type(result).__name__}; a Trajectory has no labels: "
        "give the Analysis or the AnalysedWindow that it is of"
    )


@to_dataset.register
def _(
    result: Cycle, edges: Any = None, measures: Measures | list[Measures] | None = None
) -> xr.Dataset:
    if edges is None or measures is None:
        raise TypeError(
            "to_dataset: a cycle needs the edges of its slots and the measures of its windows: "
            "to_dataset(cycle, edges, measures)"
        )
    return cycle_dataset(result, edges, measures)


@to_dataset.register
def _(result: Posterior, analysis: Analysis | None = None) -> xr.Dataset:
    if analysis is None:
        raise TypeError(
            "to_dataset: a posterior needs the analysis that it is of, which has the labels: "
            "to_dataset(posterior, analysis)"
        )
    return posterior_dataset(analysis, result)


@to_dataset.register
def _(result: AbstractFinding) -> xr.Dataset:
    return xr.Dataset(of_findings({result.name: result}, {}))


to_dataset.register(Analysis, analysis_dataset)
to_dataset.register(AnalysedWindow, window_dataset)
to_dataset.register(Forecast, forecast_dataset)
to_dataset.register(Calibration, calibration_dataset)
