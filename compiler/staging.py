"""The model's primitives as JAX primitives: while a model is compiled, a site *binds*.

Each primitive carries its whole IR op as its one parameter, so the op's typing rule is its abstract
evaluation, and everything about the site is read back from the jaxpr (never collected while tracing,
because on a cache hit Python does not run).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.extend.core import Primitive

from plait.compiler.jax_compat import refuse_transformations
from plait.compiler.memo import remembered
from plait.compiler.source import current_loc
from plait.compiler.staged import struct
from plait.ir.errors import ModelError
from plait.ir.graph import Op
from plait.ir.ops import (
    Deterministic,
    Factor,
    Input,
    LoopBegin,
    LoopEnd,
    Observe,
    Param,
    Plate,
    Sample,
    Site,
    Steps,
    aval,
    from_aval,
)
from plait.ir.spec import Part, flatten, rebuild
from plait.ir.types import ArrayType, PlateFrame, axis_names


def _primitive(op_class: type[Op]) -> Primitive:
    primitive = Primitive(f"plait_{op_class.mnemonic}")

    def abstract(*avals: Any, op: Op) -> Any:
        return aval(op.infer(tuple(from_aval(a) for a in avals)))  # type: ignore[arg-type]

    def run(*args: Any, op: Op) -> Any:
        raise ModelError(
            f"{_what(op)} runs inside jax.ensure_compile_time_eval or a callback, where it can't be compiled; "
            "move the site out of it",
            current_loc(),
        )

    def refuse(transformation: str, params: dict[str, Any]) -> Exception:
        return ModelError(f"{_what(params['op'])} is inside {transformation}", current_loc())

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(run)
    refuse_transformations(primitive, refuse)
    return primitive


def _what(op: Op) -> str:
    return f"site {op.name!r}" if isinstance(op, (Site, Deterministic, Param, Input, Steps)) else f"a {op.mnemonic}"


PRIMITIVES: dict[type[Op], Primitive] = {
    op: _primitive(op)
    for op in (Sample, Observe, Factor, Deterministic, Param, Plate, Input, Steps, LoopBegin, LoopEnd)
}
OF_PLAIT = frozenset(PRIMITIVES.values())


def bind(op: Op, args: tuple[Any, ...] = ()) -> Any:
    """Puts the op into the jaxpr that is being traced and returns its traced value."""
    return PRIMITIVES[type(op)].bind(*args, op=op)


def bind_sample(
    name: str,
    fn: dist.Distribution,
    plates: tuple[PlateFrame, ...],
    *,
    mask: Any = None,
    scale: Any = None,
    key: Any = None,
) -> Any:
    """Binds a latent site; returns its value, of the distribution's whole shape."""
    leaves, part = _flatten(fn, f"site {name!r}")
    drawn = draw_type(part, tuple(from_aval(jax.typeof(x)) for x in leaves))
    t = _site_type(drawn.dtype, drawn.shape, fn, plates)
    names, args = _extras(mask=mask, scale=scale, key=key)
    return bind(Sample(name, part, len(leaves), fn.event_dim, plates, names, t, drawn.shape), (*leaves, *args))


def bind_observe(
    name: str,
    fn: dist.Distribution,
    plates: tuple[PlateFrame, ...],
    obs: Any,
    *,
    mask: Any = None,
    scale: Any = None,
    replicated: bool = True,
) -> Any:
    """Binds a site with a given value; returns that value as it was given."""
    leaves, part = _flatten(fn, f"site {name!r}")
    obs = jnp.asarray(obs)
    t = _site_type(obs.dtype, obs.shape, fn, plates, weak=from_aval(jax.typeof(obs)).weak)
    names, args = _extras(obs=obs, mask=mask, scale=scale)
    op = Observe(name, part, len(leaves), fn.event_dim, plates, names, t, tuple(fn.shape()), replicated=replicated)
    return bind(op, (*leaves, *args))


def bind_steps(name: str, value: Any, steps: int, around_model: bool) -> Any:
    """Binds the step's part of a value that was given outside the scans around its site."""
    value = jnp.asarray(value)
    t = from_aval(jax.typeof(value))
    return bind(Steps(name, steps, around_model, ArrayType(t.dtype, t.shape[steps:], weak=t.weak)), (value,))


def bind_factor(name: str, fn: dist.Distribution, plates: tuple[PlateFrame, ...], mask: Any, scale: Any) -> None:
    """Binds a term of the log joint, given as NumPyro's `Unit` distribution."""
    leaves, part = _flatten(fn, f"factor {name!r}")
    names, args = _extras(mask=mask, scale=scale)
    dtype = jax.dtypes.canonicalize_dtype(float)
    t = ArrayType(dtype, (*fn.batch_shape, 0), axis_names(len(fn.batch_shape), 1, plates))
    bind(Factor(name, part, len(leaves), 1, plates, names, t, t.shape), (*leaves, *args))


def bind_param(name: str, init: Any, constraint: Any, plates: tuple[PlateFrame, ...]) -> Any:
    """Binds each array of a param's pytree; returns the pytree of traced values."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(init)
    leaves, part = _flatten(constraint, f"param {name!r}")
    if leaves:
        raise ModelError(
            f"the constraint of param {name!r} depends on arrays; give it by Python numbers", current_loc()
        )
    values = [
        bind(Param(name, i, jax.tree_util.keystr(path), treedef, part, plates), (jnp.asarray(x),))
        for i, (path, x) in enumerate(paths)
    ]
    return jax.tree_util.tree_unflatten(treedef, values)


def bind_key(name: str) -> Any:
    """A random key that is given from outside; only initial values of params use one."""
    t = from_aval(jax.eval_shape(jax.random.key, 0))
    return bind(Input(name, Input.KEY, t))


@remembered
def draw_type(part: Part, leaves: tuple[ArrayType, ...]) -> ArrayType:
    """Shape and dtype of a draw, by abstract evaluation; equal sites share one."""
    key = jax.eval_shape(jax.random.key, 0)

    def draw(key: Any, *xs: Any) -> Any:
        fn = rebuild(part, xs)
        try:
            return jnp.asarray(fn.sample(key))
        except (NotImplementedError, ImportError):  # a density without draws: improper, or for want of a package
            return jnp.zeros(fn.shape())

    return from_aval(jax.eval_shape(draw, key, *map(struct, leaves)))


def _site_type(
    dtype: Any,
    shape: tuple[int, ...],
    fn: dist.Distribution,
    plates: tuple[PlateFrame, ...],
    weak: bool = False,
) -> ArrayType:
    batch = max(len(shape) - fn.event_dim, 0)
    names = axis_names(batch, len(shape) - batch, plates)
    # an observed value may be broadcast over a plate: its axis of size 1 is not the plate's
    sizes = {p.name: p.size for p in plates}
    axes = tuple(a if a is None or n == sizes[a] else None for a, n in zip(names, shape, strict=True))
    return ArrayType(dtype, tuple(shape), axes, weak=weak)


def _flatten(obj: Any, what: str) -> tuple[list[Any], Part]:
    try:
        return flatten(obj, what)
    except ModelError as e:
        raise ModelError(str(e), current_loc()) from None


def _extras(**given: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    present = {name: x for name, x in given.items() if x is not None}
    return tuple(present), tuple(present.values())
