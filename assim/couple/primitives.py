"""Steps outside JAX as primitives of JAX: differentiated by their own tangent and adjoint.

With the step y = f(x, θ, t), arguments (x, θ) = z, its tangent T(z) v and its adjoint T(z)ᵀ w:

| primitive | value | its derivative | transposed |
|---|---|---|---|
| `step_p` | f(z) | T(z) ż | – |
| `tangent_p` | T(z) v | T(z) v̇ + D²f(z)[v, ż] | T(z)ᵀ w |
| `adjoint_p` | T(z)ᵀ w | T(z)ᵀ ẇ + D²f(z)[ż]ᵀ w | T(z) w |
| `curved_p` | D²f(z)[v, u] | in v and u | D²f(z)[·]ᵀ w |
| `curved_adjoint_p` | D²f(z)[u]ᵀ w | in w and u | D²f(z)[·, ·] |

No code brings D²f: it is the difference of tangents, or adjoints, at four points along u, of fourth
order. Third derivatives are refused.

Arguments of all are the fields, the parameters and t, then what the primitive adds. With `members`
above 0 all have a leading dimension, but for those that are marked as shared.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from assim.couple import trampoline
from assim.couple.code import ADJOINT, OPERATIONS, STEP, TANGENT, AbstractCode
from assim.problem.arrays import Array, Params, State
from assim.problem.model import ModelContractError

APART = 1e-3  # of the size of a field: how far apart tangents are whose difference is taken
SMALL = 1e-4  # of another field: what is smaller is next to zero
MOVED = 1e-2  # of how far a field next to zero is moved: what is moved less says nothing of it
_STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))  # of a first derivative
Arrays = Sequence[Array]


def step(code: AbstractCode, x: State, theta: Params, t: Array) -> State:
    """The state after one step of the code, differentiable as the code's own derivatives allow."""
    given = [x[n] for n in code.fields] + [theta[n] for n in code.parameters]
    shared = (True,) * (len(given) + 1)
    values = KINDS["step"].primitive.bind(*given, t, code=code, members=0, shared=shared)
    return dict(zip(code.fields, values, strict=True))


# ---- evaluation ----------------------------------------------------------------------------------


def _evaluate(
    operation: str,
    road: Callable[..., Any],
    *given: Array,
    code: AbstractCode,
    members: int,
    shared: tuple[bool, ...],
) -> list[Array]:
    """The operation by one of the two roads; a tangent by differences where the code says so."""
    if operation == TANGENT and code.by_differences:
        return _of_members(partial(_tangent_of_steps, code), members, shared, given)
    code.require(operation)
    like = [
        jax.ShapeDtypeStruct((members, *shape) if members else shape, float)
        for shape in code.shapes(operation)
    ]
    return list(road(operation, code, members, shared, like, *given))


def _by_trampoline(
    operation: str, code: AbstractCode, members: int, shared: Any, like: Any, *given: Array
) -> Any:
    """Through XLA's foreign function interface: no Python in between, and no copy."""
    if code.number is None:
        return _by_callback(operation, code, members, shared, like, *given)
    sizes = (len(code.fields), len(code.parameters), members)
    plan = (code.number, OPERATIONS.index(operation), *sizes, *map(int, shared))
    call = jax.ffi.ffi_call(trampoline.TARGET, like)
    return call(*given, plan=np.array(plan, dtype=np.int64))


def _by_callback(
    operation: str, code: AbstractCode, members: int, shared: Any, like: Any, *given: Array
) -> Any:
    """Back through Python."""

    def back(*values: Any) -> list[np.ndarray]:
        return code.of_members(operation, members, shared, [np.asarray(v) for v in values])

    return jax.pure_callback(back, like, *given)


def _of_members(
    one: Callable[..., list[Array]], members: int, shared: Sequence[bool], given: Arrays
) -> list[Array]:
    """A function of one member, of all of them."""
    if not members:
        return one(*given)
    return jax.vmap(one, in_axes=tuple(None if s else 0 for s in shared))(*given)


# ---- differences ---------------------------------------------------------------------------------


def _apart(code: AbstractCode, z: Arrays, u: Arrays) -> Array:
    """ε by which no field is moved further than `APART` of its size.

    A field next to zero, or all of zeros, has no size of its own. It is taken to be no smaller than
    `SMALL` of a field of its unit. Where a field that is larger by 1 / `SMALL` is moved, too, by
    `MOVED` of it or more, it makes ε smaller by `SMALL` at most than that one alone does, which so
    keeps its digits; then it is itself moved by 1e-5 of the larger field at most.
    """
    size, moved = (jnp.stack([jnp.sqrt(jnp.mean(v**2)) for v in values]) for values in (z, u))
    labels = code.labels
    units = [labels.state[name].units for name in code.fields]
    units += [labels.parameters[name].units for name in code.parameters]
    alike = np.array([[own == other != "1" for other in units] for own in units])
    size = jnp.maximum(size, SMALL * jnp.max(jnp.where(alike, size[None], 0.0), axis=1))
    unbounded = jnp.where(moved > 0, jnp.inf, 0.0)
    ratios = jnp.where(size > 0, moved / jnp.where(size > 0, size, 1.0), unbounded)
    larger = (SMALL * size[None] > size[:, None]) & (moved[None] >= MOVED * moved[:, None])
    theirs = jnp.max(jnp.where(larger, ratios[None], 0.0), axis=1) / SMALL
    ratios = jnp.where(theirs > 0, jnp.minimum(ratios, theirs), ratios)
    return APART / jnp.maximum(jnp.max(jnp.where(jnp.isinf(ratios), 0.0, ratios)), APART)


def _along(
    code: AbstractCode, function: Callable[..., list[Array]], z: Arrays, u: Arrays
) -> list[Array]:
    """d/dε of function(z + ε u) at 0, by differences at four points."""
    apart = _apart(code, z, u)
    values = [
        function(*(a + place * apart * b for a, b in zip(z, u, strict=True)))
        for place, _ in _STENCIL
    ]
    weights = [weight / apart for _, weight in _STENCIL]
    return [
        sum((w * v for w, v in zip(weights, same, strict=True)), jnp.zeros_like(same[0]))
        for same in zip(*values, strict=True)
    ]


def _tangent_of_steps(code: AbstractCode, *given: Array) -> list[Array]:
    z, t, v = _parted(code, given)
    return _along(code, lambda *z: _bind(STEP, code, *z, t), z, v)


def _difference(operation: str, code: AbstractCode, *given: Array) -> list[Array]:
    """Of tangents or adjoints of one vector, along a direction u."""
    number = len(code.fields) + len(code.parameters)
    z, t, rest = _parted(code, given)
    fixed, u = rest[:-number], rest[-number:]
    return _along(code, lambda *z: _bind(operation, code, *z, t, *fixed), z, u)


def _parted(code: AbstractCode, given: Arrays) -> tuple[Arrays, Array, Arrays]:
    """Fields with parameters, t, and the rest."""
    number = len(code.fields) + len(code.parameters)
    return given[:number], given[number], given[number + 1 :]


def _bind(operation: str, code: AbstractCode, *given: Array) -> list[Array]:
    """An operation of one member."""
    primitive, shared = KINDS[operation].primitive, (True,) * len(given)
    values: list[Array] = primitive.bind(*given, code=code, members=0, shared=shared)
    return values


# ---- what JAX asks of primitives -----------------------------------------------------------------


def _abstract(
    operation: str, *given: Any, code: AbstractCode, members: int, shared: Any
) -> list[Any]:
    del shared
    return [
        given[0].update(shape=(members, *shape) if members else shape, weak_type=False)
        for shape in code.shapes(operation)
    ]


def _batched(
    primitive: Primitive, given: Any, dims: Any, *, code: AbstractCode, members: int, shared: Any
) -> Any:
    """Members lead; a second `vmap` makes one long dimension of both."""
    number = next(g.shape[d] for g, d in zip(given, dims, strict=True) if d is not None)
    front = [g if d is None else jnp.moveaxis(g, d, 0) for g, d in zip(given, dims, strict=True)]
    if not members:
        marks = tuple(d is None for d in dims)
        values = primitive.bind(*front, code=code, members=number, shared=marks)
        return values, [0] * len(values)
    whole = []
    for value, d, is_shared in zip(front, dims, shared, strict=True):
        own = value if d is not None else value[None]
        own = own[:, None] if is_shared else own
        shape = (number, members, *own.shape[2:])
        whole.append(jnp.broadcast_to(own, shape).reshape(number * members, *shape[2:]))
    marks = (False,) * len(whole)
    values = primitive.bind(*whole, code=code, members=number * members, shared=marks)
    return [v.reshape(number, members, *v.shape[1:]) for v in values], [0] * len(values)


class _Kind(NamedTuple):
    """One of the primitives, and how it goes with the others."""

    primitive: Primitive
    operation: str  # of the code, whose outputs have its shapes
    curved: str  # the kind that its derivative in z is; "" where there is none
    transposed: tuple[tuple[str, int | None], ...]  # of each group: the kind, and its other group


def _groups(code: AbstractCode, kind: _Kind, given: Sequence[Any]) -> list[Sequence[Any]]:
    """Arguments after t by group: what the value is linear in."""
    fields, number = len(code.fields), len(code.fields) + len(code.parameters)
    first = fields if kind.operation == ADJOINT else number
    sizes = (first, number)[: len(kind.transposed)]
    ends = np.cumsum([number + 1, *sizes])
    return [given[a:b] for a, b in pairwise(ends)]


def _bound(
    kind: str, code: AbstractCode, members: int, *parts: tuple[Arrays, Sequence[bool]]
) -> Any:
    """A primitive of arguments in parts, each with its marks."""
    given = [value for values, _ in parts for value in values]
    marks = tuple(mark for _, own in parts for mark in own)
    return KINDS[kind].primitive.bind(*given, code=code, members=members, shared=marks)


def _derivative(
    name: str, given: Any, tangents: Any, *, code: AbstractCode, members: int, shared: Any
) -> tuple[Any, Any]:
    """Linear in every group, and by the curved kind in z."""
    kind, number = KINDS[name], len(code.fields) + len(code.parameters)
    if type(tangents[number]) is not ad.Zero:
        raise ModelContractError(f"{code.name}: a model outside JAX has no derivative in time")
    value = kind.primitive.bind(*given, code=code, members=members, shared=shared)
    parts = []
    groups, moved = _groups(code, kind, given), _groups(code, kind, tangents)
    marks = _groups(code, kind, shared)
    start = given[: number + 1], shared[: number + 1]
    for k, tangent in enumerate(moved):
        if not _is_zero(tangent):
            own = [*groups[:k], [ad.instantiate_zeros(v) for v in tangent], *groups[k + 1 :]]
            parts.append(_bound(name, code, members, start, *zip(own, marks, strict=True)))
    if not _is_zero(tangents[:number]):
        if not kind.curved:
            raise ModelContractError(f"{code.name}: {_NO_THIRD}")
        u = [ad.instantiate_zeros(v) for v in tangents[:number]], shared[:number]
        pairs = zip(groups, marks, strict=True)
        parts.append(_bound(kind.curved, code, members, start, *pairs, u))
    return value, [sum(values[1:], values[0]) for values in zip(*parts, strict=True)]


_NO_THIRD = (
    "a model outside JAX has first derivatives, and second ones by their differences; third ones, "
    "which were asked for here, it has not"
)


def _is_zero(values: Sequence[Any]) -> bool:
    return all(type(value) is ad.Zero for value in values)


def _transposed(
    name: str, cotangents: Any, *given: Any, code: AbstractCode, members: int, shared: Any
) -> list[Any]:
    """In the one group of arguments of which values are not known."""
    kind, number = KINDS[name], len(code.fields) + len(code.parameters)
    groups, marks = _groups(code, kind, given), _groups(code, kind, shared)
    k = next(k for k, own in enumerate(groups) if any(map(ad.is_undefined_primal, own)))
    other, kept = kind.transposed[k]
    w = [ad.instantiate_zeros(v) for v in cotangents]
    back = w, (members == 0,) * len(w)
    start = given[: number + 1], shared[: number + 1]
    rest = [] if kept is None else [(groups[kept], marks[kept])]
    first = name == other  # the cotangent takes the place of the direction, not of the vector
    values = _bound(other, code, members, start, *((*rest, back) if first else (back, *rest)))
    before = number + 1 + sum(len(own) for own in groups[:k])
    results: list[Any] = [None] * len(given)
    for place, value in enumerate(values, before):
        if ad.is_undefined_primal(given[place]):
            summed = members and shared[place]
            results[place] = jnp.sum(value, axis=0) if summed else value
    return results


def _kind(name: str, operation: str, curved: str, *transposed: tuple[str, int | None]) -> _Kind:
    primitive = Primitive(f"foreign_{name}")
    primitive.multiple_results = True
    return _Kind(primitive, operation, curved, transposed)


KINDS = {
    "step": _kind("step", STEP, "tangent"),
    "tangent": _kind("tangent", TANGENT, "curved", ("adjoint", None)),
    "adjoint": _kind("adjoint", ADJOINT, "curved_adjoint", ("tangent", None)),
    "curved": _kind("curved", TANGENT, "", ("curved_adjoint", 1), ("curved_adjoint", 0)),
    "curved_adjoint": _kind("curved_adjoint", ADJOINT, "", ("curved", 1), ("curved_adjoint", 0)),
}


def _values(
    name: str,
    road: Callable[..., Any],
    *given: Array,
    code: AbstractCode,
    members: int,
    shared: Any,
) -> list[Array]:
    """What a primitive computes: an operation of the code, or a difference of some."""
    if name in OPERATIONS:
        return _evaluate(name, road, *given, code=code, members=members, shared=shared)
    one = partial(_difference, KINDS[name].operation, code)
    return _of_members(one, members, shared, given)


def _implemented(
    name: str, *given: Array, code: AbstractCode, members: int, shared: Any
) -> list[Array]:
    """Outside any program: one of its own, compiled once for the same code."""
    return _program(name, code, members, shared)(*given)


@cache
def _program(name: str, code: AbstractCode, members: int, shared: Any) -> Any:
    bind = partial(KINDS[name].primitive.bind, code=code, members=members, shared=shared)
    return jax.jit(bind)


def _register(name: str, kind: _Kind) -> None:
    primitive = kind.primitive
    primitive.def_impl(partial(_implemented, name))
    primitive.def_abstract_eval(partial(_abstract, kind.operation))
    batching.primitive_batchers[primitive] = partial(_batched, primitive)
    ad.primitive_jvps[primitive] = partial(_derivative, name)
    if kind.transposed:
        ad.primitive_transposes[primitive] = partial(_transposed, name)
    for platform, road in (("cpu", _by_trampoline), (None, _by_callback)):
        rule = mlir.lower_fun(partial(_values, name, road), multiple_results=True)
        mlir.register_lowering(primitive, rule, platform=platform)


for _name, _own in KINDS.items():
    _register(_name, _own)
