"""The hash of a graph's structure: equal for equal programs, in every process."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from plait.ir.graph import Graph
from plait.ir.ops import Const
from plait.ir.text import to_text


def structural_hash(graph: Graph) -> str:
    """SHA-256 over the text form and the constants' bytes; the user's lines do not count."""
    digest = hashlib.sha256(to_text(graph).encode())
    for value in _constants(graph):
        array = np.asarray(value)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _constants(graph: Graph) -> list[Any]:
    found: list[Any] = []
    for node in graph:
        if isinstance(node.op, Const) and node.op.literal is None:
            found.append(node.op.value)
        if node.op.inner is not None:
            found += _constants(node.op.inner)
    return found
