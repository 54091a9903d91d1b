"""One window of a cycle: a problem whose prior was handed on by the window before.

Everything that outlives a window is one vector z: the state at the window's start (in physical
units, or in the white coordinate of a field with a prior of its own, `continued` beyond where that
prior says anything) and the white coordinates of parameters, error scales and bias coefficients.
The window's prior is a Gaussian of z,

    z = m + Σ_k w_k v_k + √s_x B^(1/2) w_x + √s_θ w_θ,         w, w_x, w_θ ~ N(0, I)

low rank with a share of the static covariance, so that the departures are again one function
d(χ) of white numbers. Where the v_k are few members of an ensemble, a localisation ρ = Λ Λᵀ makes
of w_k v_k the product (Λ w_k) ∘ v_k (Lorenc 2003; Buehner 2005).
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from assim.problem.arrays import Array, Labels, Trajectory
from assim.problem.continued import continued
from assim.problem.control import AbstractParts, Control, White
from assim.problem.covariance import (
    AbstractCovariance,
    AbstractStateCovariance,
    Diagonal,
    Independent,
)
from assim.problem.departure import Departures, Problem, Simulation
from assim.problem.observation import Observations
from assim.problem.points import Points
from assim.problem.prior import AbstractPrior
from assim.problem.volume import Parabola, orthonormal, volume, volume_by_jacobian

STATE, OTHERS = "background", ("biases", "parameters", "scales")
ERRORS = "model_error"  # a kind of z where windows overlap: white η of all groups of slots


class Background(eqx.Module):
    """The Gaussian of z with which a window begins.

    The shares count where the cycle has a static covariance. Where z has model errors, `fresh` is 1
    for each group of slots that no window before has seen, whose η are N(0, Q), else 0.
    """

    mean: White  # m, by kind and name
    vectors: White  # v_k, the same with a leading dimension k; none where it has length 0
    share: Array  # s_x, of the static covariance of the state
    own: Array  # s_θ, of the prior of parameters, scales and bias coefficients
    fresh: Array | None = None  # shape (groups,)

    def rank(self) -> int:
        """Number of vectors."""
        return jax.tree.leaves(self.vectors)[0].shape[0]


class Localisation(eqx.Module):
    """ρ of the fields of a state; fields of the same dimensions share their white patterns.

    The key of a part is the dimensions of its fields, joined by "+".
    """

    parts: dict[str, AbstractCovariance]
    groups: tuple[tuple[str, str], ...] = eqx.field(static=True)  # part of every field that has one

    @staticmethod
    def of(covariance: AbstractCovariance, labels: Labels) -> "Localisation":
        """One on every grid of a model; ValueError unless it fits and its variance is 1."""
        parts, groups = {}, []
        for name, label in labels.state.items():
            if not label.dims:
                continue
            group = "+".join(label.dims)
            groups.append((name, group))
            parts[group] = covariance.on(labels.shape(name), labels.axes(name))
            if not np.allclose(parts[group].variance(), 1.0, rtol=1e-6):
                raise ValueError("localisation: its variance must be 1; give it stdev = 1")
        return Localisation(parts, tuple(groups))

    def blank(self, rank: int) -> dict[str, Array]:
        """White patterns of so many members, and "" for what is not localised, as zeros."""
        sizes = {group: part.size() for group, part in self.parts.items()}
        return {"": jnp.zeros(rank), **{g: jnp.zeros((rank, size)) for g, size in sizes.items()}}

    def combined(self, white: dict[str, Array], vectors: White) -> White:
        """Σ_k (Λ w_k) ∘ v_k."""
        patterns = {g: jax.vmap(part.sqrt)(white[g]) for g, part in self.parts.items()}
        group = dict(self.groups)

        def of(kind: str, name: str, vector: Array) -> Array:
            if kind not in (STATE, "fields") or name not in group:
                return jnp.tensordot(white[""], vector, axes=1)
            return jnp.sum(patterns[group[name]] * vector, axis=0)

        return {
            kind: {n: of(kind, n, v) for n, v in part.items()} for kind, part in vectors.items()
        }


class CycledProblem(AbstractParts):
    """d(χ) of one window of a cycle; a departure function as `Problem` is."""

    problem: Problem  # with z as its control, from `in_carried_coordinates`
    background: Background
    static: AbstractStateCovariance | None  # B of the state, a share of which is in the prior
    localisation: Localisation | None = None  # of the vectors
    parabola: Parabola | None = None  # in place of the volume, about one χ

    def __call__(self, chi: Array) -> Departures:
        """Normalised departures, the log-normaliser and the volume over all but error scales."""
        return self.problem.without_volume(self.inner(chi))._replace(volume=self._volume(chi))

    def inner(self, chi: Array, offset: White | None = None) -> Array:
        """χ of the problem: z, to which an offset, as of a member, is added, and model errors."""
        white = self.split(chi)
        own = {"later": {}, ERRORS: white[ERRORS]}
        return self.problem.control.join({**own, **self._carried(white, offset)})

    def simulate(self, chi: Array, offset: White | None = None) -> Simulation:
        """Control, trajectory and predictions of every instrument."""
        return self.problem.simulate(self.inner(chi, offset))

    def advanced(
        self, chi: Array, trajectory: Trajectory, slot: Array, offset: White | None = None
    ) -> White:
        """The z that follows from χ where the next window starts, `slot` slots later."""
        return advanced(self.problem, self._carried(self.split(chi), offset), trajectory, slot)

    def blank(self) -> White:
        """The parts of χ as a tree of zeros."""
        own = self.problem.control.blank()
        static: dict[str, dict[str, Array]] = {"static": {}, **{kind: {} for kind in OTHERS}}
        if self.static is not None:
            sizes = self.static.sizes().items()
            static["static"] = {name: jnp.zeros(size) for name, size in sizes}
            static |= {kind: own[kind] for kind in (*OTHERS, "fields")}
        rank, localisation = self.background.rank(), self.localisation
        patterns = {"": jnp.zeros(rank)} if localisation is None else localisation.blank(rank)
        carried = {"carried": patterns}
        return {**carried, **static, ERRORS: own[ERRORS]}

    def scalars(self, chi: Array) -> dict[str, Array]:
        """As the problem."""
        return self.problem.scalars(self.inner(chi))

    def weight(self) -> Array:
        """1 for every entry: all of χ is white."""
        return jnp.ones(self.size())

    def has_normaliser(self) -> bool:
        """Whether an error scale is estimated, with c and v."""
        return self.problem.has_normaliser()

    def proper(self) -> bool:
        """A carried Gaussian integrates to one."""
        return True

    def workspace(self) -> int:
        """As the problem's, with the vectors."""
        z = sum(leaf.size for leaf in jax.tree.leaves(self.background.vectors))
        return self.problem.workspace() + z

    def expanded(self, chi: Array) -> "CycledProblem":
        """The same with v by its second derivatives at χ along directions that move error scales.

        These are all that v has where the departures are linear in the rest: a few columns, each of
        which costs as much as n of J's without v.
        """
        parabola = Parabola.of(self._volume, chi, self._scale_basis())
        return dataclasses.replace(self, parabola=parabola)

    def lengthened(self, stages: int) -> tuple["CycledProblem", ...]:
        """The problem with ever more of its window observed: see `Problem.lengthened`."""
        several = self.problem.lengthened(stages)
        rest = (self.background, self.static, self.localisation)
        return tuple(CycledProblem(stage, *rest) for stage in several)

    def _volume(self, chi: Array) -> Array:
        """v = ½ log |I + P GᵀG P|, P the projection on what moves no error scale.

        The mode of exp(-J) over z then has the error scales of their own posterior, everything else
        integrated out, exactly where the departures are linear in that: the joint mode without v
        has too small ones, by the degrees of freedom for signal that other parts of z take.
        """
        if not self.problem.control.scales:
            return jnp.zeros(())
        if self.parabola is not None:
            return self.parabola(chi)
        if self.problem.model.reverse_of_forward():
            return self._volume_at(chi)
        return volume_by_jacobian(self, CycledProblem._volume_at, chi)

    def _volume_at(self, chi: Array) -> Array:
        basis = self._scale_basis()

        def departures(u: Array) -> Array:
            moved = chi + u - (basis @ u) @ basis
            return self.problem.without_volume(self.inner(moved)).normalised

        return volume(departures, jnp.zeros_like(chi), jnp.ones_like(chi))

    def _scale_basis(self) -> Array:
        """Orthonormal rows that span the directions of χ in which error scales move, (k, n)."""

        def scales(chi: Array) -> Array:
            return ravel_pytree(self._carried(self.split(chi))["scales"])[0]

        return orthonormal(jax.jacrev(scales)(jnp.zeros(self.size())))

    def _carried(self, white: White, offset: White | None = None) -> White:
        """z."""
        vectors = self.background.vectors
        if self.localisation is None:
            w = white["carried"][""]
            moved = jax.tree.map(lambda v: jnp.tensordot(w, v, axes=1), vectors)
        else:
            moved = self.localisation.combined(white["carried"], vectors)
        z = jax.tree.map(jnp.add, self.background.mean, moved)
        z = z if offset is None else jax.tree.map(jnp.add, z, offset)
        if self.background.fresh is not None:
            fresh = self.background.fresh[:, None]
            z = {**z, ERRORS: {n: v + fresh * white[ERRORS][n] for n, v in z[ERRORS].items()}}
        if self.static is None:
            return z
        root, own = jnp.sqrt(self.background.share), jnp.sqrt(self.background.own)
        added = self.static.sqrt(white["static"])
        z = {**z, STATE: {n: v + root * added[n] if n in added else v for n, v in z[STATE].items()}}
        for kind, factor in {"fields": root, **dict.fromkeys(OTHERS, own)}.items():
            z[kind] = {name: v + factor * white[kind][name] for name, v in z[kind].items()}
        return z


def in_carried_coordinates(problem: Problem) -> Problem:
    """The problem with z, and not its whitened deviation, as what is to be found.

    Model errors, and not later states, are part of it: then J's Hessian is I + GᵀG. ValueError for
    flat priors, priors of fields whose support is not known, an estimated amplitude of model error,
    whose volume is that of one window, a digital filter, and model error without a jump at the
    window's end.
    """
    problem = problem.as_forcing()
    control = problem.control
    if not control.proper():
        raise ValueError("a cycle: every prior must integrate to one; Jeffreys' does not")
    if control.amplitude_scale is not None:
        raise ValueError(
            "a cycle: the amplitude of model error is not estimated from window to window; fix it"
        )
    if problem.digital_filter is not None:
        raise ValueError("a cycle: a digital filter is a term of one window; leave it out")
    if control.model_error is not None and not control.model_error.jump_at_end:
        raise ValueError(
            "a cycle: the next window goes on after the jump at a window's end; leave out "
            "jump_at_end"
        )
    gaussian = {name: value for name, value in control.state.items() if name not in control.fields}
    unit: dict[str, AbstractCovariance] = {
        name: Diagonal(jnp.ones(value.shape)) for name, value in gaussian.items()
    }
    zeros = {name: jnp.zeros_like(value) for name, value in gaussian.items()}
    carried = dataclasses.replace(
        control,
        covariance=Independent(unit),
        state={**control.state, **zeros},
        fields=_unbounded(control),
    )
    return dataclasses.replace(problem, control=carried)


def _unbounded(control: Control) -> dict[str, AbstractPrior]:
    """Priors of fields, each of which goes on over all of its support."""
    fields = {}
    for name, prior in control.fields.items():
        try:
            fields[name] = continued(prior)
        except ValueError as error:
            raise ValueError(f"a cycle: field {name!r}: {error}") from None
    return fields


def first_mean(control: Control, batches: int = 1) -> White:
    """m of the first window: the background, and the medians of all priors of a problem as posed.

    Where a window covers several batches, z has the model errors of the overlap.
    """
    state = {n: value for n, value in control.state.items() if n not in control.fields}
    blank = control.blank()
    kinds = ("fields", *OTHERS, *((ERRORS,) if batches > 1 and blank[ERRORS] else ()))
    return {STATE: state, **{kind: blank[kind] for kind in kinds}}


def advanced(problem: Problem, z: White, trajectory: Trajectory, slot: Array) -> White:
    """z at a later slot edge of its trajectory: the state moves, model errors with their slots."""
    at = {name: value[slot] for name, value in trajectory.states.items()}
    fields = problem.control.fields
    errors = {ERRORS: shifted(problem, z[ERRORS], slot)} if ERRORS in z else {}
    return {
        **errors,
        **{kind: z[kind] for kind in OTHERS},
        STATE: {name: at[name] for name in z[STATE]},
        "fields": {name: prior.inverse(at[name]) for name, prior in fields.items()},
    }


def shifted(problem: Problem, errors: dict[str, Array], slot: Array) -> dict[str, Array]:
    """White η of the groups that are left `slot` slots later, and zeros for those that come."""
    error = problem.control.model_error
    assert error is not None
    by = slot // error.every

    def later(series: Array) -> Array:
        left = jnp.arange(series.shape[0]) < series.shape[0] - by
        return jnp.where(left[:, None], jnp.roll(series, -by, axis=0), 0.0)

    return {name: later(series) for name, series in errors.items()}


class Rows(eqx.Module):
    """What differs between windows of one instrument's observations, one entry a value.

    Args:
        values: observed values, shape (m,).
        points: where and when.
        stdev: of their errors; None where these are correlated, and R stays as it is.
        weight: 0 for an entry that only fills up the shape.
        columns: predictors of the bias that are numbers.
    """

    values: Array
    points: Points
    stdev: Array | None
    weight: Array
    columns: dict[str, Array]

    @staticmethod
    def of(observations: Observations) -> "Rows":
        """Those of an instrument."""
        o = observations
        columns = {} if o.bias is None else o.bias.columns()
        return Rows(
            o.values,
            o.points,
            o.covariance.independent_stdev(),
            o.powers(),
            {name: jnp.asarray(column) for name, column in columns.items()},
        )

    def placed(self, observations: Observations) -> Observations:
        """The instrument with these rows."""
        points = dataclasses.replace(self.points, reference=observations.points.reference)
        o = eqx.tree_at(
            lambda o: (o.values, o.points, o.weight),
            observations,
            (self.values, points, self.weight),
            is_leaf=lambda leaf: leaf is None,
        )
        if self.stdev is not None:
            o = eqx.tree_at(lambda o: o.covariance, o, Diagonal(self.stdev))
        if self.columns:
            assert o.bias is not None
            kept = {**o.bias.predictors, **self.columns}
            o = eqx.tree_at(lambda o: o.bias.predictors, o, kept)
        return o


def of_window(problem: Problem, edges: Array, rows: tuple[Rows, ...]) -> Problem:
    """The problem of another window: other slot edges, other observations, all else the same."""
    placed = tuple(r.placed(o) for r, o in zip(rows, problem.observations, strict=True))
    return dataclasses.replace(at_edges(problem, edges), observations=placed)


def at_edges(problem: Problem, edges: Array) -> Problem:
    """The problem with other slot edges, on which its values have no known places."""
    window = dataclasses.replace(problem.window, edges=edges)
    return dataclasses.replace(problem, window=window, located=())
