"""share_exps: log Σ exp over components computes each exponential once, for the value and for the gradient.

m: f64[1000] = stop_gradient (reduce_max a)            b: f64[2, 1000] = (a, its components in front)
e: f64[1000, 2] = exp (sub a m)                   ⇒    c: f64[1000] = log_sum_exp b
c: f64[1000] = add (log (reduce_sum e)) m

So are mixtures, of NumPyro's distributions or written out, and the forward probabilities of hidden Markov models. The
equations are those that `jax.scipy.special.logsumexp` or `jnp.logaddexp` trace to, and nothing else. Components that
were stacked, and two of them, stay arrays of their own; otherwise the axis that counts them becomes the first one of
all that is computed elementwise, so that rows lie side by side in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from plait.compiler import jax_compat as compat
from plait.compiler.analysis.elementwise import ELEMENTWISE
from plait.compiler.importer import Builder
from plait.compiler.logsumexp import log_sum_exp, log_sum_exp_along
from plait.compiler.memo import remembered
from plait.compiler.passes.simplify import simplify
from plait.compiler.stable.match import logaddexp_of, match
from plait.ir.graph import Graph, Node, make, renamed_outputs, with_outputs
from plait.ir.ops import Apply, Const, array_type, is_op

MOST_PARTS = 16  # stacked components that stay arrays of their own: the code grows with their number
NAMES = frozenset({"_of_two", "_of_parts", "log_sum_exp_along"})  # of the functions that share exponentials


def share_exps(graph: Graph) -> Graph:
    """Replaces jax's log Σ exp: ``log (Σ exp (a − m)) + m  ⇒  log_sum_exp a``, components in front."""
    builder = Builder()
    env: dict[Node, Node] = {}
    for node in graph:
        args = tuple(env[a] for a in node.args)
        found = _log_sum_exp(node)
        if found is not None:
            env[node] = _shared(builder, node, env[found[0]], found[1])
            continue
        two = _added(node)
        if two is not None:
            env[node] = builder.code(log_sum_exp, [env[a] for a in two], node.loc)
            continue
        op = node.op.with_bodies([share_exps(body) for body in node.op.bodies])
        env[node] = node if op is node.op and args == node.args else make(op, args, node.loc)
        builder.nodes.append(env[node])
    # components one by one repeat what they have in common
    return simplify(with_outputs(builder.nodes, renamed_outputs(graph, env)))


def components(nodes: Iterable[Node]) -> list[int]:
    """How many components each log Σ exp among these nodes has."""
    counts = []
    for node in nodes:
        counts += [n for body in node.op.bodies for n in components(body)]
        if (_custom(node) or "").partition(" at ")[0] in NAMES:
            counts.append(len(node.args) if len(node.args) > 1 else array_type(node.args[0]).shape[0])
    return counts


def _shared(builder: Builder, node: Node, a: Node, axis: int) -> Node:
    """log Σ exp of `a` along an axis, in the shape of the node."""
    k = array_type(a).shape[axis]
    shape = array_type(node).shape
    moved = _Moved(builder, axis)
    if k == 2 or (k <= MOST_PARTS and _is_stacked(a, axis)):
        parts = [moved.part(a, i) for i in range(k)]
        return builder.code(lambda *parts: log_sum_exp(*parts).reshape(shape), parts, node.loc)
    return builder.code(lambda a: log_sum_exp_along(a).reshape(shape), [moved.in_front(a)], node.loc)


# -- what is replaced -----------------------------------------------------------------------------------------


def _log_sum_exp(node: Node) -> tuple[Node, int] | None:
    """The array and the axis, where a node is all that jax's `logsumexp` computes."""
    total = _walked(node, ("add", "log"), ("abs", "reshape", "broadcast_in_dim"), "reduce_sum")
    if total is None or not is_op(total.args[0], "exp") or not is_op(total.args[0].args[0], "sub"):
        return None
    a = total.args[0].args[0].args[0]
    axes = total.op.parameters["axes"]  # type: ignore[attr-defined]
    if len(axes) != 1 or array_type(a).shape[axes[0]] == 0 or not _is_float(node):
        return None
    keepdims = array_type(node).ndim == array_type(a).ndim
    written = _logsumexp(axes[0], keepdims)
    return (a, axes[0]) if match(written, node, (array_type(a),)) == (a,) else None


@remembered
def _logsumexp(axis: int, keepdims: bool) -> Callable[[Any], Any]:
    return lambda a: logsumexp(a, axis=axis, keepdims=keepdims)


def _walked(node: Node, through: Sequence[str], maybe: Sequence[str], to: str) -> Node | None:
    """Down first arguments: by these primitives in order, then by any of `maybe`, to one."""
    for name in through:
        if not is_op(node, name):
            return None
        node = node.args[0]
    while any(is_op(node, name) for name in maybe):
        node = node.args[0]
    return node if is_op(node, to) else None


def _added(node: Node) -> tuple[Node, ...] | None:
    """The two components of jax's `logaddexp`; softplus, of one and 0, is none."""
    two = logaddexp_of(node)
    return None if two is None or not _is_float(node) or any(isinstance(a.op, Const) for a in two) else two


# -- where components are ---------------------------------------------------------------------------------------


class _Moved:
    """What arrays are with the components' axis in front, or for one component; elementwise code is written anew."""

    def __init__(self, builder: Builder, axis: int) -> None:
        self.builder, self.axis = builder, axis
        self.done: dict[Any, Node] = {}

    def in_front(self, node: Node) -> Node:
        """The axis first."""
        axis = self.axis

        def front(x: Any) -> Any:
            return jnp.moveaxis(x, axis, 0)

        def repeated(node: Node) -> Node:
            assert isinstance(node.op, Apply)
            dims, t = node.op.parameters["broadcast_dimensions"], array_type(node)
            order = [axis, *(i for i in range(t.ndim) if i != axis)]
            new = [order.index(d) for d in dims]

            def code(x: Any) -> Any:
                x = jnp.transpose(x, sorted(range(len(new)), key=new.__getitem__))
                return jax.lax.broadcast_in_dim(x, [t.shape[i] for i in order], sorted(new))

            return self.builder.code(code, [node.args[0]], node.loc)

        return self._anew(node, "front", self.in_front, front, repeated)

    def part(self, node: Node, k: int) -> Node:
        """Component k, without the axis."""
        axis = self.axis

        def one(x: Any) -> Any:
            return jax.lax.index_in_dim(x, 0 if x.shape[axis] == 1 else k, axis, keepdims=False)

        def repeated(node: Node) -> Node:
            assert isinstance(node.op, Apply)
            dims, t = node.op.parameters["broadcast_dimensions"], array_type(node)

            def code(x: Any) -> Any:
                if axis in dims:
                    here = dims.index(axis)
                    x = jax.lax.index_in_dim(x, 0 if x.shape[here] == 1 else k, here, keepdims=False)
                shape = [n for i, n in enumerate(t.shape) if i != axis]
                return jax.lax.broadcast_in_dim(x, shape, [d - (d > axis) for d in dims if d != axis])

            return self.builder.code(code, [node.args[0]], node.loc)

        return self._anew(node, k, lambda n: self.part(n, k), one, repeated)

    def _anew(
        self,
        node: Node,
        key: Any,
        moved: Callable[[Node], Node],
        code: Callable[[Any], Any],
        repeated: Callable[[Node], Node],
    ) -> Node:
        t = array_type(node)
        if t.ndim == 0:
            return node  # a number, or a condition for all
        if (key, node) not in self.done:
            if _is_elementwise(node):
                new = _bound(self.builder, node, [moved(a) for a in node.args])
            elif is_op(node, "broadcast_in_dim") and len(node.args) == 1:
                new = repeated(node)
            elif is_op(node, "concatenate") and _stacks(node, self.axis) and key != "front":
                new = moved(node.args[key])
            else:
                new = self.builder.code(code, [node], node.loc)
            self.done[key, node] = new
        return self.done[key, node]


def _is_elementwise(node: Node) -> bool:
    """Whether each entry comes from those at its place; numbers and axes of length one are for all places."""
    if not (isinstance(node.op, Apply) and node.op.primitive.name in ELEMENTWISE):
        return False
    return all(array_type(a).ndim in (0, array_type(node).ndim) for a in node.args)


def _is_stacked(node: Node, axis: int) -> bool:
    """Whether elementwise code combines arrays that were stacked along the axis."""
    todo, seen = [node], set()
    while todo:
        n = todo.pop()
        if n not in seen:
            seen.add(n)
            if _stacks(n, axis):
                return True
            todo += n.args if _is_elementwise(n) else ()
    return False


def _stacks(node: Node, axis: int) -> bool:
    """Whether a node puts arrays of length one side by side, as `jnp.stack` does."""
    if not (isinstance(node.op, Apply) and node.op.primitive.name == "concatenate"):
        return False
    one = all(array_type(a).shape[axis : axis + 1] == (1,) for a in node.args)
    return one and node.op.parameters["dimension"] == axis


def _custom(node: Node) -> str | None:
    """The function with a derivative of its own that a node calls."""
    is_call = isinstance(node.op, Apply) and is_op(node, "custom_jvp_call")
    return compat.custom_function(node.op.parameters) if is_call else None  # type: ignore[attr-defined]


def _is_float(node: Node) -> bool:
    return np.issubdtype(array_type(node).dtype, np.floating)


def _bound(builder: Builder, node: Node, args: Sequence[Node]) -> Node:
    op = node.op
    assert isinstance(op, Apply)
    return builder.code(lambda *args: compat.bind(op.primitive, op.parameters, args)[0], args, node.loc)


__all__ = ["components", "share_exps"]
