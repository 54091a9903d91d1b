"""The model of a case, [model], and its parameters, [parameters]."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assim.arguments import nearest
from assim.case.failure import Fault, Trouble
from assim.case.names import load
from assim.case.plugins import Plugin, PriorTable, Table, construct

if TYPE_CHECKING:
    from assim.problem.arrays import Labels
    from assim.problem.forcing import Forcing
    from assim.problem.model import AbstractDynamics

_SERIES_KEYS = ("file", "variable", "interpolation", "time", "select")


class ModelTable(Plugin):
    """The model; an argument that is a time series is given by a file and a variable."""

    kind = "model"

    def series(self) -> dict[str, dict[str, Any]]:
        """The tables of its time series, by the argument that each is."""
        extra = self.model_extra or {}
        return {name: value for name, value in extra.items() if _is_series(value)}

    def files(self) -> list[str]:
        """Those of its time series."""
        return [table["file"] for table in self.series().values()]

    def made(self) -> "AbstractDynamics":
        """The model, whose time series stand as blanks until its unit of time is known."""
        forcing, types, given = (
            load("assim.problem.forcing:Forcing"),
            self.types(),
            self.model_extra,
        )
        blanks, faults = {}, []
        for name, value in (given or {}).items():
            here, expected = self.at(name), types.get(name) is forcing
            if _is_series(value):
                blanks[name] = forcing.constant(0.0)
                faults += _series_faults(value, here)
                if name in types and not expected:
                    faults.append(Fault(here, "takes no time series, and so no `file`"))
            elif expected and not isinstance(value, forcing):
                what = f'must be a time series, {{ file = "...", variable = "..." }}, got {value!r}'
                faults.append(Fault(here, what))
        return self._constructed(blanks, tuple(faults))

    def driven(self, reference: str | None) -> "AbstractDynamics":
        """The model with its time series, as files hold them, since the date of model time zero.

        Its labels, which say the units of the series and of time, come from a model with blanks.
        """
        model, tables = self.build(), self.series()
        if not tables:
            return model
        labels = model.labels()
        if unsaid := [name for name in tables if name not in labels.inputs]:
            what = f"labels().inputs of the model must give the units of {unsaid[0]!r}"
            raise self.fault(unsaid[0], what)
        for name in tables:
            if lost := [dim for dim in labels.inputs[name].dims if dim not in labels.coordinates]:
                what = f"labels().coordinates of the model must have its dimension {lost[0]!r}"
                raise self.fault(name, what)
        trouble = Trouble()
        series = {
            name: trouble.attempt(self._read, name, table, labels, reference)
            for name, table in tables.items()
        }
        trouble.report()
        return self._constructed(series)

    def _read(
        self, name: str, table: Mapping[str, Any], labels: "Labels", reference: str | None
    ) -> "Forcing":
        from assim.files.read.forcings import read_forcing

        dims = labels.inputs[name].dims
        return read_forcing(
            self.file_path(table["file"]),
            table["variable"],
            labels.time_unit,
            reference,
            labels.inputs[name].units,
            table.get("interpolation", "linear"),
            clock=table.get("time"),
            select=table.get("select"),
            axes={dim: labels.coordinates[dim] for dim in dims},
        )

    def remarks(self, time_unit: str) -> list[str]:
        """Series that are read as linear between times, unasked, though values have intervals."""
        from assim.files.read.forcings import intervals_of

        remarks = []
        for name, table in self.series().items():
            if "interpolation" in table:
                continue
            path, given = self.file_path(table["file"]), {"clock": table.get("time")}
            select = table.get("select")
            bounds = intervals_of(path, table["variable"], time_unit, select=select, **given)
            if bounds is not None:
                remarks.append(
                    f"{self.at(name)}: read as linear between its times, though {bounds} gives "
                    f'each value of {table["file"]} an interval: say interpolation = "steps" '
                    'where values hold over these, as means do, or "linear"'
                )
        return remarks

    def _constructed(
        self, series: Mapping[str, Any], known_faults: tuple[Fault, ...] = ()
    ) -> "AbstractDynamics":
        given = {"use": self.use, **(self.model_extra or {}), **series}
        path, folder = self.at(), self._folder
        offered = {"case_folder": str(folder), **self._offered}
        model = construct(self.kind, given, path, folder, offered, known_faults)
        if not isinstance(model, load("assim.problem.model:AbstractDynamics")):
            kind = type(model).__name__
            raise self.fault("use", f"{self.use} must return a model, it returned {kind}")
        dynamics: AbstractDynamics = model
        return dynamics


def _is_series(value: Any) -> bool:
    """Whether an argument is a time series in a file, as a `Forcing` is given in a case."""
    return isinstance(value, dict) and "file" in value and "use" not in value


def _series_faults(table: Mapping[str, Any], path: str) -> list[Fault]:
    """What is wrong with the table of a time series."""
    faults = []
    for key, value in table.items():
        if key not in _SERIES_KEYS:
            what = f"no such key; {nearest(key, _SERIES_KEYS)}"
        elif key == "select" and not isinstance(value, dict):
            what = f"must be a table, as {{ realization = 0 }}, got {value!r}"
        elif key != "select" and not isinstance(value, str):
            what = f"must be a text, got {value!r}"
        elif key == "interpolation" and value not in ("linear", "steps"):
            what = f'must be "linear" or "steps", got {value!r}'
        else:
            continue
        faults.append(Fault(f"{path}.{key}", what))
    if "variable" not in table:
        faults.append(Fault(f"{path}.variable", "this key is missing"))
    return faults


class ParameterTable(Table):
    """A parameter: estimated with a prior, or fixed at a value."""

    either = ("prior", "value")

    prior: PriorTable | None = None
    value: float | list[Any] | None = None


def with_values(
    model: "AbstractDynamics", tables: Mapping[str, ParameterTable]
) -> "AbstractDynamics":
    """The model with the parameter values that the case fixes."""
    import equinox as eqx
    import jax.numpy as jnp

    values = {
        name: table.array("value", table.value, jnp.shape(model.parameters[name]))
        for name, table in tables.items()
        if table.value is not None
    }
    if not values:
        return model
    return eqx.tree_at(lambda m: m.parameters, model, {**model.parameters, **values})
