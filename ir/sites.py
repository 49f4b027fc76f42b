"""The sites of a model in a few lines, in the words of its author."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from plait.ir.graph import Graph, Node, Role
from plait.ir.ops import (
    Apply,
    Cond,
    Const,
    Deterministic,
    Factor,
    Input,
    Observe,
    Param,
    Plate,
    Sample,
    Scan,
    Site,
    Value,
    array_type,
    is_op,
)
from plait.ir.spec import Part, Spec, spec_text
from plait.ir.types import ArrayType

LONGEST = 40  # an expression with more characters is shown as what it depends on, f(x, y)
MOST = 5  # names inside f(…)

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "dot_general": "@"}
_TIGHT = frozenset({"mul", "div", "dot_general"})  # they bind their operands more tightly than + and -
_INDEXING = frozenset({"gather", "slice", "dynamic_slice"})
_FUNCTIONS = frozenset({"exp", "log", "log1p", "expm1", "sqrt", "logistic", "tanh", "abs", "square"})
# They change dtype or leading axes, which numpy's broadcasting rules leave out too.
_TRANSPARENT = frozenset({"squeeze", "convert_element_type", "copy"})


@dataclass(frozen=True)
class SiteLine:
    """One site: ``theta``, ``~ Normal(mu, tau)``, ``[schools:8]``, ``latent``."""

    name: str
    text: str
    shape: str
    kind: str


def site_lines(graph: Graph) -> list[SiteLine]:
    """The sites, factors, params and deterministics of a model graph, in program order."""
    return list(_lines(graph, {}, ()))


def _lines(graph: Graph, inputs: Mapping[Node, str], steps: Sequence[int]) -> Iterator[SiteLine]:
    shown = expressions(graph, inputs)
    for node in graph:
        if isinstance(node.op, Scan):
            yield from _lines(node.op.body, _body_inputs(node, shown), (*steps, node.op.length))
        elif isinstance(node.op, Cond):
            yield from _branch_lines(node, node.op, shown, steps)
        elif (line := _line(node, shown, steps)) is not None:
            yield line


def _branch_lines(node: Node, op: Cond, shown: Mapping[Node, str], steps: Sequence[int]) -> Iterator[SiteLine]:
    """The sites of a cond once: what they are in each branch, where the branches say different things."""
    texts = [shown[a] for a in node.args[1:]]
    branches = [
        {line.name: line for line in _lines(branch, dict(zip(branch.of(Input), texts, strict=True)), steps)}
        for branch in op.branches
    ]
    for name, line in branches[0].items():
        said = dict.fromkeys(branch[name].text for branch in branches)
        yield replace(line, text=" or ".join(said))


def _line(node: Node, shown: Mapping[Node, str], steps: Sequence[int]) -> SiteLine | None:
    args = [shown[_unbroadcast(a)] for a in node.args]
    shape = _shape(node.type, steps) if isinstance(node.type, ArrayType) else ""
    match node.op:
        case Factor() as op:
            # Its type ends with the empty event of NumPyro's Unit.
            return SiteLine(op.name, f"+= {args[0]}", shape.replace(", 0]", "]").replace("[0]", ""), "factor")
        case Sample() | Observe() as op:
            kind = "observed" if isinstance(op, Observe) else "latent"
            kind += ", masked" * (Site.MASK in op.extras) + ", scaled" * (Site.SCALE in op.extras)
            return SiteLine(op.name, f"~ {spec_text(_unexpanded(op.dist), args)}", shape, kind)
        case Deterministic() as op:
            return SiteLine(op.name, f"= {args[0]}", shape, "deterministic")
        case Param() as op:
            return SiteLine(f"{op.name}{op.path}", f"in {spec_text(op.constraint, args)}", shape, "param")
    return None


def _unbroadcast(node: Node) -> Node:
    """Without the axes that a distribution gives to its own arguments."""
    while isinstance(node.op, Apply) and node.op.primitive.name in {*_TRANSPARENT, "broadcast_in_dim", "reshape"}:
        (node,) = node.args
    return node


def _unexpanded(dist: Part) -> Part:
    """Without the expansion to the plates, which the shape shows."""
    while isinstance(dist, Spec) and dist.cls.__name__ == "ExpandedDistribution":
        inner = dist.field("base_dist")
        if inner is None:
            break
        dist = inner
    return dist


def _shape(t: ArrayType, steps: Sequence[int]) -> str:
    axes = [f"steps:{n}" for n in steps]
    axes += [f"{a}:{n}" if a else str(n) for a, n in zip(t.axes, t.shape, strict=True)]
    return f"[{', '.join(axes)}]" if axes else ""


def _body_inputs(node: Node, shown: Mapping[Node, str]) -> dict[Node, str]:
    """How the inputs of a scan's body read: as what comes in, and ``previous x`` for a carry that holds x."""
    op = node.op
    assert isinstance(op, Scan)
    consts, carry, xs = op.split([shown[a] for a in node.args])
    results = [out.node for out in op.body.outputs if out.role is Role.RESULT]
    labels = [results[i].op.label if _is_named(results[i]) else None for i in range(len(carry))]
    previous = [f"previous {label}" if label else "carry" for label in labels]
    return dict(zip(op.body.of(Input), [*consts, *previous, *xs], strict=False))


# -- expressions ----------------------------------------------------------------------------------------


def expressions(graph: Graph, inputs: Mapping[Node, str]) -> dict[Node, str]:
    """Every value: a name, short arithmetic of names, or ``f(what it depends on)``."""
    shown: dict[Node, str] = {}
    for node in graph:
        if node in inputs:
            shown[node] = inputs[node]
        elif _is_named(node):
            shown[node] = node.op.label or ""
        elif isinstance(node.op, Const):
            shown[node] = _constant(node.op)
        else:
            text = _expression(node, shown)
            shown[node] = text if text and len(text) <= LONGEST else _call(_dependence(node, shown))
    return shown


def _is_named(node: Node) -> bool:
    return isinstance(node.op, (Site, Input, Deterministic, Param, Value)) and bool(node.op.label)


def _constant(op: Const) -> str:
    """A number, also where it fills an array; a short vector; else ``const``."""
    if not isinstance(op.type.dtype, np.dtype) or op.type.dtype.kind not in "biuf" or not op.type.size:
        return "const"
    value = np.asarray(op.value)
    if (value == value.flat[0]).all():
        return f"{value.flat[0]:g}" if value.dtype.kind != "b" else str(value.flat[0])
    return f"[{', '.join(f'{v:g}' for v in value)}]" if value.ndim == 1 and value.size <= MOST else "const"


def _expression(node: Node, shown: Mapping[Node, str]) -> str | None:
    if not isinstance(node.op, Apply):
        return None
    name = node.op.primitive.name
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


def _index_parts(gather: Node) -> list[Node]:
    """The indices of a gather, one for each axis that it drops, where its code puts them side by side."""
    (whole,) = gather.args[1:]
    if not is_op(whole, "concatenate"):
        return [whole]
    numbers = gather.op.parameters["dimension_numbers"]  # type: ignore[attr-defined]
    dropped = numbers.start_index_map == numbers.collapsed_slice_dims == tuple(range(len(whole.args)))
    return list(whole.args) if dropped else [whole]


def _index(node: Node, shown: Mapping[Node, str]) -> list[str]:
    """``g``, ``0``: what one index says."""
    one = _unbroadcast(node)
    return [one.op.literal] if one.op.literal is not None else list(dict.fromkeys(_dependence(node, shown)))


def _only_leading(node: Node) -> bool:
    """Whether a reshape adds or drops leading axes of size 1 only."""
    before, after = (array_type(n).shape for n in (node.args[0], node))
    n = min(len(before), len(after))
    cut = len(before) - n, len(after) - n
    return before[cut[0] :] == after[cut[1] :] and set(before[: cut[0]] + after[: cut[1]]) <= {1}


def _broadcast(text: str, op: Apply) -> str:
    """``x[:, None]`` where new axes stand after old ones; before them they go without saying."""
    dims = op.parameters["broadcast_dimensions"]
    axes = [":" if i in dims else "None" for i in range(dims[0], len(op.parameters["shape"]))] if dims else []
    return f"{_bracketed(text)}[{', '.join(axes)}]" if "None" in axes and not text[0].isdigit() else text


def _is_matmul(op: Apply) -> bool:
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


def _dependence(node: Node, shown: Mapping[Node, str]) -> list[str]:
    """The nearest named values that a value is or depends on."""
    found: list[str] = []
    seen: set[Node] = set()
    todo = [node]
    while todo:
        n = todo.pop(0)
        if n not in seen:
            seen.add(n)
            if _is_named(n):
                found.append(shown[n])
            elif not isinstance(n.op, Plate):
                todo = [*n.args, *todo]
    return found


def _call(names: Sequence[str]) -> str:
    if not names:
        return "const"
    return f"f({', '.join(names[:MOST])}{', …' * (len(names) > MOST)})"


__all__ = ["SiteLine", "expressions", "site_lines"]
