"""Initial values and constraints of `param` sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to, constraints

from plait.compiler.jax_compat import is_tracer
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.refused_data import shown
from plait.compiler.wording import in_words
from plait.ir.errors import ModelError, PlaitError, SiteTypeError
from plait.ir.graph import Graph, ancestors
from plait.ir.ops import Input, Param, Sample, inputs
from plait.ir.spec import rebuild
from plait.runtime.names import require_dict, unknown_names


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
