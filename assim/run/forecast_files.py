"""The files of observations that a forecast is scored against, by instrument."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from assim.case.observations import ObservationTable
from assim.case.setting import Setting
from assim.files.errors import DataError
from assim.files.read.tables import ObservedTable, observed_variables


class LaterRows(NamedTuple):
    """An instrument's rows in a file."""

    table: ObservationTable
    rows: ObservedTable
    file: Path


def files_by_instrument(setting: Setting, given: Sequence[str]) -> list[tuple[str, Path]]:
    """Files by the name of their instrument, "" where it is that of all that it has.

    Args:
        setting: the case, whose instruments have names.
        given: FILE or NAME=FILE, as --observations has them.

    Raises:
        CaseError: no instrument is called so.
    """
    names = [table.called for table in setting.tables.observations]
    pairs = [(text, *text.partition("=")[::2]) for text in given]
    for text, name, _ in pairs:
        if "=" in text and name not in names and not Path(text).exists():
            what = f"no instrument is called {name!r}, and there is no file {text}"
            raise setting.case.fault("--observations", f"{what}; it may be {', '.join(names)}")
    return [(n, Path(f)) if n in names and f else ("", Path(text)) for text, n, f in pairs]


def later_rows(setting: Setting, files: Sequence[tuple[str, Path]]) -> list[LaterRows]:
    """The rows of instruments in the files that are theirs, or that have their variable."""
    tables, named = setting.tables.observations, {name for name, _ in files}
    others, several = [t for t in tables if t.called not in named], list[LaterRows]()
    for name, file in files:
        own = [table for table in tables if table.called == name]
        for table in own if name else _served(setting, others, file):
            if any(table is later.table for later in several):
                what = f"{table.called} is in {file} and in another file; give it one"
                raise setting.case.fault("--observations", what)
            several.append(LaterRows(table, table.rows(file, setting.labels), file))
    return several


def _served(setting: Setting, tables: list[ObservationTable], path: Path) -> list[ObservationTable]:
    """The instruments whose variable a file has."""
    clocks = dict.fromkeys(table.time for table in tables)
    present = [n for clock in clocks for n in observed_variables(path, setting.labels, clock)]
    chosen = [table for table in tables if table.variable in present]
    if not chosen:
        expected = ", ".join(dict.fromkeys(table.variable for table in tables))
        raise DataError(
            f"{path}: expected a variable of the case's instruments ({expected}), the file has "
            f"{', '.join(present) or 'none that has a time'}"
        )
    return chosen


def shared(rows: Sequence[LaterRows]) -> Iterator[str]:
    """Instruments that share their rows, and checks that these have not gone through."""
    for key in dict.fromkeys((own.file, own.table.variable) for own in rows):
        names = [r.table.called for r in rows if (r.file, r.table.variable) == key]
        if len(names) > 1:
            what = f"All rows of {key[1]} in {key[0]} are scored as those of {' and '.join(names)}"
            yield f"{what}, with the errors of each; --observations NAME=FILE gives each its own."
    unchecked = [own.table.called for own in rows if own.table.quality.threshold is not None]
    if unchecked:
        what = "the background check (quality.threshold) is not made of readings to score against"
        yield f"{', '.join(unchecked)}: {what}: gross errors count."
