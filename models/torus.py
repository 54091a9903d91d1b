"""Transport of heat and particles across the magnetic surfaces of a torus of circular section.

    ∂n/∂t         = -(1/r) ∂/∂r (r Γ) + S,      Γ = -D ∂n/∂r + V n
    ∂(3/2 n T)/∂t = -(1/r) ∂/∂r (r q) + P,      q = -n χ ∂T/∂r + 5/2 T Γ

Density n in 10¹⁹ m⁻³, temperature T in keV, averaged over surfaces of minor radius r from the axis
to the edge a, where both are given. χ, D and V are profiles: at knots χ_j, D_j and V_j, linear in
r between them, log χ and log D too, so that these are positive. Heating and fuelling, Gaussians in
r about a centre, sum up over the torus, of volume 2π² R a², to the power and the source.

Finite volumes on a staggered grid: n and T in the middle of shells, fluxes at their faces; in time
the θ-method, in which each equation is linear (T after n) and tridiagonal. Budgets of particles
and energy are met to rounding. Sources: Hinton and Hazeltine (1976), Rev. Mod. Phys. 48, 239-308,
section VI; heat pulses: Lopes Cardozo (1995), Plasma Phys. Control. Fusion 37, 799-852.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Coordinate, Forcing, Label, Labels, Params, State

_Ends = tuple[Array, Array] | tuple[float, float]
_DENSITY, _DIFFUSIVITY = "1e19 m-3", "m2 s-1"
_PER_MEGAJOULE = 1e3 / 1.602176634  # 10¹⁹ keV
_PROFILES = {
    "chi": (1.0, _DIFFUSIVITY, "heat diffusivity"),
    "D": (0.5, _DIFFUSIVITY, "particle diffusivity"),
    "V": (0.0, "m s-1", "outward velocity of particles (a pinch is negative)"),
}
_LABELS = {
    "edge_density": (1.0, _DENSITY, "density at the edge"),
    "edge_temperature": (0.1, "keV", "temperature at the edge"),
    "heating_centre": (0.0, "m", "minor radius about which power is absorbed"),
    "heating_width": (0.1, "m", "standard deviation of the absorbed power"),
    "fuelling_centre": (0.4, "m", "minor radius about which particles are born"),
    "fuelling_width": (0.1, "m", "standard deviation of the birth of particles"),
}


class Torus(AbstractModel):
    """Density and temperature over minor radius, stepped by the θ-method.

    Args:
        n: shells, at least 3.
        minor_radius: a, m.
        major_radius: R, m.
        dt: time step, s.
        knots: places of χ_0, D_0, V_0, ... in units of a, increasing; profiles are constant beyond
            the first and the last.
        implicitness: θ; 0.5 for second order in time, 1 for steps so long that the shortest waves
            of a sudden change would ring.
        heating: absorbed power, MW.
        fuelling: particles born, 10¹⁹ s⁻¹.
        parameters: values in place of the defaults, by name.

    Raises:
        ValueError: too few shells, a length or step that is not positive, knots that do not
            increase, θ outside 0.5 to 1, or an unknown parameter.
    """

    n: Annotated[int, "size"] = eqx.field(default=40, static=True)
    minor_radius: float = eqx.field(default=0.5, static=True)
    major_radius: float = eqx.field(default=1.65, static=True)
    dt: float = eqx.field(default=1e-3, static=True)
    knots: Sequence[float] = eqx.field(
        default=(0.0, 0.25, 0.5, 0.75, 1.0), static=True, converter=tuple
    )
    implicitness: float = eqx.field(default=0.5, static=True)
    heating: Forcing = eqx.field(default_factory=lambda: Forcing.constant(0.0, "MW"))
    fuelling: Forcing = eqx.field(default_factory=lambda: Forcing.constant(0.0, "1e19 s-1"))
    parameters: Params = eqx.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Complete the parameters by the defaults of every knot."""
        defaults = {name: value for name, (value, *_) in self._named().items()}
        if unknown := sorted(set(self.parameters) - set(defaults)):
            there = ", ".join(defaults)
            raise ValueError(f"Torus: no parameter {unknown[0]!r}; there are {there}")
        merged = defaults | dict(self.parameters)
        self.parameters = {name: jnp.asarray(v, dtype=float) for name, v in merged.items()}

    def __check_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 3:
            raise ValueError(f"Torus: n must be a whole number of at least 3, got {self.n}")
        for name in ("minor_radius", "major_radius", "dt"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Torus: {name} must be positive, got {getattr(self, name)}")
        if len(self.knots) < 1 or not np.all(np.diff(self.knots) > 0):
            raise ValueError(f"Torus: knots must increase, got {list(self.knots)}")
        if not 0.5 <= self.implicitness <= 1:
            raise ValueError(f"Torus: implicitness must be from 0.5 to 1, got {self.implicitness}")

    def labels(self) -> Labels:
        """Two fields over minor radius, three parameters a knot and six others, two inputs."""
        middles = self.minor_radius / self.n * (np.arange(self.n) + 0.5)
        return Labels(
            state={
                "n": Label(("r",), _DENSITY, "density"),
                "T": Label(("r",), "keV", "temperature"),
            },
            parameters={n: Label((), unit, what) for n, (_, unit, what) in self._named().items()},
            coordinates={"r": Coordinate(middles, "m", "minor radius")},
            time_unit="seconds",
            inputs={
                "heating": Label((), "MW", "absorbed power"),
                "fuelling": Label((), "1e19 s-1", "particles born"),
            },
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """Density by its equation, then temperature with the densities of both ends."""
        diffusivity, velocity = self._profile(theta, "D"), self._profile(theta, "V")
        particles = _Flux.of(diffusivity, velocity, self._spacing(), theta["edge_density"])
        born = self._source(theta, "fuelling", self.fuelling(t + self.dt / 2))
        n = self._solved(x["n"], (1.0, 1.0), (particles, particles), born)
        chi, edge = self._profile(theta, "chi"), theta["edge_temperature"]

        def heat(n: Array) -> "_Flux":
            outside = theta["edge_density"][None]
            at_faces = jnp.concatenate([(n[:-1] + n[1:]) / 2, outside])
            return _Flux.of(at_faces * chi, 2.5 * particles(n), self._spacing(), edge)

        power = _PER_MEGAJOULE * self.heating(t + self.dt / 2)
        absorbed = self._source(theta, "heating", power)
        mass, fluxes = (1.5 * x["n"], 1.5 * n), (heat(x["n"]), heat(n))
        return {"n": n, "T": self._solved(x["T"], mass, fluxes, absorbed)}

    def _solved(self, y: Array, mass: _Ends, fluxes: tuple["_Flux", "_Flux"], s: Array) -> Array:
        """y⁺ of (mass⁺ y⁺ - mass y)/dt = s - div of the fluxes at both ends of the step."""
        (before, after), (first, last) = mass, fluxes
        radius, late = jnp.asarray(self._faces()), self.implicitness * self.dt
        per_area = 1 / jnp.asarray(self._areas())
        outflow = radius * first(y)
        change = jnp.diff(outflow, prepend=0.0) * per_area
        right = before * y + self.dt * s - (self.dt - late) * change
        inner, outer = late * radius * last.inner, late * radius * last.outer
        right = right - (per_area * outer)[-1] * last.edge * (np.arange(self.n) == self.n - 1)
        below = jnp.concatenate([jnp.zeros(1), -inner[:-1]]) * per_area
        at = jnp.concatenate([inner[:1], inner[1:] - outer[:-1]]) * per_area + after
        above = jnp.concatenate([outer[:-1], jnp.zeros(1)]) * per_area
        return jax.lax.linalg.tridiagonal_solve(below, at, above, right[:, None])[:, 0]

    def _source(self, theta: Params, name: str, total: Array) -> Array:
        """A Gaussian in r whose integral over the torus is the total, m-3, shape (n,)."""
        radius = self._faces() - self._spacing() / 2
        distance = (radius - theta[f"{name}_centre"]) / theta[f"{name}_width"]
        share = jax.nn.softmax(jnp.log(self._areas()) - distance**2 / 2)
        return total * share / (4 * np.pi**2 * self.major_radius * self._areas())

    def _profile(self, theta: Params, name: str) -> Array:
        """At the outer faces of shells, shape (n,)."""
        values = jnp.stack([theta[f"{name}_{j}"] for j in range(len(self.knots))])
        at = self._faces() / self.minor_radius
        weights = np.stack([np.interp(at, self.knots, row) for row in np.eye(len(self.knots))], 1)
        matrix = jnp.asarray(weights)
        return matrix @ values if name == "V" else jnp.exp(matrix @ jnp.log(values))

    def _spacing(self) -> float:
        return self.minor_radius / self.n

    def _faces(self) -> np.ndarray:
        """Radii of the outer faces of shells."""
        return self._spacing() * np.arange(1, self.n + 1)

    def _areas(self) -> np.ndarray:
        """∫ r dr across each shell."""
        return np.diff(self._faces() ** 2, prepend=0.0) / 2

    def _named(self) -> dict[str, tuple[float, str, str]]:
        """Default, unit and words of every parameter."""
        profiles = {
            f"{name}_{j}": (value, unit, f"{what} at {place:g} of the minor radius")
            for name, (value, unit, what) in _PROFILES.items()
            for j, place in enumerate(self.knots)
        }
        return profiles | _LABELS


class _Flux(NamedTuple):
    """Through the outer faces of shells: inner y_i + outer y_(i+1), beyond the last the edge's."""

    inner: Array
    outer: Array
    edge: Array

    @staticmethod
    def of(diffusivity: Array, velocity: Array, spacing: float, edge: Array) -> "_Flux":
        """-diffusivity ∂y/∂r + velocity y; the edge is half a spacing from the last middle."""
        is_last = np.arange(diffusivity.shape[0]) == diffusivity.shape[0] - 1
        down = diffusivity / np.where(is_last, spacing / 2, spacing)
        return _Flux(
            down + velocity * np.where(is_last, 0.0, 0.5),
            velocity * np.where(is_last, 1.0, 0.5) - down,
            edge,
        )

    def __call__(self, y: Array) -> Array:
        return self.inner * y + self.outer * jnp.concatenate([y[1:], self.edge[None]])
