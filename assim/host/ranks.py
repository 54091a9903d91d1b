"""The processes of a parallel program: one of them analyses, the others step their parts with it.

XLA orders calls that need nothing of each other as it likes, and not alike in every process, so
that processes which each ran the engine would wait for one another inside the model's functions
for ever. Therefore process 0 alone has one. It tells the others, by the broadcast of the program,
what is about to be called, and all call it.
"""

import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from assim.host.errors import HostError

MOST = 2**30  # bytes that are broadcast at a time: MPI counts them in an int of C
Places = tuple[slice, ...]
Broadcast = Callable[[np.ndarray, int], None] | int  # of bytes in place, from a root; or address
_BROADCAST = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p
)


class Ranks:
    """The processes of a program that hold the engine together.

    Args:
        number: of this process, from 0, its rank.
        size: how many there are; 1 for a program that is alone.
        broadcast: called as broadcast(buffer, root) by all of them, gives every process the bytes
            that `root` has in its array of uint8, in place, at most 2³⁰ of them; or the address of
            a C function (see `assim_broadcast_function` in assim.h).
        context: address that a C function is handed.

    Raises:
        HostError: a number that is none of theirs, or no broadcast where there are several.
    """

    def __init__(
        self, number: int = 0, size: int = 1, broadcast: Broadcast | None = None, context: int = 0
    ) -> None:
        if not 0 <= number < size:
            raise HostError(f"rank {number}: must lie between 0 and {size - 1} of {size} processes")
        if size > 1 and not broadcast:
            raise HostError(f"{size} processes need a function `broadcast`, as by MPI_Bcast")
        self.number, self.size, self._broadcast, self._context = number, size, broadcast, context

    @property
    def follows(self) -> bool:
        """Whether another process analyses, and this one steps its part with it."""
        return self.number > 0

    def pass_on(self, values: np.ndarray, root: int = 0) -> None:
        """Give all processes the numbers of one, in place; the array is contiguous, in C's order.

        Raises:
            HostError: the broadcast returned a code other than 0.
        """
        if self.size == 1:
            return
        letters = values.reshape(-1).view(np.uint8)
        for begin in range(0, letters.size, MOST):
            self._broadcast_bytes(letters[begin : begin + MOST], root)

    def _broadcast_bytes(self, letters: np.ndarray, root: int) -> None:
        if callable(self._broadcast):
            self._broadcast(letters, root)
            return
        function = _BROADCAST(int(self._broadcast or 0))
        code = function(letters.ctypes.data, letters.nbytes, root, self._context)
        if code:
            raise HostError(f"the broadcast of the program returned {code}")

    def said(self, what: Any, root: int = 0) -> Any:
        """What one process says, known to all: anything that JSON has."""
        text = json.dumps(what).encode() if self.number == root else b""
        length = np.array([len(text)], np.int64)
        self.pass_on(length, root)
        letters = np.zeros(int(length[0]), np.uint8)
        letters[: len(text)] = np.frombuffer(text, np.uint8)
        self.pass_on(letters, root)
        return json.loads(letters.tobytes())

    def all_say(self, what: Any) -> list[Any]:
        """What every process says, in their order."""
        return [self.said(what, root) for root in range(self.size)]


def whole(
    ranks: Ranks,
    arrays: Mapping[str, np.ndarray],
    firsts: Mapping[str, Sequence[int]],
    functions: Sequence[str] = (),
) -> tuple[dict[str, np.ndarray], dict[str, Places]]:
    """Whole arrays from the parts that the processes hold, and the places of this one's parts.

    Args:
        ranks: the processes.
        arrays: those of this one.
        firsts: of those that are parts: the index of the first element in the whole.
        functions: of the model, that this process has registered.

    Returns:
        every array, whole, and by name of those in parts where this process's part lies.

    Raises:
        HostError: processes that registered different names, shapes or functions, parts that
            overlap or leave gaps; in all processes alike.
    """
    kinds = [f"{n} {'in parts' if n in firsts else a.shape}" for n, a in arrays.items()]
    every = ranks.all_say([*kinds, *functions])
    if other := [k for k, theirs in enumerate(every) if theirs != every[0]]:
        raise HostError(
            f"start: process 0 has registered {', '.join(every[0]) or 'nothing'}, process "
            f"{other[0]} {', '.join(every[other[0]]) or 'nothing'}; all register the same names in "
            "the same order, whole or in parts, and the same functions"
        )
    values, places = {}, {}
    for name, array in arrays.items():
        if name in firsts:
            values[name], places[name] = _joined(ranks, name, array, firsts[name])
        else:
            values[name] = np.array(array, float, order="C")
            ranks.pass_on(values[name])
    return values, places


def _joined(
    ranks: Ranks, name: str, array: np.ndarray, first: Sequence[int]
) -> tuple[np.ndarray, Places]:
    boxes = ranks.all_say([list(pair) for pair in zip(first, array.shape, strict=True)])
    parts = [tuple(slice(begin, begin + n) for begin, n in box) for box in boxes]
    if len({len(part) for part in parts}) > 1:
        raise HostError(f"{name}: its parts have different numbers of dimensions")
    shape = tuple(max(part[axis].stop for part in parts) for axis in range(array.ndim))
    held = np.zeros(shape, np.int32)
    for part in parts:
        held[part] += 1
    if not (held == 1).all():
        place = tuple(int(k) for k in np.argwhere(held != 1)[0])
        by = "no process" if held[place] == 0 else f"{held[place]} processes"
        raise HostError(
            f"{name}: element {place} of the whole, of shape {shape}, is held by {by}; register "
            "the part of each process without its halo, and where it begins"
        )
    values = np.zeros(shape)
    for root, part in enumerate(parts):
        own = np.array(array if root == ranks.number else values[part], float, order="C")
        ranks.pass_on(own, root)
        values[part] = own
    return values, parts[ranks.number]
