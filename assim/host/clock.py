"""The clock of a host beside that of the window."""

import math
from typing import TYPE_CHECKING

import numpy as np

from assim.host.errors import HostError

if TYPE_CHECKING:
    from assim.case.setting import Setting

TOLERANCE = 1e-6  # of a slot: how far the host's clock may be from a slot edge


def check_start(setting: "Setting", t: float) -> None:
    """Refuse a host that does not begin where the window does.

    Args:
        setting: the case, with its clock.
        t: model time of the host, in the unit of the labels.

    Raises:
        HostError: it is further from the start than a millionth of a slot.
    """
    start = setting.clock.start
    slack = TOLERANCE * _slot(setting) + 4 * math.ulp(start)  # dates become numbers by rounding
    if not abs(t - start) <= slack:
        raise HostError(
            f"start: the window of the case starts at t = {start} ({setting.date(start)}), "
            f"the host at {t}; set window.start, or begin there"
        )


def _slot(setting: "Setting") -> float:
    """Length of the shortest slot; of a step, where slots end at observations not read yet."""
    if setting.tables.window.times == "observations":
        return setting.model.time_step() or 1.0
    return float(np.diff(setting.window().edges).min())
