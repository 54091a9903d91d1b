"""`assim init`: a commented case to start from, for a twin experiment with a model."""

import inspect
import os
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from assim.case.failure import Exit
from assim.case.model import ModelTable
from assim.case.names import names, resolve, words
from assim.case.toml import inline, quoted
from assim.files.errors import DataError
from assim.files.netcdf import write_bytes
from assim.files.times import NON_PHYSICAL
from assim.problem.arrays import Labels
from assim.problem.forcing import Forcing
from assim.problem.model import AbstractDynamics

_INITIAL, _SPREAD = 1.0, 0.1
_EDGES = "# observations are made at their edges"
_PLACEHOLDERS = {int: 10, float: _INITIAL, str: "name", bool: False}
_ENDS = {  # ten units after the start
    NON_PHYSICAL: "1.0",
    "seconds": '"2000-01-01T00:00:10"',
    "minutes": '"2000-01-01T00:10:00"',
    "hours": '"2000-01-01T10:00:00"',
    "days": '"2000-01-11"',
    "weeks": '"2000-03-11"',
    "years": '"2010-01-01"',
}
_TEMPLATE = """\
# A twin experiment with {name}: adapt it, then
#     assim twin  {file}      makes truth.nc, background.nc and observations.nc
#     assim check {file}      checks files, units and derivatives
#     assim run   {file}      assimilates, and writes out/<this folder>/report.html
# With data of your own, replace the files and drop the table [twin].
title = "Twin experiment with {name}"

[model]
use = {use}  # constructor arguments go here, by name
{arguments}
[window]
start = {start}
{slots}

# The background: a state with its standard deviations, or a prior for each field.
[background]
file = "background.nc"

{fields}
# Parameters to estimate; those without a table keep the model's own value.
# Other priors: {priors}.
{parameters}
# One table for each instrument.
{observations}
[minimiser]
use = "GaussNewton"     # or {minimisers}

[posterior]
use = "Laplace"         # or {posteriors}

# Windows in sequence: remove these marks, and the one above is the first of ten.
# [cycle]
# windows = 10
# method = {{ use = "FourDVar" }}

# How `assim twin` makes the files.
[twin]
seed = 0
spin_up = {spin_up}     # in the model's own unit of time
initial = {initial}
every = 1               # observations at every n-th slot edge
stride = 1              # and at every n-th grid point

[runtime]
device = "cpu"          # or "gpu"
precision = "float64"   # or "float32"
seed = 0
"""


def write_template(use: str, out: Path | None, say: Callable[[str], None]) -> Exit:
    """Write a case for the model that `use` names, to a file, or say it where there is none."""
    text = template(use, Path("case.toml") if out is None else out)
    if out is None:
        say(text.rstrip("\n"))
        return Exit.DONE
    if os.path.lexists(out):
        raise DataError(f"{out}: exists; choose another name, or remove it first")
    write_bytes(text.encode(), out)
    say(f"Wrote {out}")
    return Exit.DONE


def template(use: str, out: Path) -> str:
    """Text of a case for the model that `use` names."""
    needed = _needed(use)
    model = ModelTable.loose({"use": use, **needed}).locate("model", Path()).build()
    labels, physical = model.labels(), model.labels().time_unit != NON_PHYSICAL
    return _TEMPLATE.format(
        name=use.rpartition(":")[2],
        file=out,
        use=quoted(_from(use, out)),
        arguments="".join(_argument(*pair, labels) for pair in needed.items()),
        start='"2000-01-01"' if physical else "0.0",
        slots=_slots(model),
        fields="".join(_field(name, labels) for name in labels.state),
        priors=", ".join(names("prior")),
        parameters="".join(_parameter(model, name) for name in labels.parameters),
        observations="".join(_observation(name) for name in labels.state),
        minimisers=_others("minimiser", "GaussNewton"),
        posteriors=_others("posterior", "Laplace"),
        spin_up="10.0" if any(label.dims for label in labels.state.values()) else "0.0",
        initial="{ " + ", ".join(f"{name} = {_INITIAL}" for name in labels.state) + " }",
    )


def _needed(use: str) -> dict[str, Any]:
    """Something for every argument that a model must be given: of a series, where it is read."""
    types = ModelTable.named(use, "model", Path()).types()
    parameters = inspect.signature(resolve("model", use, Path())).parameters
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [n for n, p in parameters.items() if p.default is p.empty and p.kind not in starred]
    return {name: _placeholder(name, types.get(name)) for name in required}


def _placeholder(name: str, hint: Any) -> Any:
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    if kind is Forcing:
        return {"file": f"{name}.nc", "variable": name}
    if name == "integrator":
        return {"use": "Adaptive"}
    return _PLACEHOLDERS.get(kind, _INITIAL)


def _argument(name: str, value: Any, labels: Labels) -> str:
    """A line of [model], and what is to stand there."""
    if not isinstance(value, dict):
        return f"{name} = {inline(value)}  # must be given: put your own here\n"
    if "file" not in value:
        return f"{name} = {inline(value)}\n"
    label = labels.inputs.get(name)
    about = "its unit in labels().inputs" if label is None else f"in {label.units}"
    named = "" if label is None or not label.long_name else f"{label.long_name}, "
    steps = 'interpolation = "steps" where each value holds over an interval'
    return f"# {named}{about}; {steps}\n{name} = {inline(value)}\n"


def _others(kind: str, chosen: str) -> str:
    """What else `use` may name in the table of this kind."""
    return ", ".join(quoted(name) for name in (*names(kind), *words(kind)) if name != chosen)


def _from(use: str, out: Path) -> str:
    """A model file as seen from the folder of the case."""
    file, colon, name = use.rpartition(":")
    if not file.endswith(".py"):
        return use
    return f"{os.path.relpath(file, out.parent)}{colon}{name}"


def _slots(model: AbstractDynamics) -> str:
    if model.time_step() is not None:
        return f"slots = 10              {_EDGES}\nsteps = 1               # model steps a slot"
    end = _ENDS[model.labels().time_unit]
    return f"end = {end}\nslots = 10              {_EDGES}"


def _field(name: str, labels: Labels) -> str:
    label = labels.state[name]
    about = f"# {label.long_name or name}, in {label.units}\n"
    return f"{about}[background.fields.{name}]\nstdev = {_SPREAD}\n\n"


def _parameter(model: AbstractDynamics, name: str) -> str:
    label, value = model.labels().parameters[name], model.parameters[name]
    if np.ndim(value):
        return f"# {name} is an array: its prior takes lists.\n\n"
    number = float(value)
    stdev = float(f"{_SPREAD * abs(number):.3g}") or _SPREAD
    about = f"# {label.long_name or name}, in {label.units}\n"
    prior = f'{{ use = "Normal", mean = {number!r}, stdev = {stdev!r} }}'
    return f"{about}[parameters.{name}]\nprior = {prior}\n\n"


def _observation(name: str) -> str:
    return (
        f'[[observations]]\nfile = "observations.nc"\nvariable = "{name}"\n'
        f"error = {{ stdev = {_SPREAD} }}\n\n"
    )
