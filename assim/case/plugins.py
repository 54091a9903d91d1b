"""Tables of a case, and among them plug-ins: `use = "name"` plus constructor arguments."""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic.fields import FieldInfo

from assim.arguments import nearest
from assim.case.failure import CaseError, Fault, too_large
from assim.case.names import UnknownNameError, load, resolve, said
from assim.case.signature import admits, classes, hints, is_size, words
from assim.files.errors import DataError

if TYPE_CHECKING:
    from assim.problem.arrays import Array
    from assim.problem.covariance import AbstractCovariance, AbstractStateCovariance
    from assim.problem.model import AbstractDynamics

Units = Mapping[str, str] | None  # by field, where they are not its own
NONE = "none"  # of a posterior or a covariance: there is none
# Arguments that are themselves plug-ins, or lists of them.
_NESTED = {
    "integrator": "integrator",
    "prior": "prior",
    "covariance": "covariance",
    "parts": "covariance",
    "factors": "covariance",
    "terms": "covariance",
    "operator": "operator",
    "likelihood": "likelihood",
    "localisation": "covariance",
}


class Table(BaseModel):
    """A table whose keys are all known, and which knows where in which case it stands."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file_keys: ClassVar[tuple[str, ...]] = ()  # of its keys, those that name data files
    either: ClassVar[tuple[str, ...]] = ()  # of its keys, those of which just one is given

    _path: str = PrivateAttr("")
    _folder: Path = PrivateAttr(Path())

    @classmethod
    def loose(cls, given: Mapping[str, Any]) -> Self:
        """The table without any check; values that are of no use where tables belong are left out.

        So plug-ins can be looked at whatever else is wrong with a case.
        """
        values = dict(given)
        for key, field in cls.model_fields.items():
            if key in values:
                value = _loosely(field, values.pop(key))
                values |= {} if value is None else {key: value}
        return cls.model_construct(**values)

    @model_validator(mode="after")
    def _just_one(self) -> Self:
        if self.either and sum(getattr(self, key) not in (None, {}) for key in self.either) != 1:
            raise ValueError(f"give either {' or '.join(self.either)}")
        return self

    def locate(self, path: str, folder: Path) -> Self:
        """Tell the table, and those in it, its dotted path in the case and the case's folder."""
        self._path, self._folder = path, folder
        for key, member in self.members():
            member.locate(self.at(key), folder)
        return self

    def members(self) -> Iterator[tuple[str, "Table"]]:
        """The tables in it, each with its path from here."""
        for name in type(self).model_fields:
            value = self.__dict__.get(name)
            several: Any = {"": value}
            if isinstance(value, dict):
                several = {f".{key}": item for key, item in value.items()}
            elif isinstance(value, list):
                several = {f".{number}": item for number, item in enumerate(value)}
            for key, item in several.items():
                if isinstance(item, Table):
                    yield f"{name}{key}", item

    def faults(self) -> list[Fault]:
        """What is wrong with the plug-ins in it, which are made."""
        return [fault for _, member in self.members() for fault in member.faults()]

    def files(self) -> list[str]:
        """The data files that it and the tables in it name."""
        own = [getattr(self, key) for key in self.file_keys]
        others = [file for _, member in self.members() for file in member.files()]
        return [file for file in own if file is not None] + others

    def at(self, key: str = "") -> str:
        """Dotted path of a key, or of the table itself."""
        return ".".join(part for part in (self._path, key) if part)

    def fault(self, key: str, what: str) -> CaseError:
        """The error that something is wrong with a key, or with the table itself."""
        return CaseError([Fault(self.at(key), what)])

    @contextmanager
    def blamed(self, key: str = "") -> Iterator[None]:
        """Blame a key, or the table itself, for a ValueError that says nothing of the case."""
        try:
            yield
        except (CaseError, DataError):
            raise
        except ValueError as error:
            raise self.fault(key, str(error)) from error

    def file_path(self, file: str) -> Path:
        """A file that the table names."""
        return self._folder / file

    def array(self, key: str, value: Any, shape: tuple[int, ...]) -> "Array":
        """A number or list under a key as an array of this shape."""
        import jax.numpy as jnp

        try:
            return jnp.broadcast_to(jnp.asarray(value, dtype=float), shape)
        except (ValueError, TypeError):
            what = f"must be a number, or a list of shape {shape}" if shape else "must be a number"
            raise self.fault(key, f"{what}, got {value!r}") from None


def _loosely(field: FieldInfo, given: Any) -> Any:
    """The value of a field without any check; None for one that should hold tables and does not."""
    for rule in field.metadata:
        if isinstance(rule, BeforeValidator):
            given = rule.func(given)  # type: ignore[call-arg]
    kind = inner(field.annotation)
    if not (isinstance(kind, type) and issubclass(kind, Table)):
        return given
    holder = typing.get_origin(member(field.annotation)) or dict
    if not isinstance(given, holder):
        return None
    if holder is list:
        return [kind.loose(item) if isinstance(item, dict) else item for item in given]
    if kind is member(field.annotation):
        return kind.loose(given)
    return {
        key: kind.loose(item) if isinstance(item, dict) else item for key, item in given.items()
    }


def member(annotation: Any) -> Any:
    """A type without the choice of None."""
    options = typing.get_args(annotation)
    return options[0] if type(None) in options else annotation


def inner(annotation: Any) -> Any:
    """The type of what a list or dictionary holds, or of a table itself."""
    kind = member(annotation)
    return typing.get_args(kind)[-1] if typing.get_origin(kind) in (list, dict) else kind


class Plugin(Table):
    """A plug-in: `use` and the constructor's arguments."""

    model_config = ConfigDict(extra="allow", strict=True)
    kind: ClassVar[str] = "plug-in"
    needs_more: ClassVar[bool] = False  # than its table, so that its faults are told later

    use: str

    _offered: dict[str, Any] = PrivateAttr(default_factory=dict)
    _built: tuple[Any, ...] = PrivateAttr(())

    @classmethod
    def named(cls, use: str, path: str, folder: Path) -> Self:
        """The plug-in of a name, without arguments."""
        return cls.loose({"use": use}).locate(path, folder)

    def offer(self, **arguments: Any) -> None:
        """Arguments given where the constructor takes them and the table does not."""
        self._offered |= arguments

    def types(self) -> dict[str, Any]:
        """Types of the arguments that it takes, where they are annotated."""
        return hints(named_by(self.kind, self.use, self.at(), self._folder))

    def counts(self) -> dict[str, int]:
        """Its arguments that are declared to be sizes, by their dotted paths."""
        given, types = self.model_extra or {}, self.types()
        return {
            self.at(key): value
            for key, value in given.items()
            if isinstance(value, int) and is_size(types.get(key))
        }

    def build(self) -> Any:
        """The object that the table describes, which is made once."""
        if not self._built:
            self._built = (self.made(),)
        return self._built[0]

    def made(self) -> Any:
        """The object, made anew."""
        given = {"use": self.use, **(self.model_extra or {})}
        return construct(self.kind, given, self.at(), self._folder, self._offered)

    def faults(self) -> list[Fault]:
        """Why it cannot be made; nothing where it has no `use`, which the table's kind tells."""
        if self.needs_more or "use" not in self.__dict__:
            return []
        try:
            self.build()
        except CaseError as error:
            return list(error.faults)
        return []


class PriorTable(Plugin):
    """A prior."""

    kind = "prior"


class OperatorTable(Plugin):
    """What an instrument, or a predictor of its bias, reads of the trajectory."""

    kind = "operator"


class LikelihoodTable(Plugin):
    """How observed values scatter about predictions."""

    kind = "likelihood"


class CovarianceTable(Plugin):
    """A covariance, or "none"."""

    kind = "covariance"

    def made(self) -> "AbstractCovariance | AbstractStateCovariance | None":
        """The covariance, or None for none."""
        return None if self.use == NONE else super().made()


class StateCovarianceTable(CovarianceTable):
    """A covariance of fields: a plug-in, or a file that holds it."""

    file_keys = ("file",)

    use: str | None = None  # type: ignore[assignment]
    file: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.use is None) == (self.file is None):
            raise ValueError('give either use = "..." or file = "..."')
        if self.file is not None and self.model_extra:
            extra = next(iter(self.model_extra))
            raise ValueError(f"a covariance from a file takes no argument, got {extra!r}")
        return self

    def made(self) -> "AbstractCovariance | AbstractStateCovariance | None":
        """The covariance of a plug-in; None for none, and for one from a file."""
        return None if self.use is None else super().made()

    def of_field(self, model: "AbstractDynamics", name: str, units: Units = None) -> Any:
        """The covariance of one field, by plug-in or from the file, in these units or its own."""
        from assim.files.read.covariances import read_covariance

        if self.file is None:
            return self.build()
        return read_covariance(self.file_path(self.file), model, [name], units=units)[name]


class SpreadTable(Table):
    """An error of one field, by its standard deviation or its covariance."""

    stdev: float | None = Field(default=None, gt=0)
    covariance: StateCovarianceTable | None = None

    def spread(
        self, model: "AbstractDynamics", name: str, units: Units = None
    ) -> "AbstractCovariance | None":
        """The covariance of a field that the table gives, by stdev, plug-in or file; else None."""
        import jax.numpy as jnp

        from assim.problem.covariance import Diagonal

        if self.stdev is not None:
            return Diagonal(jnp.asarray(self.stdev))
        return None if self.covariance is None else self.covariance.of_field(model, name, units)


def construct(
    kind: str,
    given: Mapping[str, Any],
    path: str,
    folder: Path,
    offered: Mapping[str, Any] | None = None,
    known_faults: tuple[Fault, ...] = (),
    expected: tuple[type, ...] = (),
) -> Any:
    """The object that a table with `use` describes, with the plug-ins among its arguments.

    Args:
        kind: "model", "prior", "covariance", "operator", ...
        given: `use` and the constructor's arguments.
        path: dotted path of the table in the case.
        folder: that files are relative to.
        offered: arguments given where the constructor takes them and the table does not.
        known_faults: what is wrong with the arguments already.
        expected: classes that it may be of, where it is of no kind that has a name.
    """
    arguments: dict[str, Any] = {key: value for key, value in given.items() if key != "use"}
    owner = named_by(kind, given.get("use"), path, folder, expected)
    if kind == "operator" and inspect.isfunction(owner):
        arguments = {"function": owner, **arguments}
        owner = load("assim.problem.operator:Function")
    for name, value in (offered or {}).items():
        if name in inspect.signature(owner).parameters:
            arguments.setdefault(name, value)
    faults = [*known_faults, *_argument_faults(owner, arguments, path)]
    types = hints(owner)
    for name, value in arguments.items():
        try:
            arguments[name] = _nested(name, value, f"{path}.{name}", folder, types.get(name))
        except CaseError as error:
            faults += error.faults
    if faults:
        raise CaseError(faults)
    return _called(owner, arguments, path)


def named_by(kind: str, use: Any, path: str, folder: Path, expected: tuple[type, ...] = ()) -> Any:
    """The class or function that a table names."""
    try:
        return resolve(kind, use, folder, expected)
    except UnknownNameError as error:
        raise CaseError([Fault(f"{path}.use", str(error))]) from error.__cause__


def _called(owner: Callable, arguments: dict[str, Any], path: str) -> Any:
    try:
        return owner(**arguments)
    except (Exception, SystemExit) as error:
        name = getattr(owner, "__name__", str(owner))
        what = str(error) if isinstance(error, ValueError) else f"{name} failed: {said(error)}"
        raise CaseError([Fault(path, what)]) from error


def _nested(name: str, value: Any, path: str, folder: Path, hint: Any) -> Any:
    """An argument of this type with the tables that have `use` replaced by what they describe."""
    if isinstance(value, dict) and "use" in value:
        kind = _NESTED.get(name)
        if kind is None and ":" not in str(value["use"]):
            what = 'name a plug-in here in full, use = "module:Class"'
            raise CaseError([Fault(path, what)])
        return construct(kind or "plug-in", value, path, folder, expected=classes(hint))
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [_nested(name, item, f"{path}.{i}", folder, hint) for i, item in enumerate(value)]
    if isinstance(value, dict) and name in _NESTED:
        if name == _NESTED[name] and not all(isinstance(v, dict) for v in value.values()):
            raise CaseError([Fault(path, f'add use = "...", the name of the {name} that it is')])
        return {k: _nested(name, v, f"{path}.{k}", folder, hint) for k, v in value.items()}
    return value


def _argument_faults(owner: Callable, given: dict[str, Any], path: str) -> list[Fault]:
    """Unknown, missing and mistyped arguments."""
    parameters = inspect.signature(owner).parameters
    known = {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    free = len(known) < len(parameters)
    name_of_owner = getattr(owner, "__name__", str(owner))
    faults = [
        Fault(f"{path}.{name}", f"{name_of_owner} takes no such argument; {nearest(name, known)}")
        for name in given
        if name not in known and not free
    ]
    faults += [
        Fault(path, f"{name_of_owner} needs the argument {name!r}")
        for name, p in known.items()
        if name not in given and p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    ]
    types = hints(owner)
    counts = {
        f"{path}.{name}": abs(value)
        for name, value in given.items()
        if is_size(types.get(name)) and isinstance(value, int)
    }
    faults += too_large(counts)
    return faults + [
        Fault(f"{path}.{name}", f"must be {words(types[name])}, got {value!r}")
        for name, value in given.items()
        if name in types and not admits(types[name], value)
    ]
