"""From a jaxpr to a graph: each equation becomes a node, `jit` is inlined, sites come back as their ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

from plait.compiler import jax_compat as compat
from plait.compiler.control_flow import refuse_unequal_sites, take_steps_out, without_steps
from plait.compiler.given import KEPT_VALUE
from plait.compiler.node_list import NodeList
from plait.compiler.source import equation_loc
from plait.compiler.staged import struct
from plait.compiler.staging import OF_PLAIT
from plait.ir.errors import ModelError
from plait.ir.graph import Graph, Node, Output, Role
from plait.ir.ops import Apply, Cond, Input, Item, Scan, array_type, from_aval
from plait.ir.types import Loc, TupleType, Type


class Builder(NodeList):
    """Collects nodes, also those of a jaxpr."""

    def code(self, function: Callable[..., Any], args: Sequence[Node], loc: Loc | None = None) -> Node:
        """The node that computes a function of jax, which has one result, of the given arguments."""
        (node,) = self.inline(jax.make_jaxpr(function)(*(struct(array_type(a)) for a in args)), args, loc)
        return node

    def inline(self, closed: Any, args: Sequence[Node], loc: Loc | None = None) -> list[Node]:
        """Adds a closed jaxpr's equations on the given arguments and returns its results.

        Args:
            closed: the jaxpr.
            args: one node for each of its inputs.
            loc: the line to blame where an equation has none of the user's.
        """
        env: dict[Any, Node] = {}

        def read(atom: Any) -> Node:
            if isinstance(atom, core.Literal):
                return self.const(atom.val, from_aval(atom.aval), loc)
            return env[atom]

        jaxpr = closed.jaxpr
        for var, value in zip(jaxpr.constvars, closed.consts, strict=True):
            if compat.is_tracer(value):
                raise ModelError(KEPT_VALUE, _first_reader(jaxpr, var) or loc)
            env[var] = self.const(value, from_aval(var.aval), loc)
        env.update(zip(jaxpr.invars, args, strict=True))
        for eqn in jaxpr.eqns:
            here = equation_loc(eqn) or loc
            results = self._equation(eqn, [read(atom) for atom in eqn.invars], here)
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: Any, args: list[Node], loc: Loc | None) -> list[Node]:
        if eqn.primitive in OF_PLAIT:
            return [self.add(eqn.params["op"], args, loc)]
        inner = compat.inlined_jaxpr(eqn)
        if inner is not None:
            return self.inline(inner, args, loc)
        if (parts := compat.unstacked(eqn)) is not None:
            return [self.code(part, args, loc) for part in parts]
        if not _has_sites(eqn):
            out = _result_type([v.aval for v in eqn.outvars], eqn.primitive.multiple_results)
            ins = tuple(array_type(a) for a in args)
            op: Any = Apply(ins, out, eqn.primitive, tuple(sorted(eqn.params.items(), key=lambda kv: kv[0])))
        elif eqn.primitive.name == "scan":
            op, args = self._scan(eqn, args, loc)
        elif eqn.primitive.name == "cond":
            op, args = self._cond(eqn, args, loc)
        elif eqn.primitive.name in ("checkpoint", "remat", "remat2"):
            return self.inline(_closed(eqn.params["jaxpr"]), args, loc)
        else:
            names = ", ".join(repr(name) for name in _site_names(eqn))
            raise ModelError(
                f"site {names} is inside {_CONSTRUCTS.get(eqn.primitive.name, eqn.primitive.name)}, "
                "which is not compiled; "
                "use a plate, jax.lax.scan, or jnp.where over sites outside",
                loc,
            )
        node = self.add(op, args, loc)
        if not eqn.primitive.multiple_results:
            return [node]
        return [self.add(Item(i), (node,), loc) for i in range(len(eqn.outvars))]

    def _scan(self, eqn: Any, args: list[Node], loc: Loc | None) -> tuple[Scan, list[Node]]:
        p, body = _scan_body(eqn.params, len(eqn.invars))
        outside = dict(zip(body.of(Input)[: p.n_consts], args, strict=False))
        (body,), given = take_steps_out(self, (body,), (outside,), p.length, loc)
        args = [*args, *given]
        out = _result_type([v.aval for v in eqn.outvars], True)
        return Scan(tuple(map(array_type, args)), out, body, p.n_consts, p.n_carry, p.length, p.reverse), args

    def _cond(self, eqn: Any, args: list[Node], loc: Loc | None) -> tuple[Cond, list[Node]]:
        names = [f"operand{i}" for i in range(len(args) - 1)]
        branches = tuple(_body(branch, names) for branch in eqn.params["branches"])
        refuse_unequal_sites(branches, loc)
        outside = tuple(dict(zip(branch.of(Input), args[1:], strict=False)) for branch in branches)
        branches, given = take_steps_out(self, branches, outside, None, loc)
        args = [*args, *given]
        out = _result_type([v.aval for v in eqn.outvars], True)
        return Cond(tuple(map(array_type, args)), out, branches), args


def import_graph(closed: Any, inputs: Sequence[Input]) -> Graph:
    """The graph of a whole model.

    Args:
        closed: its jaxpr, which returns nothing.
        inputs: one op for each of its arguments.
    """
    builder = Builder()
    builder.inline(closed, [builder.add(op) for op in inputs])
    return without_steps(Graph(tuple(builder.nodes)))


def opened_scan(op: Apply) -> Scan | None:
    """A scan without sites as one whose body is a graph; None where jax has been told how to run it."""
    if op.parameters.get("unroll", 1) != 1 or op.parameters.get("_split_transpose", False):
        return None
    p, body = _scan_body(op.parameters, len(op.ins))
    return Scan(op.ins, op.out, body, p.n_consts, p.n_carry, p.length, p.reverse)


def _scan_body(params: dict[str, Any], n_args: int) -> tuple[compat.ScanParams, Graph]:
    p = compat.scan_params(params)
    kinds = [f"const{i}" for i in range(p.n_consts)] + [f"carry{i}" for i in range(p.n_carry)]
    kinds += [f"x{i}" for i in range(n_args - len(kinds))]
    return p, _body(p.body, kinds)


def _body(closed: Any, names: Sequence[str]) -> Graph:
    """The graph of a loop's body or a branch, its inputs called `names`."""
    builder = Builder()
    inputs = [Input(name, Input.BODY, from_aval(v.aval)) for name, v in zip(names, closed.jaxpr.invars, strict=True)]
    out = builder.inline(closed, [builder.add(op) for op in inputs])
    for node in builder.nodes[len(inputs) :]:
        if isinstance(node.op, Input):
            raise ModelError("a random key is asked for inside a loop or a branch; pass keys in as arguments", node.loc)
    return Graph(tuple(builder.nodes), tuple(Output(Role.RESULT, str(i), node) for i, node in enumerate(out)))


def _first_reader(jaxpr: Any, var: Any) -> Loc | None:
    """The user's line that first reads a variable."""
    return next((equation_loc(eqn) for eqn in jaxpr.eqns if any(atom is var for atom in eqn.invars)), None)


def _has_sites(eqn: Any) -> bool:
    return bool(_site_names(eqn))


def _site_names(eqn: Any) -> list[str]:
    """What plait's primitives inside an equation are called, without repeats."""
    names: dict[str, None] = {}
    for jaxpr in compat.inner_jaxprs(eqn.params):
        for inner in jaxpr.eqns:
            if inner.primitive in OF_PLAIT:
                names[inner.params["op"].label or inner.primitive.name] = None
            names.update(dict.fromkeys(_site_names(inner)))
    return list(names)


_CONSTRUCTS = {
    "while": "jax.lax.while_loop or fori_loop",
    "custom_jvp_call": "a jax.custom_jvp function",
    "custom_vjp_call": "a jax.custom_vjp function",
}


def _closed(jaxpr: Any) -> Any:
    return jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())


def _result_type(avals: list[Any], several: bool) -> Type:
    types = tuple(from_aval(a) for a in avals)
    return TupleType(types) if several else types[0]
