"""A model compiled from C, C++ or Fortran, as a model of the engine."""

import ctypes
import os
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from assim.couple.code import ADJOINT, STEP, TANGENT, Code
from assim.couple.foreign import DIFFERENCES, AbstractForeignModel
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
        library: path of a shared library; None where all symbols are addresses.
        labels: dimensions, units and long names of fields and parameters, in the code's order.
        dt: time step, in the labels' unit of time.
        parameters: defaults; whatever is estimated overrides them by name.
        step: the symbol of the step, or its address.
        tangent: that of its tangent linear; None for none, "differences" for differences of steps.
        adjoint: that of its adjoint; None for none.
        context: address that is handed to every call, 0 for null.
        thread_safe: whether members may be run in parallel, in threads of one process.

    Raises:
        ValueError: a library that cannot be loaded, a symbol that it lacks, or labels and
            parameters that do not go together.
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
    ) -> None:
        if not dt > 0:
            raise ValueError(f"CModel: dt must be positive, got {dt}")
        loaded = None if library is None else _loaded(library)
        differences = tangent == DIFFERENCES
        symbols = {STEP: step, TANGENT: None if differences else tangent, ADJOINT: adjoint}
        functions = {
            operation: _address(loaded, library, operation, symbol)
            for operation, symbol in symbols.items()
            if symbol is not None
        }
        name = "CModel" if library is None else f"CModel({os.fspath(library)})"
        self.code = Code(name, labels, functions, context, thread_safe, differences, loaded)
        self.dt = dt
        self.parameters = {n: jnp.asarray(v, float) for n, v in (parameters or {}).items()}


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
    if not address or (holder and not os.path.samefile(holder, loaded._name)):
        elsewhere = f", {holder} has it: name that library, or another symbol" if holder else ""
        raise ValueError(
            f"CModel: {os.fspath(library)} has no symbol {symbol!r} for the {operation}"
            f"{elsewhere}; `nm -D` lists those that it has: C++ exports under the name of C with "
            'extern "C", Fortran with bind(C, name = "...")'
        )
    return address


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
