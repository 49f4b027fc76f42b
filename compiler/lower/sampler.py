"""From the model graph to a function that draws every site: ancestral sampling in program order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from plait.compiler.control_flow import named_nodes
from plait.compiler.lower.ancestral import Walk
from plait.compiler.staged import struct
from plait.ir.errors import ModelError
from plait.ir.graph import Graph
from plait.ir.ops import Cond, Deterministic, Input, Observe, Param, Sample, Scan, Site, array, inputs
from plait.ir.spec import Part, rebuild
from plait.ir.types import Shape

DrawingT = TypeVar("DrawingT", bound="_Drawing")


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
    return _drawn(_Drawing(key, given), graph, data, params).record


def draw_with_log_prob(
    graph: Graph, data: Sequence[Any], params: Sequence[Any], key: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draws the sites of a guide, and what their log probabilities are there.

    A value that a bijector made is scored by what it was made of, as NumPyro does: the way back loses digits at the
    edges of a support.

    Args:
        graph: the graph of a model without observed sites.
        data: its data arrays.
        params: the arrays of its params.
        key: a jax random key.

    Returns:
        What `draw` returns; and by site log probabilities (nats), unsummed, masked and scaled.
    """
    drawing = _drawn(_ScoredDrawing(key, {}), graph, data, params)
    return drawing.record, drawing.log_probs


class _Drawing(Walk):
    """One draw of a graph's sites, each with a key of its own."""

    def __init__(self, key: Any, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.keys: Iterator[Any] = (jax.random.fold_in(key, i) for i in count())
        self.given = given

    def sample(self, op: Sample, args: Sequence[Any]) -> Any:
        return self._value(op, args)

    def observe(self, op: Observe, args: Sequence[Any]) -> Any:
        obs: Any = op.extra(op.OBS, args)
        if not op.replicated:
            self.record[op.name] = obs
            return obs
        self.record[op.name] = self._value(op, args)
        # code below was traced on the observed value's shape, which may be smaller than the site's
        return self.record[op.name] if jnp.shape(self.record[op.name]) == jnp.shape(obs) else obs

    def deterministic(self, op: Deterministic, args: Sequence[Any]) -> Any:
        return _unless_given(op.name, jnp.result_type(args[0]), self.given, lambda: args[0])

    def over_steps(self, op: Scan) -> Any:
        inner = {n: x for n, x in self.given.items() if n in drawn_shapes(op.body)}
        return jax.random.split(next(self.keys), op.length), inner

    def over_branches(self) -> Any:
        return next(self.keys), self.given

    def inside(self, part: Any) -> _Drawing:
        return type(self)(*part)

    def _value(self, op: Site, args: Sequence[Any]) -> Any:
        own_key = op.extra(op.KEY, args)
        key = next(self.keys) if own_key is None else own_key

        def drawn() -> Any:
            try:
                return self._draw(op, args, key)
            except (NotImplementedError, ImportError):
                raise ModelError(
                    f"site {op.name!r} ({op.family}) has no draws; give its value, or sample the posterior"
                ) from None

        return _unless_given(op.name, op.type.dtype, self.given, drawn)

    def _draw(self, op: Site, args: Sequence[Any], key: Any) -> Any:
        return rebuild(op.dist, op.leaves(args)).sample(key)


class _ScoredDrawing(_Drawing):
    """A draw that keeps each site's log probability."""

    def __init__(self, key: Any, given: Mapping[str, Any]) -> None:
        super().__init__(key, given)
        self.log_probs: dict[str, Any] = {}

    @property
    def records(self) -> tuple[dict[str, Any], ...]:
        return self.record, self.log_probs

    def _draw(self, op: Site, args: Sequence[Any], key: Any) -> Any:
        fn = rebuild(op.dist, op.leaves(args))
        value, made_of = fn.sample_with_intermediates(key)
        log_prob = fn.log_prob(value, made_of) if made_of else fn.log_prob(value)
        mask, scale = op.extra(op.MASK, args), op.extra(op.SCALE, args)
        log_prob = log_prob if mask is None else jnp.where(mask, log_prob, 0.0)
        self.log_probs[op.name] = log_prob if scale is None else log_prob * scale
        return value


def _drawn(drawing: DrawingT, graph: Graph, data: Sequence[Any], params: Sequence[Any]) -> DrawingT:
    values = dict(zip(inputs(graph, Input.DATA), data, strict=True))
    values |= dict(zip(graph.of(Param), params, strict=True))
    drawing.evaluate(graph, values, [])
    return drawing


def _unless_given(name: str, dtype: Any, given: Mapping[str, Any], otherwise: Callable[[], Any]) -> Any:
    """The value that is given, or computed, or both: some members of a family may be given."""
    if name not in given:
        return otherwise()
    if not isinstance(given[name], tuple):
        return jnp.asarray(given[name], dtype)
    value, counts = given[name]
    return jnp.where(counts, jnp.asarray(value, dtype), otherwise())


def undrawn_sites(graph: Graph) -> list[str]:
    """The sites of which there are no draws, such as improper priors: their values have to be given."""
    found = []
    for node in named_nodes(graph):
        if isinstance(node.op, (Sample, Observe)) and (isinstance(node.op, Sample) or node.op.replicated):
            leaves = [struct(array(a.type)) for a in node.op.leaves(node.args)]
            try:
                jax.eval_shape(_one_draw(node.op.dist), leaves)
            except (NotImplementedError, ImportError):
                found.append(node.op.name)
    return found


def _one_draw(dist: Part) -> Callable[[Sequence[Any]], Any]:
    return lambda leaves: rebuild(dist, leaves).sample(jax.random.key(0))


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
