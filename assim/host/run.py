"""The run that a host drives: its stages, and what it says of spread."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assim.host.errors import HostError

if TYPE_CHECKING:
    from assim.analysis.analysed import AnalysedWindow
    from assim.analysis.stages import Stages
    from assim.case.setting import Setting


def stages_of(setting: "Setting", out: Path | None, *, quiet: bool, resume: bool) -> "Stages":
    """Those of a window, or of a cycle of them.

    Raises:
        CaseError: a cycle that makes its own observations.
    """
    from assim.run.terminal.screen import Screen

    case, screen = setting.case, Screen(quiet=quiet)
    if "cycle" not in case.tree:
        from assim.run.window import stages_of_case

        return stages_of_case(setting, out, screen, {})
    if setting.tables.cycled().twin:
        what = "an experiment in memory has no host; drop the key, and make files by assim twin"
        raise case.fault("cycle.twin", what)
    from assim.run.cycle.cycle import stages_of_cycle

    return stages_of_cycle(setting, out, screen, resume=resume)


def deviations(analysed: "tuple[AnalysedWindow, int] | None", name: str) -> np.ndarray:
    """Standard deviations of a field or parameter, at a slot edge of the window analysed last.

    Raises:
        HostError: no analysis yet, or one without them.
    """
    if analysed is None:
        raise HostError("spread: there is no analysis yet; `advance` tells when there is")
    window, edge = analysed
    known = {name: values[edge] for name, values in window.analysis_stdev.items()}
    known |= window.scalars_stdev
    if name not in known:
        have = ", ".join(known) or "nothing, as the case has no posterior"
        raise HostError(f"{name}: the analysis has standard deviations of {have}")
    return np.asarray(known[name])
