"""Where the data of a classic NetCDF file end, by its header: the library reads zeros after that.

The formats are CDF-1, CDF-2 (offsets of 64 bits) and CDF-5 (counts of 64 bits, too), as in "The
NetCDF classic format specification" (Unidata).
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from assim.files.errors import DataError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}  # bytes by type


def check_whole(path: Path) -> None:
    """Raise DataError of a classic file that ends before its data do; others are not looked at.

    Args:
        path: of any file.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic[:3] != b"CDF" or magic[3:] not in (b"\x01", b"\x02", b"\x05"):
            return
        try:
            end = _Header(file, magic[3]).end()
        except (struct.error, KeyError, IndexError, ValueError, OverflowError, MemoryError):
            return  # which the library refuses with words of its own
    if (size := path.stat().st_size) < end:
        raise DataError(
            f"{path}: expected a whole NetCDF file of {end} bytes, by its header, got {size}: it "
            "was copied or written in part; copy or make it again"
        )


class _Variable(NamedTuple):
    """Where the values of a variable begin, and how many bytes they take, of a record if it has."""

    begin: int
    size: int
    is_record: bool


class _Header:
    """A reader of the header, behind the first four bytes."""

    def __init__(self, file: BinaryIO, version: int) -> None:
        self.file = file
        self.count = ">Q" if version == 5 else ">I"
        self.offset = ">I" if version == 1 else ">Q"

    def end(self) -> int:
        """Bytes that the file must have, the padding of its last values left out."""
        records = self.number(self.count)
        lengths = [self._dimension() for _ in range(self._list())]
        self._attributes()
        variables = [self._variable(lengths) for _ in range(self._list())]
        stride = [v.size for v in variables if v.is_record]
        record = stride[0] if len(stride) == 1 else sum(map(_padded, stride))
        if records == 2 ** (8 * struct.calcsize(self.count)) - 1:  # being written: not known
            records = 0
        ends = [v.begin + v.size for v in variables if not v.is_record]
        if records:
            ends += [v.begin + (records - 1) * record + v.size for v in variables if v.is_record]
        return max(ends, default=0)

    def number(self, form: str) -> int:
        """The next number of the header."""
        (value,) = struct.unpack(form, self.file.read(struct.calcsize(form)))
        return int(value)

    def _list(self) -> int:
        """How many elements a list has, behind its tag."""
        self.number(">I")
        return self.number(self.count)

    def _skip(self, size: int) -> None:
        self.file.seek(_padded(size), 1)

    def _dimension(self) -> int:
        self._skip(self.number(self.count))
        return self.number(self.count)

    def _attributes(self) -> None:
        for _ in range(self._list()):
            self._skip(self.number(self.count))
            kind = self.number(">I")
            self._skip(_SIZES[kind] * self.number(self.count))

    def _variable(self, lengths: list[int]) -> _Variable:
        self._skip(self.number(self.count))
        dims = [self.number(self.count) for _ in range(self.number(self.count))]
        self._attributes()
        kind = self.number(">I")
        self.number(self.count)  # the size as far as its type holds it: it is computed instead
        begin, shape = self.number(self.offset), [lengths[dim] for dim in dims]
        is_record = bool(shape) and shape[0] == 0
        return _Variable(begin, _SIZES[kind] * math.prod(shape[is_record:]), is_record)


def _padded(size: int) -> int:
    return 4 * math.ceil(size / 4)
