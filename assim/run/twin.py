"""Twin experiments: truth, background and observations from a case's own model and errors.

The truth is drawn from the background distribution about a spun-up state, parameters from their
priors; the background is that spun-up state, but for fields whose value or mean the case gives. The
observations are those of the truth, with errors drawn from their own likelihoods.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.schema import attributes, time_name, time_variable, write_dataset
from assim.files.states import state_dataset
from assim.problem.arrays import Array, Labels, Params, State, Trajectory
from assim.problem.covariance import AbstractCovariance, Diagonal
from assim.problem.model import AbstractDynamics, AbstractModel, ModelContractError, check_model
from assim.problem.window import Window, integrate
from assim.run.build import Setting, set_up
from assim.run.case import Case
from assim.run.failure import CaseError, Exit, Fault, NonFiniteError
from assim.run.finite import first_field
from assim.run.network import observe
from assim.run.prior import constant
from assim.run.schema import TwinTable
from assim.run.screen import Screen
from assim.run.slots import make_window

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
    table, named = case.checked.twin, case.checked.background.file
    if table is None:
        raise CaseError([Fault("twin", "the table is missing: a twin experiment needs one")])
    window = _window(setting)
    keys = jax.random.split(jax.random.key(table.seed), 4)
    background = _centred(setting, _spun_up(setting, table, keys[0]))
    truth, stdev = _drawn(setting, background, table, keys[1])
    parameters = _parameters(setting, keys[2])
    trajectory = jax.jit(lambda x, p: integrate(model, x, p, window))(truth, parameters)
    _check_finite(trajectory)
    labels, first = model.labels(), float(window.edges[0])
    files = {} if named is None else {
        named: state_dataset(labels, background, first, window.reference, stdev=stdev)
    }  # fmt: skip
    files[table.truth] = _truth_dataset(labels, trajectory, parameters, window)
    return files | observe(setting, table, trajectory, keys[3])


def _window(setting: Setting) -> Window:
    table = setting.case.checked.window
    if table.times == "observations":
        what = "a twin experiment makes its observations at the slot edges: give slots or times"
        raise CaseError([Fault("window.times", what)])
    return make_window(table, setting.model, setting.clock, ())


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
) -> tuple[State, State]:
    """The true state, drawn about the background, and the background's standard deviations."""
    truth, stdev = {}, {}
    for (name, value), k in zip(
        background.items(), jax.random.split(key, len(background)), strict=True
    ):
        prior = setting.parts.get(f"background.fields.{name}.prior")
        covariance = _covariance(setting, table, name)
        truth[name] = value
        if prior is not None:
            truth[name] = prior(jax.random.normal(k, value.shape))
        elif covariance is not None:
            fitted = covariance.on(value.shape)
            truth[name] = value + fitted.sqrt(jax.random.normal(k, (fitted.size(),)))
            stdev[name] = jnp.sqrt(fitted.variance())
    return truth, stdev


def _covariance(setting: Setting, table: TwinTable, name: str) -> AbstractCovariance | None:
    """The background-error covariance of a field; None where it is fixed."""
    field = setting.case.checked.background.fields.get(name)
    if field is not None and field.value is not None:
        return None
    if field is not None and field.stdev is not None:
        return Diagonal(jnp.asarray(field.stdev))
    for path in (f"background.fields.{name}.covariance", "background.covariance"):
        if path in setting.parts:
            return setting.parts[path]
    stdev = table.stdev.get(name) if isinstance(table.stdev, dict) else table.stdev
    if stdev is None and not (field is not None and field.prior is not None):
        raise CaseError([Fault("twin.stdev", f"this key is missing: the spread of {name!r} about "
                               "the background, as the case gives it no covariance")])  # fmt: skip
    return None if stdev is None else Diagonal(jnp.asarray(stdev))


def _parameters(setting: Setting, key: Array) -> Params:
    """Parameters drawn from their priors; the others as the model has them."""
    parameters = _fixed(setting.model)
    keys = jax.random.split(key, max(len(parameters), 1))
    for (name, value), k in zip(parameters.items(), keys, strict=False):
        prior = setting.parts.get(f"parameters.{name}.prior")
        if prior is not None:
            parameters[name] = prior(jax.random.normal(k, value.shape))
    return parameters


def _truth_dataset(
    labels: Labels, trajectory: Trajectory, parameters: Params, window: Window
) -> xr.Dataset:
    """The true trajectory in the layout of a state, with the true parameters."""
    edges, clock = np.asarray(window.edges), time_name(labels.time_unit)
    first = state_dataset(labels, trajectory.at_start(), float(edges[0]), window.reference)
    content: dict[str, Any] = {
        name: ((clock, *labels.state[name].dims), np.asarray(values), first[name].attrs)
        for name, values in trajectory.states.items()
    }
    for name, value in parameters.items():
        label = labels.parameters[name]
        if name not in first.variables and set(label.dims) <= set(first.dims):
            content[name] = (label.dims, np.asarray(value), attributes(name, label))
    stamps = time_variable(edges, labels.time_unit, window.reference, clock)
    return xr.Dataset(content, {**first.drop_vars(clock).coords, clock: stamps})


def _check_finite(trajectory: Trajectory) -> None:
    if (found := first_field(trajectory)) is not None:
        name, edge = found
        raise NonFiniteError(
            f"the model is not finite in the twin experiment: field {name!r} first at model "
            f"time {float(trajectory.times[edge]):g}; check twin.initial, the priors, and the "
            "model's step"
        )
