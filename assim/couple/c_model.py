"""A model compiled from C, C++ or Fortran, as a model of the engine."""

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import equinox as eqx

from assim.couple.code import ADJOINT, STEP, TANGENT, Code
from assim.couple.foreign import DIFFERENCES, AbstractForeignModel, defaults
from assim.problem.arrays import Labels, Params

Symbol = str | int | None  # by name in the library, or by address


class CModel(AbstractForeignModel):
    """x(t + dt) = step(x(t), θ, t) by a compiled function, with its tangent and adjoint by others.

        int step   (const double *const *x, const double *const *theta, double t,
                    double *const *y, void *context);
        int tangent(..., double t, const double *const *dx, const double *const *dtheta,
                    double *const *dy, void *context);
        int adjoint(..., double t, const double *const *by,
                    double *const *bx, double *const *btheta, void *context);

    Every argument but t and `context` is a list of pointers, one to each field, or parameter, in
    the order of `labels`; arrays are whole and row-major. Results are written, not added to, and
    never share memory with arguments. The value returned is 0 for success; above 0 the state is
    taken to be NaN, as of a model that blew up; below 0 the whole program stops.

    Args:
        library: path of a shared library, or a name by which the system finds one; None where all
            symbols are addresses.
        labels: dimensions, units and long names of fields and parameters, in the code's order.
        dt: time step, in the labels' unit of time.
        parameters: defaults; whatever is estimated overrides them by name.
        step: the symbol of the step, or its address.
        tangent: that of its tangent linear; None for none, "differences" for differences of steps.
        adjoint: that of its adjoint; None for none.
        context: address that is handed to every call, 0 for null.
        thread_safe: whether members may be run in parallel, in threads of one process.
        files: what else decides what the functions compute, as libraries that theirs loads and
            tables that they read: with their own library, inputs of a case, whose change is seen.

    Raises:
        ValueError: a library that cannot be loaded, a symbol that it lacks, a file that is not
            there, or labels and parameters that do not go together.
    """

    code: Code = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    parameters: Params

    def __init__(
        self,
        library: str | os.PathLike[str] | None,
        labels: Labels,
        dt: float,
        parameters: Params | None = None,
        *,
        step: Symbol,
        tangent: Symbol = None,
        adjoint: Symbol = None,
        context: int = 0,
        thread_safe: bool = False,
        files: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        if not dt > 0:
            raise ValueError(f"CModel: dt must be positive, got {dt}")
        self.parameters = defaults("CModel", labels, parameters)
        loaded = None if library is None else _loaded(library)
        differences = tangent == DIFFERENCES
        symbols = {STEP: step, TANGENT: None if differences else tangent, ADJOINT: adjoint}
        functions = {
            operation: _address(loaded, library, operation, symbol)
            for operation, symbol in symbols.items()
            if symbol is not None
        }
        name = "CModel" if library is None else f"CModel({os.fspath(library)})"
        own = [*filter(None, map(_holder, functions.values())), *files]
        self.code = Code(name, labels, functions, context, thread_safe, differences, loaded, own)
        self.dt = dt


def _loaded(library: str | os.PathLike[str]) -> ctypes.CDLL:
    path = os.fspath(library)
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        here = f" (from {os.getcwd()})" if not os.path.isabs(path) else ""
        raise ValueError(f"CModel: the library {path!r} cannot be loaded{here}: {error}") from error


def _address(loaded: ctypes.CDLL | None, library: Any, operation: str, symbol: Symbol) -> int:
    """Where a function lies."""
    if isinstance(symbol, int):
        if symbol == 0:
            raise ValueError(f"CModel: the address of the {operation} is 0: a null pointer")
        return symbol
    if loaded is None:
        raise ValueError(f"CModel: {operation} = {symbol!r} is a symbol, and no library is given")
    function = getattr(loaded, str(symbol), None)
    address = (ctypes.cast(function, ctypes.c_void_p).value or 0) if function else 0
    holder = _holder(address) if address else ""
    file = _file(loaded)
    if not address or (holder and file and not os.path.samefile(holder, file)):
        elsewhere = f", {holder} has it: name that library, or another symbol" if holder else ""
        raise ValueError(
            f"CModel: {os.fspath(library)} has no symbol {symbol!r} for the {operation}"
            f"{elsewhere}; `nm -D` lists those that it has: C++ exports under the name of C with "
            'extern "C", Fortran with bind(C, name = "...")'
        )
    return address


class _LinkMap(ctypes.Structure):
    """The beginning of `link_map`."""

    _fields_ = (("address", ctypes.c_void_p), ("name", ctypes.c_char_p))


_RTLD_DI_LINKMAP = 2  # what dlinfo is asked for


def _file(loaded: ctypes.CDLL) -> str:
    """The file of a library, which the system may have found by its name; "" if unknown."""
    dlinfo, found = getattr(ctypes.CDLL(None), "dlinfo", None), ctypes.POINTER(_LinkMap)()
    name = os.fspath(loaded._name)
    handle = ctypes.c_void_p(loaded._handle)
    if dlinfo is not None and dlinfo(handle, _RTLD_DI_LINKMAP, ctypes.byref(found)) == 0:
        name = os.fsdecode(found.contents.name or b"")
    return name if os.path.isfile(name) else ""


class _Info(ctypes.Structure):
    """`Dl_info` of dladdr."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _holder(address: int) -> str:
    """The file of the library in which an address lies: libc has a `step`, too; "" if unknown."""
    dladdr = getattr(ctypes.CDLL(None), "dladdr", None)
    info = _Info()
    if dladdr is None or not dladdr(ctypes.c_void_p(address), ctypes.byref(info)):
        return ""
    file = os.fsdecode(info.file or b"")
    return file if os.path.isfile(file) else ""
