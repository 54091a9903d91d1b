"""Twin experiments: truth, background and observations from a case's own model and errors.

The truth is drawn from the background distribution about a spun-up state, parameters from their
priors, model errors from their own distribution; the background is that spun-up state, but for
fields whose value or mean the case gives. The observations are those of the truth, with biases
drawn from their priors and errors from their own likelihoods and covariances.
"""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.case.background import Background
from assim.case.case import Case
from assim.case.failure import NonFiniteError, naming
from assim.case.setting import Setting, set_up
from assim.files.errors import DataError
from assim.files.netcdf import write_dataset
from assim.files.record import alone, known_as, move
from assim.files.write.encode import field_series, state_dataset, with_scalars
from assim.problem.arrays import Array, Grid, Params, State, Trajectory
from assim.problem.covariance import (
    AbstractCovariance,
    AbstractStateCovariance,
    Diagonal,
    Independent,
)
from assim.problem.forcing import check_span
from assim.problem.in_units import of_size
from assim.problem.model import AbstractDynamics, check_model
from assim.problem.model_error import sequential_states
from assim.problem.window import Window, integrate
from assim.run.finite import first_field
from assim.run.twin.observations import check_keys, draw_coefficients, in_files, observe

_NOISE = 1e-2  # breaks the symmetry of a constant initial field; lost in the spin-up


def make_twin(case: Case, force: bool = False) -> list[Path]:
    """Write the background, truth and observations of a case, over files only by force."""
    with naming(case.path):
        setting = set_up(case)
        _check_apart(case)
        content = _twin(setting)
    paths = {case.input_path(name): dataset for name, dataset in content.items()}
    standing = [str(path) for path in paths if os.path.lexists(path)]
    if standing and not force:
        raise DataError(f"{', '.join(standing)}: would be overwritten; give --force to allow it")
    with alone(case.folder):
        _write_together(case, paths)
    return list(paths)


def _check_apart(case: Case) -> None:
    """Refuse files to make that are one another, or what the case reads to make them."""
    tables, files = case.checked, case.checked.files()
    made = {"twin.truth": tables.experiment().truth}
    if tables.background.file is not None:
        made["background.file"] = tables.background.file
    made |= {f"observations.{n}.file": t.file for n, t in enumerate(tables.observations)}
    others = Counter(files) - Counter(made.values())
    read = {case.path, *case.code().values(), *(case.input_path(name) for name in others)}
    keys: dict[Path, str] = {path.resolve(): "the case reads" for path in read}
    for key, name in made.items():
        path = case.input_path(name).resolve()
        before = keys.setdefault(path, f"{key} names")
        shared = all(part.startswith("observations.") for part in (key, before))
        if before != f"{key} names" and not shared:
            what = f"would be made anew, and is what {before} too; give it a file of its own"
            raise case.fault(key, f"{name} {what}")


def _write_together(case: Case, content: Mapping[Path, xr.Dataset]) -> None:
    """Write files, and give them their names once all of them are whole."""
    temporary = {path: path.with_name(f".{path.name}.part") for path in content}
    try:
        for path, dataset in content.items():
            title = f"{case.title}: twin experiment"
            with known_as(path):
                write_dataset(dataset, temporary[path], title=title, config=case.text())
        for path, part in temporary.items():
            move(part, path)
    finally:
        for part in temporary.values():
            for left in (part, *part.parent.glob(f".{part.name}.*.part")):
                left.unlink(missing_ok=True)


def _twin(setting: Setting) -> dict[str, xr.Dataset]:
    """The files of a twin experiment, by the names that the case has for them."""
    tables, labels, truth_file = setting.tables, setting.labels, setting.tables.experiment().truth
    window = twin_window(setting)
    drawn = draw(setting, window)
    files, file = {}, tables.background.file
    if file is not None:
        stdev = {name: jnp.sqrt(value) for name, value in drawn.covariance.variance().items()}
        given = (labels, drawn.background, float(window.edges[0]), window.reference)
        files[file] = state_dataset(*given, stdev=stdev)
    truth = field_series(labels, window, {"": ("", drawn.trajectory.states)})
    dims = {name: set(labels.parameters[name].dims) for name in drawn.parameters}
    known = {n: v for n, v in drawn.parameters.items() if dims[n] <= set(truth.dims)}
    scalars = {**known, **drawn.coefficients, **_scales(setting)}
    files[truth_file] = with_scalars(truth, labels, scalars, {})
    observed = drawn.observed()
    if tables.cycle is not None:
        observed = in_files(observed, setting, np.asarray(window.edges))
    return files | observed


def _scales(setting: Setting) -> dict[str, Array]:
    """Factors on the errors that are drawn, by name: medians of the priors of what is estimated."""
    scales = [table.error.build() for table in setting.tables.observations]
    error = setting.model_error() if setting.tables.experiment().model_error else None
    scales.append(None if error is None else error.scale)
    return {scale.name: scale.prior(jnp.zeros(())) for scale in scales if scale is not None}


class Twin(NamedTuple):
    """A truth drawn about a background with a covariance, and the key of observation errors."""

    setting: Setting
    background: State
    covariance: AbstractStateCovariance
    trajectory: Trajectory
    seen: Trajectory  # the same as instruments see it
    parameters: Params
    coefficients: Mapping[str, Array]  # of bias corrections
    key: Array

    def fields(self) -> Background:
        """Values or priors of all fields, and the covariance of the first."""
        given = self.setting.tables.background.fields
        priors = {n: t.prior.build() for n, t in given.items() if t.prior is not None}
        return {**self.background, **priors}, self.covariance

    def observed(self) -> dict[str, xr.Dataset]:
        """The observations of the truth, by the case's names of their files."""
        return observe(self.setting, self.seen, self.coefficients, self.key)


def draw(setting: Setting, window: Window) -> Twin:
    """The background and the truth of a twin experiment over a window."""
    check_keys(setting.tables.observations)
    keys = jax.random.split(jax.random.key(setting.tables.experiment().seed), 4)
    background = _centred(setting, _spun_up(setting, keys[0]))
    truth, covariance = _drawn(setting, background, keys[1])
    parameters = _parameters(setting, keys[2])
    for_errors = jax.random.fold_in(keys[1], 1)
    trajectory, seen = _true_trajectory(setting, window, truth, parameters, for_errors)
    _check_finite(trajectory, setting.model)
    biases = draw_coefficients(setting.tables.observations, keys[3])
    return Twin(setting, background, covariance, trajectory, seen, parameters, biases, keys[3])


def twin_window(setting: Setting) -> Window:
    """The window that the truth spans: the case's, or that of its whole cycle."""
    tables = setting.tables
    if tables.window.times == "observations":
        what = "a twin experiment makes its observations at the slot edges: give slots or times"
        raise tables.window.fault("times", what)
    window = setting.window()
    if tables.cycle is not None:
        window = tables.whole(window)
    with tables.window.blamed():
        check_span(setting.model, window)
    return window


def _spun_up(setting: Setting, key: Array) -> State:
    """The state that the model reaches from `initial` in the spin-up time."""
    model, labels, table = setting.model, setting.labels, setting.tables.experiment()
    state = {}
    for name, k in zip(labels.state, jax.random.split(key, len(labels.state)), strict=True):
        shape = labels.shape(name)
        noise = _NOISE * jax.random.normal(k, shape) if shape else jnp.zeros(())
        state[name] = table.array(f"initial.{name}", _initial(setting, name), shape) + noise
    with setting.tables.blamed("model"):
        check_model(model, state, dict(model.parameters))
    if table.spin_up == 0:
        return state
    with table.blamed("spin_up"):
        window = _spin_up_window(model, setting.clock.start, table.spin_up)
        check_span(model, window)
    trajectory = jax.jit(lambda x: integrate(model, x, _fixed(model), window))(state)
    _check_finite(trajectory, model)
    return trajectory.at_end()


def _centred(setting: Setting, state: State) -> State:
    """The state with the fields whose value or mean the case gives as the case gives them."""
    given = setting.tables.background.fields
    centres = {name: table.centre(state[name].shape) for name, table in given.items()}
    return {**state, **{name: value for name, value in centres.items() if value is not None}}


def _spin_up_window(model: AbstractDynamics, start: float, length: float) -> Window:
    """One slot that ends where the window starts."""
    if (dt := model.time_step()) is not None:
        steps = max(1, round(length / dt))
        return Window.regular(model, 1, steps, start - steps * dt)
    return Window.at(model, [start - length, start])


def _initial(setting: Setting, name: str) -> Any:
    """Value of a field before the spin-up: the twin table's, or the middle of its background."""
    table = setting.tables.experiment()
    if name in table.initial:
        return table.initial[name]
    field = setting.tables.background.field(name)
    if field.prior is not None:
        return float(field.prior.build()(jnp.zeros(())))
    if field.number() is None:
        what = "this key is missing: the value from which the model is spun up"
        raise table.fault(f"initial.{name}", what)
    return field.number()


def _fixed(model: AbstractDynamics) -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in model.parameters.items()}


def _drawn(
    setting: Setting, background: State, key: Array
) -> tuple[State, AbstractStateCovariance]:
    """The true state, drawn about the background, and the covariance of the Gaussian fields."""
    truth, given = dict(background), setting.tables.background
    keys = jax.random.split(key, len(background))
    for (name, value), k in zip(background.items(), keys, strict=True):
        if (prior := given.field(name).prior) is not None:
            truth[name] = prior.build()(jax.random.normal(k, value.shape))
    joint = given.joint()
    if joint is None:
        own = {name: _covariance(setting, name) for name in background}
        joint = Independent({name: part for name, part in own.items() if part is not None})
    fitted = joint.on(setting.labels)
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
) -> tuple[Trajectory, Trajectory]:
    """The truth, with model errors drawn as the case has them, and as instruments see it."""
    model, error = of_size(setting.model, lambda: x0), setting.model_error()
    if error is None or not setting.tables.experiment().model_error:
        exact = jax.jit(lambda x, p: integrate(model, x, p, window))(x0, theta)
        return exact, exact
    with setting.tables.blamed("model_error"):
        fitted = error.on(model, window)
    blank = fitted.blank(fitted.number(window))
    amplitude = jnp.ones(()) if fitted.scale is None else fitted.scale.prior(jnp.zeros(()))
    series = fitted.sqrt(_white({name: value.shape for name, value in blank.items()}, key))
    eta = {name: amplitude * value for name, value in series.items()}
    follow = jax.jit(lambda x, p, e: sequential_states(model, x, p, window, fitted, e))
    states, grid = follow(x0, theta, eta), Grid.of(model.labels())
    several = (states, fitted.before(states, eta) if fitted.observed == "before" else states)
    after, seen = (Trajectory(window.edges, part, theta, grid) for part in several)
    return after, seen


def _covariance(setting: Setting, name: str) -> AbstractCovariance | None:
    """The background-error covariance of a field; None where it is fixed."""
    background, table = setting.tables.background, setting.tables.experiment()
    field = background.field(name)
    if field.value is not None:
        return None
    if background.says_spread(name):
        return background.own(setting.model, name)
    stdev = table.stdev.get(name) if isinstance(table.stdev, dict) else table.stdev
    if stdev is None and field.prior is None:
        what = (
            f"this key is missing: the spread of {name!r} about the background, as the case gives "
            "it no covariance"
        )
        raise table.fault("stdev", what)
    return None if stdev is None else Diagonal(jnp.asarray(stdev))


def _parameters(setting: Setting, key: Array) -> Params:
    """Those that the twin table gives; others drawn from their priors, or as the model has them."""
    parameters, table = _fixed(setting.model), setting.tables.experiment()
    priors = setting.tables.priors()
    keys = jax.random.split(key, max(len(parameters), 1))
    for (name, value), k in zip(parameters.items(), keys, strict=False):
        if name in table.parameters:
            true = table.parameters[name]
            parameters[name] = table.array(f"parameters.{name}", true, value.shape)
        elif name in priors:
            parameters[name] = priors[name](jax.random.normal(k, value.shape))
    return parameters


def _check_finite(trajectory: Trajectory, model: AbstractDynamics) -> None:
    if (first := first_field(trajectory)) is not None:
        name, edge = first
        said = model.may_end_early()
        raise NonFiniteError(
            f"the model is not finite in the twin experiment: field {name!r} first at model "
            f"time {float(trajectory.times[edge]):g}; check twin.initial, the priors, and the "
            f"model's {model.written}{f'. {said}' if said else ''}"
        )
