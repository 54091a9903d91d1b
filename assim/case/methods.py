"""The methods that answer a case: [minimiser] and [posterior]."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from assim.case.failure import CaseError, Fault
from assim.case.plugins import NONE, Plugin
from assim.files.errors import DataError

if TYPE_CHECKING:
    from assim.problem.arrays import Array
    from assim.problem.departure import Problem
    from assim.problem.prior import AbstractPrior
    from assim.solve.posterior.ensemble import AbstractPosterior

AUTO = "auto"  # of a posterior: what is needed
_NAME = r"[a-z][a-z0-9_]*"  # of a method in the names of its files


class MinimiserTable(Plugin):
    """The minimiser, what it starts from, and in how many stages the window is lengthened."""

    kind = "minimiser"
    file_keys = ("first_guess",)

    use: str = "GaussNewton"
    starts: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    first_guess: str | None = None
    stages: int = Field(default=1, ge=1)

    def first_guesses(self) -> int | None:
        """How many; None for as many as it takes."""
        return self.starts if isinstance(self.starts, int) else None

    def guess(self, problem: "Problem", start: str | float) -> "Array | None":
        """χ of the state and parameters at the start in the file that the case names, or None.

        Parameters that the file does not have start from their prior median, as error scales and
        bias coefficients do; model errors start from zero.
        """
        from assim.files.read.states import read_arrays, read_state
        from assim.files.sources import opened

        if self.first_guess is None:
            return None
        from assim.devices import program

        path, control = self.file_path(self.first_guess), problem.control
        state = read_state(path, problem.model, time=start)
        with opened(path) as dataset:
            present = [name for name in control.parameters if name in dataset.variables]
        parameters = read_arrays(path, problem.model.labels(), present)
        _check_within(path, {name: state[name] for name in control.fields}, control.fields)
        _check_within(path, parameters, control.parameters)
        with self.blamed("first_guess"):
            return program(problem.guess)(state, parameters)


def _check_within(
    path: Path, values: "Mapping[str, Array]", priors: "Mapping[str, AbstractPrior]"
) -> None:
    """Raise DataError where a prior excludes a value."""
    import numpy as np

    for name, value in values.items():
        inside = np.isfinite(np.asarray(priors[name].inverse(value)))
        if not inside.all():
            first = np.asarray(value)[~inside].ravel()[0]
            raise DataError(
                f"{path}: {name}: expected values that its prior, {type(priors[name]).__name__}, "
                f"allows, got {first:g}; start from another state, or widen the prior"
            )


class PosteriorTable(Plugin):
    """One way to quantify uncertainty; "none" for the minimum alone, "auto" for what is needed.

    Args:
        use: the method.
        name: in results and of files; the method's own where not given.
    """

    kind = "posterior"

    use: str = "Laplace"
    name: str | None = Field(default=None, pattern=f"^{_NAME}$")

    def made(self) -> "AbstractPosterior | str | None":
        """The method, "auto", or None for none."""
        if self.use in (AUTO, NONE):
            return AUTO if self.use == AUTO else None
        return super().made()

    def types(self) -> dict[str, Any]:
        """As every plug-in; "auto" and none take no arguments."""
        return {} if self.use in (AUTO, NONE) else super().types()

    def method(self) -> "AbstractPosterior | None":
        """The method; None for "auto", for none, and for one that cannot be made."""
        try:
            method = self.build()
        except CaseError:  # which `faults` reports
            return None
        return None if method == AUTO else method

    def called(self) -> str | None:
        """Name of the method in results; None where there is no method."""
        method = self.method()
        return None if method is None else self.name or method.name()

    def setting_faults(self) -> list[Fault]:
        """Settings of what takes none."""
        if self.use not in (AUTO, NONE):
            return []
        keys = [*(["name"] if self.name is not None else []), *(self.model_extra or ())]
        what = f"no such key: {self.use!r} takes no settings"
        return [Fault(self.at(key), what) for key in keys]


def _several(given: Any) -> Any:
    """A posterior as a list of tables: it may be a table, a name, or a list of both."""
    items = given if isinstance(given, list) else [given]
    return [{"use": item} if isinstance(item, str) else item for item in items]


Posteriors = Annotated[list[PosteriorTable], BeforeValidator(_several), Field(min_length=1)]


def posterior_faults(tables: Sequence[PosteriorTable]) -> list[Fault]:
    """What is wrong with the posteriors of a case, beyond the arguments of each."""
    faults = [
        Fault(table.at(), f"{table.use!r} stands alone, not in a list")
        for table in tables
        if len(tables) > 1 and table.use in (AUTO, NONE)
    ]
    for table in tables:
        faults += table.setting_faults()
    seen: dict[str, str] = {}
    for table in tables:
        name = table.called()
        if name is None:
            continue
        if re.fullmatch(_NAME, name) is None:
            what = f"its name, {name!r}, cannot be part of a file name"
            faults.append(Fault(table.at(), f"{what}; give it a name of small letters"))
        if name in seen:
            what = f"{seen[name]} is called {name!r} too; give one of them another name"
            faults.append(Fault(table.at(), what))
        seen.setdefault(name, table.at())
    return faults
