"""Transport of a tracer in air or water, in two or three dimensions, from sources to be estimated.

    ∂c/∂t = -u(z, t) ∂c/∂x - v(z, t) ∂c/∂y + K ∇²c + ∂/∂z (K_z ∂c/∂z) - λ c + s,
    K_z ∂c/∂z = w c - e(x, y) at the ground,    s = rate(t) F(t) N(x; x_s, width²)

SI units. Sources are twofold. A *release* is a place x_s and a rate, which are parameters: a
Gaussian footprint at least a cell wide, whose sum over the cells is then its integral to 2 in 10⁸.
The rate is one number, or one at each of several times and linear between them.
The *emission* e of every cell of the ground is a field of the state that does not change, estimated
as the initial state is. Both fields and the rate enter linearly, so that the posterior of what is
emitted is Gaussian where wind, diffusivity and places are known.

In space finite volumes: advection by fluxes of third order biased upwind, linear in c (Wicker and
Skamarock 2002, Mon. Wea. Rev. 130, 2088-2097, equation 4b), diffusion by differences; time steps by
RK4. Mass is conserved to rounding but for what is emitted, decays, is deposited or leaves. Beside
fronts a linear scheme of this order undershoots zero, by two per cent of the maximum where their
standard deviation is 1.5 cells; it damps by |u| dx³/12 ∂⁴c/∂x⁴, about |u| dx³/(12 K s²) of what
diffusion does to a plume of standard deviation s, and an estimate of K is less by so much. What
enters is clean, what leaves has the concentration of the last cell; nothing passes the top. A mast
between the middles of cells is read linearly between them, which makes a plume wider there, by up
to dx²/4 of its variance along each axis: at the middle of a cell it is read as it is.
"""

from collections.abc import Sequence
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from assim import AbstractModel, Array, Coordinate, Forcing, Label, Labels, Params, State, rk4_step

_CONCENTRATION, _EMISSION = "kg m-3", "kg m-2 s-1"
_REFERENCE_HEIGHT = 10.0  # m, of the wind
_RATE = "release_rate"
_LABELS = {
    "wind_x": (0.0, "m s-1", "wind along x, in addition to the series"),
    "wind_y": (0.0, "m s-1", "wind along y, in addition to the series"),
    "diffusivity": (10.0, "m2 s-1", "horizontal diffusivity"),
    "decay": (0.0, "s-1", "rate of decay"),
    "deposition": (0.0, "m s-1", "deposition velocity"),
    "release_x": (0.0, "m", "x of the release"),
    "release_y": (0.0, "m", "y of the release"),
}
_OF_LEVELS = {
    "release_z": (10.0, "m", "height of the release"),
    "vertical_diffusivity": (5.0, "m2 s-1", "vertical diffusivity"),
    "shear": (0.0, "1", "exponent of the wind's profile"),
}


def _floats(given: Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, given))


class Transport(AbstractModel):
    """Advection, diffusion, decay and deposition of a tracer with sources, stepped by RK4.

    The wind is uniform in a level, (z/10 m)^shear times the sum of a series and a parameter. Stable
    while (|u| + |v|) dt/dx is below about 1.6 and (2 K/dx² + K_z/dz²) dt below 0.6.

    Args:
        nx: cells along x, at least 4.
        ny: cells along y, at least 4.
        nz: levels; 1 for a single well-mixed layer of thickness `dz`, whose fields have no z.
        dx: width of a cell in both horizontal directions, m.
        dz: thickness of a level, m.
        dt: time step, s.
        width: standard deviation of the footprint of the release, m, at least `dx`; in the vertical
            it is `dz`.
        wind_x: wind along x, m s-1.
        wind_y: wind along y, m s-1.
        release: factor on the rate of the release at every time, as 1 while it lasts and 0 else.
        release_times: model times of release_rate_0, release_rate_1, ..., increasing; the rate is
            constant before the first and after the last. Without any, release_rate at all times.
        parameters: values in place of the defaults, by name.

    Raises:
        ValueError: too few cells or levels, a width, thickness or step that is not positive, a
            footprint narrower than a cell, times of a release that do not increase, or an unknown
            parameter.
    """

    nx: Annotated[int, "size"] = eqx.field(default=32, static=True)
    ny: Annotated[int, "size"] = eqx.field(default=32, static=True)
    nz: Annotated[int, "size"] = eqx.field(default=1, static=True)
    dx: float = eqx.field(default=100.0, static=True)
    dz: float = eqx.field(default=100.0, static=True)
    dt: float = eqx.field(default=10.0, static=True)
    width: float = eqx.field(default=100.0, static=True)
    wind_x: Forcing = eqx.field(default_factory=lambda: Forcing.constant(0.0, "m s-1"))
    wind_y: Forcing = eqx.field(default_factory=lambda: Forcing.constant(0.0, "m s-1"))
    release: Forcing = eqx.field(default_factory=lambda: Forcing.constant(1.0))
    release_times: Sequence[float] = eqx.field(default=(), static=True, converter=_floats)
    parameters: Params = eqx.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Complete the parameters; those of levels are there where there are levels."""
        defaults = {name: value for name, (value, *_) in self._named().items()}
        if unknown := sorted(set(self.parameters) - set(defaults)):
            there = ", ".join(defaults)
            raise ValueError(f"Transport: no parameter {unknown[0]!r}; there are {there}")
        merged = defaults | dict(self.parameters)
        self.parameters = {name: jnp.asarray(v, dtype=float) for name, v in merged.items()}

    def __check_init__(self) -> None:
        for name, size, least in (("nx", self.nx, 4), ("ny", self.ny, 4), ("nz", self.nz, 1)):
            if not isinstance(size, int) or size < least:
                message = f"{name} must be a whole number of at least {least}, got {size}"
                raise ValueError(f"Transport: {message}")
        for name in ("dx", "dz", "dt"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Transport: {name} must be positive, got {getattr(self, name)}")
        if not self.width >= self.dx:
            message = f"width must be at least dx = {self.dx:g}, got {self.width}"
            raise ValueError(f"Transport: {message}")
        if not np.all(np.diff(self.release_times) > 0):
            raise ValueError(
                f"Transport: release_times must increase, got {list(self.release_times)}"
            )

    def labels(self) -> Labels:
        """Concentration and emission, seven or ten parameters and rates, three inputs."""
        named, levels = self._named(), {}
        if self.nz > 1:
            levels["z"] = Coordinate(self._heights(), "m", "height of the middles of levels")
        return Labels(
            state={
                "concentration": Label((*levels, "y", "x"), _CONCENTRATION, "concentration"),
                "emission": Label(("y", "x"), _EMISSION, "emission of the ground"),
            },
            parameters={name: Label((), unit, what) for name, (_, unit, what) in named.items()},
            coordinates={
                **levels,
                "y": Coordinate(self.dx * (np.arange(self.ny) + 0.5), "m", "y of middles of cells"),
                "x": Coordinate(self.dx * (np.arange(self.nx) + 0.5), "m", "x of middles of cells"),
            },
            time_unit="seconds",
            inputs={
                "wind_x": Label((), "m s-1", "wind along x"),
                "wind_y": Label((), "m s-1", "wind along y"),
                "release": Label((), "1", "factor on the rate of the release"),
            },
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One RK4 step."""
        return rk4_step(self._tendency, x, theta, t, self.dt)

    def _tendency(self, x: State, theta: Params, t: Array) -> State:
        c = x["concentration"].reshape(self.nz, self.ny, self.nx)
        profile = (jnp.asarray(self._heights()) / _REFERENCE_HEIGHT) ** theta.get("shear", 0.0)
        u = (self.wind_x(t) + theta["wind_x"]) * profile[:, None, None]
        v = (self.wind_y(t) + theta["wind_y"]) * profile[:, None, None]
        change = (
            _convergence(_flux(c, u, theta["diffusivity"] / self.dx, 2), 2) / self.dx
            + _convergence(_flux(c, v, theta["diffusivity"] / self.dx, 1), 1) / self.dx
            - theta["decay"] * c
            + self._rate(theta, t) * self.release(t) * self._footprint(theta)
        )
        upward = (x["emission"] - theta["deposition"] * c[0])[None]
        if self.nz > 1:
            inner = -theta["vertical_diffusivity"] / self.dz * (c[1:] - c[:-1])
            upward = jnp.concatenate([upward, inner])
        upward = jnp.concatenate([upward, jnp.zeros((1, self.ny, self.nx))])
        change = change + _convergence(upward, 0) / self.dz
        return {
            "concentration": change.reshape(x["concentration"].shape),
            "emission": jnp.zeros_like(x["emission"]),
        }

    def _rate(self, theta: Params, t: Array) -> Array:
        """Of the release, kg s-1."""
        if not self.release_times:
            return theta[_RATE]
        values = jnp.stack([theta[f"{_RATE}_{j}"] for j in range(len(self.release_times))])
        return jnp.interp(t, jnp.asarray(self.release_times), values)

    def _footprint(self, theta: Params) -> Array:
        """Density of the release in the middles of cells, m-3, shape (nz, ny, nx)."""
        east = _gaussian(self.nx, self.dx, theta["release_x"], self.width)
        north = _gaussian(self.ny, self.dx, theta["release_y"], self.width)
        up = jnp.ones(1)
        if self.nz > 1:  # nothing is lost below the ground
            passed = ndtr((self.dz * np.arange(1, self.nz) - theta["release_z"]) / self.dz)
            up = jnp.diff(jnp.concatenate([jnp.zeros(1), passed, jnp.ones(1)]))
        return up[:, None, None] / self.dz * (north[:, None] * east[None, :])[None]

    def _heights(self) -> np.ndarray:
        return self.dz * (np.arange(self.nz) + 0.5) if self.nz > 1 else np.full(1, 10.0)

    def _named(self) -> dict[str, tuple[float, str, str]]:
        """Default, unit and words of every parameter."""
        rates = {
            f"{_RATE}_{j}": (0.0, "kg s-1", f"rate of the release at {time:g} s")
            for j, time in enumerate(self.release_times)
        }
        rates = rates or {_RATE: (0.0, "kg s-1", "rate of the release")}
        return _LABELS | rates | (_OF_LEVELS if self.nz > 1 else {})


def _gaussian(n: int, cell: float, at: Array, spread: float) -> Array:
    """Of unit integral, in the middles of n cells."""
    distance = (cell * (np.arange(n) + 0.5) - at) / spread
    return jnp.exp(-(distance**2) / 2) / (np.sqrt(2 * np.pi) * spread)


def _flux(c: Array, speed: Array, exchange: Array, axis: int) -> Array:
    """Through the faces along an axis, first and last included; `speed` has shape (nz, 1, 1).

    Between cells l and r with ll and rr beyond them:
    u (7 (l + r) - ll - rr)/12 + |u| (rr - 3 r + 3 l - ll)/12 - K (r - l)/dx.
    """
    n = c.shape[axis]
    first, last = (jax.lax.slice_in_dim(c, i, i + 1, axis=axis) for i in (0, n - 1))
    longer = jnp.concatenate([first, c, last], axis)
    ll, l, r, rr = (jax.lax.slice_in_dim(longer, i, i + n - 1, axis=axis) for i in range(4))  # noqa: E741
    biased = jnp.abs(speed) * (rr - ll - 3 * (r - l))
    inner = (speed * (7 * (l + r) - (ll + rr)) + biased) / 12 - exchange * (r - l)
    return jnp.concatenate(
        [jnp.minimum(speed, 0.0) * first, inner, jnp.maximum(speed, 0.0) * last], axis
    )


def _convergence(flux: Array, axis: int) -> Array:
    n = flux.shape[axis]
    into, out = (jax.lax.slice_in_dim(flux, i, n - 1 + i, axis=axis) for i in (0, 1))
    return into - out
