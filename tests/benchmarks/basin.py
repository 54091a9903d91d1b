"""The water of c/shallow_water.c: its constants, and the `Model` that it is handed."""

import ctypes

import numpy as np

DX, DT = 10e3, 60.0
CONSTANTS = {
    "gravity": 9.81,
    "coriolis": 1e-4,
    "beta": 1e-11,
    "drag": 1e-6,
    "viscosity": 50.0,
    "wind_stress": 0.1,
}


class Basin(ctypes.Structure):
    """`Model` of c/shallow_water.c."""

    _fields_ = (
        ("n", ctypes.c_int),
        *((name, ctypes.c_double) for name in ("dx", "dt", "gravity", "drag", "viscosity")),
        *((name, ctypes.c_void_p) for name in ("coriolis", "wind")),
    )
    arrays: tuple[np.ndarray, ...]  # in Python alone


def basin(n: int) -> Basin:
    """n × n cells; what it points to lives as long as it does."""
    y = DX * (np.arange(n) - n / 2)
    coriolis = CONSTANTS["coriolis"] + CONSTANTS["beta"] * y
    wind = -CONSTANTS["wind_stress"] / 1000 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
    numbers = (CONSTANTS[name] for name in ("gravity", "drag", "viscosity"))
    water = Basin(n, DX, DT, *numbers, coriolis.ctypes.data, wind.ctypes.data)
    water.arrays = coriolis, wind
    return water
