"""Initial values and constraints of `param` sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to, constraints

from plait.compiler.jax_compat import is_tracer
from plait.compiler.lower.evaluate import evaluate
from plait.ir.errors import ModelError, PlaitError, SiteTypeError
from plait.ir.graph import Graph, ancestors
from plait.ir.names import unknown_names
from plait.ir.ops import Input, Param, Sample, inputs
from plait.ir.spec import rebuild
from plait.runtime.description import ParamSites
from plait.runtime.names import require_dict
from plait.runtime.params import refuse_not_allowed


def initial(model: Graph, sites: ParamSites, data: Sequence[Any], key: Any = None) -> tuple[Any, ...]:
    """The arrays of the params' initial values.

    Args:
        model: the model graph.
        sites: its `param` sites.
        data: its data arrays.
        key: a random key for the values that are drawn; each site gets one of its own.
    """
    _refuse_random(model)
    n = len(inputs(model, Input.KEY))
    start = partial(starts, model)
    # a network's draws would be a compilation each; numbers need none
    values = jax.jit(start)(data, jax.random.split(key, n)) if n else start(data, ())
    require_allowed(model, sites, values, "starts at", ModelError)
    return values


def starts(model: Graph, data: Sequence[Any], keys: Any) -> tuple[Any, ...]:
    """The initial values, of which each that is drawn has a key."""
    given = dict(zip(inputs(model, Input.DATA), data, strict=True))
    given |= zip(inputs(model, Input.KEY), keys, strict=True)
    return tuple(jnp.asarray(x) for x in evaluate(model, given, model.of(Param)))


def _refuse_random(model: Graph) -> None:
    for node in model.of(Param):
        sites = [n.op.label for n in ancestors(node.args) if isinstance(n.op, Sample)]
        if sites:
            raise ModelError(
                f"the initial value of param {node.op.label!r} depends on the random site {sites[0]!r}; "
                "start it from numbers or data",
                node.loc,
            )


def require_allowed(model: Graph, sites: ParamSites, values: Sequence[Any], how: str, error: type[PlaitError]) -> None:
    """Raises where a param's value does not satisfy its constraint; looks at concrete numbers only."""
    for site, node, op, value in zip(sites.arrays, model.of(Param), model.ops(Param), values, strict=True):
        constraint = rebuild(op.constraint, ())
        if not isinstance(constraint, constraints.Constraint):
            got = getattr(constraint, "__name__", repr(constraint))
            raise SiteTypeError(
                f"the constraint of param {op.name!r} must be one such as constraints.positive, got {got}", node.loc
            )
        if is_tracer(value) or not jnp.issubdtype(value.dtype, np.number):
            continue
        refuse_not_allowed(site, np.asarray(value), np.asarray(allowed(constraint, np.asarray(value))), how, error)


def allowed(constraint: Any, value: Any) -> Any:
    """Where a value satisfies a constraint; a complex number none but that of complex numbers."""
    is_complex = jnp.issubdtype(value.dtype, np.complexfloating)
    return constraint(value) & (not is_complex or constraint is constraints.complex)


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
