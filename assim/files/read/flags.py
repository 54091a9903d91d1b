"""Quality flags of observations by value or meaning: numbers, characters and masks (CF 3.5)."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from assim.arguments import hint
from assim.files.attributes import numbers, spelt_numbers
from assim.files.errors import DataError
from assim.files.names import FLAGGED, FLAGS, MISSING, QC, Ancillary
from assim.files.read.places import check_beside, flat
from assim.files.sources import File

Accepted = Sequence[int | str] | None
NOT_ACCEPTED = "not accepted"  # in the note that counts flags
_GOOD = re.compile(
    r"good|pass|passed|ok|okay|valid|accepted|acceptable|correct|nominal|best|clean|clear|reliable"
    r"|usable|unflagged|normal"
)
_BAD = re.compile(
    r"no|not|non|un|bad|invalid|suspect|suspicious|probably|possibly|questionable|doubtful|fail"
    r"|failed|unknown|missing|partly|partially"
)
_WORKED = re.compile(r"checked|performed|verified|tested")
_FLAG = re.compile(r"(?i)(?:^|_)(?:qc|qf|dq|flags?|quality|status)(?:_|\d*$)")  # of a name
_NOTHING = re.compile(
    r"(no|not)_(any_)?(error|flag|issue|problem|fault|defect)(s|ged)?"
    r"(_(found|detected|seen|set|raised|reported|known|present))?"
)


class Flags(NamedTuple):
    """The flag of every row as assim has it, 0 for those to use, and what is to be said of it."""

    codes: np.ndarray
    notes: tuple[str, ...] = ()


def flag_variable(file: File, array: xr.DataArray, accept: Accepted = None) -> str | None:
    """Name of the flags of a variable: `<v>_qc`, `<v>_QC`, or an ancillary variable that is one.

    Where the case says which flags to `accept`, also one that may be one.

    Raises:
        DataError: there are several ancillary ones.
    """
    for name in (f"{array.name}{QC}", f"{array.name}{QC.upper()}"):
        if file.has(name):
            return name
    names = [name for name in _beside(file, array) if _is_flag(file.dataset[name].attrs)]
    if not names and accept is not None:
        names = _perhaps_flags(file, array)
    if len(names) > 1:
        raise DataError(
            f"{file.where(array.name)}: expected one variable of quality flags, got "
            f"{', '.join(names)}; rename the one to use to {array.name}{QC}, or name it alone in "
            f"the attribute `ancillary_variables`"
        )
    return names[0] if names else None


def _beside(file: File, array: xr.DataArray) -> list[str]:
    """The ancillary variables of a variable that are not assim's own flags."""
    names = str(array.attrs.get("ancillary_variables", "")).split()
    return [name for name in names if file.has(name) and not name.endswith(Ancillary.EFFECTIVE_QC)]


def _is_flag(attributes: Mapping[Any, Any]) -> bool:
    standard = str(attributes.get("standard_name", ""))
    return "flag_meanings" in attributes or standard.endswith(("status_flag", "quality_flag"))


def _perhaps_flags(file: File, array: xr.DataArray) -> list[str]:
    """Ancillary variables that may be flags by their name, or by flags without meanings."""
    names, attributes = _beside(file, array), {"flag_values", "flag_masks"}
    return [n for n in names if _FLAG.search(n) or attributes & set(file.dataset[n].attrs)]


def flags_of(file: File, array: xr.DataArray, accept: Accepted) -> Flags:
    """Quality flags of the file; zero where it has none."""
    name = flag_variable(file, array, accept)
    if name is None:
        if accept is not None:
            raise DataError(
                f"{file.where(array.name)}: accept names quality flags, but there are none; call "
                f"them {array.name}{QC}, name them in the attribute `ancillary_variables` of "
                f"{array.name}, or leave out accept"
            )
        notes = tuple(_unread(file, array, each) for each in _perhaps_flags(file, array))
        return Flags(np.zeros(array.size, np.int32), notes)
    flags, where = file.dataset[name], file.where(name)
    check_beside(array, file, name)
    return read_flags(flat(flags, array), flags.attrs, where, accept)


def _unread(file: File, array: xr.DataArray, name: str) -> str:
    """A note that what may be the flags of a variable left out nothing, and how it would."""
    return (
        f"{file.where(name)}: `ancillary_variables` of {array.name} names it, and it may hold "
        f"quality flags, but without the attribute `flag_meanings` no value was left out by it; "
        f"if it does, list the flags of good values by `accept` under [[observations]]"
    )


def read_flags(
    column: np.ndarray, attributes: Mapping[str, Any], where: str, accept: Accepted = None
) -> Flags:
    """Flags of the rows, shape (n,), as assim has them: 0 where accepted, `MISSING` where missing.

    Others keep their number where it means in the file what it means to assim, and are `FLAGGED`
    elsewhere.

    Args:
        column: as the file has them.
        attributes: of the variable.
        where: file and variable, for messages.
        accept: values or meanings of flags with which values are used; those of 0 where None.

    Raises:
        DataError: flags that are no flags, an acceptance that names none of them, or none where
            0 does not say that a value is good.
    """
    if isinstance(accept, str):
        accept = [accept]
    flags, missing = _whole(column, where)
    meanings = _meanings(attributes, flags.dtype.kind == "U", where)
    if accept is None:
        meanings.check_zero()
        accepted = flags == ("0" if meanings.textual else 0)
    else:
        accepted = meanings.accepted(flags, accept)
    codes = np.full(flags.size, FLAGGED, np.int32)
    if meanings.own:
        kept = (flags != 0) & (np.abs(flags) < 2**31)
        codes = np.where(kept, flags, FLAGGED).astype(np.int32)
    codes[accepted], codes[missing] = 0, MISSING
    rejected = ~accepted & ~missing
    if not rejected.any() or (meanings.own and accept is None):
        return Flags(codes)
    counts = Counter(meanings.of_each(flags[rejected])).most_common()
    words = ", ".join(f"{count} {meaning}" for meaning, count in counts)
    if accept is None and not meanings.names:
        words += (
            "; without the attribute `flag_meanings` 0 alone is taken as good: if the file means "
            "others, too, or instead, list all that are by `accept` under [[observations]]"
        )
    note = f"{where}: {rejected.sum()} of {flags.size} {NOT_ACCEPTED}: {words}"
    return Flags(codes, (note,))


class Meanings(NamedTuple):
    """What flags stand for: each name with the value that the bits of its mask must have.

    Args:
        where: file and variable, for messages.
        names: meanings, as in `flag_meanings`; none where the file has none.
        values: of the flags with each meaning, numbers or characters.
        masks: bits that each is about; None where a flag has one meaning, and is compared whole.
        textual: whether flags are characters.
    """

    where: str
    names: tuple[str, ...]
    values: np.ndarray
    masks: np.ndarray | None
    textual: bool

    @property
    def own(self) -> bool:
        """Whether the file says that its numbers are those of assim."""
        known = zip(self.names, self.values.tolist(), strict=True)
        whole = bool(self.names) and not self.textual and self.masks is None
        return whole and all(FLAGS.get(value) == name for name, value in known)

    def hold(self, flags: np.ndarray) -> np.ndarray:
        """Which meanings each flag has, shape (n, meanings)."""
        if self.masks is None:
            return np.asarray(flags[:, None] == self.values)
        return np.asarray((flags[:, None] & self.masks) == self.values)

    def of_each(self, flags: np.ndarray) -> list[str]:
        """What every flag stands for, in words; the flag itself where that is nothing."""
        return [
            " and ".join(np.array(self.names)[held]) if held.any() else f"flags of {flag}"
            for flag, held in zip(flags.tolist(), self.hold(flags), strict=True)
        ]

    def zero_is_good(self) -> bool:
        """Whether 0 says that a value is good: by its meaning, or as no mask is set."""
        if not self.names:
            return not self.textual
        if self.masks is not None and np.array_equal(self.masks, self.values):
            return not any(_is_good(name) or _says(name, _WORKED) for name in self.names)
        held = self.hold(np.array(["0" if self.textual else 0]))[0]
        return bool(held.any()) and all(_is_good(n) for n in np.array(self.names)[held])

    def check_zero(self) -> None:
        """Raise DataError unless 0 says that a value is good."""
        if self.zero_is_good():
            return
        held = self.hold(np.array(["0" if self.textual else 0]))[0]
        zero = " and ".join(np.array(self.names)[held]) if self.names else ""
        good = next(filter(_is_good, self.names), self.names[0] if self.names else "1")
        raise DataError(
            f"{self.where}: 0 does not say here that a value is good"
            f"{f', but {zero!r}' if zero else ''}; say which flags do, as in accept = "
            f'["{good}"] under [[observations]]; the flags are {self._list()}'
        )

    def accepted(self, flags: np.ndarray, accept: Sequence[int | str]) -> np.ndarray:
        """Which flags are accepted by value, or with all that they mean.

        Raises:
            DataError: there is no such meaning.
        """
        by_value = np.isin(flags, self._values(accept))
        named = np.array([name in accept for name in self.names], bool)
        held = self.hold(flags)
        by_name = held.any(axis=1) & ~held[:, ~named].any(axis=1)
        if self.masks is not None:
            spare = flags & ~np.bitwise_or.reduce(self.masks)
            none = (flags == 0) & ~held.any(axis=1) & self.zero_is_good()
            by_name = (by_name | none) & (spare == 0)
        return np.asarray(by_value | by_name)

    def _values(self, accept: Sequence[int | str]) -> list[Any]:
        """Flags that are accepted by value; of characters also "A" is one."""
        for item in accept:
            is_value = isinstance(item, int) or (self.textual and len(item) == 1)
            if not is_value and item not in self.names:
                near = hint(str(item), self.names) if self.names else "they have no meanings"
                raise DataError(
                    f"{self.where}: accept names {item!r}, which no flag means; {near}; the flags "
                    f"are {self._list()}"
                )
        if self.textual:
            return [str(item) for item in accept if item not in self.names]
        return [item for item in accept if isinstance(item, int)]

    def _list(self) -> str:
        """The flags with their meanings, for messages."""
        pairs = zip(self.values.tolist(), self.names, strict=True)
        listed = ", ".join(f"{value} {name}" for value, name in pairs)
        kind = "characters" if self.textual else "numbers"
        return listed or f"{kind} without the attribute `flag_meanings`"


def _whole(column: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Flags as int64 or stripped text, and which are missing.

    Raises:
        DataError: they are neither whole numbers nor characters.
    """
    if column.dtype.kind in "SUO":
        flags = np.array([_text(item).strip("\0 ") for item in column.tolist()], dtype=str)
        return flags, flags == ""
    if column.dtype.kind not in "biuf":
        raise DataError(f"{where}: expected numbers or characters, got dtype {column.dtype}")
    missing = ~np.isfinite(column)
    flags = np.where(missing, 0, column)
    broken = np.flatnonzero(flags != np.round(flags))
    if broken.size:
        raise DataError(
            f"{where}: expected flags, which are whole numbers, characters or masks, got "
            f"{broken.size} that are not, the first ({flags[broken[0]]:g}) in row {broken[0]}; "
            f"correct them, or give the variable another name if it holds no flags"
        )
    return flags.astype(np.int64), missing


def _text(item: Any) -> str:
    return item.decode("latin-1") if isinstance(item, bytes) else str(item)


def _meanings(attributes: Mapping[str, Any], textual: bool, where: str) -> Meanings:
    """The meanings that attributes give flags.

    Raises:
        DataError: attributes that do not fit together.
    """
    names = tuple(str(attributes.get("flag_meanings", "")).split())
    masks = numbers(attributes, "flag_masks", where)
    if textual:
        values = np.array(_characters(attributes.get("flag_values", ()), len(names)), dtype=str)
    else:
        given = spelt_numbers(attributes, "flag_values", where)
        given = masks if given is None else given
        values = np.array([] if given is None else given).astype(np.int64)
    if not names:
        return Meanings(where, (), values[:0], None, textual)
    if len({len(names), values.size, values.size if masks is None else masks.size}) > 1:
        counts = f"{len(names)} meanings, {values.size} values"
        way = "correct the attributes" if values.size else "add `flag_values`, one a meaning"
        raise DataError(
            f"{where}: expected a word of `flag_meanings` for each of `flag_values` or "
            f"`flag_masks`, got {counts}{'' if masks is None else f', {masks.size} masks'}; "
            f"{way}, as with `ncatted`"
        )
    return Meanings(
        where, names, values, None if masks is None else masks.astype(np.int64), textual
    )


def _characters(given: Any, count: int) -> list[str]:
    """Values of flags that are characters: a list, "0 1 2", "0, 1, 2" or "012"."""
    if not isinstance(given, str):
        return [_text(item).strip() for item in np.atleast_1d(np.asarray(given)).tolist()]
    words = given.replace(",", " ").split()
    return list(given.strip()) if len(words) == 1 and count > 1 else words


def _is_good(meaning: str) -> bool:
    """Whether a meaning says that a value is good."""
    good = _says(meaning, _GOOD) and not _says(meaning, _BAD)
    return good or _NOTHING.fullmatch(meaning.lower()) is not None


def _says(meaning: str, words: re.Pattern[str]) -> bool:
    """Whether a meaning holds one of the words."""
    return any(words.fullmatch(word) for word in re.split(r"[^a-z]+", meaning.lower()))
