"""What is unusual in the rows of an instrument, but accepted: notes for people."""

import numpy as np

from assim.files.names import COVARIANCE
from assim.files.read.far import FAR, likely_fills
from assim.files.read.grouping import Frame
from assim.files.read.quality import QualityControl, Uncertainty
from assim.files.read.tables import ObservedTable
from assim.files.read.windows import TOLERANCE
from assim.files.times import NON_PHYSICAL
from assim.problem.bias import BiasCorrection

_NOTICEABLE = 0.01  # of a slot: how far a file's type may move a value and nothing be said
_PLACES = 9  # decimals to which places that are the same agree


def repeated(table: ObservedTable, used: np.ndarray, *, independent: bool) -> list[str]:
    """A note of rows used that have the time, interval and place of another, and what it does.

    k copies of one reading make its error √k too small where errors are `independent`.
    """
    stamps = [s.numbers for s in (table.times, table.starts, table.ends) if s is not None]
    places = [np.round(place, _PLACES) for place in table.coordinates.values()]
    rows = np.column_stack([*stamps, *places])[used]
    counts = np.unique(rows, axis=0, return_counts=True)[1]
    if counts.size == len(rows):
        return []
    own = np.unique(np.column_stack([rows, table.values[used]]), axis=0)
    again, same = len(rows) - counts.size, len(rows) - len(own)
    note = f"{table.where}: {again} values repeat the time and place of another"
    note += f", {same} of them its value, too" * bool(same)
    if not independent:
        return [note]
    return [
        f"{note}: each counts as an independent observation, which makes errors too small, by up "
        f"to √{counts.max()}, where they are copies of one reading; drop copies from the file, or "
        "keep one of each by quality.thin_time, shorter than any step between the times"
    ]


def rounded(table: ObservedTable, frame: Frame) -> list[str]:
    """A note where the type of the file's times moves values by a part of a slot that matters."""
    unit, slot = frame.labels.time_unit, float(np.median(np.diff(np.asarray(frame.window.edges))))
    spacing = table.times.coarseness(unit)
    if spacing <= _NOTICEABLE * slot:
        return []
    return [
        f"{table.where}: the times are stored as {table.times.stored}, which at these dates has a "
        f"number every {spacing:.2g} {'' if unit == NON_PHYSICAL else unit}".rstrip()
        + f", {spacing / slot:.1%} of a slot; store them as float64, or count from a later date"
    ]


def left_out(table: ObservedTable, weightless: np.ndarray) -> list[str]:
    """A note of values whose errors are so large that they tell nothing."""
    if not weightless.any():
        return []
    return [
        f"{table.where}: {weightless.sum()} of {table.rows} values are left out, as the standard "
        f"deviations of their errors are infinite or {FAR:.0e} times the median and more"
    ]


def set_aside(table: ObservedTable, given: Uncertainty) -> list[str]:
    """A note of a covariance in the file that errors given by the user stand in place of."""
    key = "covariance" if given.covariance is not None else "error.stdev"
    if table.covariance is None or (given.covariance is None and given.stdev is None):
        return []
    return [
        f"{table.where}{COVARIANCE}: not used, as {key} stands in place of the errors of the file; "
        f"leave out {key} to use it"
    ]


def across_ends(table: ObservedTable, frame: Frame) -> list[str]:
    """A note of values whose intervals no window holds, where the operator reads intervals."""
    if table.starts is None or table.ends is None or not frame.operator.reads_intervals():
        return []
    edges = np.asarray(frame.window.edges)
    slack = TOLERANCE * (edges[-1] - edges[0])
    starts, ends = frame.times(table.starts), frame.times(table.ends)
    across = [(starts < edge - slack) & (ends > edge + slack) for edge in (edges[0], edges[-1])]
    if not (number := int(np.sum((across[0] | across[1]) & (table.qc == 0)))):
        return []
    which = "one value covers an interval" if number == 1 else f"{number} values cover intervals"
    return [
        f"{table.where}: {which} across an end of the window, and cannot be used: let windows end "
        "where intervals do"
    ]


def filled(table: ObservedTable, used: np.ndarray, quality: QualityControl) -> list[str]:
    """A note of values used that are likely a fill value, where the case gives no bound there."""
    notes = []
    for fill in likely_fills(table.values[used], table.conversion):
        side = "lower" if fill.value < fill.low else "upper"
        if getattr(quality, side) is None:
            bound = f"quality.{side} = {fill.between:g} under [[observations]]"
            notes.append(
                f"{table.where}: {fill.words()}; declare it missing in the file, as by "
                "`_FillValue` or `valid_range`, or leave it out by a bound, "
                f"{bound}; one that lets it in says that it is right"
            )
    return notes


def filled_predictors(where: str, bias: BiasCorrection | None, used: np.ndarray) -> list[str]:
    """A note of the numbers of a bias's predictors that are likely a fill value."""
    columns = {} if bias is None else bias.columns()
    return [
        f"{where}: predictor of the bias {name!r}: {fill.words()}; declare it missing in the file, "
        "as by `_FillValue` or `valid_range`"
        for name, column in columns.items()
        for fill in likely_fills(column[used])
    ]
