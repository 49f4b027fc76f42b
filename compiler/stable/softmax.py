"""What a softmax looks like: exponentials over their own sum, shifted or not."""

from __future__ import annotations

from plait.ir.graph import Node
from plait.ir.ops import Apply, array_type, is_op


def softmax_axes(node: Node) -> tuple[int, ...] | None:
    """The axes over which a node is ``exp(x) / Σ exp(x)``; None where it is something else."""
    if not is_op(node, "div") or not is_op(node.args[0], "exp"):
        return None
    weights, total = node.args
    kept, found = _placed(total)
    if not is_op(found, "reduce_sum") or found.args[0] is not weights:
        return None
    assert isinstance(found.op, Apply)
    axes = tuple(found.op.parameters["axes"])
    shape = array_type(weights).shape
    aligned = kept == [i for i in range(len(shape)) if i not in axes]
    return axes if aligned and array_type(node).shape == shape else None


def is_below_zero(x: Node) -> bool:
    """Whether an old node is at most 0 by its form: ``−|x|``, or x less its maximum."""
    if is_op(x, "neg"):
        return is_op(x.args[0], "abs")
    return is_op(x, "sub") and _is_maximum_of(x.args[0], x.args[1])


def _is_maximum_of(x: Node, top: Node) -> bool:
    while is_op(top, "broadcast_in_dim", "reshape", "squeeze", "stop_gradient", "max"):
        top = top.args[-1]
    return is_op(top, "reduce_max") and top.args[0] is x


def _placed(node: Node) -> tuple[list[int] | None, Node]:
    """An array without the axes that were added to it, and where its own are; None where they can't be told."""
    if not is_op(node, "broadcast_in_dim", "reshape"):
        return list(range(array_type(node).ndim)), node
    assert isinstance(node.op, Apply)
    (inner,) = node.args
    before, after = array_type(inner).shape, array_type(node).shape
    if is_op(node, "reshape"):
        added = [k for k in range(len(after)) if after[:k] + after[k + 1 :] == before and after[k] == 1]
        places = [i for i in range(len(after)) if i != added[-1]] if added else None
    else:
        places = list(node.op.parameters["broadcast_dimensions"])
        places = places if tuple(after[i] for i in places) == before else None
    kept, found = _placed(inner)
    return None if places is None or kept is None else [places[i] for i in kept], found


__all__ = ["is_below_zero", "softmax_axes"]
