"""Stiff and sloppy directions: what the data fix, in words, bars and a profile."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from assim.show.finished import Run
from assim.show.page import known, number, paragraph, table


@dataclass(frozen=True)
class Stiffness:
    """Eigenpairs as diagnostics.nc has them, the stiffest first.

    Args:
        names: of the coordinates.
        eigenvalues: precision by the data over that of the prior, shape (p,).
        prior: precision by the prior along each, shape (p,).
        vectors: unit vectors as columns, shape (p, p).
    """

    names: list[str]
    eigenvalues: np.ndarray
    prior: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Along:
    """Rise of J along a direction, by the number of the direction (from 1)."""

    direction: int
    distance: np.ndarray
    rise: np.ndarray
    quadratic: np.ndarray
    settled: np.ndarray


def stiffness(run: Run) -> Stiffness | None:
    """The directions; None where the diagnostics have none."""
    file = run.files.get("diagnostics")
    if file is None or "direction_eigenvalue" not in file or "direction_component" not in file:
        return None
    component = file["direction_component"]
    values = np.asarray(file["direction_eigenvalue"].values, float)
    if component.dims != ("coordinate", "direction") or not np.isfinite(values).all():
        return None
    prior = file.get("direction_prior")
    ones = np.ones(values.size) if prior is None else np.asarray(prior.values, float)
    return Stiffness(_names(run, file), values, ones, np.asarray(component.values, float))


def _names(run: Run, file: xr.Dataset) -> list[str]:
    """Of the coordinates, as the summary spells them, else as the file does."""
    given = run.summary.get("sloppy")
    spelt = given.get("coordinates") if isinstance(given, dict) else None
    count = file.sizes["coordinate"]
    if isinstance(spelt, list) and len(spelt) == count:
        return [str(name) for name in spelt]
    meanings = file["coordinate"].attrs.get("flag_meanings", "") if "coordinate" in file else ""
    told = str(meanings).split()
    return told if len(told) == count else [str(k + 1) for k in range(count)]


def along(run: Run) -> Along | None:
    """The profile, where one was made."""
    file = run.files.get("diagnostics")
    names = [f"profile_{end}" for end in ("distance", "rise", "quadratic", "converged")]
    if file is None or "profile_direction" not in file or not all(name in file for name in names):
        return None
    columns = (np.asarray(file[name].values, float) for name in names)
    return Along(int(file["profile_direction"]), *columns)


def directions(run: Run) -> list[str]:
    """How many combinations the data fix, and which, in words."""
    given = run.summary.get("sloppy")
    if not isinstance(given, dict):
        return []
    rows = given.get("directions")
    entries = [one for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
    if not entries:
        return []
    told = [one for one in entries if one.get("informed")]
    text = (
        f"Of {len(entries)} combinations of what was estimated the data tell more than the prior "
        f"of {len(told)}"
        if len(entries) > 1
        else f"The {'data' if told else 'prior'} say more of what was estimated"
    )
    ends = [known(one.get("stddev")) for one in (told[0], told[-1])] if len(told) > 1 else []
    if len(ends) == 2 and ends[0] and ends[1]:
        ratio = number(ends[1] / ends[0], 2)
        text += f"; of these the stiffest is known {ratio} times as well as the sloppiest"
    note = (
        "Combinations are of whitened values: each estimated quantity in standard deviations of "
        "its prior (as a normal variate), all else integrated out. λ is the data's precision over "
        "that of the prior; the standard deviation left is in those of the prior."
    )
    return [paragraph(text + "."), _table(entries), paragraph(note, "soft")]


def _table(entries: list[dict]) -> str:
    rows = [
        (
            str(k),
            str(one.get("words", "")).replace("- ", "− "),
            number(one.get("eigenvalue"), 3),
            number(one.get("stddev"), 2),
            "data" if one.get("informed") else "prior",
        )
        for k, one in enumerate(entries, 1)
    ]
    header = ("", "combination", "λ", "standard deviation left", "mostly told by")
    return table(header, rows)
