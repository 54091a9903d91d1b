"""Cells that decay and leak to their neighbours, from restart file to restart file.

    cells.py INPUT OUTPUT START END DT [RATE] [FAULT]

Without RATE, or with "", it is the variable `k` of the file. FAULT is what goes wrong, "kind" or
"kind:LIMIT", where the first cell is above the limit. Files are netCDF's classic format, read and
written by hand, so that a run takes hundredths of a second.
"""

import os
import signal
import struct
import sys
import time

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}


class Reader:
    """Numbers of a classic file, in the order in which they come."""

    def __init__(self, content):
        self.content, self.place = content, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.content, self.place)
        self.place += struct.calcsize(">" + form)
        return values[0]

    def text(self):
        size = self.take("i")
        text = self.content[self.place : self.place + size].decode()
        self.place += -(-size // 4) * 4
        return text

    def attributes(self):
        _, number = self.take("i"), self.take("i")
        for _ in range(number):
            self.text()
            kind, size = self.take("i"), self.take("i")
            self.place += -(-size * SIZES[kind] // 4) * 4


def read(path):
    """Variables in double precision, by name, as lists."""
    with open(path, "rb") as file:
        content = file.read()
    offset = {1: "i", 2: "q"}[content[3]]
    reader = Reader(content)
    reader.place = 8
    _, number = reader.take("i"), reader.take("i")
    lengths = [(reader.text(), reader.take("i"))[1] for _ in range(number)]
    reader.attributes()
    _, number = reader.take("i"), reader.take("i")
    values = {}
    for _ in range(number):
        name, rank = reader.text(), reader.take("i")
        size = 1
        for _ in range(rank):
            size *= lengths[reader.take("i")]
        reader.attributes()
        kind, _, begin = reader.take("i"), reader.take("i"), reader.take(offset)
        if kind == 6:
            values[name] = list(struct.unpack_from(f">{size}d", content, begin))
    return values


def text(word):
    data = word.encode()
    return struct.pack(">i", len(data)) + data.ljust(-(-len(data) // 4) * 4, b"\0")


def written(name, x, units):
    """A classic file with one variable (time, cell)."""
    head = b"CDF\1" + struct.pack(">iii", 0, 10, 2)
    head += text("time") + struct.pack(">i", 1) + text("cell") + struct.pack(">i", len(x))
    head += struct.pack(">ii", 0, 0)
    head += struct.pack(">ii", 11, 1) + text(name) + struct.pack(">iii", 2, 0, 1)
    head += struct.pack(">ii", 12, 1) + text("units") + struct.pack(">i", 2) + text(units)
    head += struct.pack(">ii", 6, 8 * len(x))
    return head + struct.pack(">i", len(head) + 4) + struct.pack(f">{len(x)}d", *x)


def advanced(x, rate, steps):
    for _ in range(steps):
        x = [
            v - rate * v**2 / (1 + v**2) + 0.1 * (left - v)
            for v, left in zip(x, [x[-1], *x[:-1]], strict=True)
        ]
    return x


def failed(kind, given, made):
    """What goes wrong in place of a run."""
    if kind == "hang":
        time.sleep(60)
    if kind == "die":
        print("a negative depth at cell 2")
        sys.exit(3)
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "link":
        os.symlink(given, made)
    return kind in ("link", "nothing")


def main(given, made, start, end, dt, rate="", fault=""):
    values = read(given)
    x, k = values["T"], float(rate) if rate else values["k"][0]
    kind, _, limit = fault.partition(":")
    kind = kind if not limit or x[0] > float(limit) else ""
    if failed(kind, given, made):
        return
    x = advanced(x, k, round((float(end) - float(start)) / float(dt)))
    x = {"nan": [float("nan"), *x[1:]], "shape": [*x, 0.0]}.get(kind, x)
    content = written("temp" if kind == "missing" else "T", x, "kg" if kind != "units" else "g")
    with open(made, "wb") as file:
        file.write(content[: -8 if kind == "half" else len(content)])


main(*sys.argv[1:])
