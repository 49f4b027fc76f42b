"""The values of observed sites, where data alone decide them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from plait.compiler.lower.sampler import draw, drawn_shapes
from plait.compiler.variants import with_observed
from plait.ir.graph import Graph, Node, downstream, make
from plait.ir.ops import Cond, Input, Observe, Param, Sample, Scan


def observed_values(graph: Graph, data: Sequence[Any], params: Sequence[Any]) -> dict[str, Any]:
    """The observed sites' values by name, in their sites' shapes; a scan's are stacked over its steps.

    A site whose observed value depends on a latent or a param is left out.

    Args:
        graph: the model graph.
        data: its data arrays; they may be traced.
        params: the arrays of its params.
    """
    shapes = drawn_shapes(graph)
    by_data = _given_by_data(graph, ())
    kept = with_observed(graph, lambda op, args, node: make(replace(op, replicated=False), args, node.loc))
    # What is left of the latents' values, whichever they are, is nothing.
    latents = {name: jnp.zeros(shapes[name]) for name in _latents(graph)}
    record = draw(kept, data, params, jax.random.key(0), latents)
    return {name: jnp.broadcast_to(x, shapes[name]) for name, x in record.items() if name in by_data}


def _given_by_data(graph: Graph, free: Collection[Node]) -> set[str]:
    """The observed sites of a graph whose values depend on nothing free."""
    free = downstream(graph, lambda n: n in free or isinstance(n.op, (Sample, Param)))
    found: set[str] = set()
    for node in graph:
        match node.op:
            case Observe():
                if node.op.extra(Observe.OBS, node.args) not in free:
                    found.add(node.op.name)
            case Scan() if node.op.is_root:
                found |= _given_by_data(node.op.body, _free_in_body(node.op, node.args, free))
            case Cond() if node.args[0] not in free:
                outside = node.args[1:]
                inside = [
                    _given_by_data(b, [i for i, a in zip(b.of(Input), outside, strict=True) if a in free])
                    for b in node.op.branches
                ]
                found |= set.intersection(*inside)
    return found


def _free_in_body(op: Scan, args: Sequence[Node], free: Collection[Node]) -> list[Node]:
    """The carry, which a latent may have changed in an earlier step, and what is free outside."""
    of_carry = range(op.n_consts, op.n_consts + op.n_carry)
    inputs = op.body.of(Input)
    return [node for i, node in enumerate(inputs) if i in of_carry or (i < len(args) and args[i] in free)]


def _latents(graph: Graph) -> list[str]:
    """The latent sites, those in loops and branches too."""
    found = []
    for node in graph:
        if node.op.bodies:
            found += _latents(node.op.bodies[0])
        elif isinstance(node.op, Sample):
            found.append(node.op.name)
    return found


__all__ = ["observed_values"]
