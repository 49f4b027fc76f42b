"""Every value of a graph in the words of the model's author: a name, short arithmetic, or what it depends on.

It reads nodes through the general attributes of `Op` only, so that it can stand below the ops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# This file stands below ir.graph, whose JSON has these words.
Nodes = Any  # a Graph
AnyNode = Any

LONGEST = 40  # an expression with more characters is shown as what it depends on, f(x, y)
MOST = 5  # names inside f(…)

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "dot_general": "@"}
_TIGHT = frozenset({"mul", "div", "dot_general"})  # they bind their operands more tightly than + and -
_INDEXING = frozenset({"gather", "slice", "dynamic_slice"})
_FUNCTIONS = frozenset({"exp", "log", "log1p", "expm1", "sqrt", "logistic", "tanh", "abs", "square"})
# They change dtype or leading axes, which numpy's broadcasting rules leave out too.
_TRANSPARENT = frozenset({"squeeze", "convert_element_type", "copy"})


def expressions(graph: Nodes, inputs: Mapping[AnyNode, str], *, vectors: bool = True) -> dict[AnyNode, str]:
    """Every value: a name, short arithmetic of names, or ``f(what it depends on)``.

    Args:
        graph: whose values.
        inputs: how some of them read, such as those that enter a scan's body.
        vectors: whether short constant vectors show their numbers. One number is shown in any case, also where it fills
            an array: that is how NumPyro broadcasts a scalar.
    """
    shown: dict[AnyNode, str] = {}
    for node in graph:
        if node in inputs:
            shown[node] = inputs[node]
        elif _is_named(node):
            shown[node] = node.op.label or ""
        elif node.op.category == "const":
            shown[node] = _constant(node.op, vectors)
        else:
            text = _expression(node, shown)
            shown[node] = text if text and len(text) <= LONGEST else _call(_dependence(node, shown))
    return shown


def _is_named(node: AnyNode) -> bool:
    return bool(node.op.label) and node.op.category != "plate"


def _constant(op: Any, vectors: bool) -> str:
    """A number, also where it fills an array; a short vector; else ``const``."""
    if not isinstance(op.type.dtype, np.dtype) or op.type.dtype.kind not in "biuf" or not op.type.size:
        return "const"
    value = np.asarray(op.value)
    if (value == value.flat[0]).all():
        return f"{value.flat[0]:g}" if value.dtype.kind != "b" else str(value.flat[0])
    shown = vectors and value.ndim == 1 and value.size <= MOST
    return f"[{', '.join(f'{v:g}' for v in value)}]" if shown else "const"


def _expression(node: AnyNode, shown: Mapping[AnyNode, str]) -> str | None:
    name = node.op.applies
    if name is None:
        return None
    args = [shown[a] for a in node.args]
    if name in _TRANSPARENT or (name == "reshape" and _only_leading(node)):
        return args[0]
    if name == "broadcast_in_dim":
        return _broadcast(args[0], node.op)
    if name in _INFIX and len(args) == 2 and (name != "dot_general" or _is_matmul(node.op)):
        left, right = args
        if name in _TIGHT:
            left = _bracketed(left)
        if name in _TIGHT or name == "sub":
            right = _bracketed(right)
        return f"{left} {_INFIX[name]} {right}"
    if name == "neg":
        return f"-{_bracketed(args[0])}"
    if name in _FUNCTIONS:
        return f"{name}({args[0]})"
    if name in _INDEXING:
        parts = node.args[1:] if name != "gather" else _index_parts(node)
        index = [i for a in parts for i in _index(a, shown)]
        return f"{_bracketed(args[0])}[{', '.join(index if len(parts) > 1 else dict.fromkeys(index)) or '…'}]"
    return None


def _index_parts(gather: AnyNode) -> list[AnyNode]:
    """The indices of a gather, one for each axis that it drops, where its code puts them side by side."""
    (whole,) = gather.args[1:]
    if whole.op.applies != "concatenate":
        return [whole]
    numbers = gather.op.parameters["dimension_numbers"]
    dropped = numbers.start_index_map == numbers.collapsed_slice_dims == tuple(range(len(whole.args)))
    return list(whole.args) if dropped else [whole]


def _index(node: AnyNode, shown: Mapping[AnyNode, str]) -> list[str]:
    """``g``, ``0``: what one index says."""
    one = unbroadcast(node)
    return [one.op.literal] if one.op.literal is not None else list(dict.fromkeys(_dependence(node, shown)))


def _only_leading(node: AnyNode) -> bool:
    """Whether a reshape adds or drops leading axes of size 1 only."""
    before, after = (n.type.shape for n in (node.args[0], node))
    n = min(len(before), len(after))
    cut = len(before) - n, len(after) - n
    return before[cut[0] :] == after[cut[1] :] and set(before[: cut[0]] + after[: cut[1]]) <= {1}


def _broadcast(text: str, op: Any) -> str:
    """``x[:, None]`` where new axes stand after old ones; before them they go without saying."""
    dims = op.parameters["broadcast_dimensions"]
    axes = [":" if i in dims else "None" for i in range(dims[0], len(op.parameters["shape"]))] if dims else []
    return f"{_bracketed(text)}[{', '.join(axes)}]" if "None" in axes and not text[0].isdigit() else text


def _is_matmul(op: Any) -> bool:
    contract, batch = op.parameters["dimension_numbers"]
    left, right = (t.ndim for t in op.ins)
    return not any(batch) and tuple(map(tuple, contract)) == ((left - 1,), (max(right - 2, 0),))


def _bracketed(text: str) -> str:
    """In brackets where there is an operator outside of any."""
    depth = 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == " " and depth == 0:
            return f"({text})"
    return text


def _dependence(node: AnyNode, shown: Mapping[AnyNode, str]) -> list[str]:
    """The nearest named values that a value is or depends on."""
    found: list[str] = []
    seen: set[AnyNode] = set()
    todo = [node]
    while todo:
        n = todo.pop(0)
        if n not in seen:
            seen.add(n)
            if _is_named(n):
                found.append(shown[n])
            elif n.op.category != "plate":
                todo = [*n.args, *todo]
    return found


def _call(names: Sequence[str]) -> str:
    if not names:
        return "const"
    return f"f({', '.join(names[:MOST])}{', …' * (len(names) > MOST)})"


def body_inputs(node: AnyNode, shown: Mapping[AnyNode, str]) -> list[dict[AnyNode, str]]:
    """How the inputs of each graph inside a node read."""
    words = node.op.enter([shown[a] for a in node.args])
    return [
        dict(zip((n for n in body if n.op.mnemonic == "input"), entering, strict=False))
        for body, entering in zip(node.op.bodies, words, strict=True)
    ]


def unbroadcast(node: AnyNode) -> AnyNode:
    """Without the axes that a distribution gives to its own arguments."""
    while node.op.applies in {*_TRANSPARENT, "broadcast_in_dim", "reshape"}:
        (node,) = node.args
    return node


__all__ = ["body_inputs", "expressions", "unbroadcast"]
