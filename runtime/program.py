"""What one compile yields, whatever the data: graphs, lowered functions, and their jitted forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from plait.compiler.lower.density import Function, Lowered
from plait.compiler.lower.sampler import draw
from plait.compiler.trace import Arguments
from plait.ir.graph import Graph, Node, Role
from plait.ir.ops import Input, Param, Value


@dataclass(frozen=True)
class Program:
    """Shared by a compiled model and everything that `bind` makes of it, so nothing compiles twice.

    Attributes:
        model: the traced graph.
        lowered: the functions of the density graph.
        history: (pass, graph after it), from the traced graph on.
        arguments: the model's arguments at compile; `bind` compares with them.
    """

    model: Graph
    lowered: Lowered
    history: tuple[tuple[str, Graph], ...]
    arguments: Arguments

    @cached_property
    def latents(self) -> tuple[Node, ...]:
        return tuple(self.lowered.graph.of(Value))

    @cached_property
    def params(self) -> tuple[Node, ...]:
        return tuple(self.lowered.graph.of(Param))

    @cached_property
    def needs_key(self) -> bool:
        """Whether initial values of params are drawn."""
        return any(n.op.kind == Input.KEY for n in self.model.of(Input))  # type: ignore[attr-defined]

    @cached_property
    def prepare(self) -> Callable[..., Any]:
        return jax.jit(self.lowered.prepare)

    @cached_property
    def log_joint(self) -> Callable[..., Any]:
        return jax.jit(self.lowered.log_joint.call)

    @cached_property
    def terms(self) -> Callable[..., Any]:
        return jax.jit(self.lowered.terms.call)

    @cached_property
    def log_density(self) -> Callable[..., Any]:
        return jax.jit(self.density)

    @cached_property
    def log_density_and_grad(self) -> Callable[..., Any]:
        return jax.jit(jax.value_and_grad(self.density, argnums=2))

    @cached_property
    def constrain(self) -> Callable[..., Any]:
        function = self.lowered.constrain
        assert function is not None
        return jax.jit(lambda known, params, z: function.call(known, params, (z,)))

    @cached_property
    def sample(self) -> Callable[..., Any]:
        """From (data, params, keys (n,), given, stacked) to n draws of each site."""

        def many(data: Any, params: Any, keys: Any, given: Any) -> Any:
            return jax.vmap(partial(draw, self.model, data, params))(keys, given)

        return jax.jit(many)

    def density(self, known: Sequence[Any], params: Sequence[Any], z: Any) -> Any:
        """Log density of the flat vector: what `log_density` and its gradient jit."""
        function = self.lowered.log_density
        assert function is not None
        return function.call(known, params, (z,))

    def known_for(self, function: Function | None, known: Sequence[Any]) -> tuple[Any, ...]:
        """The part of `prepare`'s results that a function reads."""
        return () if function is None else tuple(known[i] for i in function.uses)

    def term_names(self) -> list[str]:
        return list(self.lowered.graph.named(Role.TERM))


def initial_params(program: Program, data: Sequence[Any], keys: Mapping[str, Any]) -> tuple[Any, ...]:
    """The params' initial values, those with a random one drawn with `keys` by site name."""
    from plait.compiler.lower.evaluate import evaluate

    inputs: dict[Node, Any] = {}
    arrays = iter(data)
    for node in program.model.of(Input):
        kind = node.op.kind  # type: ignore[attr-defined]
        inputs[node] = next(arrays) if kind == Input.DATA else keys[node.op.name]  # type: ignore[attr-defined]
    return tuple(jnp.asarray(x) for x in evaluate(program.model, inputs, program.model.of(Param)))
