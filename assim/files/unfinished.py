"""Outer loops of a run, and what its methods have drawn, a file each until it is finished."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from assim.analysis.store import AbstractCheckpoint, AbstractStore, Drawn, Kept
from assim.files.errors import DataError
from assim.files.netcdf import hash_file, package_version, write_dataset
from assim.files.record import FOLDER
from assim.files.sources import opened

UNFINISHED = "unfinished"
_LIBRARIES = ("jax", "jaxlib", "equinox", "numpy", "blackjax")
_FINGERPRINT = "assim_fingerprint"
Content = TypeVar("Content")


class Unfinished(AbstractStore):
    """The folder `.assim/unfinished` of a directory of results.

    A file of another fingerprint, or one that cannot be read, is as none.

    Args:
        directory: of the results, to which no other process writes meanwhile.
        fingerprint: of all that decides what is drawn.
        title: of the case.
        say: is told what was found there, and why something could not be kept.
    """

    def __init__(
        self, directory: Path, fingerprint: str, title: str, say: Callable[[str], None]
    ) -> None:
        self.folder = directory / FOLDER / UNFINISHED
        self.fingerprint, self.title, self.say = fingerprint, title, say
        self.minimisations = 0

    def path(self, name: str) -> Path:
        """The file of a method, whose name may be anything."""
        plain = re.fullmatch(r"[\w+-]{1,100}", name, re.ASCII)
        word = name if plain else hashlib.sha256(name.encode()).hexdigest()[:16]
        return self.folder / f"posterior_{word}.nc"

    def load(self, name: str) -> Drawn | None:
        """What the method has drawn before, where all that decides it is the same."""
        drawn = self.read(self.path(name), lambda file: _drawn(file, name))
        if drawn is not None:
            self.say(f"{name}: drawn before this run was begun again, and taken from there.")
        return drawn

    def read(self, path: Path, content: Callable[[xr.Dataset], Content | None]) -> Content | None:
        """What a file of this fingerprint holds; None where there is none that can be read."""
        if self.is_linked(path) or not path.is_file():
            return None
        try:
            with opened(path, exact=True) as file:
                is_of_this = file.attrs.get(_FINGERPRINT) == self.fingerprint
                return content(file) if is_of_this else None
        except (DataError, ValueError, KeyError, TypeError):
            return None

    def save(self, name: str, drawn: Drawn) -> None:
        """Write the file of a method, whole or not at all."""
        self.write(lambda: self._content(name, drawn), self.path(name), name)

    def begin(self) -> "KeptLoops":
        """Where the next minimisation is kept."""
        self.minimisations += 1
        return KeptLoops(self, self.minimisations)

    def write(self, content: Callable[[], xr.Dataset], path: Path, what: str) -> None:
        """Write a file, whole or not at all; why it cannot be is told."""
        try:
            if self.is_linked(path):
                raise DataError(f"{path}: is a link, or in a folder that is one; remove it")
            dataset = content().assign_attrs({_FINGERPRINT: self.fingerprint})
            write_dataset(dataset, path, title=self.title)
        except (DataError, ValueError, TypeError) as error:
            self.say(f"{what}: cannot be kept for another run: {error}")

    def _content(self, name: str, drawn: Drawn) -> xr.Dataset:
        """What the file of a method holds."""
        about = {key: getattr(drawn, key) for key in Drawn._fields[2:]}
        content = {
            "chi": (("member", "control"), drawn.chi, {"long_name": "members", "units": "1"}),
            "weight": ("member", drawn.weights, {"long_name": "weight", "units": "1"}),
        }
        words = {"method": name, "drawn": json.dumps(about, default=float)}
        return xr.Dataset(content, attrs=words)

    def is_linked(self, path: Path) -> bool:
        """Whether a link leads to a file below the directory of results."""
        return any(place.is_symlink() for place in (path, self.folder, self.folder.parent))

    def clear(self) -> None:
        """Remove the files, and the folder above where nothing else is in it."""
        if not self.is_linked(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()


class KeptLoops(AbstractCheckpoint):
    """The file of the last loop of one minimisation.

    Args:
        store: whose file it is.
        number: of the minimisation, from 1.
    """

    def __init__(self, store: Unfinished, number: int) -> None:
        self.store, self.number = store, number
        self.path = store.folder / f"minimum_{number}.nc"

    def last(self) -> Kept | None:
        """Where it was when an earlier run of the same case was stopped."""
        loop = self.store.read(self.path, _last_loop)
        if loop is not None:
            done = len(loop.history) - loop.stage
            goes_on = f"Minimisation {self.number} goes on after {done} outer loops"
            self.store.say(f"{goes_on} of a run that stopped.")
        return loop

    def keep(self, loop: Kept) -> None:
        """Write the file, whole or not at all."""
        leaves = {
            f"leaf_{k}": ([f"dim_{k}_{i}" for i in range(leaf.ndim)], leaf)
            for k, leaf in enumerate(loop.leaves)
        }
        history = {"history": (("loop", "start", "number"), loop.history)}
        words = {"stage": loop.stage, "leaves": len(leaves)}
        content = lambda: xr.Dataset(leaves | history, attrs=words)  # noqa: E731
        self.store.write(content, self.path, f"minimisation {self.number}")


def _drawn(file: xr.Dataset, name: str) -> Drawn | None:
    if file.attrs["method"] != name:
        return None
    about = json.loads(file.attrs["drawn"])
    chi, weights = (np.asarray(file[n].values, float) for n in ("chi", "weight"))
    if chi.ndim != 2 or weights.shape != chi.shape[:1]:
        return None
    numbers, certificates = (_numbers(about[key]) for key in ("numbers", "certificates"))
    return Drawn(chi, weights, numbers, certificates, str(about["trust"]), str(about["advice"]))


def _last_loop(file: xr.Dataset) -> Kept:
    leaves = [file[f"leaf_{k}"].values for k in range(int(file.attrs["leaves"]))]
    return Kept(int(file.attrs["stage"]), leaves, file["history"].values)


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in content.items()}  # infinite and NaN included


def fingerprint_of(parts: Mapping[str, str], files: Mapping[str, Path]) -> str:
    """sha256 of these texts and files, of the engine's own source and of versions of libraries."""
    source = Path(__file__).parents[1]
    own = {f"assim {p.relative_to(source)}": p for p in sorted(source.rglob("*.py"))}
    digests = {name: hash_file(path) for name, path in {**files, **own}.items() if path.is_file()}
    versions = {"assim": package_version(), **{name: _version(name) for name in _LIBRARIES}}
    lines = json.dumps([dict(parts), digests, versions], sort_keys=True)
    return hashlib.sha256(lines.encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
