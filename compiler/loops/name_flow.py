"""Where the text of an index goes: only names of sites may be made with it.

While a loop's body is traced once, a text such as ``f"y_{i}"`` is none of the names that the ordinary loop makes. A
site can be named later, but ``data.get(f"y_{i}")`` would silently find nothing. So the text is followed through the
user's source, from where it is made to the calls that take it.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from types import FrameType
from typing import Any

_MOST = 200  # expressions that a text is followed through


def goes_into_names(frame: FrameType) -> bool:
    """Whether the text that a frame makes right now goes nowhere but into calls of plait's and NumPyro's functions.

    Only what the source says for sure counts: a text in a container, an attribute or a comparison goes elsewhere.
    """
    return _value_goes_into_names(frame, set())


def _value_goes_into_names(frame: FrameType | None, seen: set[ast.AST]) -> bool:
    """The same of the value of the expression that a frame is at."""
    source = None if frame is None else _source(frame.f_code.co_filename)
    if frame is None or source is None:
        return False
    node = source.places.get(next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)))
    if node is None:
        return False
    scope = _Scope(source, source.function_around(node), {**frame.f_globals, **frame.f_locals})
    return _Text(scope, lambda: _value_goes_into_names(frame.f_back, seen), seen).follow(node)


# -- source ---------------------------------------------------------------------------------------------

_Function = ast.FunctionDef | ast.Lambda
_Place = tuple[int | None, int | None, int | None, int | None]


@dataclass(frozen=True, eq=False)
class _Source:
    """A file's syntax: for each node the one around it, and expressions by where they stand."""

    parents: Mapping[ast.AST, ast.AST]
    places: Mapping[_Place, ast.expr]

    def function_around(self, node: ast.AST) -> ast.AST:
        """The function that a node stands in, or the file."""
        while not isinstance(node, _Function) and node in self.parents:
            node = self.parents[node]
        return node

    def function_of(self, code: types.CodeType) -> ast.FunctionDef | None:
        """The definition of a function."""
        for node in self.parents:
            if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
                lines = [node.lineno, *(d.lineno for d in node.decorator_list)]
                if code.co_firstlineno == min(lines):
                    return node
        return None


@dataclass(frozen=True, eq=False)
class _Scope:
    """A function's syntax (or a file's), and the values of names in it, as far as they are known."""

    source: _Source
    function: ast.AST
    values: Mapping[str, Any]

    def value(self, node: ast.expr) -> Any:
        """What a name, or an attribute of one, stands for; None where nobody can say without calling code."""
        match node:
            case ast.Name(id=name):
                return self.values.get(name, vars(builtins).get(name))
            case ast.Attribute(value=owner, attr=name):
                holder = self.value(owner)
                found = inspect.getattr_static(holder, name, None)
                return getattr(holder, name, None) if isinstance(holder, types.ModuleType) else found
        return None


def _source(file: str) -> _Source | None:
    text = "".join(linecache.getlines(file))
    return _parsed(text) if text else None


@lru_cache(maxsize=16)
def _parsed(text: str) -> _Source | None:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    places: dict[_Place, ast.expr] = {}
    for node in parents:
        if isinstance(node, ast.expr):  # the outermost of those at one place, which ast.walk finds first
            places.setdefault((node.lineno, node.end_lineno, node.col_offset, node.end_col_offset), node)
    return _Source(parents, places)


# -- following ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    """A text on its way through a function; `returned` says whether what the function returns goes into names."""

    scope: _Scope
    returned: Callable[[], bool]
    seen: set[ast.AST]

    def follow(self, node: ast.AST) -> bool:
        """Whether the value of an expression goes into names only."""
        if node in self.seen:
            return True
        self.seen.add(node)
        parents = self.scope.source.parents
        around = parents[node]
        match around:
            case ast.JoinedStr() | ast.FormattedValue() | ast.BinOp(op=ast.Add() | ast.Mod()):
                return self.follow(around)
            case ast.Tuple() if isinstance(parents[around], ast.BinOp):
                return self.follow(around)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                return self.reads(name)
            case ast.keyword(arg=str(name)):
                return self.passed(parents[around], name)
            case ast.Call(args=args) if node in args and not any(isinstance(a, ast.Starred) for a in args):
                return self.passed(around, args.index(node))
            case ast.Return() | ast.Lambda():
                return self.returned()
        return isinstance(around, ast.Expr)

    def reads(self, name: str) -> bool:
        """Whether every read of a local variable goes into names."""
        nodes = list(ast.walk(self.scope.function))
        shared = any(isinstance(n, ast.Global | ast.Nonlocal) and name in n.names for n in nodes)
        reads = [n for n in nodes if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)]
        is_local = isinstance(self.scope.function, _Function) and not shared and len(self.seen) < _MOST
        return is_local and all(map(self.follow, reads))

    def passed(self, call: ast.AST, parameter: int | str) -> bool:
        """Whether an argument of a call goes into names."""
        if not isinstance(call, ast.Call):
            return False
        callee = self.scope.value(call.func)
        if any(callee is f for f in (str, repr, format)) or _is_template(call.func):
            return self.follow(call)
        if (getattr(callee, "__module__", None) or "").partition(".")[0] in ("plait", "numpyro"):
            return True
        return isinstance(callee, types.FunctionType) and self.into(callee, call, parameter)

    def into(self, function: types.FunctionType, call: ast.Call, parameter: int | str) -> bool:
        """Whether a parameter of a function of the user's goes into names."""
        code = function.__code__
        source = _source(code.co_filename)
        definition = None if source is None else source.function_of(code)
        if source is None or definition is None:
            return False
        names = code.co_varnames[: code.co_argcount]
        given = {**dict(zip(names, call.args, strict=False)), **{k.arg: k.value for k in call.keywords if k.arg}}
        locals_ = {name: self.scope.value(node) for name, node in given.items()}
        values = {**function.__globals__, **_closure(function), **dict.fromkeys(code.co_varnames), **locals_}
        name = parameter if isinstance(parameter, str) else next(iter(names[parameter : parameter + 1]), None)
        inside = _Text(_Scope(source, definition, values), lambda: self.follow(call), self.seen)
        return name is not None and inside.reads(name)


def _is_template(function: ast.expr) -> bool:
    """``"y_{}".format``."""
    match function:
        case ast.Attribute(value=ast.Constant(), attr="format"):
            return True
    return False


def _closure(function: types.FunctionType) -> dict[str, Any]:
    """What a function closes over, by name."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a cell that is still empty
            continue
    return found


__all__ = ["goes_into_names"]
