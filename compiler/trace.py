"""The one trace: a model function and example arguments become the model graph."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from numpyro.primitives import _PYRO_STACK

from plait.compiler.arguments import Arguments
from plait.compiler.control_flow import named_nodes
from plait.compiler.importer import import_graph
from plait.compiler.loops.close import close_loops
from plait.compiler.loops.plate_names import with_visible_plates
from plait.compiler.loops.state import Loops
from plait.compiler.model_errors import about_the_model
from plait.compiler.numpyro_bridge import Bridge
from plait.compiler.source import current_loc
from plait.compiler.stack import Compiling, open_frames, opened
from plait.ir.errors import ModelError
from plait.ir.graph import Graph, Node, Op, ancestors, make, rewrite
from plait.ir.ops import Const, Deterministic, Input, Param, Plate, Sample, Site, from_aval, inputs

_NUMPYROS_STACK = threading.RLock()  # NumPyro has one stack of handlers for all threads


class Traced(NamedTuple):
    """The graph of a model, and sentences about what it could not hold as the model says it."""

    graph: Graph
    notes: tuple[str, ...]


def trace(model: Callable[..., Any], arguments: Arguments, *, unrolled: bool = False) -> Traced:
    """Calls the model on tracers and returns its graph.

    It is called once; where a loop over a plate can't be traced once for all its steps, a second time, with ordinary
    loops.

    Args:
        model: calls the primitives.
        arguments: of the model.
        unrolled: whether every loop over a plate is an ordinary one.

    Raises:
        ModelError: with the user's line, whatever in the model can't be compiled.
    """
    if unrolled:
        return _traced(model, arguments, Loops(at_once=False))
    loops = Loops(at_once=True)
    try:
        return _traced(model, arguments, loops)
    except Exception as error:  # of any kind: code that works on integers may fail anyhow on a traced index
        if not loops.begun:
            raise
        loops.note_failure(error)
    graph, notes = _traced(model, arguments, Loops(at_once=False))
    return Traced(graph, tuple(dict.fromkeys((*loops.notes, *notes))))


def _traced(model: Callable[..., Any], arguments: Arguments, loops: Loops) -> Traced:
    compiling, bridge = Compiling(loops), Bridge()

    def run(*data: Any) -> Any:
        args, kwargs = arguments.rebuild(data)
        with opened(compiling), bridge:
            model(*args, **kwargs)
            bridge.emit_mutables()
        loops.indices.clear()  # jax keeps what is open in its caches
        return ()

    with _NUMPYROS_STACK, about_the_model(arguments):
        if open_frames() or _PYRO_STACK:
            raise ModelError(
                "plait.compile was called inside an open handler or plate; wrap the model in the handler", current_loc()
            )
        closed = jax.make_jaxpr(run)(*arguments.arrays)
    loops.require_whole()
    arrays = [Input(name, Input.DATA, from_aval(a)) for name, a in zip(arguments.names, closed.in_avals, strict=True)]
    graph = _with_params_adopted(import_graph(closed, arrays), bridge.asked)
    _refuse_lost_sites(graph, compiling)
    closed_loops = close_loops(graph, loops.texts)
    graph = graph if closed_loops is graph else with_visible_plates(closed_loops)
    _refuse_duplicate_names(graph)
    graph = _without_unused_params(graph)
    _refuse_hidden_randomness(graph)
    return Traced(graph, tuple(loops.notes))


# -- modules --------------------------------------------------------------------------------------------


def _with_params_adopted(graph: Graph, asked: set[str]) -> Graph:
    """What a module computes with its initial values it computes with its param site: ``f init  ⇒  f param``.

    NumPyro's modules hand the initial values to the site and go on with them instead of with the site's value.
    """
    if not asked:
        return graph
    reads = Counter(a for node in graph for a in node.args)
    sites: dict[Node, Node] = {}

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        if isinstance(node.op, Param) and node.op.name in asked and not reads[node]:
            _refuse_constant(node, reads)
            sites[args[0]] = make(node.op, args, node.loc)
            return sites[args[0]]
        return make(node.op, [sites.get(a, a) for a in args], node.loc) if sites.keys() & set(args) else None

    return rewrite(graph, rule)


def _refuse_constant(node: Node, reads: Mapping[Node, int]) -> None:
    """A constant can't be told from an equal one that the model uses as a constant."""
    (init,) = node.args
    if isinstance(init.op, Const) and (init.op.literal is not None or reads[init] > 1):
        raise ModelError(
            f"param {node.op.label!r} was asked for before it had a value and is then given a constant, which may be "
            "used as a constant too; go on with what numpyro.param(name, init_value) returns",
            node.loc,
        )


def _without_unused_params(graph: Graph) -> Graph:
    """Drops a module's arrays that have priors of their own, so that nothing reads their params, and unused keys."""
    optional = {n for n in graph.of(Param) if n.op.name.endswith("$params")}  # type: ignore[attr-defined]
    optional |= set(inputs(graph, Input.KEY))
    needed = ancestors(n for n in graph.roots if n not in optional)
    return graph if optional <= needed else Graph(tuple(n for n in graph if n in needed))


# -- what can't be a model ------------------------------------------------------------------------------


def _refuse_duplicate_names(graph: Graph) -> None:
    seen: dict[str, Node] = {}
    for node in named_nodes(graph):
        for name in _names(node.op):
            first = seen.setdefault(name, node)
            if first is not node and not _same_element(first, node):
                what = "plates" if isinstance(node.op, Plate) and isinstance(first.op, Plate) else "sites"
                raise ModelError(f"two {what} are called {name!r}, the other one at {first.loc}; rename one", node.loc)


def _names(op: Op) -> tuple[str, ...]:
    """What a site, a param or a plate is called; of a family also its members."""
    if isinstance(op, Plate):
        return (op.frame.name,)
    assert isinstance(op, (Site, Deterministic, Param))
    members = () if isinstance(op, Param) or op.members is None else op.members.names
    if len(set(members)) < len(members):
        name = next(name for name in members if members.count(name) > 1)
        raise ModelError(f"two sites of one loop are called {name!r}")
    return (op.name, *members)


def _same_element(a: Node, b: Node) -> bool:
    """Equal plates, or parts of one param site."""
    if isinstance(a.op, Plate) and isinstance(b.op, Plate):
        return a.op.frame.size == b.op.frame.size and b.op.frame.full_size is None
    return isinstance(a.op, Param) and isinstance(b.op, Param) and b.op.part != 0


def _refuse_lost_sites(graph: Graph, compiling: Compiling) -> None:
    found = {getattr(node.op, "name", None) for node in named_nodes(graph)}
    for name, loc in compiling.bound.items():
        if name not in found:
            raise ModelError(
                f"site {name!r} ran but is not part of the program: it is inside jax.eval_shape or code whose result "
                "is thrown away; call the code itself",
                loc,
            )


def _refuse_hidden_randomness(graph: Graph) -> None:
    """A key from `numpyro.prng_key` may only draw initial values of params: a density has no randomness of its own."""
    random: set[Node] = set()
    for node in graph:
        is_key = isinstance(node.op, Input) and node.op.kind == Input.KEY
        drawn = {a for a in node.args if a in random}
        if isinstance(node.op, Sample) and drawn <= {node.op.extra(Site.KEY, node.args)}:
            continue
        inside = [n for body in node.op.bodies for n in named_nodes(body)] if drawn else []
        if inside or (drawn and isinstance(node.op, (Site, Deterministic, Plate))):
            node = (inside or [node])[0]
            raise ModelError(
                f"{node.op.mnemonic} {node.op.label!r} depends on numpyro.prng_key(), but a compiled density draws "
                "nothing; pass the key as an argument of the model",
                node.loc,
            )
        if is_key or (drawn and not isinstance(node.op, Param)):
            random.add(node)


__all__ = ["Traced", "trace"]
