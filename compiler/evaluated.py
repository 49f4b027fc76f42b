"""The graphs of a history as functions of the user's latents: the values and gradients of all at one point."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.control_flow import named_nodes
from plait.compiler.layout import stacks
from plait.compiler.lower.density import Function, lower
from plait.compiler.lower.sampler import drawn_shapes
from plait.compiler.members import stacked, unstacked
from plait.compiler.reference import interpret
from plait.ir.graph import Graph, Role
from plait.ir.ops import Sample, array_type
from plait.ir.types import Shape, Slot

LONG = 2000  # nodes of all densities, and values packed for them: XLA compiles a longer program slower than its ops

Values = Mapping[str, Any]
At = Mapping[
    bool, Values
]  # a point by the user's site: at True unconstrained, where there is such; at False the values
Answer = tuple[Any, dict[str, Any]]  # a value and its gradient


@dataclass(frozen=True)
class Case:
    """Graphs of one model with the arrays to run them on."""

    data: Sequence[Any]
    params: Sequence[Any]


class Latents:
    """The user's latents, and how graphs hold them: as families, where a loop made them."""

    def __init__(self, model: Graph, slots: Sequence[Slot]) -> None:
        self.slots = slots
        self._families = stacks(model)
        self._shapes = drawn_shapes(model)
        self._unconstrained = {s.name: s.unconstrained.shape for s in slots}

    def split(self, z: Any) -> dict[str, Any]:
        """Unconstrained values of the user's sites, from the flat vector."""
        return unstacked(split_flat(self.slots, z), self._families)

    def flat(self, u: Values) -> Any:
        """The inverse of `split`."""
        return joined(self.slots, self._packed(u, self._unconstrained, self._unconstrained))

    def packed(self, values: Values, names: Collection[str]) -> dict[str, Any]:
        """Values of the user's sites as a graph takes them whose sites and families have these names."""
        return self._packed(values, names, self._shapes)

    def _packed(self, values: Values, names: Collection[str], shapes: Mapping[str, Shape]) -> dict[str, Any]:
        wanted = {name: shapes[name] for name in shapes if name in names}
        rest = {name: values[name] for name in names if name in values}
        return rest | stacked(values, wanted, {n: f for n, f in self._families.items() if n in wanted})


@dataclass(frozen=True)
class Stage:
    """A graph as a function of (known, params, latents by the user's site).

    Attributes:
        is_density: whether XLA may compile it; a model graph is interpreted.
        unconstrained: whether it takes unconstrained values.
        known: what data alone decide.
        length: how long its program is.
    """

    is_density: bool
    unconstrained: bool
    known: Sequence[Any]
    length: int
    function: Callable[[Sequence[Any], Sequence[Any], Values], Any]


def stage_of(graph: Graph, case: Case, latents: Latents) -> Stage:
    """The log density of unconstrained values, or the log joint of values where the graph has no such density."""
    if not graph.named(Role.LOG_JOINT):
        return Stage(False, False, (), 0, _interpreted(graph, case, latents))
    lowered = lower(graph)
    known = lowered.prepare(case.data)
    if lowered.log_density is None:
        return Stage(True, False, known, len(graph.nodes), _log_joint(lowered.log_joint, latents))
    return Stage(True, True, known, len(graph.nodes), _log_density(lowered.log_density, latents))


def _interpreted(graph: Graph, case: Case, latents: Latents) -> Callable[..., Any]:
    names = sampled(graph)

    def log_joint(known: Sequence[Any], params: Sequence[Any], values: Values) -> Any:
        return interpret(graph, case.data, params, latents.packed(values, names), False).log_joint

    return log_joint


def _log_joint(function: Function, latents: Latents) -> Callable[..., Any]:
    arguments = {node.op.label or "": array_type(node).dtype for node in function.arguments}

    def log_joint(known: Sequence[Any], params: Sequence[Any], values: Values) -> Any:
        packed = latents.packed(values, arguments)
        return apply(function, known, params, [jnp.asarray(packed[n], dtype) for n, dtype in arguments.items()])[""]

    return log_joint


def _log_density(function: Function, latents: Latents) -> Callable[..., Any]:
    return lambda known, params, u: apply(function, known, params, (latents.flat(u),))[""]


def evaluation(stages: Sequence[Stage], params: Sequence[Any]) -> Callable[[At], list[Answer]]:
    """All stages at a point.

    Models run op by op, and so do densities that are long. Short ones are one program, as they have much in common:
    XLA then compiles once what a dozen stages share.
    """

    def answers(some: Sequence[Stage], known: Sequence[Any], params: Sequence[Any], at: At) -> list[Answer]:
        functions = [partial(stage.function, k, params) for stage, k in zip(some, known, strict=True)]
        return [with_gradient(f, at[stage.unconstrained]) for f, stage in zip(functions, some, strict=True)]

    models = [stage for stage in stages if not stage.is_density]
    densities = stages[len(models) :]
    known = [stage.known for stage in densities]
    op_by_op = partial(answers, densities)
    together = jax.jit(op_by_op)

    def evaluate(at: At) -> list[Answer]:
        at = {u: {name: jnp.asarray(np.asarray(x)) for name, x in values.items()} for u, values in at.items()}
        length = sum(stage.length + len(at[stage.unconstrained]) for stage in densities)
        return [
            *answers(models, [()] * len(models), params, at),
            *(together if length < LONG else op_by_op)(known, params, at),
        ]

    return evaluate


def sampled(graph: Graph) -> list[str]:
    """The names of the latents, those of bodies too."""
    return [n.op.name for n in named_nodes(graph) if isinstance(n.op, Sample)]


def apply(function: Function, known: Sequence[Any], params: Sequence[Any], x: Sequence[Any]) -> dict[str, Any]:
    """Calls a lowered function with what it needs of `prepare`'s results."""
    return function([known[i] for i in function.uses], params, x)


def split_flat(slots: Sequence[Slot], z: Any) -> dict[str, Any]:
    """The parts of the flat vector by site, in their unconstrained shapes."""
    return {s.name: jnp.reshape(z[s.offset : s.offset + s.unconstrained.size], s.unconstrained.shape) for s in slots}


def joined(slots: Sequence[Slot], u: Mapping[str, Any]) -> Any:
    """The flat vector of the parts: the inverse of `split_flat`."""
    return jnp.concatenate([jnp.ravel(u[s.name]) for s in slots]) if slots else jnp.zeros(0)


def with_gradient(f: Callable[[Mapping[str, Any]], Any], point: Mapping[str, Any]) -> Answer:
    """Value, and gradient with respect to the floats."""
    fixed = {name: x for name, x in point.items() if not jnp.issubdtype(x.dtype, jnp.floating)}
    free = {name: x for name, x in point.items() if name not in fixed}
    value, gradient = jax.value_and_grad(lambda p: f({**p, **fixed}))(free) if free else (f(point), {})
    return jnp.asarray(value), gradient


__all__ = [
    "Answer",
    "At",
    "Case",
    "Latents",
    "Stage",
    "apply",
    "evaluation",
    "joined",
    "sampled",
    "split_flat",
    "stage_of",
    "with_gradient",
]
