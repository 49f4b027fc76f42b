"""Values of `param` sites: a separate, named argument of the densities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to, constraints

from plait.compiler.host_checks import shown
from plait.compiler.jax_compat import is_tracer
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.wording import in_words
from plait.ir.errors import ModelError, PlaitError, SiteTypeError, ValueNamesError
from plait.ir.graph import Graph, Node, ancestors
from plait.ir.ops import Input, Param, Sample, array, inputs
from plait.ir.spec import rebuild
from plait.runtime.given import in_dtype, numbers
from plait.runtime.names import require_dict, unknown_names


def are_drawn(model: Graph) -> bool:
    """Whether an initial value is random."""
    return bool(inputs(model, Input.KEY))


def initial(model: Graph, data: Sequence[Any], key: Any = None) -> tuple[Any, ...]:
    """The arrays of the params' initial values.

    Args:
        model: the model graph.
        data: its data arrays.
        key: a random key for the values that are drawn; each site gets one of its own.
    """
    _refuse_random(model)
    drawn = inputs(model, Input.KEY)

    def starts(data: Sequence[Any], keys: Any) -> tuple[Any, ...]:
        given = dict(zip(inputs(model, Input.DATA), data, strict=True)) | dict(zip(drawn, keys, strict=True))
        return tuple(jnp.asarray(x) for x in evaluate(model, given, model.of(Param)))

    # a network's draws would be a compilation each; numbers need none
    values = jax.jit(starts)(data, jax.random.split(key, len(drawn))) if drawn else starts(data, ())
    require_allowed(model, values, "starts at", ModelError)
    return values


def _refuse_random(model: Graph) -> None:
    for node in model.of(Param):
        sites = [n.op.label for n in ancestors(node.args) if isinstance(n.op, Sample)]
        if sites:
            raise ModelError(
                f"the initial value of param {node.op.label!r} depends on the random site {sites[0]!r}; "
                "start it from numbers or data",
                node.loc,
            )


def require_allowed(model: Graph, values: Sequence[Any], how: str, error: type[PlaitError]) -> None:
    """Raises where a param's value does not satisfy its constraint; looks at concrete numbers only."""
    for node, op, value in zip(model.of(Param), model.ops(Param), values, strict=True):
        constraint = rebuild(op.constraint, ())
        if not isinstance(constraint, constraints.Constraint):
            got = getattr(constraint, "__name__", repr(constraint))
            raise SiteTypeError(
                f"the constraint of param {op.name!r} must be one such as constraints.positive, got {got}", node.loc
            )
        if is_tracer(value) or not jnp.issubdtype(value.dtype, np.number):
            continue
        value = np.asarray(value)
        inside = np.asarray(constraint(value)) & (not np.iscomplexobj(value) or constraint is constraints.complex)
        if not inside.all():
            got = shown(value[~inside].flat[:1] if inside.shape == value.shape else value)
            allowed = in_words(constraint)
            raise error(f"param {op.name!r}{op.path} {how} {got}, outside its constraint ({allowed})", node.loc)


def packed(model: Graph, arrays: Sequence[Any]) -> dict[str, Any]:
    """By site: an array, or a module's pytree, with None for what the model does not read of it."""
    trees = {op.name: op.treedef for op in model.ops(Param)}
    leaves: dict[str, list[Any]] = {name: [None] * tree.num_leaves for name, tree in trees.items()}
    for op, value in zip(model.ops(Param), arrays, strict=True):
        leaves[op.name][op.part] = value
    return {name: jax.tree.unflatten(trees[name], leaves[name]) for name in trees}


def constraints_of(model: Graph) -> dict[str, Any]:
    """The constraint of each `param` site."""
    return {op.name: rebuild(op.constraint, ()) for op in model.ops(Param)}


def transformed(constraints: Mapping[str, Any], given: Mapping[str, Any], inverse: bool) -> dict[str, Any]:
    """Params by site moved onto their constraints by NumPyro's bijectors, or back."""
    require_dict(given, "param")
    unknown_names(given.keys(), list(constraints), "param")
    bijectors = {name: biject_to(constraint) for name, constraint in constraints.items()}
    moves = {name: bijector.inv if inverse else bijector for name, bijector in bijectors.items()}
    return {name: jax.tree.map(moves[name], tree) for name, tree in given.items()}


def unpacked(model: Graph, given: Mapping[str, Any], default: Sequence[Any] | None) -> tuple[Any, ...]:
    """The arrays of values by site; sites that are not given keep the default.

    Raises:
        ValueNamesError: an unknown site, a wrong structure or shape, or a value that is missing and has no default.
    """
    require_dict(given, "param")
    nodes, ops = model.of(Param), model.ops(Param)
    sizes = Counter(op.name for op in ops)
    unknown_names(given.keys(), list(sizes), "param")
    leaves = {name: iter(_leaves(name, tree, sizes[name])) for name, tree in given.items()}
    defaults = default or (None,) * len(nodes)
    return tuple(_leaf(node, leaves, fallback) for node, fallback in zip(nodes, defaults, strict=True))


def _leaves(name: str, tree: Any, size: int) -> list[Any]:
    if size == 1 and isinstance(tree, (list, tuple)):
        tree = numbers(tree, f"the value of param {name!r}")
    leaves = jax.tree.leaves(tree)
    if leaves and len(leaves) != size:
        raise ValueNamesError(f"param {name!r} consists of {size} arrays, got {len(leaves)}")
    return leaves


def _leaf(node: Node, leaves: Mapping[str, Any], default: Any) -> Any:
    op, t = node.op, array(node.type)
    assert isinstance(op, Param)
    what = f"param {op.name!r}{op.path}"
    value = next(leaves[op.name], None) if op.name in leaves else default
    value = None if value is None else numbers(value, f"the value of {what}")
    if value is None or value.shape != t.shape:
        got = "none" if value is None else f"shape {value.shape}"
        raise ValueNamesError(f"{what} needs a value of shape {t.shape}, got {got}", node.loc)
    return in_dtype(value, t.dtype, what)
