"""check_data: what can be known wrong from data alone is checked once per data set, with the site's line.

ok: bool[8] = in_support y in nonnegative_integer      the guard leaves the density, and
log joint = guard (...) ok                         ⇒   check ok else "site 'y' is observed outside ..."
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpyro.distributions import Distribution, constraints

from plait.compiler.binding import data_names, known_nodes
from plait.compiler.importer import Builder
from plait.ir.errors import DataError
from plait.ir.graph import Graph, Node, Output, Role, make, with_outputs
from plait.ir.ops import Apply, Check, Const, Guard, InRange, InSet, InSupport, LogProb, array_type
from plait.ir.spec import Leaf, Part, Spec, Static, constraint_name, spec_text


def check_data(graph: Graph) -> Graph:
    """Moves conditions on data out of the density: ``guard joint (y in support)  ⇒  guard joint;  check …``."""
    known = known_nodes(graph)
    builder = Builder()
    checks: list[Node] = []
    env: dict[Node, Node] = {}
    for node in graph:
        args = tuple(env[a] for a in node.args)
        if isinstance(node.op, Guard):
            args = (
                args[0],
                *(new for new, old in zip(args[1:], node.args[1:], strict=True) if old not in known),
            )
        env[node] = node if args == node.args else make(node.op, args, node.loc)
        builder.nodes.append(env[node])
        checks += _checks(builder, node, env, known)
    outputs = [Output(out.role, out.name, env[out.node]) for out in graph.outputs]
    outputs += [Output(Role.CHECK, str(i), node) for i, node in enumerate(checks)]
    return with_outputs(builder.nodes, outputs)


def _checks(builder: Builder, node: Node, env: dict[Node, Node], known: set[Node]) -> list[Node]:
    op = node.op
    if isinstance(op, InSupport) and node in known:
        allowed = spec_text(op.support, ["…"] * len(node.args))
        check = Check(InSet(op.support, op.masked), f"{op.what} is observed outside its support {allowed}")
        return [builder.add(check, [env[a] for a in node.args], node.loc)]
    if isinstance(op, LogProb):
        return list(_parameter_checks(builder, node, env, known))
    if isinstance(op, Apply) and op.primitive.name == "gather" and node.args[1] in known:
        return _index_check(builder, node, env)
    return []


# -- parameters of distributions -----------------------------------------------------------------------


def _parameter_checks(builder: Builder, node: Node, env: dict[Node, Node], known: set[Node]) -> Iterator[Node]:
    op = node.op
    assert isinstance(op, LogProb)
    required = [
        (f"parameter {name!r}", constraint, node.args[1 + leaf])
        for name, constraint, leaf in _constrained_leaves(op.dist)
        if not op.masked
    ]
    if op.scaled:
        required.append(("its scale", constraints.positive, node.args[-1]))
    for name, constraint, arg in required:
        if arg not in known:
            continue
        message = f"site {op.site!r}: {name} must be {constraint_name(constraint)}"
        if isinstance(arg.op, Const) and arg.op.literal is not None:
            if not np.all(np.asarray(constraint(np.asarray(arg.op.value)))):
                raise DataError(f"{message}, got {arg.op.literal}", node.loc)
            continue
        yield builder.add(Check(InSet(Static(constraint)), message), [env[arg]], node.loc)


def _constrained_leaves(part: Part) -> Iterator[tuple[str, constraints.Constraint, int]]:
    """The declared parameters of a distribution and of those inside it, with what they must satisfy."""
    if not isinstance(part, Spec) or not issubclass(part.cls, Distribution):
        return
    declared = part.cls.arg_constraints
    for name, value in part.fields:
        constraint = declared.get(name)
        if isinstance(value, Leaf) and constraint is not None and not constraints.is_dependent(constraint):
            yield name, constraint, value.index
        if name == "base_dist" or name.endswith("_distribution"):
            yield from _constrained_leaves(value)


# -- indices ------------------------------------------------------------------------------------------


def _index_check(builder: Builder, node: Node, env: dict[Node, Node]) -> list[Node]:
    """A gather past the end is clamped or filled by jax without a word."""
    op = node.op
    assert isinstance(op, Apply)
    operand, indices = (array_type(a) for a in node.args)
    dimensions = op.parameters["dimension_numbers"].start_index_map
    last = [operand.shape[d] - op.parameters["slice_sizes"][d] for d in dimensions]
    if indices.size == 0 or not last:
        return []

    raw = _as_written(node.args[1]) if len(last) == 1 else None
    shown = node.args[1] if raw is None else raw
    data = ", ".join(repr(n) for n in data_names(shown))
    sizes = " × ".join(str(operand.shape[d]) for d in dimensions)
    message = (
        f"index {data} is out of range for an axis of size {sizes}, which counts from 0 (jax would wrap or clamp it)"
    )
    return [builder.add(Check(InRange(tuple(last), raw is None), message), [env[shown]], node.loc)]


def _as_written(index: Node) -> Node | None:
    """The index before jnp wrapped negative ones: -1 in data is a code for 'missing', not the last element."""
    node = index
    while isinstance(node.op, Apply) and node.op.primitive.name in _MOVES:
        node = node.args[0]
    if not (isinstance(node.op, Apply) and node.op.primitive.name == "select_n"):
        return None
    is_negative = node.args[0]
    wraps = isinstance(is_negative.op, Apply) and is_negative.op.primitive.name == "lt"
    raw = is_negative.args[0] if wraps else None
    return raw if raw is not None and data_names(raw) else None


_MOVES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "convert_element_type"})
