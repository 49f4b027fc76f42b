"""The normal form of a linear predictor: eta_i = offset_i + Σ_j coefficient_ij · φ[index_ij], all but φ known.

alpha[county] + x @ beta   ⇒   frontier alpha (85), beta (3)
                               block of alpha: index (919, 1) = county, coefficient 1
                               block of beta:  index (1, 3) = 0 1 2,    coefficient (919, 3) = x

A block is sparse: it holds the coefficients of each row, and which entry of the frontier each one multiplies. The
affine operations are interpreted on blocks, as JAX code that `prepare` runs: a gather of the predictor is a gather of
its indices, a matrix product widens a block. Indices that no data decide are worked out here, in numpy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler import jax_compat as compat
from plait.compiler.analysis.frontier import frontier
from plait.compiler.importer import Builder
from plait.compiler.kernels.cells import OUTSIDE
from plait.compiler.staged import struct
from plait.ir.errors import InternalError
from plait.ir.graph import Node
from plait.ir.ops import Apply, Const, array_type
from plait.ir.types import ArrayType, Shape

Array = Any


@dataclass(frozen=True)
class Block:
    """Some columns of a linear predictor.

    Attributes:
        source: which member of the frontier they multiply.
        index: positions in its raveled value, of shape (rows, k), or (1, k) where all rows have the same; a
            constant where no data decide it. `OUTSIDE` where a gather fills in a number: the form does not hold then.
        coefficient: of shape (rows, k) or (1, k); None for ones.
        k: the number of columns.
    """

    source: int
    index: Node
    coefficient: Node | None
    k: int

    @property
    def fixed(self) -> np.ndarray | None:
        """The k positions that all rows read, whatever the data; None where rows differ or other data may differ."""
        positions = self.index.op.value if isinstance(self.index.op, Const) else None
        return None if positions is None or len(positions) != 1 else np.asarray(positions)[0]


@dataclass(frozen=True)
class LinearForm:
    """A linear predictor: known blocks on a frontier, and a known offset of shape (rows,), (1,) or None for 0."""

    frontier: tuple[Node, ...]
    offset: Node | None
    blocks: tuple[Block, ...]


def linear_form(
    builder: Builder, node: Node, known: Set[Node], rows: Shape, sources: tuple[Node, ...] | None = None
) -> LinearForm:
    """The normal form of a node.

    Args:
        builder: gets the known nodes of the form.
        node: a float that broadcasts to `rows`.
        known: what data alone decide.
        rows: the batch shape; rows are counted in C order.
        sources: the frontier, where it is not to be the one of least size.
    """
    if node in known:
        return LinearForm((), raveled(builder, node, rows), ())
    sources = frontier(node, known) if sources is None else sources
    inner = _between(node, sources, known)
    reads = [a for a in dict.fromkeys(a for n in inner for a in n.args) if a in known]
    described: list[_Block] = []

    def code(*values: Array) -> list[Array]:
        whole = _interpret(inner, sources, dict(zip(reads, values, strict=True)))[node]
        results = [] if whole.offset is None else [_flat(_with_axis(whole.offset), whole.shape, rows)[:, 0]]
        for block in whole.blocks:
            described.append(block.map(lambda x: _flat(x, whole.shape, rows)))
            index, coefficient = described[-1].index, described[-1].coefficient
            results += [] if isinstance(index, np.ndarray) else [index]
            results += [] if coefficient is None else [jnp.asarray(coefficient)]
        return results

    closed = jax.make_jaxpr(code)(*(struct(array_type(n)) for n in reads))
    found = builder.inline(closed, reads, node.loc)[::-1]
    blocks = []
    for b in reversed(described):
        coefficient = None if b.coefficient is None else found.pop(0)
        index = _constant(builder, b.index, node) if isinstance(b.index, np.ndarray) else found.pop(0)
        blocks.append(Block(b.source, index, coefficient, b.index.shape[-1]))
    return LinearForm(sources, found[0] if found else None, tuple(reversed(blocks)))


def _constant(builder: Builder, positions: np.ndarray, node: Node) -> Node:
    positions = positions.astype(np.int32)
    return builder.const(positions, ArrayType(positions.dtype, positions.shape), node.loc)


def raveled(builder: Builder, node: Node, rows: Shape) -> Node:
    """A known node's value in each row, of shape (rows,) or (1,)."""
    shape = array_type(node).shape
    closed = jax.make_jaxpr(lambda x: _flat(_with_axis(x), shape, rows)[:, 0])(struct(array_type(node)))
    return builder.inline(closed, [node], node.loc)[0]


def _between(node: Node, sources: Sequence[Node], known: Set[Node]) -> list[Node]:
    """The affine nodes from the frontier to the node, arguments first."""
    stop = {*sources, *known}
    found: dict[Node, None] = {}

    def visit(n: Node) -> None:
        if n in stop or n in found:
            return
        for a in n.args:
            visit(a)
        found[n] = None

    visit(node)
    return list(found)


# -- blocks while they are computed ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """A block of a value of any shape: index and coefficient have its axes, each whole or of size 1, and then k."""

    source: int
    index: Array
    coefficient: Array | None

    def map(self, f: Callable[[Array], Array]) -> _Block:
        coefficient = None if self.coefficient is None else f(self.coefficient)
        return replace(self, index=f(self.index), coefficient=coefficient)


@dataclass(frozen=True)
class _Linear:
    """A value while its normal form is computed; of a concatenation also its parts, in case that they are summed."""

    shape: Shape
    offset: Array | None
    blocks: tuple[_Block, ...]
    parts: tuple[Any, ...] = ()
    axis: int = 0  # of the parts


def _interpret(nodes: Sequence[Node], sources: Sequence[Node], values: dict[Node, Array]) -> dict[Node, _Linear]:
    """The blocks of affine nodes; `values` are those of known ones."""
    env: dict[Node, Any] = {}
    for i, source in enumerate(sources):
        t = array_type(source)
        env[source] = _Linear(t.shape, None, (_Block(i, np.arange(t.size).reshape(*t.shape, 1), None),))
    for node in nodes:
        op, shape = node.op, array_type(node).shape
        assert isinstance(op, Apply)
        args = [env[a] if a in env else values[a] for a in node.args]
        name = op.primitive.name
        if name in _ELEMENTWISE:
            linear = _ELEMENTWISE[name](*(_aligned(x, shape) for x in args))
        elif name in _RULES:
            linear = _RULES[name](op, args)
        else:
            linear = _moved(op, args, shape)
        env[node] = replace(linear, shape=shape)
    return env


def _aligned(x: Any, shape: Shape) -> Any:
    """With the axes of `shape`: jax lets scalars meet arrays."""
    if not isinstance(x, _Linear):
        return jnp.reshape(x, (1,) * len(shape)) if np.ndim(x) == 0 else x
    if x.shape or not shape:
        return x
    blocks = tuple(b.map(lambda a: a.reshape(*(1,) * len(shape), a.shape[-1])) for b in x.blocks)
    return _Linear(shape, None if x.offset is None else jnp.reshape(x.offset, (1,) * len(shape)), blocks)


def _add(a: Any, b: Any) -> _Linear:
    if not isinstance(a, _Linear):
        a, b = b, a
    if not isinstance(b, _Linear):
        return replace(a, offset=b if a.offset is None else a.offset + b)
    offsets = [x.offset for x in (a, b) if x.offset is not None]
    offset = None if not offsets else offsets[0] if len(offsets) == 1 else offsets[0] + offsets[1]
    return _Linear(a.shape, offset, (*a.blocks, *b.blocks))


def _neg(x: Any) -> Any:
    return _scaled(x, np.full((1,) * len(x.shape), -1.0)) if isinstance(x, _Linear) else -x


def _mul(a: Any, b: Any) -> _Linear:
    return _scaled(a, b) if isinstance(a, _Linear) else _scaled(b, a)


def _scaled(x: _Linear, by: Array) -> _Linear:
    """Times a known array; blocks without a coefficient share it, so that it can be seen that theirs are equal."""
    factor = _with_axis(by)
    blocks = [replace(b, coefficient=factor if b.coefficient is None else b.coefficient * factor) for b in x.blocks]
    return _Linear(x.shape, None if x.offset is None else x.offset * by, tuple(blocks))


def _select(which: Array, *cases: Any) -> _Linear:
    """Each case's columns count where it is chosen."""
    (shape,) = {c.shape for c in cases if isinstance(c, _Linear)}
    blocks: list[_Block] = []
    offset: Array | None = None
    for i, case in enumerate(cases):
        here = which if which.dtype == bool and i else ~which if which.dtype == bool else which == i
        if isinstance(case, _Linear):
            one = _with_axis(here)
            blocks += [
                replace(b, coefficient=jnp.where(one, 1.0 if b.coefficient is None else b.coefficient, 0.0))
                for b in case.blocks
            ]
            case = case.offset
        if case is not None:
            offset = jnp.where(here, case, 0.0 if offset is None else offset)
    return _Linear(shape, offset, tuple(blocks))


def _reduce_sum(op: Apply, args: Sequence[Any]) -> _Linear:
    (x,) = args
    return _sum_over(x, tuple(op.parameters["axes"]))


def _sum_over(x: Any, axes: tuple[int, ...]) -> Any:
    if not isinstance(x, _Linear):
        return jnp.sum(x, axes)
    if not axes:
        return x
    if x.parts and x.axis in axes:
        sums = [_sum_over(part, axes) for part in x.parts]
        return functools.reduce(lambda a, b: _add(a, b) if _any_linear(a, b) else a + b, sums)
    blocks = [b.map(lambda a: _summed(a, x.shape, axes)) for b in map(_same_k, x.blocks)]
    offset = None if x.offset is None else jnp.sum(_whole(x.offset, x.shape), axes)
    return _Linear(tuple(n for d, n in enumerate(x.shape) if d not in axes), offset, tuple(blocks))


def _any_linear(*values: Any) -> bool:
    return any(isinstance(x, _Linear) for x in values)


def _concatenate(op: Apply, args: Sequence[Any]) -> _Linear:
    """Each part's columns have coefficient 0 in the others' places."""
    axis = op.parameters["dimension"]
    total = sum(x.shape[axis] for x in args)
    blocks: list[_Block] = []
    offsets: list[Array] = []
    start = 0
    for x in args:
        n = x.shape[axis]

        def placed(y: Array, fill: float, n: int = n, start: int = start) -> Array:
            y = _lib(y).repeat(y, n, axis) if y.shape[axis] == 1 < n else y
            room = [(0, 0)] * y.ndim
            room[axis] = (start, total - start - n)
            return _lib(y).pad(y, room, constant_values=fill)

        if isinstance(x, _Linear):
            for b in map(_same_k, x.blocks):
                one = np.ones((1,) * b.index.ndim) if b.coefficient is None else b.coefficient
                one = _lib(one).broadcast_to(one, (*one.shape[:-1], b.index.shape[-1]))
                blocks.append(_Block(b.source, placed(b.index, 0), placed(one, 0.0)))
            x = None if x.offset is None else _whole(x.offset, x.shape)
        if x is not None:
            offsets.append(placed(jnp.asarray(x), 0.0))
        start += n
    offset = functools.reduce(jnp.add, offsets) if offsets else None
    return _Linear((), offset, tuple(blocks), tuple(args), axis)


def _summed(x: Array, shape: Shape, axes: Sequence[int]) -> Array:
    """The columns of all summands side by side."""
    xp, rank = _lib(x), len(shape)
    kept = [d for d in range(rank) if d not in axes]
    x = xp.transpose(x, [*kept, *axes, rank])
    lead = x.shape[: len(kept)]
    counts = [shape[d] for d in axes]
    x = xp.broadcast_to(x, (*lead, *counts, x.shape[-1]))
    return x.reshape(*lead, math.prod(counts) * x.shape[-1])


def _same_k(block: _Block) -> _Block:
    """Index and coefficient with the same number of columns, written out."""
    k = block.index.shape[-1]
    if block.coefficient is None or block.coefficient.shape[-1] == k:
        return block
    c = block.coefficient
    return replace(block, coefficient=_lib(c).broadcast_to(c, (*c.shape[:-1], k)))


def _dot(op: Apply, args: Sequence[Any]) -> _Linear:
    """A matrix product with a known array: each result has a column for every entry that is contracted."""
    (contract, batch) = op.parameters["dimension_numbers"]
    left = isinstance(args[0], _Linear)
    x, a = (args[0], args[1]) if left else (args[1], args[0])
    of_x, of_a = (0, 1) if left else (1, 0)
    x_batch, x_contract, x_free = _roles(len(x.shape), batch[of_x], contract[of_x])
    a_batch, a_contract, a_free = _roles(a.ndim, batch[of_a], contract[of_a])
    nb, nx, na, nc = len(x_batch), len(x_free), len(a_free), len(x_contract)
    free = (nx, na) if left else (na, nx)
    # axes of a result: batch, free of the left one, free of the right one, contracted, k
    known = jnp.transpose(a, [*a_batch, *a_free, *a_contract])
    before, after = (nx, 0) if left else (0, nx)
    known = known.reshape(
        *known.shape[:nb], *(1,) * before, *known.shape[nb : nb + na], *(1,) * after, *known.shape[nb + na :], 1
    )
    counts = [x.shape[d] for d in x_contract]

    def placed(y: Array) -> Array:
        y = _lib(y).transpose(y, [*x_batch, *x_free, *x_contract, len(x.shape)])
        before, after = (0, na) if left else (na, 0)
        return y.reshape(*y.shape[:nb], *(1,) * before, *y.shape[nb : nb + nx], *(1,) * after, *y.shape[nb + nx :])

    def joined(y: Array) -> Array:
        lead = y.shape[: nb + sum(free)]
        y = _lib(y).broadcast_to(y, (*lead, *counts, y.shape[-1]))
        return y.reshape(*lead, math.prod(counts) * y.shape[-1])

    blocks = []
    for b in map(_same_k, x.blocks):
        k = b.index.shape[-1]
        coefficient = known if b.coefficient is None else known * placed(b.coefficient)
        coefficient = jnp.broadcast_to(coefficient, (*coefficient.shape[:-1], k))
        blocks.append(_Block(b.source, joined(placed(b.index)), joined(coefficient)))
    offset = None
    if x.offset is not None:
        whole = _whole(x.offset, x.shape)
        pair = (whole, a) if left else (a, whole)
        offset = jax.lax.dot_general(*pair, (contract, batch), precision=jax.lax.Precision.HIGHEST)
    assert nc == len(a_contract)
    return _Linear((), offset, tuple(blocks))


def _roles(rank: int, batch: Sequence[int], contract: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    free = [d for d in range(rank) if d not in batch and d not in contract]
    return list(batch), list(contract), free


def _broadcast(op: Apply, args: Sequence[Any]) -> _Linear:
    """No entry is written twice: new axes have size 1."""
    (x, *_) = args
    shape, dims = op.parameters["shape"], op.parameters["broadcast_dimensions"]

    def placed(y: Array) -> Array:
        sizes = [1] * len(shape)
        for d, n in zip(dims, y.shape, strict=False):
            sizes[d] = n
        return y.reshape(*sizes, y.shape[-1])

    offset = None if x.offset is None else jax.lax.broadcast_in_dim(_whole(x.offset, x.shape), shape, dims)
    return _Linear(shape, offset, tuple(b.map(placed) for b in x.blocks))


def _moved(op: Apply, args: Sequence[Any], shape: Shape) -> _Linear:
    """Code that only moves entries of its first argument: the same on their positions says which goes where."""
    x, *known = args
    fills = op.parameters.get("mode") is jax.lax.GatherScatterMode.FILL_OR_DROP

    def move(values: Any, parameters: Any) -> Any:
        return compat.bind(op.primitive, parameters, [values, *known])[0]

    positions: Any = np.arange(math.prod(x.shape), dtype=np.int32).reshape(x.shape)
    if not known:  # nothing but shapes decide it
        with jax.ensure_compile_time_eval():
            positions = np.asarray(move(positions, op.parameters))
    else:
        positions = move(jnp.asarray(positions), op.parameters | ({"fill_value": OUTSIDE} if fills else {}))

    def taken(y: Array) -> Array:
        if fills:  # not an entry, so no rule may go on
            return jnp.where(positions[..., None] == OUTSIDE, OUTSIDE, from_rows(y))
        if all(n == 1 for n in y.shape[:-1]):
            return y.reshape(*(1,) * len(shape), y.shape[-1])
        return from_rows(y)

    def from_rows(y: Array) -> Array:
        rows = _lib(y).broadcast_to(y, (*x.shape, y.shape[-1])).reshape(math.prod(x.shape), y.shape[-1])
        if isinstance(rows, np.ndarray) and isinstance(positions, np.ndarray):
            return rows[positions]
        if isinstance(rows, np.ndarray) and np.array_equal(rows[:, 0], np.arange(len(rows))) and rows.shape[1] == 1:
            return positions[..., None]
        return jnp.asarray(rows)[positions]

    offset = None if x.offset is None else move(_whole(x.offset, x.shape), op.parameters)
    return _Linear(shape, offset, tuple(b.map(taken) for b in x.blocks))


_ELEMENTWISE: dict[str, Callable[..., _Linear]] = {
    "add": _add,
    "add_any": _add,
    "sub": lambda a, b: _add(a, _neg(b)),
    "neg": _neg,
    "mul": _mul,
    "div": lambda a, b: _scaled(a, 1.0 / b),
    "select_n": _select,
    "convert_element_type": lambda x: x,
    "copy": lambda x: x,
}

_RULES: dict[str, Callable[[Apply, Sequence[Any]], _Linear]] = {
    "reduce_sum": _reduce_sum,
    "dot_general": _dot,
    "concatenate": _concatenate,
    "broadcast_in_dim": _broadcast,
}  # everything else that the frontier walks through moves entries


# -- arrays ---------------------------------------------------------------------------------------------


def _lib(x: Array) -> Any:
    """numpy for what is known here and now, jax.numpy for what `prepare` computes."""
    return np if isinstance(x, np.ndarray) else jnp


def _with_axis(x: Array) -> Array:
    return x[..., None]


def _whole(x: Array, shape: Shape) -> Array:
    return jnp.broadcast_to(x, shape)


def _flat(x: Array, shape: Shape, rows: Shape) -> Array:
    """Rows in C order: (rows, k), or (1, k) where all are the same."""
    if len(shape) > len(rows):
        raise InternalError(f"a predictor of shape {shape} for rows of shape {rows}")
    k = x.shape[-1]
    x = x.reshape(*(1,) * (len(rows) - len(shape)), *x.shape[-1 - len(shape) :])
    if all(n == 1 for n in x.shape[:-1]):
        return x.reshape(1, k)
    return _lib(x).broadcast_to(x, (*rows, k)).reshape(math.prod(rows), k)


__all__ = ["Block", "LinearForm", "linear_form", "raveled"]
