"""The functions of a simulation code outside JAX: what a model calls, and how it is called."""

import abc
import ctypes
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from assim.couple import trampoline
from assim.couple.errors import StoppedError
from assim.problem.arrays import Labels
from assim.problem.model import ModelContractError

STEP, TANGENT, ADJOINT = "step", "tangent", "adjoint"
OPERATIONS = (STEP, TANGENT, ADJOINT)
_LIST = ctypes.POINTER(ctypes.c_void_p)
_HEAD = (ctypes.c_int, _LIST, _LIST, ctypes.c_double)
SIGNATURES = {  # of a call from Python and of a call into Python alike
    STEP: ctypes.CFUNCTYPE(*_HEAD, _LIST, ctypes.c_void_p),
    TANGENT: ctypes.CFUNCTYPE(*_HEAD, _LIST, _LIST, _LIST, ctypes.c_void_p),
    ADJOINT: ctypes.CFUNCTYPE(*_HEAD, _LIST, _LIST, _LIST, ctypes.c_void_p),
}
STEP_ALONE = (  # what a step allows by itself
    "the minimiser FourDEnVar with the posteriors Laplace, ESMDA and Importance, forecasts, twins, "
    "the ensemble schemes of a cycle (ETKF, LETKF, IEnKS)"
)
_MISSING = {
    STEP: "it has no step",
    TANGENT: (
        "this needs the tangent of the step, which the model does not bring: give `tangent`, or "
        'tangent = "differences" for differences of steps; without one, LBFGS and Adam go by the '
        "adjoint alone, and FourDEnVar with Laplace, ESMDA or Importance by the step alone"
    ),
    ADJOINT: (
        "this needs the adjoint of the step, which the model does not bring: give `adjoint`; "
        f"without one there are {STEP_ALONE}, and "
        'up to 16 controls GaussNewton with Laplace(hessian = "gauss_newton")'
    ),
}


class AbstractCode(abc.ABC):
    """What the primitives ask of a step outside JAX.

    Two are equal only if they are the same object, so that it can be a constant of a compiled
    program.

    Args:
        name: of the model, to begin messages with.
        labels: of its fields and parameters, in the order in which they are handed over.
        by_differences: whether differences of steps stand for the tangent.
    """

    missing: ClassVar[Mapping[str, str]] = _MISSING  # what to do without an operation
    files: tuple[Path, ...] = ()  # that decide what is computed
    number: int | None = None  # in the trampoline's table; None where it is called back from XLA

    def __init__(self, name: str, labels: Labels, by_differences: bool = False) -> None:
        self.name, self.labels, self.by_differences = name, labels, by_differences
        self.fields, self.parameters = tuple(labels.state), tuple(labels.parameters)

    @abc.abstractmethod
    def has(self, operation: str) -> bool:
        """Whether the code brings this operation."""

    @abc.abstractmethod
    def of_members(
        self, operation: str, members: int, shared: Sequence[bool], given: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """The operation of every member; of one without a leading dimension where it is 0."""

    def require(self, operation: str) -> None:
        """Raise ModelContractError where the code does not bring this operation."""
        if not self.has(operation):
            raise ModelContractError(f"{self.name}: {self.missing[operation]}")

    def shapes(self, operation: str) -> list[tuple[int, ...]]:
        """Shapes of what an operation returns: fields, of the adjoint with parameters."""
        names = self.fields + (self.parameters if operation == ADJOINT else ())
        return [self.labels.shape(name) for name in names]


class Code(AbstractCode):
    """A step with what there is of its tangent and adjoint, as addresses of C functions.

    In a compiled program it stands by its number in the trampoline's table.

    Args:
        name: of the model, to begin messages with.
        labels: of its fields and parameters, in the order in which the functions have them.
        functions: addresses by operation; those that there are not are left out.
        context: address that every function is handed on.
        parallel: whether several threads may be in the functions at once.
        by_differences: whether differences of steps stand for the tangent.
        keep: what must live as long as the addresses are called.
        files: that decide what the functions compute, compiled libraries first of all.
    """

    def __init__(
        self,
        name: str,
        labels: Labels,
        functions: Mapping[str, int],
        context: int = 0,
        parallel: bool = False,
        by_differences: bool = False,
        keep: Any = None,
        files: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        super().__init__(name, labels, by_differences)
        self.keep = keep
        self.files = tuple(dict.fromkeys(_existing(name, file) for file in files))
        self.functions, self.context, self.parallel = dict(functions), context, parallel
        self.stopped: BaseException | None = None
        self._alone, self._failures, self._code = threading.Lock(), 0, 0
        step, tangent, adjoint = (self.functions.get(operation, 0) for operation in OPERATIONS)
        self.number = trampoline.add(name, step, tangent, adjoint, context, parallel)
        self._before = self._counted()[0]
        self._before_call: Callable[[str, list[np.ndarray]], None] | None = None

    def has(self, operation: str) -> bool:
        """Whether the code brings this operation."""
        return operation in self.functions

    def failures(self) -> tuple[int, int]:
        """Calls that returned a code above 0 since the model was made, and the last code."""
        calls, code = self._counted()
        own = calls - self._before
        return own + self._failures, code if own else self._code

    def _counted(self) -> tuple[int, int]:
        """Calls that failed in the trampoline, of this model made before, too."""
        return (0, 0) if self.number is None else trampoline.failures(self.number)

    def announce(self, before: Callable[[str, list[np.ndarray]], None]) -> None:
        """Tell of every call, with its arguments, before it is made: all are made from Python."""
        self._before_call, self.number = before, None

    def stop(self, why: BaseException) -> None:
        """Keep why the functions are about to return a code below 0."""
        self.stopped = why
        if self.number is not None:
            trampoline.explain(self.number, f"{type(why).__name__}: {why}")

    def call(
        self, operation: str, given: Sequence[np.ndarray], before: float = 0.0
    ) -> list[np.ndarray]:
        """The operation of one member, called from Python.

        Args:
            operation: "step", "tangent" or "adjoint".
            given: fields, parameters, time and what the operation adds, in its order.
            before: what stands in the results before they are written.

        Returns:
            fields; of the adjoint, parameters follow; all NaN where the code failed.

        Raises:
            StoppedError: it returned a code below 0.
        """
        fields, parameters = len(self.fields), len(self.parameters)
        arrays = [np.asarray(value, dtype=float, order="C") for value in given]
        if self._before_call is not None:
            self._before_call(operation, arrays)
        x, theta, t = arrays[:fields], arrays[fields:][:parameters], arrays[fields + parameters]
        rest = arrays[fields + parameters + 1 :]
        like = x + theta if operation == ADJOINT else x
        out = [np.full_like(value, before) for value in like]
        groups = {
            STEP: [out],
            TANGENT: [rest[:fields], rest[fields:], out],
            ADJOINT: [rest, out[:fields], out[fields:]],
        }[operation]
        function = SIGNATURES[operation](self.functions[operation])
        lists = [_addresses(group) for group in (x, theta, *groups)]
        head, tail = (lists[0], lists[1], float(t)), (*lists[2:], self.context)
        if self.parallel:
            code = function(*head, *tail)
        else:
            with self._alone:
                code = function(*head, *tail)
        return self._settled(operation, code, out)

    def _settled(self, operation: str, code: int, out: list[np.ndarray]) -> list[np.ndarray]:
        if code < 0:
            why = f"{type(self.stopped).__name__}: {self.stopped}" if self.stopped else ""
            raise StoppedError(f"{self.name}: {why or f'the {operation} returned {code}'}")
        if code > 0:
            self._failures, self._code = self._failures + 1, code
            for value in out:
                value.fill(np.nan)
        return out

    def shaped(self, operation: str, numbers: np.ndarray) -> list[np.ndarray]:
        """Arguments of an operation that came as one array, in the shapes that functions have."""
        z = [*self.fields, *self.parameters]
        then = {STEP: [], TANGENT: z, ADJOINT: [*self.fields]}[operation]
        shapes = [*map(self.labels.shape, z), (), *map(self.labels.shape, then)]
        ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        parts = zip(np.split(numbers, ends), shapes, strict=True)
        return [part.reshape(shape) for part, shape in parts]

    def of_members(
        self, operation: str, members: int, shared: Sequence[bool], given: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """The operation of every member, one after another; of one without a leading dimension.

        Args:
            operation: "step", "tangent" or "adjoint".
            members: how many, 0 for one that has no dimension for it.
            shared: by argument, whether all members share it.
            given: arguments, those that are not shared with a leading dimension.
        """
        if members == 0:
            return self.call(operation, given)
        several = [
            self.call(operation, [g if s else g[k] for g, s in zip(given, shared, strict=True)])
            for k in range(members)
        ]
        return [np.stack(values) for values in zip(*several, strict=True)]


def _existing(name: str, file: str | os.PathLike[str]) -> Path:
    """A file that is there, wherever the program may be later on; a link stays one."""
    path = Path(os.path.abspath(file))
    if not path.is_file():
        raise ValueError(f"{name}: files: there is no file {path}")
    return path


def _addresses(arrays: Sequence[np.ndarray]) -> Any:
    """A list of pointers, as C has it."""
    return (ctypes.c_void_p * max(len(arrays), 1))(*(array.ctypes.data for array in arrays))
