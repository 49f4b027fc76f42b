"""Where an infinity or a NaN began: back from an element to the first code that made it of finite numbers.

Code that only moves numbers (gathers, slices, broadcasts) is followed exactly: it is run once more on the places of
its operand's entries instead of the entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.compiler import jax_compat as compat
from plait.compiler.analysis.elementwise import ELEMENTWISE
from plait.compiler.nonfinite.frames import Element, Index, aligned, inside, is_float, outside
from plait.compiler.refused_data import shown
from plait.ir.graph import Node
from plait.ir.ops import Apply, Const, Constrain, Flat, Input, Item, LogDet, LogProb, Param, Typed, Value, array_type
from plait.ir.types import Loc

# They move the entries of these operands (None: of all), and read the others as indices.
_MOVES: dict[str, tuple[int, ...] | None] = {
    "broadcast_in_dim": (0,), "reshape": (0,), "squeeze": (0,), "expand_dims": (0,), "transpose": (0,), "rev": (0,),
    "slice": (0,), "dynamic_slice": (0,), "gather": (0,), "concatenate": None, "pad": (0, 1),
    "select_n": (1, 2),
}  # fmt: skip
_REDUCTIONS = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"})


@dataclass(frozen=True)
class Origin:
    """Where a number stopped being finite.

    Attributes:
        text: what was computed there, with its operands: ``log of -0.3``.
        loc: the user's line of it.
    """

    text: str
    loc: Loc | None

    def __str__(self) -> str:
        return self.text if self.loc is None else f"{self.text} ({self.loc})"


def origin(element: Element) -> Origin:
    """Where an element that is not finite began to be so.

    A NaN is followed to where there was none before. If it came of infinities (∞ − ∞, 0 · ∞), it is said where the
    first of these began, too.
    """
    nan_from: Element | None = None
    while True:
        before = [e for e in feeding(element) if not np.isfinite(e.number)]
        if not before:
            break
        nans = [e for e in before if np.isnan(e.number)]
        if np.isnan(element.number) and not nans:
            nan_from = element
        element = (nans or before)[0]
    root = _described(element)
    if nan_from is None:
        return root
    of = _described(nan_from)
    return Origin(f"{of}, where {root.text} is {element.number}", root.loc)


# -- what feeds an element ------------------------------------------------------------------------------


def feeding(element: Element) -> Iterator[Element]:
    """The float elements that an element is computed from; of code that is not known, an entry that is not finite."""
    frame, node, index = element.frame, element.node, element.index
    other_level = inside(element) or outside(element)
    if other_level is not None:
        yield other_level
        return
    if node in frame.given:
        return
    for position, arg in enumerate(_sources(node)):
        if is_float(arg) and (at := _place(element, position, arg)) is not None:
            yield Element(frame, arg, at)
    for arg in node.args[0].args if isinstance(node.op, Item) else ():
        if is_float(arg) and (at := _first_bad(frame.array(arg), index)) is not None:
            yield Element(frame, arg, at)


def _sources(node: Node) -> tuple[Node, ...]:
    """What a value is computed from: a latent's other arguments only describe its support."""
    return node.args[: int(node.op.bound)] if isinstance(node.op, Value) else node.args


def is_moving(node: Node) -> bool:
    """Whether code only moves the entries of its operands."""
    name = node.op.primitive.name if isinstance(node.op, Apply) else ""
    return name in _MOVES or name in ("convert_element_type", "copy") or (isinstance(node.op, Value) and node.op.bound)


def _place(element: Element, position: int, arg: Node) -> Index | None:
    """Which entry of an argument an element reads; None where it reads none."""
    node, index = element.node, element.index
    shape = array_type(arg).shape
    name = node.op.primitive.name if isinstance(node.op, Apply) else ""
    if isinstance(node.op, Value) or name in ELEMENTWISE - {"select_n"}:
        return aligned(index, shape)
    if isinstance(node.op, Flat):
        return tuple(
            map(int, np.unravel_index(node.op.offset + np.ravel_multi_index(index, node.op.type.shape), shape))
        )
    if name in _MOVES:
        return _moved(element, position, shape)
    if name in _REDUCTIONS:
        return _first_bad_of(element.frame.array(arg), _reduced(element, len(shape)))
    return _first_bad(element.frame.array(arg), index)


def _moved(element: Element, position: int, shape: tuple[int, ...]) -> Index | None:
    op = element.node.op
    assert isinstance(op, Apply)
    movable = _MOVES[op.primitive.name]
    if movable is not None and position not in movable:
        return None
    size = int(np.prod(shape, dtype=np.int64))
    args: list[Any] = []
    for i, arg in enumerate(element.node.args):
        if i == position:
            args.append(jnp.arange(1, size + 1).reshape(shape))
        elif movable is None or i in movable:
            args.append(jnp.zeros(array_type(arg).shape, int))
        else:
            args.append(element.frame.fetch([arg])[0])
    (result,) = _results(op, args)
    place = int(result[element.index])
    return tuple(map(int, np.unravel_index(place - 1, shape))) if 0 < place <= size else None


def _results(op: Apply, args: list[Any]) -> list[np.ndarray]:
    out = compat.bind(op.primitive, op.parameters, args)
    return [np.asarray(x) for x in out]


def _reduced(element: Element, ndim: int) -> tuple[int | slice, ...]:
    """The part of an operand that one entry of a reduction reads."""
    assert isinstance(element.node.op, Apply)
    axes = element.node.op.parameters["axes"]
    kept = iter(element.index)
    return tuple(slice(None) if i in axes else next(kept) for i in range(ndim))


def _first_bad_of(values: np.ndarray, part: tuple[int | slice, ...]) -> Index | None:
    counts = np.zeros(values.shape, bool)
    counts[part] = True
    return first(~np.isfinite(values) & counts)


def _first_bad(values: np.ndarray, index: Index) -> Index | None:
    """The entry at the same index, as much code works entry by entry; else the first one that is not finite."""
    bad = ~np.isfinite(values)
    if len(index) == bad.ndim and all(i < n for i, n in zip(index, bad.shape, strict=True)) and bad[index]:
        return index
    return first(bad)


def first(wrong: np.ndarray) -> Index | None:
    """The first true entry, in C order."""
    if not wrong.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))


# -- in words -------------------------------------------------------------------------------------------

_WORDS = {
    "log": "log of {0}", "log1p": "log1p of {0}", "sqrt": "square root of {0}", "rsqrt": "1 / square root of {0}",
    "exp": "exp of {0}", "expm1": "expm1 of {0}", "exp2": "exp2 of {0}", "div": "{0} / {1}", "mul": "{0} · {1}",
    "sub": "{0} − {1}", "add": "{0} + {1}", "pow": "{0} to the power {1}", "lgamma": "log Γ of {0}",
    "digamma": "digamma of {0}", "square": "square of {0}", "asin": "arcsin of {0}", "acos": "arccos of {0}",
    "erf_inv": "inverse erf of {0}", "atanh": "artanh of {0}", "acosh": "arcosh of {0}", "reduce_sum": "sum of {0}",
    "reduce_prod": "product of {0}", "cholesky": "Cholesky factor of {0}, which is not positive definite",
    "dot_general": "matrix product of {0} and {1}", "cumsum": "cumulative sum of {0}",
    "gather": "{0} at an index that it does not have", "reduce_max": "maximum of {0}", "tan": "tan of {0}",
}  # fmt: skip


def _described(element: Element) -> Origin:
    node = element.node
    match node.op:
        case Value(name) | Param(name):
            return Origin(f"the value of {name!r} is {element.number}", None)
        case Input(name):
            place = f" at {list(element.index)}" if element.index else ""
            what = "the unconstrained vector" if node.op.kind == Input.FLAT else f"data {name!r}"
            return Origin(f"{what} holds {element.number}{place}", None)
        case Const():
            return Origin(f"a constant of the model is {element.number}", node.loc)
    return Origin(code_in_words(element), node.loc)


def code_in_words(element: Element) -> str:
    """``log of -0.3``: an operation on the numbers that it got."""
    node = element.node
    op = node.op
    name = op.primitive.name if isinstance(op, Apply) else op.mnemonic
    if isinstance(op, Constrain):
        return f"the bijection from the reals at {_entry(element, 0)}"
    if isinstance(op, Apply) and name == "integer_pow":
        return f"{_entry(element, 0)} to the power {op.parameters['y']}"
    if isinstance(op, Apply) and name.startswith("custom_jvp"):
        name = _called(op)
    n = len(node.args)
    entries = [_entry(element, i) for i in range(n)] if isinstance(op, Typed) else []
    pattern = _WORDS.get(name)
    if pattern is None or n < pattern.count("{"):
        return f"{name} of {', '.join(entries)}" if entries else name
    return pattern.format(*entries)


def _called(op: Apply) -> str:
    """The name of a function with a derivative of its own, such as ``softplus``."""
    debug = getattr(getattr(op.parameters.get("call_jaxpr"), "jaxpr", None), "debug_info", None)
    return getattr(debug, "func_name", None) or op.primitive.name


def _entry(element: Element, position: int) -> str:
    """The entry of an argument that an element reads, or the whole argument where the code is not known."""
    arg = element.node.args[position]
    values = element.frame.array(arg)
    op = element.node.op
    name = op.primitive.name if isinstance(op, Apply) else ""
    if name in ELEMENTWISE and len(array_type(element.node).shape) == len(element.index):
        values = values[aligned(element.index, values.shape)]
    elif values.shape and isinstance(op, (Constrain, LogDet, LogProb)) and values.ndim >= len(element.index):
        values = values[element.index] if np.shape(values)[: len(element.index)] else values
    return shown(np.asarray(values))


__all__ = ["Origin", "code_in_words", "feeding", "first", "is_moving", "origin"]
