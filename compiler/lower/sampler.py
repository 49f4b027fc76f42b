"""From the model graph to a function that draws every site: ancestral sampling in program order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp

from plait.compiler.lower.evaluate import RULES, Rule, cond_with, evaluate, scan_with
from plait.ir.errors import ModelError
from plait.ir.graph import Graph, Node, Op
from plait.ir.ops import Cond, Deterministic, Factor, Input, Observe, Param, Sample, Scan, Site, array, inputs
from plait.ir.spec import rebuild
from plait.ir.types import Shape


def draw(
    graph: Graph, data: Sequence[Any], params: Sequence[Any], key: Any, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Draws the sites of a model.

    Args:
        graph: the model graph.
        data: its data arrays.
        params: the arrays of its params.
        key: a jax random key.
        given: values of sites, which are not drawn; or pairs of a value and which of its elements are given.

    Returns:
        By name: latents, observed sites (drawn anew: replicates), deterministics.

    Raises:
        ModelError: a site has no draws (an improper prior).
    """
    given_inputs = dict(zip(inputs(graph, Input.DATA), data, strict=True))
    given_inputs |= dict(zip(graph.of(Param), params, strict=True))
    record: dict[str, Any] = {}
    _evaluate(graph, given_inputs, [], key, given, record)
    return record


def _evaluate(
    graph: Graph,
    values: Mapping[Node, Any],
    wanted: list[Node],
    key: Any,
    given: Mapping[str, Any],
    record: dict[str, Any],
) -> list[Any]:
    rules = _rules(graph, key, given, record)
    named = [n for n in graph if isinstance(n.op, (Sample, Observe, Deterministic)) or _has_sites(n)]
    return evaluate(graph, values, [*named, *wanted], rules)[len(named) :]


def _has_sites(node: Node) -> bool:
    return bool(node.op.bodies) and node.op.is_root


def _rules(graph: Graph, key: Any, given: Mapping[str, Any], record: dict[str, Any]) -> dict[type[Op], Rule]:
    keys: Iterator[Any] = (jax.random.fold_in(key, i) for i in count())

    def sample(op: Sample, args: Sequence[Any]) -> Any:
        record[op.name] = _value(op, args, keys, given)
        return record[op.name]

    def observe(op: Observe, args: Sequence[Any]) -> Any:
        obs: Any = op.extra(op.OBS, args)
        if not op.replicated:
            record[op.name] = obs
            return obs
        record[op.name] = _value(op, args, keys, given)
        # code below was traced on the observed value's shape, which may be smaller than the site's
        return record[op.name] if jnp.shape(record[op.name]) == jnp.shape(obs) else obs

    def deterministic(op: Deterministic, args: Sequence[Any]) -> Any:
        record[op.name] = _unless_given(op.name, jnp.result_type(args[0]), given, lambda: args[0])
        return record[op.name]

    def scan(op: Scan, args: Sequence[Any]) -> Any:
        if not op.is_root:
            return RULES[Scan](op, args)
        inner = {n: x for n, x in given.items() if n in drawn_shapes(op.body)}

        def body(graph: Graph, values: Mapping[Node, Any], wanted: list[Node], extra: Any) -> Sequence[Any]:
            step: dict[str, Any] = {}
            results = _evaluate(graph, values, wanted, extra[0], extra[1], step)
            return [*results, step]

        *results, drawn = scan_with(op, args, body, (jax.random.split(next(keys), op.length), inner))
        record.update(drawn)
        return results

    def cond(op: Cond, args: Sequence[Any]) -> Any:
        branch_key = next(keys)

        def branch(graph: Graph, values: Mapping[Node, Any], wanted: list[Node]) -> Any:
            drawn: dict[str, Any] = {}
            return _evaluate(graph, values, wanted, branch_key, given, drawn), drawn

        results, drawn = cond_with(op, args, branch)
        record.update(drawn)
        return results

    special: dict[type[Op], Rule] = {
        Sample: sample,
        Observe: observe,
        Deterministic: deterministic,
        Scan: scan,
        Cond: cond,
        Factor: _no_value,
    }
    return {**RULES, **special}


def _no_value(op: Factor, args: Sequence[Any]) -> None:
    return None


def _value(op: Site, args: Sequence[Any], keys: Iterator[Any], given: Mapping[str, Any]) -> Any:
    own_key = op.extra(op.KEY, args)
    key = next(keys) if own_key is None else own_key

    def drawn() -> Any:
        try:
            return rebuild(op.dist, op.leaves(args)).sample(key)
        except (NotImplementedError, ImportError):
            raise ModelError(
                f"site {op.name!r} ({op.family}) has no draws; give its value, or sample the posterior"
            ) from None

    return _unless_given(op.name, op.type.dtype, given, drawn)


def _unless_given(name: str, dtype: Any, given: Mapping[str, Any], otherwise: Callable[[], Any]) -> Any:
    """The value that is given, or computed, or both: some members of a family may be given."""
    if name not in given:
        return otherwise()
    if not isinstance(given[name], tuple):
        return jnp.asarray(given[name], dtype)
    value, counts = given[name]
    return jnp.where(counts, jnp.asarray(value, dtype), otherwise())


def drawn_shapes(graph: Graph, steps: Shape = ()) -> dict[str, Shape]:
    """Shapes of what `draw` returns by site, in program order; a scan's sites are stacked over its steps."""
    found: dict[str, Shape] = {}
    for node in graph:
        match node.op:
            case Scan():
                found |= drawn_shapes(node.op.body, (*steps, node.op.length))
            case Cond():
                found |= drawn_shapes(node.op.branches[0], steps)
            case Deterministic(name):
                found[name] = steps + array(node.type).shape
            case Sample() | Observe():
                found[node.op.name] = steps + node.op.drawn
    return found
