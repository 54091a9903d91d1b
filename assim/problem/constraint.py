"""The usual problems, built from a model, a background and observations."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.arguments import check_free, hint
from assim.problem.arrays import Array, Labels, State
from assim.problem.control import Control
from assim.problem.covariance.root import AbstractCovariance
from assim.problem.covariance.state import (
    AbstractStateCovariance,
    StateCovariance,
    state_covariance,
)
from assim.problem.departure import Problem
from assim.problem.digital_filter import DigitalFilter
from assim.problem.forcing import check_span
from assim.problem.in_units import of_size
from assim.problem.interpolation import on_axis, reach
from assim.problem.model import AbstractDynamics, check_model
from assim.problem.model_error import ModelError
from assim.problem.observation import Observations
from assim.problem.prior import AbstractPrior
from assim.problem.window import Window

FORMULATIONS = ("forcing", "state")
VOLUME_LIMIT = 2000  # entries of χ whose matrix is formed where a scale is estimated


class MisfitError(ValueError):
    """A part of a problem that does not fit the others.

    Args:
        part: the argument by which it was given.
        why: what does not fit.
    """

    def __init__(self, part: str, why: str) -> None:
        super().__init__(why)
        self.part = part


@contextmanager
def _fitting(part: str) -> Iterator[None]:
    """Say of errors which argument they are of."""
    try:
        yield
    except ValueError as error:
        raise MisfitError(part, str(error)) from error


def strong_constraint(
    model: AbstractDynamics,
    window: Window,
    background: Mapping[str, Array | AbstractPrior],
    covariance: StateCovariance | None = None,
    observations: Observations | Sequence[Observations] = (),
    parameters: Mapping[str, AbstractPrior] | None = None,
    *,
    digital_filter: DigitalFilter | None = None,
) -> Problem:
    """Strong-constraint 4D-Var: the model is exact, the initial state and parameters are not.

    Args:
        model: the forecast model M.
        window: its slots.
        background: for every field of the state either x^b or a prior of its own.
        covariance: background-error covariance B: one for all fields given as x^b alike, one a
            field, or a joint one of several fields; fields without one keep their background
            value.
        observations: one or several instruments.
        parameters: prior of each parameter to estimate; the others keep the model's default.
        digital_filter: a term Jc against fast oscillations of the trajectory, or None.

    Raises:
        ModelContractError: the model breaks its contract.
        ValueError: names or shapes that do not belong to the model, nothing to estimate, no
            observations, an input of the model that does not span the window, or a filter that
            does not fit it.
    """
    given = (model, window, background, covariance, observations, parameters)
    return _problem(*given, None, digital_filter)


def weak_constraint(
    model: AbstractDynamics,
    window: Window,
    background: Mapping[str, Array | AbstractPrior],
    covariance: StateCovariance | None = None,
    observations: Observations | Sequence[Observations] = (),
    parameters: Mapping[str, AbstractPrior] | None = None,
    *,
    model_error: ModelError,
    formulation: str = "forcing",
    digital_filter: DigitalFilter | None = None,
) -> Problem:
    """Weak-constraint 4D-Var: model errors η are estimated with everything else.

        J = Jb + Jp + Jo + ½ ηᵀ(s² Q_t⊗Q)⁻¹η + c + v,    η_k = x(t_k) - M(x(t_(k-1)))

    In the "forcing" formulation η is the control; in the "state" formulation the states at the
    groups' ends are, all groups are integrated at once, and the depth of the computation is one
    group (Trémolet 2006; Fisher & Gürol 2017). Both have the same minimum.

    Args:
        model: the forecast model M.
        window: its slots.
        background: as for `strong_constraint`.
        covariance: likewise.
        observations: likewise.
        parameters: likewise.
        model_error: Q, how often and how model errors act, and their amplitude.
        formulation: "forcing" or "state"; the latter needs model error in every field, a Q that
            can be inverted, and errors that act as jumps.
        digital_filter: as for `strong_constraint`; jumps are part of what it filters.

    Raises:
        ModelContractError: the model breaks its contract.
        ValueError: as for `strong_constraint`, or a model error that does not fit.
    """
    if formulation not in FORMULATIONS:
        raise ValueError(f"formulation: must be one of {FORMULATIONS}, got {formulation!r}")
    with _fitting("model_error"):
        fitted = model_error.on(model, window)
    given = (model, window, background, covariance, observations, parameters)
    problem = _problem(*given, fitted, digital_filter)
    with _fitting("model_error"):
        if fitted.bounds:
            _check_bounds(fitted, problem.control(jnp.zeros(problem.size())).state)
        _check_volume(problem)
        return problem if formulation == "forcing" else problem.as_states()


def _check_volume(problem: Problem) -> None:
    """Refuse to estimate a scale of a control that is too large."""
    if problem.control.has_volume and problem.size() > VOLUME_LIMIT:
        names = ", ".join(problem.control.scales)
        raise ValueError(
            f"model error: a scale ({names}) is estimated by forming the matrix of the whole "
            f"control, {problem.size()} entries, of which at most {VOLUME_LIMIT} may be; fix every "
            "scale, or let one model error serve more slots (every) or fewer fields"
        )


def _problem(
    model: AbstractDynamics,
    window: Window,
    background: Mapping[str, Array | AbstractPrior],
    covariance: StateCovariance | None,
    observations: Observations | Sequence[Observations],
    parameters: Mapping[str, AbstractPrior] | None,
    error: ModelError | None,
    digital_filter: DigitalFilter | None,
) -> Problem:
    labels = model.labels()
    instruments = (observations,) if isinstance(observations, Observations) else tuple(observations)
    _check_names("background", background, labels.state, "field", complete=True)
    _check_names("parameters", parameters or {}, model.parameters, "parameter")
    state, fields = _background(background, labels)
    fixed = {name: jnp.asarray(value, dtype=float) for name, value in model.parameters.items()}
    control = Control(
        state,
        _covariance(covariance, fields, labels),
        fields,
        dict(parameters or {}),
        fixed,
        _scales(instruments, error),
        {n: p for o in instruments if o.bias for n, p in o.bias.priors.items()},
        error,
        {},
        0 if error is None else error.number(window),
    )
    _check_instruments(instruments, labels, window)
    _check_unique(control, instruments)
    if control.size() == 0:
        raise ValueError(
            "nothing to estimate: give a background covariance, or a prior for a field or parameter"
        )
    check_model(model, control.state, control.fixed)
    check_span(model, window)
    fitted = None if digital_filter is None else _filter(digital_filter, labels, window)
    model = of_size(model, partial(_large, control))
    places = tuple(o.place(labels, window) for o in instruments)
    return Problem(model, window, control, instruments, None, fitted, located=places)


def _filter(digital_filter: DigitalFilter, labels: Labels, window: Window) -> DigitalFilter:
    with _fitting("digital_filter"):
        return digital_filter.on(labels, window)


def _large(control: Control) -> State:
    """Of every field the value a standard deviation from the background that is the larger."""
    variance, large = control.covariance.variance(), dict(control.state)
    for name, value in variance.items():
        large[name] = jnp.abs(large[name]) + jnp.sqrt(value)
    for name, prior in control.fields.items():
        sides = [prior(jnp.full(control.state[name].shape, w)) for w in (-1.0, 1.0)]
        large[name] = jnp.maximum(*map(jnp.abs, sides))
    return large


def _check_bounds(error: ModelError, background: State) -> None:
    """Refuse a background that is not where its model errors would keep it."""
    for name, limits in error.bounds.items():
        if not np.all(np.isfinite(limits.free(background[name]))):
            raise ValueError(
                f"model error: the background of {name!r} does not lie between its bounds, "
                f"{limits.lower:g} and {limits.upper:g}; give it a prior that does, as LogNormal, "
                "or other bounds"
            )


def _scales(
    instruments: tuple[Observations, ...], error: ModelError | None
) -> dict[str, AbstractPrior]:
    """Priors of the factors on errors that are estimated."""
    factors = [*(o.scale for o in instruments), None if error is None else error.scale]
    return {scale.name: scale.prior for scale in factors if scale}


def _check_names(
    what: str, given: Mapping, known: Mapping, kind: str, complete: bool = False
) -> None:
    for name in given:
        if name not in known:
            near = hint(name, known)
            raise ValueError(f"{what}: the model has no {kind} {name!r}; {near}")
    missing = [name for name in known if name not in given]
    if complete and missing:
        raise ValueError(f"{what}: {kind} {missing[0]!r} of the model is missing; give every one")


def _background(
    background: Mapping[str, Array | AbstractPrior], labels: Labels
) -> tuple[State, dict[str, AbstractPrior]]:
    """Background values of every field (0 where it has a prior), and those priors."""
    state, fields = {}, {}
    for name, given in background.items():
        shape = labels.shape(name)
        if isinstance(given, AbstractPrior):
            fields[name] = given
            state[name] = jnp.zeros(shape)
            continue
        state[name] = jnp.asarray(given, dtype=float)
        if state[name].shape != shape:
            raise ValueError(
                f"background: field {name!r} has shape {state[name].shape}, "
                f"the model's labels say {shape}"
            )
        if not np.all(np.isfinite(state[name])):
            raise ValueError(f"background: field {name!r} has values that are not finite")
    return state, fields


def _covariance(
    given: StateCovariance | None, fields: Mapping[str, AbstractPrior], labels: Labels
) -> AbstractStateCovariance:
    """B of the Gaussian fields, fitted to their shapes."""
    free = [name for name in labels.state if name not in fields]
    if isinstance(given, AbstractCovariance) and not free:
        raise ValueError(
            "covariance: all fields have priors of their own, so that none takes it; leave it out, "
            "or give a field as a value"
        )
    covariance = state_covariance({} if given is None else given, free)
    _check_names("covariance", dict.fromkeys(covariance.fields()), labels.state, "field")
    for name in covariance.fields():
        if name in fields:
            raise ValueError(f"covariance: field {name!r} already has a prior of its own")
    with _fitting("covariance"):
        return covariance.on(labels)


def _check_instruments(
    instruments: tuple[Observations, ...], labels: Labels, window: Window
) -> None:
    if not instruments:
        raise ValueError("observations: at least one instrument is needed")
    names = [o.name for o in instruments]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"observations: {names.count(name)} instruments are called {name!r}")
    for o in instruments:
        check_fit(o, labels, window)


def _check_unique(control: Control, instruments: tuple[Observations, ...]) -> None:
    """Names of what is estimated and of fields are keys of results: no two may be the same."""
    factors = [*(o.scale for o in instruments), control.amplitude_scale]
    shared = [("error scale", scale.name, scale.prior) for scale in factors if scale]
    shared += [("bias", n, p) for o in instruments if o.bias for n, p in o.bias.priors.items()]
    for kind, name, prior in shared:
        if name in control.state or name in control.fixed:
            raise ValueError(f"{kind} {name!r}: a field or parameter has this name; choose another")
        if name in control.scales and name in control.biases:
            raise ValueError(f"{kind} {name!r}: this is an error scale and a bias; rename one")
        first = next(p for k, n, p in shared if (k, n) == (kind, name))
        if not eqx.tree_equal(prior, first):
            raise ValueError(f"{kind} {name!r}: those that share it differ in its prior")
    check_free("problem", (*control.state, *control.fixed, *(name for _, name, _ in shared)))


def check_fit(o: Observations, labels: Labels, window: Window) -> None:
    """Raise ValueError unless one instrument's places and times are those of the problem.

    Checked: the field it reads, the positions it needs and that they lie on the grid, the number
    of times, their reference and that they lie in the window, and intervals that are not empty.
    """
    where, operator = f"observations {o.name!r}", type(o.operator).__name__
    try:
        dims = o.operator.dims(labels)
    except KeyError as error:
        near = hint(str(error.args[0]), labels.state)
        raise ValueError(f"{where}: the model has no field {error}; {near}") from None
    _check_times(o, where, window)
    for dim in dims:
        if dim not in o.points.coordinates:
            raise ValueError(f"{where}: {operator} needs the coordinate {dim!r} of every value")
        limits = reach({d: labels.coordinates[d] for d in dims}, dim)
        places = on_axis(labels.coordinates[dim], o.points.coordinates[dim])
        _check_positions(places, limits, f"{where}: {dim}", o)
    empty = ~(np.asarray(o.points.starts) < np.asarray(o.points.ends))
    if o.operator.needs_intervals() and empty.any():
        raise ValueError(f"{where}: {operator} needs intervals of time; use Points.over")


def _check_times(o: Observations, where: str, window: Window) -> None:
    reference = o.points.reference
    if reference is not None and reference != window.reference:
        raise ValueError(
            f"{where}: times count from {reference}, those of the window from {window.reference}; "
            "read the observations with this window"
        )
    edges = np.asarray(window.edges)
    slack = 1e-6 * float(edges[-1] - edges[0])
    for times in (o.points.times, o.points.starts, o.points.ends):
        if times.shape != o.values.shape:
            raise ValueError(
                f"{where}: {o.values.size} values need as many times, got {times.size}"
            )
        outside = (np.asarray(times) < edges[0] - slack) | (np.asarray(times) > edges[-1] + slack)
        if outside.any():
            raise ValueError(
                f"{where}: {outside.sum()} of {times.size} times lie outside the window, "
                f"{edges[0]:g} to {edges[-1]:g}; the first is {np.asarray(times)[outside][0]:g}"
            )


def _check_positions(
    positions: Array, limits: tuple[float, float] | None, where: str, o: Observations
) -> None:
    if positions.shape != o.values.shape:
        raise ValueError(f"{where}: {o.values.size} values need as many positions")
    here = np.asarray(positions)
    if not np.isfinite(here).all():
        raise ValueError(f"{where}: {(~np.isfinite(here)).sum()} positions are not finite")
    if limits is None:
        return
    lower, upper = limits
    slack = 1e-9 * max(1.0, abs(lower), abs(upper))
    outside = (here < lower - slack) | (here > upper + slack)
    if outside.any():
        raise ValueError(
            f"{where}: {outside.sum()} positions lie off the grid, {lower:g} to {upper:g}; "
            f"the first is {here[outside][0]:g}"
        )
