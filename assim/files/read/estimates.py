"""Covariances estimated from ensembles, from forecasts and from what models miss."""

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.names import COVARIANCE, STDEV
from assim.files.netcdf import attributes, axes, used_dims
from assim.files.read.covariances import LENGTH, LOCALISATION, OTHER, PERTURBATION, members
from assim.files.read.states import times_along
from assim.files.sources import Source, opened_file
from assim.files.times import FileTimes
from assim.files.units import squared, with_units
from assim.problem.arrays import Coordinate, Labels
from assim.problem.model import AbstractDynamics

FORMS = ("diffusion", "ensemble", "dense", "diagonal")
_NUMBER_TOLERANCE, _TIME_TOLERANCE = 1e-6, 1.0  # of numbers, and of dates in seconds
_REFERENCE = "2000-01-01"  # from which the dates of two files are counted
_DENSE = 4096  # values of a field whose covariance may be written whole
Samples = dict[str, np.ndarray]  # by field: (N, *field shape)


def covariance_from_ensemble(
    source: Source,
    model: AbstractDynamics,
    fields: Iterable[str] | None = None,
    form: str = "diffusion",
    localisation: float | Mapping[str, float] | None = None,
    factor: float = 1.0,
    *,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """B (or Q) from the spread of an ensemble: factor·X′X′ᵀ/(N - 1), in one of four forms.

    Each field has a covariance of its own: correlations between fields are left out, in every form.
    `Ensemble` over stacked fields in `Joint` keeps them.

    Args:
        source: file or Dataset with a dimension `realization`.
        model: whose labels the fields must match.
        fields: names; all fields of the state where not given.
        form: "diffusion" (standard deviations, and a Daley length for each dimension), "ensemble"
            (the perturbations themselves), "dense" or "diagonal".
        localisation: for "ensemble", the `GaspariCohn` length in the axes' unit: one for all
            dimensions, or by dimension; None for none.
        factor: on variances.
        units: of the members, by field, where they are not the field's own: those of tendencies,
            or of logarithms ("1").

    Raises:
        DataError: fields that do not fit, fewer than 2 members, or a dimension of a field that
            the localisation leaves out.
    """
    labels = with_units(model.labels(), units or {})
    samples = _samples(source, labels, fields, "realization")
    return _estimated(labels, samples, form, localisation, factor)


def covariance_from_forecasts(
    longer: Source,
    shorter: Source,
    model: AbstractDynamics,
    fields: Iterable[str] | None = None,
    form: str = "diffusion",
    localisation: float | Mapping[str, float] | None = None,
    factor: float = 0.5,
    *,
    clock: str | None = None,
) -> xr.Dataset:
    """B from differences of forecasts of two lead times that are valid at the same times.

    B = factor·cov(x_longer - x_shorter), the NMC method (Parrish & Derber 1992). The
    mean difference is taken away.

    Args:
        longer: forecasts of the longer lead time, file or Dataset with a dimension of valid times.
        shorter: those of the shorter one, at the same times, by date in any unit and calendar.
        model, fields, form, localisation: as for `covariance_from_ensemble`.
        factor: on variances; 0.5 where the two errors are alike and independent, otherwise tuned.
        clock: the variable that is the valid time; that of the standard name `time`, or called so,
            where not given.

    Raises:
        DataError: fields or times that do not fit, or fewer than 2 times.
    """
    labels = model.labels()
    samples = _differences(longer, shorter, labels, fields, clock)
    return _estimated(labels, samples, form, localisation, factor)


def covariance_from_increments(
    forecasts: Source,
    analyses: Source,
    model: AbstractDynamics,
    fields: Iterable[str] | None = None,
    form: str = "diffusion",
    localisation: float | Mapping[str, float] | None = None,
    factor: float = 1.0,
    *,
    clock: str | None = None,
) -> xr.Dataset:
    """Q of a slot from what a forecast over the slot, started at an analysis, missed.

    Q = factor·cov(x^a(t_k) - M(x^a(t_(k-1)))), as the error of the model accumulated over a slot
    (Trémolet 2007). It includes the analyses' own errors, for which a `factor` below 1
    allows; the mean, a bias of the model, is taken away. An ensemble of tendencies goes through
    `covariance_from_ensemble`, with its `units`.

    Args:
        forecasts: states at the end of each slot as forecast from the analysis at its start.
        analyses: analyses at the same times.
        model, fields, form, localisation, factor: as for `covariance_from_ensemble`.
        clock: as for `covariance_from_forecasts`.

    Raises:
        DataError: fields or times that do not fit, or fewer than 2 times.
    """
    labels = model.labels()
    samples = _differences(analyses, forecasts, labels, fields, clock)
    return _estimated(labels, samples, form, localisation, factor)


def _samples(source: Source, labels: Labels, fields: Iterable[str] | None, dim: str) -> Samples:
    with opened_file(source, labels) as file:
        return members(file, list(labels.state if fields is None else fields), dim)


def _differences(
    minuend: Source,
    subtrahend: Source,
    labels: Labels,
    fields: Iterable[str] | None,
    clock: str | None,
) -> Samples:
    """minuend - subtrahend at each of their common valid times."""
    chosen = list(labels.state if fields is None else fields)
    with opened_file(minuend, labels) as first, opened_file(subtrahend, labels) as second:
        (dim, times), (other, valid) = (times_along(file, clock) for file in (first, second))
        if not _same(times, valid):
            raise DataError(
                f"{valid.where}: expected the valid times of {first.called}, by date in whatever "
                "unit and calendar; select the common ones, as with `cdo select` or dataset.sel"
            )
        a, b = members(first, chosen, dim), members(second, chosen, other)
    return {name: a[name] - b[name] for name in a}


def _same(first: FileTimes, second: FileTimes) -> bool:
    """Whether two series of times are the same, to a second or what their types can tell."""
    if first.numbers.shape != second.numbers.shape or (first.epoch is None) != (
        second.epoch is None
    ):
        return False
    slack, sides = _NUMBER_TOLERANCE, (first.numbers, second.numbers)
    if first.epoch is not None:
        slack = _TIME_TOLERANCE
        sides = (first.to_model("seconds", _REFERENCE), second.to_model("seconds", _REFERENCE))
    spacing = np.maximum(first.spacing("seconds"), second.spacing("seconds"))
    return bool(np.all(np.abs(sides[0] - sides[1]) <= np.maximum(slack, spacing)))


def _estimated(
    labels: Labels,
    samples: Samples,
    form: str,
    localisation: float | Mapping[str, float] | None,
    factor: float,
) -> xr.Dataset:
    if form not in FORMS:
        raise ValueError(f"covariance: form must be one of {', '.join(FORMS)}, got {form!r}")
    if not factor > 0:
        raise ValueError(f"covariance: factor must be positive, got {factor}")
    content: dict[str, xr.Variable] = {}
    for name, values in samples.items():
        perturbations = (values - values.mean(axis=0)) * np.sqrt(factor)
        if form == "ensemble":
            content |= _perturbation_variables(labels, name, perturbations, localisation)
        elif form == "dense":
            content |= _dense_variables(labels, name, perturbations)
        else:
            content |= _stdev_variables(labels, name, perturbations, form == "diffusion")
    dataset = xr.Dataset(content, axes(labels, used_dims(labels, samples)))
    number = len(next(iter(samples.values())))
    return dataset.assign_attrs(comment=f"from {number} states, variances times {factor:g}")


def _stdev_variables(
    labels: Labels, name: str, perturbations: np.ndarray, with_length: bool
) -> dict[str, xr.Variable]:
    label = labels.state[name]
    stdev = np.sqrt(np.sum(perturbations**2, axis=0) / (len(perturbations) - 1))
    if not np.all(stdev > 0):
        raise DataError(
            f"covariance: {name} is the same in all states at {int(np.sum(stdev == 0))} of "
            f"{stdev.size} points; leave the field out, or give it a spread"
        )
    words = attributes(name, label, "standard deviation of")
    variables = {f"{name}{STDEV}": xr.Variable(label.dims, stdev, words)}
    for i, dim in enumerate(label.dims if with_length else ()):
        length = daley_length(perturbations / stdev, i, labels.coordinates[dim])
        what = f"Daley length along {dim} of the correlations of {name}"
        variables |= _length(labels, name, LENGTH, dim, length, what)
    return variables


def _perturbation_variables(
    labels: Labels,
    name: str,
    perturbations: np.ndarray,
    localisation: float | Mapping[str, float] | None,
) -> dict[str, xr.Variable]:
    label = labels.state[name]
    dims, words = ("realization", *label.dims), attributes(name, label, "perturbation of")
    variables = {f"{name}{PERTURBATION}": xr.Variable(dims, perturbations, words)}
    for dim in label.dims if localisation is not None else ():
        length, what = _localisation(localisation, name, dim), f"localisation of {name} along {dim}"
        variables |= _length(labels, name, LOCALISATION, dim, length, what)
    return variables


def _localisation(given: float | Mapping[str, float] | None, name: str, dim: str) -> float:
    """Length along one dimension of a field."""
    if isinstance(given, Mapping):
        if dim not in given:
            raise DataError(
                f"covariance: localisation has {', '.join(given)}, but {name} also varies along "
                f"{dim!r}; 0 is for a dimension without localisation"
            )
        given = given[dim]
    return float(given or 0.0)


def _dense_variables(
    labels: Labels, name: str, perturbations: np.ndarray
) -> dict[str, xr.Variable]:
    label, shape = labels.state[name], labels.shape(name)
    flat = perturbations.reshape(len(perturbations), -1)
    n = flat.shape[1]
    if n > _DENSE or n >= len(flat):
        raise DataError(
            f"covariance: a dense matrix of {name} needs more states than its {n} values, and at "
            f"most {_DENSE} values, got {len(flat)} states; use form='diffusion' or 'ensemble'"
        )
    matrix = flat.T @ flat / (len(flat) - 1)
    dims = (*label.dims, *(f"{dim}{OTHER}" for dim in label.dims))
    words = attributes(name, label, "error covariance of") | {"units": squared(label.units)}
    return {f"{name}{COVARIANCE}": xr.Variable(dims, matrix.reshape(shape + shape), words)}


def daley_length(normalised: np.ndarray, dim: int, axis: Coordinate) -> float:
    """D = d/√(-2 log c): from the mean correlation c of neighbours at the distance d.

    The curvature at no distance of a Gaussian correlation that has this value one gap away
    (Belo Pereira & Berre 2006), with c averaged over all pairs of neighbours, round a ring too, of
    normalised perturbations, shape (N, *field shape). D is in the axis' unit, 0 where neighbours
    are not correlated or there are none.
    """
    lines = np.moveaxis(normalised, dim + 1, -1)
    places = np.asarray(axis.values, float)
    if len(places) < 2:
        return 0.0
    number = len(normalised) - 1
    correlation = np.sum(lines[..., 1:] * lines[..., :-1], axis=0) / number
    gap = np.diff(places)
    if axis.period is not None:
        joint = np.sum(lines[..., :1] * lines[..., -1:], axis=0) / number
        correlation = np.concatenate([correlation, joint], axis=-1)
        gap = np.append(gap, axis.period - (places[-1] - places[0]))
    mean = float(np.mean(correlation))
    if mean <= 0:
        return 0.0
    return float(np.sqrt(np.mean(gap**2) / (-2 * np.log(min(mean, 1 - 1e-12)))))


def _length(
    labels: Labels, name: str, suffix: str, dim: str, value: float, words: str
) -> dict[str, xr.Variable]:
    """A length along one dimension of a field, which is named where there are several."""
    along = "" if len(labels.state[name].dims) == 1 else f"_{dim}"
    units = {"units": labels.coordinates[dim].units, "long_name": words}
    return {f"{name}{suffix}{along}": xr.Variable((), value, units)}
