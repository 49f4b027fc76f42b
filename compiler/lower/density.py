"""From the density graph to pure functions of (what is known, params, values or z)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to

from plait.compiler.binding import data_names
from plait.compiler.kernels.least_squares import NotFiniteError
from plait.compiler.layout import layout
from plait.compiler.lower.evaluate import evaluate
from plait.ir.errors import DataError
from plait.ir.fused import Kernel
from plait.ir.graph import Graph, Node, Role, ancestors, downstream
from plait.ir.ops import Const, Hoist, Input, Param, Value, inputs
from plait.ir.spec import rebuild
from plait.ir.types import Slot


@dataclass(frozen=True, eq=False, repr=False)
class Function:
    """A pure JAX function of the density.

    Attributes:
        graph: where its nodes are.
        arguments: the nodes that x gives values to: the latents, or z.
        results: the nodes to compute, by name.
        known: the hoisted values and data that it reads, nodes of `prepare`'s results.
        uses: the places of `known` among `prepare`'s results.
    """

    graph: Graph
    arguments: tuple[Node, ...]
    results: Mapping[str, Node]
    known: tuple[Node, ...]
    uses: tuple[int, ...]

    def __call__(self, known: Sequence[Any], params: Sequence[Any], x: Sequence[Any]) -> dict[str, Any]:
        """The results by name.

        Args:
            known: the results of `prepare` at `uses`.
            params: the arrays of the model's params.
            x: values of `arguments`.
        """
        given = dict(zip(self.known, known, strict=True))
        given |= zip(self.graph.of(Param), params, strict=True)
        given |= zip(self.arguments, x, strict=True)
        return dict(zip(self.results, evaluate(self.graph, given, self.results.values()), strict=True))

    def only(self, known: Sequence[Any], params: Sequence[Any], x: Sequence[Any]) -> Any:
        """The one result."""
        (result,) = self(known, params, x).values()
        return result


@dataclass(frozen=True, eq=False, repr=False)
class Lowered:
    """The functions of one density graph.

    Attributes:
        graph: the density graph.
        slots: the layout of z.
        known: the nodes that `prepare` computes for the functions below.
        checks: the conditions on data; `prepare` computes their arguments.
        kernels: what the host computes for `known`.
        traceable: the known nodes that JAX can compute and that `known`, `checks` or `kernels` need.
        log_joint: of the constrained values.
        terms: of the same; unsummed, by site.
        log_density: of z; None where a latent has no bijection onto the reals.
        values: of z; None likewise.
        deterministics: of z; None likewise.
    """

    graph: Graph
    slots: tuple[Slot, ...]
    known: tuple[Node, ...]
    checks: tuple[Node, ...]
    kernels: tuple[Node, ...]
    traceable: tuple[Node, ...]
    log_joint: Function
    terms: Function
    log_density: Function | None
    values: Function | None
    deterministics: Function | None

    def prepare(self, data: Sequence[Any]) -> tuple[Any, ...]:
        """What data alone decide: the values of `known`."""
        return self.finished(data, self.computed(data))

    def computed(self, data: Sequence[Any]) -> tuple[Any, ...]:
        """The values of `traceable`; a pure JAX function."""
        given = dict(zip(inputs(self.graph, Input.DATA), data, strict=True))
        return tuple(evaluate(self.graph, given, self.traceable))

    def checked(self, computed: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
        """For each of `checks` a tuple of its arguments' values."""
        values = dict(zip(self.traceable, computed, strict=True))
        return tuple(tuple(values[a] for a in check.args) for check in self.checks)

    def finished(self, data: Sequence[Any], computed: Sequence[Any]) -> tuple[Any, ...]:
        """The values of `known`: runs the kernels.

        Raises:
            LayoutChangedError: a kernel was made for data with other cells.
        """
        return self.assembled(data, computed, self.statistics(data, computed))

    def assembled(
        self, data: Sequence[Any], computed: Sequence[Any], statistics: Sequence[tuple[Any, ...]]
    ) -> tuple[Any, ...]:
        """The values of `known`, given those of the kernels; a pure JAX function."""
        values = self._values(data, computed) | dict(zip(self.kernels, statistics, strict=True))
        return tuple(evaluate(self.graph, values, self.known))

    def statistics(self, data: Sequence[Any], computed: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The values of the kernels, on the host.

        Raises:
            LayoutChangedError: a kernel was made for data with other cells.
        """
        values = self._values(data, computed)
        found = []
        for node in self.kernels:
            try:
                arrays = node.op.kernel(*(_on_host(a, values) for a in node.args))  # type: ignore[attr-defined]
            except NotFiniteError as e:
                data = ", ".join(map(repr, data_names(node)))
                raise DataError(f"site {node.op.site!r}: data {data} make {e}", node.loc) from None  # type: ignore[attr-defined]
            types = node.type.items  # type: ignore[union-attr]
            # cast on the host: jnp would compile a conversion for each shape
            found.append(tuple(jnp.asarray(np.asarray(x, t.dtype)) for x, t in zip(arrays, types, strict=True)))
        return found

    def _values(self, data: Sequence[Any], computed: Sequence[Any]) -> dict[Node, Any]:
        values = dict(zip(self.traceable, computed, strict=True))
        return values | dict(zip(inputs(self.graph, Input.DATA), data, strict=True))


def _on_host(node: Node, values: Mapping[Node, Any]) -> np.ndarray:
    return np.asarray(node.op.value if isinstance(node.op, Const) else values[node])


def lower(graph: Graph) -> Lowered:
    """The functions that a density graph stands for; nothing is traced or compiled yet."""
    latents, z = tuple(graph.of(Value)), tuple(inputs(graph, Input.FLAT))
    params = set(graph.of(Param))
    by_role = {role: graph.named(role) for role in Role}
    read = {n for role in Role if role is not Role.CHECK for n in by_role[role].values()}
    known = tuple(_frontier([n for n in graph if n in read], params))
    checks = tuple(dict.fromkeys(by_role[Role.CHECK].values()))
    after = downstream(graph, lambda n: isinstance(n.op, Kernel))
    needed = ancestors(known)
    kernels = tuple(n for n in graph if n in needed and isinstance(n.op, Kernel))
    wanted = {*known, *(a for n in checks for a in n.args)}
    wanted |= {a for n in kernels for a in n.args if not isinstance(a.op, Const)}

    def function(role: Role, arguments: tuple[Node, ...]) -> Function:
        mine = set(_frontier(by_role[role].values(), {*params, *arguments}))
        uses = tuple(i for i, n in enumerate(known) if n in mine)
        return Function(graph, arguments, by_role[role], tuple(known[i] for i in uses), uses)

    def of_z(role: Role) -> Function | None:
        return function(role, z) if by_role[Role.LOG_DENSITY] else None

    return Lowered(
        graph,
        layout(graph),
        known,
        checks,
        kernels,
        tuple(n for n in graph if n in wanted and n not in after),
        function(Role.LOG_JOINT, latents),
        function(Role.TERM, latents),
        of_z(Role.LOG_DENSITY),
        of_z(Role.VALUE),
        of_z(Role.DETERMINISTIC),
    )


def _frontier(wanted: Iterable[Node], cut: set[Node]) -> list[Node]:
    """Hoisted values, kernels and data that the wanted nodes read, in a stable order."""
    found: dict[Node, None] = {}
    seen: set[Node] = set(cut)
    todo = list(wanted)[::-1]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node.op, (Hoist, Kernel)) or (isinstance(node.op, Input) and node.op.kind == Input.DATA):
            found[node] = None
        else:
            todo.extend(node.args[::-1])
    return list(found)


def unconstrained(graph: Graph, dtype: Any, data: Sequence[Any], params: Sequence[Any], values: Sequence[Any]) -> Any:
    """The flat vector of the latents' values.

    Args:
        graph: the graph whose values know their supports and whose bijectors are still ops.
        dtype: of the flat vector.
        data: the data arrays.
        params: the arrays of the params.
        values: of the latents, in order.
    """
    nodes = graph.of(Value)
    given: dict[Node, Any] = dict(zip(inputs(graph, Input.DATA), data, strict=True))
    given |= zip(graph.of(Param), params, strict=True)
    given |= zip(nodes, values, strict=True)
    parts = []
    for node, op in zip(nodes, graph.ops(Value), strict=True):
        leaves = evaluate(graph, given, op.leaves(node.args))
        parts.append(jnp.ravel(biject_to(rebuild(op.support, leaves)).inv(given[node])))
    return jnp.concatenate(parts).astype(dtype) if parts else jnp.zeros(0, dtype)
