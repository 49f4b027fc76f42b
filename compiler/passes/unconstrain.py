"""unconstrain: one flat vector z of all reals instead of constrained values, with its Jacobian.

tau: f64[] = value 'tau' in positive  ⇒  u: f64[] = flat z[1:2]
                                         x: f64[] = constrain u to positive
                                         tau: f64[] = value 'tau' = x in positive
                                         log density = add_n (joint's terms) (sum (log_det_jacobian u x))
"""

from __future__ import annotations

from dataclasses import replace

from plait.compiler.importer import Builder
from plait.compiler.layout import layout
from plait.compiler.staged import signature
from plait.compiler.supports import is_real
from plait.ir.graph import Graph, Node, Output, Role, make, with_outputs
from plait.ir.ops import AddN, Constrain, Flat, Guard, Input, LogDet, Value, array_type
from plait.ir.types import ArrayType, Slot


def unconstrain(graph: Graph) -> Graph:
    """Computes values from one flat vector and adds the Jacobian: ``value x  ⇒  value x = constrain z[i:j]``."""
    slots = {slot.name: slot for slot in layout(graph)}
    if len(slots) < len(graph.of(Value)):
        return graph
    builder = Builder()
    dim = sum(slot.unconstrained.size for slot in slots.values())
    dtype = array_type(_joint_sum(graph)).dtype
    z = builder.add(Input("z", Input.FLAT, ArrayType(dtype, (dim,))))
    jacobian: list[tuple[str, Node]] = []
    env: dict[Node, Node] = {}
    for node in graph:
        args = tuple(env[a] for a in node.args)
        if isinstance(node.op, Value):
            env[node] = _bind(builder, node, args, z, slots[node.op.name], jacobian)
        else:
            env[node] = node if args == node.args else make(node.op, args, node.loc)
            builder.nodes.append(env[node])
    outputs = [Output(out.role, out.name, env[out.node]) for out in graph.outputs]
    outputs += [Output(Role.JACOBIAN, name, node) for name, node in jacobian]
    outputs += [Output(Role.LOG_DENSITY, "", _log_density(builder, graph, env, jacobian))]
    return with_outputs(builder.nodes, outputs)


def _bind(
    builder: Builder,
    node: Node,
    args: tuple[Node, ...],
    z: Node,
    slot: Slot,
    jacobian: list[tuple[str, Node]],
) -> Node:
    op, loc = node.op, node.loc
    assert isinstance(op, Value)
    u = builder.add(Flat(slot.offset, replace(slot.unconstrained, dtype=array_type(z).dtype)), [z], loc)
    x, leaves, extras = u, op.leaves(args), op.extras(args)
    if not is_real(op.support):
        through = (u, *leaves)
        x = builder.add(signature(Constrain, tuple(map(array_type, through)), op.support), through, loc)
        inputs = (u, x, *leaves, *extras)
        fields = (op.name, op.support, op.event_ndim, op.masked, op.scaled)
        det = builder.add(signature(LogDet, tuple(map(array_type, inputs)), *fields), inputs, loc)
        jacobian.append((op.name, builder.total(det)))
    t = replace(op.type, dtype=array_type(x).dtype)
    return builder.add(replace(op, bound=True, type=t), [x, *args], loc)


def _log_density(builder: Builder, graph: Graph, env: dict[Node, Node], jacobian: list[tuple[str, Node]]) -> Node:
    """Terms and Jacobians under the joint's inner guard: what the outer one asks, the bijectors prove."""
    inner = graph.output(Role.LOG_JOINT).args[0]
    joint = env[_joint_sum(graph)]
    total = builder.add(AddN(array_type(joint).dtype), [*joint.args, *(node for _, node in jacobian)])
    return builder.add(Guard(), [total, *(env[g] for g in inner.args[1:])])


def _joint_sum(graph: Graph) -> Node:
    return graph.output(Role.LOG_JOINT).args[0].args[0]
