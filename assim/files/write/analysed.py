"""The files of one window of a cycle: its analysis, trajectory and observations, and its carry."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from assim.analysis.analysed import AnalysedWindow, Reading
from assim.analysis.cycle.measures import Errors, Innovations, Measures, Spreads
from assim.files.errors import DataError
from assim.files.names import STDEV, Ancillary, Column
from assim.files.netcdf import strict
from assim.files.read.observations import Instrument
from assim.files.sources import Source, opened
from assim.files.write.encode import field_series, state_dataset, with_scalars
from assim.files.write.feedback import compared_columns, flags_column, point_table, used_column
from assim.problem.arrays import Labels
from assim.problem.window import Window

_SPREAD = "standard deviation of the background of"


def window_dataset(analysed: AnalysedWindow) -> xr.Dataset:
    """The analysed trajectory at the slot edges, `<v>_stddev` and `<v>_background`."""
    columns = {
        "": ("", analysed.analysis),
        STDEV: ("standard deviation of", analysed.analysis_stdev),
        "_background": ("background of", analysed.background),
        f"_background{STDEV}": (_SPREAD, analysed.background_stdev),
    }
    return field_series(analysed.labels, analysed.window, columns)


def edge_dataset(analysed: AnalysedWindow, edge: int) -> xr.Dataset:
    """The analysed state at one slot edge, with increments and standard deviations.

    The layout is that of a background, so that it can be one; parameters, and what else is
    estimated and no field, are added.
    """
    labels, window = analysed.labels, analysed.window
    at = lambda states: {name: value[edge] for name, value in states.items()}  # noqa: E731
    state, before = at(analysed.analysis), at(analysed.background)
    dataset = state_dataset(
        labels,
        state,
        time=float(window.edges[edge]),
        reference=window.reference,
        stdev=at(analysed.analysis_stdev),
        increment={name: value - before[name] for name, value in state.items()},
    )
    return with_scalars(dataset, labels, analysed.scalars, analysed.scalars_stdev)


def readings_dataset(
    instruments: Sequence[tuple[Instrument, Reading]],
    labels: Labels,
    window: Window,
    assimilated: bool = True,
    scales: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The newest observations with predictions, departures and effective quality flags.

    Readings that only fill up the shape come last. What would be used is passive where
    observations are not assimilated. `scales` are estimated factors on errors, by name.
    """
    columns = [
        (instrument, _compared(instrument, reading, assimilated))
        for instrument, reading in instruments
    ]
    return point_table(columns, labels, window, scales)


def _compared(instrument: Instrument, reading: Reading, assimilated: bool) -> list[Column]:
    """Background and analysis of every row that was used; NaN for the others."""
    number = int(instrument.used.sum())
    background, analysis, stdev = (
        np.asarray(column)[:number]
        for column in (reading.background, reading.analysis, reading.background_stdev)
    )
    return [
        *compared_columns(instrument, background, analysis),
        used_column(instrument, Ancillary.HOFX_BACKGROUND_STDEV, stdev, _SPREAD),
        flags_column(instrument, assimilated),
    ]


def carry_dataset(carry: Any) -> xr.Dataset:
    """What a window hands on, every array as it is."""
    content = {}
    for name, path, leaf in _leaves(carry):
        dims = tuple(f"{name}_dim_{axis}" for axis in range(np.ndim(leaf)))
        words = {"long_name": path, "units": "1"}
        content[name] = xr.Variable(dims, np.asarray(leaf), words)
    return xr.Dataset(content)


def read_carry(source: Source, like: Any) -> Any:
    """What a window has handed on: a tree like this one, as `scheme.start` gives it.

    Raises:
        DataError: the file cannot be read, or is of another case.
    """
    arrays = []
    with opened(source, exact=True) as dataset:
        for name, path, leaf in _leaves(like):
            if name not in dataset.variables or dataset[name].shape != np.shape(leaf):
                got = dataset[name].shape if name in dataset.variables else "nothing"
                raise DataError(
                    f"{source}: expected {path} of shape {np.shape(leaf)} as {name}, got {got}; "
                    "the cycle was begun with another case: start anew in another directory"
                )
            arrays.append(np.asarray(dataset[name].values))
    return jax.tree.unflatten(jax.tree.structure(like), arrays)


def _leaves(tree: Any) -> Iterator[tuple[str, str, Any]]:
    """Name in the file, path in the tree, and value of every array."""
    for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(tree)):
        yield f"leaf_{number:03d}", jax.tree_util.keystr(path), leaf


def measures_json(measures: Measures, instruments: Sequence[str]) -> dict[str, Any]:
    """One window's measures as strict JSON: what is not finite is null."""
    innovations = zip(instruments, measures.innovations, strict=True)
    return strict({
        **measures._asdict(),
        "errors": None if measures.errors is None else measures.errors._asdict(),
        "spreads": measures.spreads._asdict(),
        "innovations": {name: sums._asdict() for name, sums in innovations},
    })  # fmt: skip


def _measures(content: Mapping[str, Any]) -> Measures:
    """Measures from what `measures_json` made of them."""
    arrays = {name: _arrays(value) for name, value in content.items() if name != "errors"}
    errors = content["errors"]
    arrays["errors"] = None if errors is None else Errors(**_arrays(errors))
    arrays["spreads"] = Spreads(**arrays["spreads"])
    sums = arrays["innovations"].values()
    return Measures(**arrays | {"innovations": tuple(Innovations(**each) for each in sums)})


def read_windows(paths: Sequence[Path]) -> tuple[Measures, list[str]]:
    """Measures of windows from their summaries, stacked, and whether each was analysed.

    Raises:
        DataError: one cannot be read.
    """
    windows, states = [], []
    for path in paths:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            windows.append(_measures(content["measures"]))
            states.append(content["state"])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: expected the summary of a window, got {error!r}") from error
    if any(window.errors is None for window in windows):  # a truth was not there from the start
        windows = [window._replace(errors=None) for window in windows]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *windows), states


def _arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _arrays(item) for key, item in value.items()}
    return np.asarray(np.nan if value is None else value, dtype=float)
