"""What loops and branches ask of the sites inside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from plait.compiler.node_list import NodeList
from plait.ir.errors import ModelError
from plait.ir.graph import Graph, Node, make, rewrite
from plait.ir.ops import Deterministic, Input, Param, Plate, Site, Steps, array_type
from plait.ir.types import Loc


def named_nodes(graph: Graph) -> list[Node]:
    """Sites, deterministics, params and plates in program order, those inside loops and branches too, each once."""
    found = []
    for node in graph:
        if node.op.bodies:
            found.extend(named_nodes(node.op.bodies[0]))
        elif isinstance(node.op, (Site, Deterministic, Param, Plate)):
            found.append(node)
    return found


def refuse_unequal_sites(branches: Sequence[Graph], loc: Loc | None) -> None:
    """Raises ModelError where the branches of a cond hold different sites: the joint would have no fixed shape."""
    first, *others = [{_name(n): _signature(n) for n in named_nodes(branch)} for branch in branches]
    for other in others:
        for name in dict.fromkeys([*first, *other]):
            if first.get(name) != other.get(name):
                a, b = (found.get(name, "absent") for found in (first, other))
                raise ModelError(
                    f"site {name!r} differs between the branches of jax.lax.cond or switch: {a} in one, {b} in "
                    "another; give each branch the same sites of the same shapes, or use jnp.where on their parameters",
                    loc,
                )


def _name(node: Node) -> str:
    return node.op.label or ""


def _signature(node: Node) -> str:
    return f"{node.op.mnemonic} {node.type}"


def take_steps_out(
    builder: NodeList,
    bodies: tuple[Graph, ...],
    outside: Sequence[Mapping[Node, Node]],
    length: int | None,
    loc: Loc | None,
) -> tuple[tuple[Graph, ...], list[Node]]:
    """Makes values that were given outside a scan its stacked inputs: ``steps v  ⇒  the input x``, stacked in v.

    Args:
        builder: of the graph that the scan or cond is in.
        bodies: a scan's body, or the branches of a cond.
        outside: for each body its inputs that do not change from step to step, and their values outside.
        length: of the scan; None for a cond, which takes no step.
        loc: of the scan or cond.

    Returns:
        The bodies with one more input for each such value, and the values of these inputs.
    """
    given: list[Node] = []
    inputs: list[Input] = []
    places: dict[Node, Input] = {}
    for body, env in zip(bodies, outside, strict=True):
        for node in body.of(Steps):
            if not _is_constant(node):
                given.append(_outside(builder, node, body, env, length))
                places[node] = Input(f"given{len(inputs)}", Input.BODY, array_type(node))
                inputs.append(places[node])
    return tuple(_with_inputs(body, inputs, places) for body in bodies), given


def _is_constant(node: Node) -> bool:
    """Whether a handler between the scans and the site gives the same value at each step."""
    return isinstance(node.op, Steps) and node.op.steps == 0 and not node.op.around_model


def _with_inputs(body: Graph, inputs: Sequence[Input], places: Mapping[Node, Input]) -> Graph:
    fresh = {op.name: make(op) for op in inputs}

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        if node in places:
            return fresh[places[node].name]
        return args[0] if _is_constant(node) else None

    rewritten = rewrite(body, rule)
    rest = [n for n in rewritten if n not in fresh.values()]
    last = max((i for i, n in enumerate(rest) if isinstance(n.op, Input)), default=-1) + 1
    return Graph((*rest[:last], *fresh.values(), *rest[last:]), rewritten.outputs)


def _outside(builder: NodeList, node: Node, body: Graph, env: Mapping[Node, Node], length: int | None) -> Node:
    """The value of a body's new input: with this scan's axis in front, and those of the scans around it before."""
    op, (value,) = node.op, node.args
    assert isinstance(op, Steps)
    t = array_type(value)
    steps = op.steps
    if length is not None:
        if steps == 0:
            raise ModelError(
                f"site {op.name!r} is in a scan of {length} steps and was given one value of shape {t.shape}; "
                f"give a value for each step, of shape {(length, *t.shape)}",
                node.loc,
            )
        steps -= 1
        if t.shape[steps] != length:
            raise ModelError(
                f"site {op.name!r} is in a scan of {length} steps and was given values of shape {t.shape}, "
                f"which are {t.shape[steps]} steps",
                node.loc,
            )
    lifted = builder.recomputed([value], body, env)
    if lifted is None:
        raise ModelError(f"the value given to site {op.name!r} changes from step to step of a scan", node.loc)
    return builder.add(replace(op, steps=steps, type=replace(t, shape=t.shape[steps:], axes=())), lifted, node.loc)


def without_steps(graph: Graph) -> Graph:
    """The model graph when every scan is imported: no value has steps left.

    Raises:
        ModelError: a value has more axes than its site and the scans around it.
    """

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        if isinstance(node.op, Steps) and node.op.steps:
            shape = array_type(args[0]).shape
            raise ModelError(
                f"site {node.op.name!r} was given a value of shape {shape}, whose first {node.op.steps} axes are "
                "steps of no scan",
                node.loc,
            )
        return args[0] if isinstance(node.op, Steps) else None

    return rewrite(graph, rule) if graph.of(Steps) else graph
