"""The first window of a case as a problem of its own: of a cycle as of a single window."""

from typing import Any

from assim.run.build import Posed, pose_setting, set_up
from assim.run.case import Case
from assim.run.failure import CaseError
from assim.run.network import observe
from assim.run.slots import make_window
from assim.run.twin import background_of, draw, twin_table


def pose_first(case: Case) -> Posed:
    """The problem of a case, of a cycle that of its first window.

    Raises:
        CaseError: every error of the case.
        DataError: every file that cannot be used.
    """
    setting = set_up(case)
    cycle, background = case.checked.cycle, None
    sources: dict[str, Any] = {}
    if cycle is None:
        return pose_setting(setting)
    try:
        if cycle.twin:
            window = make_window(case.checked.window, setting.model, setting.clock, ())
            drawn = draw(setting, window)
            sources = dict(observe(setting, twin_table(setting), drawn.trajectory, drawn.key))
            background = background_of(setting, drawn)
        else:
            files = [table.file for table in case.checked.observations]
            sources = {file: case.input_path(file.format(window=0)) for file in files}
    except CaseError as error:
        raise CaseError(error.faults, str(case.path)) from error.__cause__
    return pose_setting(setting, sources, background)
