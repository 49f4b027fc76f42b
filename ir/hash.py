"""The hash of a graph's structure: equal for equal programs, in every process."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from plait.ir.graph import Graph, Node, Op
from plait.ir.ops import Const


def structural_hash(graph: Graph) -> str:
    """SHA-256 over ops, parameters, types, constants and edges; the user's lines do not count."""
    digest = hashlib.sha256()
    for piece in _graph(graph):
        digest.update(piece.encode() + b"\0")
    return digest.hexdigest()


def _graph(graph: Graph) -> Iterator[str]:
    place = {node: i for i, node in enumerate(graph)}
    for node in graph:
        yield from _node(node, place)
    for out in graph.outputs:
        yield f"{out.role.value} {out.name} {place[out.node]}"


def _node(node: Node, place: Mapping[Node, int]) -> Iterator[str]:
    yield f"{node.type} {getattr(node.type, 'weak', '')} {[place[a] for a in node.args]}"
    if isinstance(node.op, Const):
        array = np.asarray(node.op.value)
        yield f"const {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    else:
        yield from _value(node.op)


def _value(value: Any) -> Iterator[str]:
    """A value by its contents; what has none that we know, by its type and its text without addresses."""
    if isinstance(value, Graph):
        yield from _graph(value)
    elif isinstance(value, Op) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        yield type(value).__qualname__
        for field in dataclasses.fields(value):
            yield field.name
            yield from _value(getattr(value, field.name))
    elif isinstance(value, (list, tuple)):
        yield f"{type(value).__qualname__} {len(value)}"
        for item in value:
            yield from _value(item)
    elif isinstance(value, Mapping):
        yield from _value(list(value.items()))
    elif isinstance(value, (type, types.FunctionType, types.MethodType)):
        yield f"{value.__module__}.{value.__qualname__}"
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    else:
        yield f"{type(value).__qualname__} {_ADDRESS.sub('', str(value))}"


_ADDRESS = re.compile(r"0x[0-9a-f]+")
