"""From the model graph to a function of the unit cube: each latent at its probabilities, given those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import ImproperUniform

from plait.compiler.control_flow import named_nodes
from plait.compiler.lower.ancestral import Walk
from plait.compiler.quantiles.rules import NoQuantileError, cube_shape, quantile
from plait.compiler.quantiles.tails import Tails
from plait.compiler.staged import struct
from plait.ir.errors import InternalError, ModelError
from plait.ir.graph import Graph, Node
from plait.ir.ops import Const, Deterministic, Input, Observe, Param, Sample, Scan, array_type, inputs
from plait.ir.spec import rebuild
from plait.ir.types import Slot


def prior_transform(
    graph: Graph, slots: Sequence[Slot], data: Sequence[Any], params: Sequence[Any], u: Any
) -> dict[str, Any]:
    """The latents and deterministics at a point of the unit cube.

    Args:
        graph: the model graph, of which `require_quantiles` is true.
        slots: each latent's place in u.
        data: its data arrays.
        params: the arrays of its params.
        u: shape (dim,), from 0 to 1; NaN outside.

    Returns:
        By name; of uniform u they are what the sampler draws, given the observed values.
    """
    given = dict(zip(inputs(graph, Input.DATA), data, strict=True))
    given |= dict(zip(graph.of(Param), params, strict=True))
    parts = {s.name: u[s.offset : s.offset + s.unconstrained.size].reshape(s.unconstrained.shape) for s in slots}
    walk = _Transform({name: Tails.at(part) for name, part in parts.items()})
    walk.evaluate(graph, given, [])
    return walk.record


class _Transform(Walk):
    """The latents of a graph at their probabilities."""

    def __init__(self, tails: Mapping[str, Tails]) -> None:
        super().__init__()
        self.tails = tails

    def sample(self, op: Sample, args: Sequence[Any]) -> Any:
        return quantile(rebuild(op.dist, op.leaves(args)), self.tails[op.name]).astype(op.type.dtype)

    def observe(self, op: Observe, args: Sequence[Any]) -> Any:
        return op.extra(op.OBS, args)

    def deterministic(self, op: Deterministic, args: Sequence[Any]) -> Any:
        return jnp.asarray(args[0])

    def over_steps(self, op: Scan) -> Any:
        names = {node.op.label for node in named_nodes(op.body) if isinstance(node.op, Sample)}
        return {name: tails for name, tails in self.tails.items() if name in names}

    def over_branches(self) -> Any:
        return self.tails

    def inside(self, part: Any) -> _Transform:
        return _Transform(part)


# -- what has none --------------------------------------------------------------------------------------------


def require_quantiles(graph: Graph) -> None:
    """Raises ModelError, with the user's line, where a latent is not what its probabilities say.

    So it is where its distribution has no rule, and where its density is masked or scaled: draws are not.
    """
    for node in graph:
        for body in node.op.bodies:
            require_quantiles(body)
        if isinstance(node.op, Sample):
            _require_quantile(node, node.op)


def _require_quantile(node: Node, op: Sample) -> None:
    try:
        _refuse_weights(node, op)
        _refuse_shape(node, op)
    except NoQuantileError as why:
        raise ModelError(f"latent {op.name!r} ({op.family}) has no prior transform: {why}", node.loc) from None


def _refuse_weights(node: Node, op: Sample) -> None:
    if why := weighted(node, op):
        raise NoQuantileError(why)


def weighted(node: Node, op: Sample) -> str | None:
    """Why a latent's draws are not from its prior: a mask or scale, but one that changes nothing."""
    for name, what, where in _WEIGHTS:
        weight = op.extra(name, node.args)
        if weight is not None and not (isinstance(weight.op, Const) and np.all(np.asarray(weight.op.value) == 1)):
            return (
                f"its density is {what} and its draws are not, so they are not from its prior; take it out of {where}, "
                "or use a sampler that needs only the density"
            )
    return None


_WEIGHTS = (
    (Sample.MASK, "masked", "handlers.mask or obs_mask"),
    (Sample.SCALE, "scaled", "handlers.scale or the subsampled plate"),
)


def _refuse_shape(node: Node, op: Sample) -> None:
    leaves = [array_type(a) for a in op.leaves(node.args)]

    def value(*xs: Any) -> Any:
        d = rebuild(op.dist, xs)
        if isinstance(d, ImproperUniform):
            raise NoQuantileError("it is improper; give it a prior of which there are draws")
        if d.support.is_discrete:
            raise NoQuantileError("it is discrete; sum it out by hand in a factor")
        u = jnp.full(cube_shape(d), 0.5, op.type.dtype)
        return quantile(d, Tails.at(u))

    found = jax.eval_shape(value, *map(struct, leaves)).shape
    if found != op.drawn:
        raise InternalError(f"the inverse CDF of {op.name!r} gives shape {found} in place of {op.drawn}", node.loc)


__all__ = ["prior_transform", "require_quantiles", "weighted"]
