"""The arrays of a host: registered once, read and written in place."""

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assim.arguments import nearest
from assim.host.errors import HostError
from assim.host.ranks import Places, Ranks, whole

if TYPE_CHECKING:
    from assim.problem.arrays import Labels

_KINDS = {4: ctypes.c_float, 8: ctypes.c_double}  # by the bytes of a number


def at_address(
    name: str,
    address: int,
    size: int,
    extents: Sequence[int],
    strides: Sequence[int] | None = None,
) -> np.ndarray:
    """The array that begins at an address of the host, without a copy.

    Args:
        name: what it is called, for messages.
        address: of the first element.
        size: bytes of a number, 4 or 8.
        extents: along every dimension, the last of which varies fastest where no strides are given.
        strides: from one element to the next, in elements, along every dimension.

    Raises:
        HostError: a null pointer, a negative extent, or numbers of another size.
    """
    if not address:
        raise HostError(f"{name}: the pointer is null; give the address of the first element")
    if size not in _KINDS:
        raise HostError(f"{name}: numbers have 4 or 8 bytes, got {size}")
    if any(extent < 0 for extent in extents):
        raise HostError(f"{name}: extents must not be negative, got {tuple(extents)}")
    kind = _KINDS[size]
    first = np.ctypeslib.as_array((kind * 1).from_address(address))
    if strides is None:
        strides = [int(np.prod(extents[axis + 1 :])) for axis in range(len(extents))]
    steps = [stride * size for stride in strides]
    return np.lib.stride_tricks.as_strided(first, tuple(extents), tuple(steps))


def check_array(name: str, array: Any) -> np.ndarray:
    """The array, if values can be written into it.

    Raises:
        HostError: it is no array of float64 or float32, or read-only.
    """
    if not isinstance(array, np.ndarray):
        raise HostError(f"{name}: expected a NumPy array, got {type(array).__name__}")
    if array.dtype not in (np.float64, np.float32):
        raise HostError(f"{name}: expected float64 or float32, got {array.dtype}")
    if not array.flags.writeable:
        raise HostError(f"{name}: the array is read-only, and the analysis is written into it")
    return array


class Held:
    """The arrays that a host has registered: whole, or this process's parts of them.

    Args:
        ranks: the processes of the host.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.arrays: dict[str, np.ndarray] = {}
        self.functions: list[str] = []  # of the model, that are the host's
        self._firsts: dict[str, tuple[int, ...]] = {}
        self.shared: dict[str, np.ndarray] = {}  # whole arrays that all processes are handed
        self.written: list[str] = []  # those of them that stand in the registered arrays
        self._places: dict[str, Places] = {}  # of parts in the whole

    def add(self, name: str, array: Any, first: Sequence[int] | None) -> None:
        """Hold an array; `first` is the index of its first element in the whole.

        Raises:
            HostError: no such array, one held already, or no such index.
        """
        if name in self.arrays:
            raise HostError(f"{name}: is registered already; register every array once")
        array = check_array(name, array)
        if first is not None:
            if len(first) != array.ndim or any(place < 0 for place in first):
                raise HostError(
                    f"{name}: `first` is the index of the array's first element in the whole, of "
                    f"{array.ndim} numbers from 0, got {tuple(first)}"
                )
            self._firsts[name] = tuple(map(int, first))
        self.arrays[name] = array

    def gather(self) -> dict[str, np.ndarray]:
        """Copies of the arrays, whole.

        Raises:
            HostError: what processes have registered does not go together.
        """
        arrays, self._places = whole(self.ranks, self.arrays, self._firsts, self.functions)
        return arrays

    def places(self, name: str) -> Places:
        """Where this process's array lies in the whole."""
        return self._places.get(name, ())

    def write(self, values: Mapping[str, Any]) -> None:
        """Write whole values into the arrays of their names; others stay as they are."""
        for name, array in self.arrays.items():
            if name in values:
                self.share({name: np.asarray(values[name])})
                self.written.append(name)
                array[...] = self.shared[name][self.places(name)]

    def begin(self) -> None:
        """A new call: nothing is shared yet."""
        self.shared, self.written = {}, []

    def share(self, values: Mapping[str, np.ndarray]) -> None:
        """Have other processes take these, too."""
        self.shared |= values


def check_taken(arrays: Mapping[str, np.ndarray], estimated: Iterable[str]) -> None:
    """Raise HostError where a program that steps its own model takes no value of a parameter."""
    for name in estimated:
        if name not in arrays:
            raise HostError(
                f"{name}: is estimated, and the program has registered no array for it: its own "
                "step would go on with the old value; register the array that its step reads"
            )


def check_fit(arrays: Mapping[str, np.ndarray], labels: "Labels") -> None:
    """Raise HostError unless every array is a field or parameter of the model, of its shape."""
    known = [*labels.state, *labels.parameters]
    for name, array in arrays.items():
        if name not in known:
            raise HostError(
                f"{name}: the model of the case has no field or parameter of this name; "
                f"{nearest(name, known)}"
            )
        if array.shape != (shape := labels.shape(name)):
            dims = (labels.state.get(name) or labels.parameters[name]).dims
            of = f" ({', '.join(dims)})" if dims else ""
            raise HostError(
                f"{name}: the model of the case has the shape {shape}{of}, the registered array "
                f"{array.shape}"
            )
