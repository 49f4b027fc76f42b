"""Which value Python asked for while the model was traced: the user's expression, the sites and data behind it."""

from __future__ import annotations

import ast
import linecache
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import FrameType, TracebackType
from typing import Any

from plait.compiler.jax_compat import equations_behind, inner_jaxprs, is_tracer
from plait.compiler.source import is_users
from plait.compiler.staging import OF_PLAIT
from plait.ir.graph import Op
from plait.ir.ops import Observe, Param, Sample
from plait.ir.types import Loc

_LONGEST = 60  # characters of an expression that a message quotes


@dataclass(frozen=True)
class AskedValue:
    """What Python had to know.

    Attributes:
        loc: the user's line.
        text: the expression on it, None where there is no source or it is long.
        sites: what it depends on, such as ``site 'x'`` and ``param 'p'``; empty also where jax can't say.
        data: the arguments of the model that it depends on, likewise.
        library: the package that the user's line called and that asked, such as ``pandas``; None for Python itself.
    """

    loc: Loc | None
    text: str | None
    sites: tuple[str, ...]
    data: tuple[str, ...]
    library: str | None


def asked_value(error: BaseException, data_names: Sequence[str]) -> AskedValue:
    """Finds out what an error of jax about a missing value is about.

    Args:
        error: with the traceback on which it left the model.
        data_names: of the arguments of the traced function, in order.
    """
    frames = list(_walk(error.__traceback__))
    mine = _users_index(frames)
    if mine is None:
        return AskedValue(None, None, (), (), None)
    tb = frames[mine]
    below = [f.tb_frame.f_code.co_filename for f in frames[mine + 1 :]]
    expression = _expression(tb)
    text = "" if expression is None else ast.unparse(expression)
    sites, arguments = _origins([] if expression is None else _tracers(expression, tb.tb_frame))
    return AskedValue(
        Loc(tb.tb_frame.f_code.co_filename, tb.tb_lineno),
        text if 0 < len(text) <= _LONGEST else None,
        tuple(sites),
        tuple(data_names[i] for i in arguments if i < len(data_names)),
        next((name for name in ("pandas", "scipy") if any(f"/{name}/" in file for file in below)), None),
    )


def _users_index(frames: Sequence[TracebackType]) -> int | None:
    """The innermost frame of the user's; code that is installed counts where there is no other."""
    files = [tb.tb_frame.f_code.co_filename for tb in frames]
    own = [i for i, file in enumerate(files) if is_users(file)]
    not_installed = [i for i in own if "site-packages" not in files[i] and "dist-packages" not in files[i]]
    return max(not_installed or own, default=None)


def _expression(tb: TracebackType) -> ast.expr | None:
    """The expression that a frame was at; of an `if`, `while` or `assert` its condition."""
    code = tb.tb_frame.f_code
    position = next(islice(code.co_positions(), tb.tb_lasti // 2, None), None)
    if position is None or None in position:
        return None
    first, last, start, end = (int(p or 0) for p in position)
    lines = [text.rstrip("\n").encode() for text in linecache.getlines(code.co_filename)[first - 1 : last]]
    if not lines:
        return None
    lines[-1] = lines[-1][:end]  # columns count bytes; the last line first, it may be the first one too
    lines[0] = b" " * start + lines[0][start:]
    try:
        statement = ast.parse(textwrap.dedent(b"\n".join(lines).decode())).body[0]
    except (SyntaxError, IndexError):
        return None
    if isinstance(statement, (ast.If, ast.While, ast.Assert)):
        return statement.test
    return statement.value if isinstance(statement, ast.Expr) else None


def _tracers(expression: ast.expr, frame: FrameType) -> list[Any]:
    """The traced values that an expression names; of one that indexes, its index."""
    asked = expression.slice if isinstance(expression, ast.Subscript) else expression
    names = {node.id for node in ast.walk(asked) if isinstance(node, ast.Name)}
    values = [{**frame.f_globals, **frame.f_locals}.get(name) for name in sorted(names)]
    return [x for x in values if is_tracer(x)]


def _origins(tracers: Iterable[Any]) -> tuple[list[str], list[int]]:
    sites: dict[str, None] = {}
    arguments: set[int] = set()
    for tracer in tracers:
        equations, positions = equations_behind(tracer)
        arguments.update(positions)
        for equation in equations:
            sites.update(dict.fromkeys(map(_described, _sites(equation))))
    return list(sites), sorted(arguments)


def _sites(equation: Any) -> Iterator[Op]:
    """The random sites and params that an equation is or, being a call or a loop, holds."""
    if equation.primitive in OF_PLAIT:
        if isinstance(equation.params["op"], (Sample, Observe, Param)):
            yield equation.params["op"]
        return
    for jaxpr in inner_jaxprs(equation.params):
        for inner in jaxpr.eqns:
            yield from _sites(inner)


def _described(op: Op) -> str:
    return f"param {op.label!r}" if isinstance(op, Param) else f"site {op.label!r}"


def _walk(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


__all__ = ["AskedValue", "asked_value"]
