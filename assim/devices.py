"""Which devices share the work: members of an ensemble along one axis, a state along another."""

import math
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from assim.cpus import cpus

MEMBER, SPACE = "member", "space"
POOL = "PJRT_NPROC"  # variable with the threads of XLA's pool on a CPU, read when JAX is first used
_THREADS = 4  # of that pool for each device: one that factorises a batch waits in it for others
_IS_DEALT: ContextVar[bool] = ContextVar("_IS_DEALT", default=False)  # where members are traced
_State = TypeVar("_State")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def mesh(*, member: int = 1, space: int = 1) -> AbstractContextManager[Any]:
    """Share what follows among `member` × `space` devices; within `with`, no further than that.

    Members, particles, perturbed analyses and chains are dealt out to the devices of `member`, a
    number of them that divides theirs. Along `space` every field is cut in equal parts along its
    longest dimension that can be, and with it its trajectory, what a gradient keeps and the control
    vector; neighbours exchange what stencils reach over.

    Args:
        member: devices, or groups of them, among which members are shared.
        space: devices among which a state is.

    Raises:
        ValueError: fewer than one, or more devices than there are; or so few threads on a CPU that
            devices would wait for one another without end.
    """
    devices = jax.devices()
    if min(member, space) < 1 or member * space > len(devices):
        raise ValueError(
            f"mesh: member = {member} and space = {space} ask for {max(member, 1)} × "
            f"{max(space, 1)} devices; there are {len(devices)} ({devices[0].platform}). On a CPU, "
            'jax.config.update("jax_num_cpu_devices", N) makes N of its cores, before JAX is used'
        )
    cores, made = os.cpu_count() or 1, len(jax.local_devices())
    if devices[0].platform == "cpu" and member * space > 1 and threads() < threads_for(made):
        raise ValueError(
            f"mesh: {made} devices of the CPU share a pool of {threads()} threads, in which "
            "factorisations of batches can wait for one another without end; set "
            f'os.environ["{POOL}"] = "{threads_for(made)}" before JAX is used'
        )
    if devices[0].platform == "cpu" and made > cores:
        taken = f"{made} devices of the CPU share {cores} cores"
        warnings.warn(f"mesh: {taken}: no faster than as many devices as cores", stacklevel=2)
    shape, automatic = (member, space), (AxisType.Auto, AxisType.Auto)
    axes = jax.make_mesh(shape, (MEMBER, SPACE), automatic, devices=devices[: member * space])
    return jax.set_mesh(axes)


def threads() -> int:
    """Threads of XLA's pool on a CPU, as XLA counts them when JAX is first used."""
    asked = [os.environ[name] for name in (POOL, "NPROC") if name in os.environ]
    return int(asked[0]) if asked and asked[0].isdigit() else cpus()


def threads_for(devices: int) -> int:
    """Threads with which so many devices of a CPU never wait for one another; 1 for one."""
    return _THREADS * devices if devices > 1 else 1


def along(axis: str) -> int:
    """Devices along an axis of the mesh that holds here; 1 without one."""
    return dict(jax.sharding.get_abstract_mesh().shape).get(axis, 1)


def in_space(values: _State) -> _State:
    """Arrays, each cut along the longest of its dimensions that the devices of a state divide."""
    if along(SPACE) == along(MEMBER) == 1:
        return values
    return jax.tree.map(_cut, values)


def laid_out(step: _Function) -> _Function:
    """A step (x, …) → (x, …) whose states are cut so; the step itself where they are not."""
    if along(SPACE) == along(MEMBER) == 1:
        return step

    def cut(x: Any, *rest: Any) -> tuple[Any, ...]:
        y, *others = step(x, *rest)
        return in_space(y), *others

    return cut  # type: ignore[return-value]


def _cut(value: jax.Array) -> jax.Array:
    devices = along(SPACE)
    parts: list[str | None] = [None] * value.ndim
    sizes = [size if size % devices == 0 else 0 for size in value.shape]
    if devices > 1 and max(sizes, default=0) > 0:
        parts[sizes.index(max(sizes))] = SPACE
    return jax.lax.with_sharding_constraint(value, PartitionSpec(*parts))


class _Whole(eqx.Module):
    """A function whose arrays are whole on every process."""

    function: Callable[..., Any]

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.function

    def __call__(self, *given: Any, **named: Any) -> Any:
        values = self.function(*given, **named)
        arrays, rest = eqx.partition(values, eqx.is_array)
        return eqx.combine(jax.lax.with_sharding_constraint(arrays, PartitionSpec()), rest)


def program(function: _Function) -> _Function:
    """The function compiled, as by `equinox.filter_jit`; what it returns is whole on every process.

    Processes that run together, as `jax.distributed.initialize` has it before assim is used, need
    the values of all devices where they go on in NumPy and files.
    """
    together = jax.distributed.is_initialized()
    compiled: Any = eqx.module_update_wrapper(_Whole(function)) if together else function
    compiled = eqx.filter_jit(compiled)
    return compiled


def each_member(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `vmap`, of rows that are dealt out to the devices of members where those divide them.

    Rows within a row that is dealt out stay together on its device.
    """

    def every(*rows: Any) -> Any:
        devices = _dealt_among()
        if devices == 1 or _number(rows) % devices:
            return jax.vmap(function)(*rows)
        before = _IS_DEALT.set(True)
        try:
            return jax.vmap(function, spmd_axis_name=MEMBER)(*rows)
        finally:
            _IS_DEALT.reset(before)

    return every


def over_members(function: Callable[[Any], Any], rows: Any, size: int) -> Any:
    """The function of every row, in batches of one size: what is mapped is compiled once.

    Args:
        function: of one row.
        rows: arrays with one leading dimension.
        size: rows that the memory of one device holds.
    """
    devices, number = _dealt_among(), _number(rows)
    batches = math.ceil(number / (size * devices))
    if batches <= 1:
        return each_member(function)(rows)
    batch = devices * math.ceil(number / (batches * devices))
    place = jnp.minimum(jnp.arange(batches * batch), number - 1)  # the last again, to fill up
    full = jax.tree.map(lambda row: row[place].reshape(batches, batch, *row.shape[1:]), rows)
    values = jax.lax.map(each_member(function), full)
    return jax.tree.map(lambda v: v.reshape(batches * batch, *v.shape[2:])[:number], values)


def _dealt_among() -> int:
    """Devices among which members are dealt out here; 1 within a member that was."""
    return 1 if _IS_DEALT.get() else along(MEMBER)


def _number(rows: Any) -> int:
    return jax.tree.leaves(rows)[0].shape[0]
