"""Twin experiments: truth, background and observations from a case's own model and errors.

The truth is drawn from the background distribution about a spun-up state, parameters from their
priors, model errors from their own distribution; the background is that spun-up state, but for
fields whose value or mean the case gives. The observations are those of the truth, with errors
drawn from their own likelihoods.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.case.background import constant, covariance_of
from assim.case.case import Case
from assim.case.cycle_table import TwinTable
from assim.case.failure import CaseError, Exit, Fault, NonFiniteError
from assim.case.model_error import make_model_error
from assim.case.pose import set_up
from assim.case.setting import Setting
from assim.case.slots import make_window, whole
from assim.files.errors import DataError
from assim.files.netcdf import write_dataset
from assim.files.read.states import state_dataset
from assim.files.write.fields import field_series, with_scalars
from assim.problem.arrays import Array, Grid, Labels, Params, State, Trajectory
from assim.problem.covariance import (
    AbstractCovariance,
    AbstractStateCovariance,
    Diagonal,
    Independent,
)
from assim.problem.forcing import check_span
from assim.problem.model import AbstractDynamics, AbstractModel, ModelContractError, check_model
from assim.problem.model_error import sequential_states
from assim.problem.window import Window, integrate
from assim.run.finite import first_field
from assim.run.terminal.screen import Screen
from assim.run.twin.observations import in_files, observe

_NOISE = 1e-2  # breaks the symmetry of a constant initial field; lost in the spin-up


def make_twin(case: Case, screen: Screen, force: bool = False) -> Exit:
    """Write the background, truth and observations that the case names.

    Args:
        case: a case with a table [twin].
        screen: where the files are listed.
        force: whether files that exist are overwritten.

    Raises:
        CaseError: errors of the case, or of its table [twin].
        DataError: files that exist, or cannot be written.
        NonFiniteError: the true trajectory is not finite.
    """
    try:
        setting = set_up(case)
        content = twin(setting)
    except CaseError as error:
        raise CaseError(error.faults, str(case.path)) from error.__cause__
    paths = {case.input_path(name): dataset for name, dataset in content.items()}
    standing = [str(path) for path in paths if path.exists()]
    if standing and not force:
        raise DataError(f"{', '.join(standing)}: would be overwritten; give --force to allow it")
    for path, dataset in paths.items():
        title = f"{case.checked.title or case.name}: twin experiment"
        write_dataset(dataset, path, title=title, config=case.text())
    screen.written(case.folder, list(paths))
    return Exit.DONE


def twin(setting: Setting) -> dict[str, xr.Dataset]:
    """The files of a twin experiment, by the names that the case has for them.

    Raises:
        CaseError: the case has no table [twin], or one that does not fit.
        NonFiniteError: the true trajectory is not finite.
    """
    case, model = setting.case, setting.model
    table, named = twin_table(setting), case.checked.background.file
    window = twin_window(setting)
    drawn = draw(setting, window)
    stdev = {name: jnp.sqrt(value) for name, value in drawn.covariance.variance().items()}
    labels, first = model.labels(), float(window.edges[0])
    files = {} if named is None else {
        named: state_dataset(labels, drawn.background, first, window.reference, stdev=stdev)
    }  # fmt: skip
    files[table.truth] = _truth_dataset(labels, drawn.trajectory, drawn.parameters, window)
    observed = observe(setting, table, drawn.trajectory, drawn.key)
    if case.checked.cycle is not None:
        observed = in_files(observed, setting, np.asarray(window.edges))
    return files | observed


class Drawn(NamedTuple):
    """A twin experiment before its observations.

    Args:
        background: the state about which the truth was drawn.
        covariance: of the truth about it.
        trajectory: the truth.
        parameters: its parameters.
        key: of the observation errors.
    """

    background: State
    covariance: AbstractStateCovariance
    trajectory: Trajectory
    parameters: Params
    key: Array


def draw(setting: Setting, window: Window) -> Drawn:
    """The background and the truth of a twin experiment over a window.

    Raises:
        CaseError: a table [twin] that is missing, or does not fit.
        NonFiniteError: the true trajectory is not finite.
    """
    table = twin_table(setting)
    keys = jax.random.split(jax.random.key(table.seed), 4)
    background = _centred(setting, _spun_up(setting, table, keys[0]))
    truth, covariance = _drawn(setting, background, table, keys[1])
    parameters = _parameters(setting, keys[2])
    for_errors = jax.random.fold_in(keys[1], 1)
    trajectory = _true_trajectory(setting, window, truth, parameters, for_errors)
    _check_finite(trajectory)
    return Drawn(background, covariance, trajectory, parameters, keys[3])


def background_of(setting: Setting, drawn: Drawn) -> tuple:
    """Values or priors of all fields, and the covariance of the first."""
    priors = {
        name: setting.parts.get(f"background.fields.{name}.prior") for name in drawn.background
    }
    fields: dict = {
        name: value if priors[name] is None else priors[name]
        for name, value in drawn.background.items()
    }
    return fields, drawn.covariance


def twin_table(setting: Setting) -> TwinTable:
    """The table [twin].

    Raises:
        CaseError: there is none.
    """
    table = setting.case.checked.twin
    if table is None:
        raise CaseError([Fault("twin", "the table is missing: a twin experiment needs one")])
    return table


def twin_window(setting: Setting) -> Window:
    """The window that the truth spans: the case's, or that of its whole cycle.

    Raises:
        CaseError: slots that are not known without observations, or inputs that do not span them.
    """
    table = setting.case.checked.window
    if table.times == "observations":
        what = "a twin experiment makes its observations at the slot edges: give slots or times"
        raise CaseError([Fault("window.times", what)])
    window = make_window(table, setting.model, setting.clock, ())
    if setting.case.checked.cycle is not None:
        window = whole(setting.case.checked, window)
    try:
        check_span(setting.model, window)
    except ValueError as error:
        raise CaseError([Fault("window", str(error))]) from error
    return window


def _spun_up(setting: Setting, table: TwinTable, key: Array) -> State:
    """The state that the model reaches from `initial` in the spin-up time."""
    model, labels = setting.model, setting.model.labels()
    state = {}
    for name, k in zip(labels.state, jax.random.split(key, len(labels.state)), strict=True):
        shape = labels.shape(name)
        noise = _NOISE * jax.random.normal(k, shape) if shape else jnp.zeros(())
        state[name] = constant(_initial(setting, name), shape, f"twin.initial.{name}") + noise
    try:
        check_model(model, state, dict(model.parameters))
        if table.spin_up == 0:
            return state
        window = _spin_up_window(model, setting.clock.start, table.spin_up)
        check_span(model, window)
    except ModelContractError as error:
        raise CaseError([Fault("model", str(error))]) from error
    except ValueError as error:
        raise CaseError([Fault("twin.spin_up", str(error))]) from error
    trajectory = jax.jit(lambda x: integrate(model, x, _fixed(model), window))(state)
    _check_finite(trajectory)
    return trajectory.at_end()


def _centred(setting: Setting, state: State) -> State:
    """The state with the fields whose value or mean the case gives as the case gives them."""
    centred = dict(state)
    for name, field in setting.case.checked.background.fields.items():
        value, key = (field.value, "value") if field.mean is None else (field.mean, "mean")
        if value is not None:
            path = f"background.fields.{name}.{key}"
            centred[name] = constant(value, state[name].shape, path)
    return centred


def _spin_up_window(model: AbstractDynamics, start: float, length: float) -> Window:
    """One slot that ends where the window starts."""
    if isinstance(model, AbstractModel):
        steps = max(1, round(length / model.dt))
        return Window.regular(model, 1, steps, start - steps * model.dt)
    return Window.at(model, [start - length, start])


def _initial(setting: Setting, name: str) -> Any:
    """Value of a field before the spin-up: the twin table's, or the middle of its background."""
    case, prior = setting.case.checked, setting.parts.get(f"background.fields.{name}.prior")
    assert case.twin is not None
    if name in case.twin.initial:
        return case.twin.initial[name]
    field = case.background.fields.get(name)
    if prior is not None:
        return float(prior(jnp.zeros(())))
    given = None if field is None else (field.value if field.mean is None else field.mean)
    if given is None:
        raise CaseError([Fault(f"twin.initial.{name}", "this key is missing: the value from which "
                               "the model is spun up")])  # fmt: skip
    return given


def _fixed(model: AbstractDynamics) -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in model.parameters.items()}


def _drawn(
    setting: Setting, background: State, table: TwinTable, key: Array
) -> tuple[State, AbstractStateCovariance]:
    """The true state, drawn about the background, and the covariance of the Gaussian fields."""
    truth = dict(background)
    keys = jax.random.split(key, len(background))
    for (name, value), k in zip(background.items(), keys, strict=True):
        prior = setting.parts.get(f"background.fields.{name}.prior")
        if prior is not None:
            truth[name] = prior(jax.random.normal(k, value.shape))
    joint = setting.parts.get("background.covariance")
    if not isinstance(joint, AbstractStateCovariance):
        own = {name: _covariance(setting, table, name) for name in background}
        joint = Independent({name: part for name, part in own.items() if part is not None})
    fitted = joint.on(setting.model.labels())
    for name, part in fitted.sqrt(_white(fitted.sizes(), key)).items():
        truth[name] = background[name] + part
    return truth, fitted


def _white(sizes: Mapping[str, int | tuple[int, ...]], key: Array) -> dict[str, Array]:
    """White noise of these sizes, by name."""
    keys = jax.random.split(key, max(len(sizes), 1))
    return {
        name: jax.random.normal(k, size if isinstance(size, tuple) else (size,))
        for (name, size), k in zip(sizes.items(), keys, strict=False)
    }


def _true_trajectory(
    setting: Setting, window: Window, x0: State, theta: Params, key: Array
) -> Trajectory:
    """The truth, with model errors drawn as the case has them."""
    model, case = setting.model, setting.case
    error = make_model_error(case, model, setting.parts)
    assert case.checked.twin is not None
    if error is None or not case.checked.twin.model_error:
        return jax.jit(lambda x, p: integrate(model, x, p, window))(x0, theta)
    try:
        fitted = error.on(model, window)
    except ValueError as problem:
        raise CaseError([Fault("model_error", str(problem))]) from problem
    blank = fitted.blank(window.slots // fitted.every)
    amplitude = jnp.ones(()) if fitted.scale is None else fitted.scale.prior(jnp.zeros(()))
    series = fitted.sqrt(_white({name: value.shape for name, value in blank.items()}, key))
    eta = {name: amplitude * value for name, value in series.items()}
    follow = jax.jit(lambda x, p, e: sequential_states(model, x, p, window, fitted, e))
    return Trajectory(window.edges, follow(x0, theta, eta), theta, Grid.of(model.labels()))


def _covariance(setting: Setting, table: TwinTable, name: str) -> AbstractCovariance | None:
    """The background-error covariance of a field; None where it is fixed."""
    field = setting.case.checked.background.fields.get(name)
    if field is not None and field.value is not None:
        return None
    given = (setting.case, setting.model)
    background = setting.case.checked.background
    if field is not None and (field.stdev is not None or field.covariance is not None):
        return covariance_of(*given, field, f"background.fields.{name}", setting.parts, name)
    if background.covariance is not None:
        return covariance_of(*given, background, "background", setting.parts, name)
    stdev = table.stdev.get(name) if isinstance(table.stdev, dict) else table.stdev
    if stdev is None and not (field is not None and field.prior is not None):
        raise CaseError([Fault("twin.stdev", f"this key is missing: the spread of {name!r} about "
                               "the background, as the case gives it no covariance")])  # fmt: skip
    return None if stdev is None else Diagonal(jnp.asarray(stdev))


def _parameters(setting: Setting, key: Array) -> Params:
    """Those that the twin table gives; others drawn from their priors, or as the model has them."""
    parameters = _fixed(setting.model)
    keys = jax.random.split(key, max(len(parameters), 1))
    assert setting.case.checked.twin is not None
    true = setting.case.checked.twin.parameters
    for (name, value), k in zip(parameters.items(), keys, strict=False):
        if name in true:
            parameters[name] = constant(true[name], value.shape, f"twin.parameters.{name}")
            continue
        prior = setting.parts.get(f"parameters.{name}.prior")
        if prior is not None:
            parameters[name] = prior(jax.random.normal(k, value.shape))
    return parameters


def _truth_dataset(
    labels: Labels, trajectory: Trajectory, parameters: Params, window: Window
) -> xr.Dataset:
    """The true trajectory in the layout of a state, with the true parameters."""
    dataset = field_series(labels, window, {"": ("", trajectory.states)})
    known = {
        name: value
        for name, value in parameters.items()
        if set(labels.parameters[name].dims) <= set(dataset.dims)
    }
    return with_scalars(dataset, labels, known, {})


def _check_finite(trajectory: Trajectory) -> None:
    if (found := first_field(trajectory)) is not None:
        name, edge = found
        raise NonFiniteError(
            f"the model is not finite in the twin experiment: field {name!r} first at model "
            f"time {float(trajectory.times[edge]):g}; check twin.initial, the priors, and the "
            "model's step"
        )
