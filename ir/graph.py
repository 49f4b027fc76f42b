"""The one graph and the one kind of node that every stage works on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, ClassVar, TypeVar

import networkx as nx

from plait.ir.dependence import SiteGraph
from plait.ir.drawing.drawing import Drawing, draw
from plait.ir.drawing.site_graph import site_graph
from plait.ir.errors import InternalError
from plait.ir.graph_json import to_json
from plait.ir.semantics import semantic_hash
from plait.ir.text import to_text
from plait.ir.types import Loc, Type

OpT = TypeVar("OpT", bound="Op")


@dataclass(frozen=True, slots=True)
class Op:
    """What a node does. A subclass holds the static parameters and the one typing rule."""

    mnemonic: ClassVar[str] = "op"

    def infer(self, args: tuple[Type, ...]) -> Type:
        """The type of the result for arguments of these types: used to build and to verify.

        Raises:
            InternalError: the arguments do not fit the op.
        """
        raise InternalError(f"op {type(self).__name__} has no typing rule")

    @property
    def is_root(self) -> bool:
        """Whether the node stays in the graph although nobody uses its value."""
        return False

    @property
    def label(self) -> str | None:
        """The name that the user gave to this value, if any."""
        return None

    @property
    def owner(self) -> str | None:
        """The site whose value or term this is, where the op itself says so."""
        return None

    @property
    def literal(self) -> str | None:
        """How a scalar constant reads inside its users; None for everything else."""
        return None

    @property
    def bodies(self) -> tuple[Graph, ...]:
        """The graphs inside the op: a scan's body, the branches of a cond, which all hold the same sites."""
        return ()

    def with_bodies(self, bodies: Sequence[Graph]) -> Op:
        """The op with other graphs inside."""
        return self

    @property
    def category(self) -> str:
        """What the node is to a reader: latent, observed, data, code, …; the mnemonic, where an op says no more."""
        return self.mnemonic

    @property
    def applies(self) -> str | None:
        """The name of the jax primitive that the op applies; None for everything else."""
        return None

    def enter(self, words: Sequence[str]) -> tuple[Sequence[str], ...]:
        """How the inputs of each body read, in order, where the op's arguments read like this."""
        return tuple(() for _ in self.bodies)

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        """What the JSON form says of the op alone: JSON-able values under names that `docs/json.md` lists.

        Args:
            ids: of the arguments.
            words: how the arguments read, without the axes that broadcasting gave them.
        """
        return {}

    def meaning(self, args: Sequence[str]) -> tuple[Any, ...]:
        """All that decides the op's value, for hashing: its class, its parameters, and the hashes of its arguments."""
        return (type(self), *(getattr(self, field.name) for field in fields(self)), *args)

    def text(self, names: list[str]) -> str:
        """The op with its arguments' names, as the text form prints it."""
        return f"{self.mnemonic} {', '.join(names)}".rstrip()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Node:
    """One value. Identity is the node itself: two ``Normal(0, 1)`` sites never merge."""

    op: Op
    args: tuple[Node, ...]
    type: Type
    loc: Loc | None = None

    def __repr__(self) -> str:
        return f"<{self.op.label or self.op.mnemonic}: {self.type}>"  # not the arguments: they share theirs


def make(op: Op, args: Iterable[Node] = (), loc: Loc | None = None) -> Node:
    """A node whose type the op's rule gives."""
    args = tuple(args)
    return Node(op, args, op.infer(tuple(a.type for a in args)), loc)


class Role(Enum):
    """What an output of a graph is for."""

    RESULT = "result"  # of a scan's body, or what the model function returns
    LOG_JOINT = "log joint"  # guarded sum of the terms, as a function of constrained values
    LOG_DENSITY = "log density"  # sum of terms and log-det-Jacobians, as a function of z
    TERM = "term"  # one site's log probability, unsummed, masked and scaled
    FUSED = "fused"  # what stands for the sum of a term in the densities, where it is not the term's own sum
    JACOBIAN = "jacobian"  # one site's log-det-Jacobian, summed
    VALUE = "value"  # one latent's constrained value
    DETERMINISTIC = "deterministic"
    CHECK = "check"  # true when the data pass


@dataclass(frozen=True, slots=True)
class Output:
    """A node that somebody outside the graph reads."""

    role: Role
    name: str
    node: Node


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Graph:
    """An immutable, ordered graph: arguments come before their users, sites in program order."""

    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...] = ()

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def of(self, *ops: type[Op]) -> list[Node]:
        """The nodes with one of these ops, in order."""
        return [node for node in self.nodes if isinstance(node.op, ops)]

    def ops(self, op: type[OpT]) -> list[OpT]:
        """The ops of one class, in the order of their nodes."""
        return [node.op for node in self.nodes if isinstance(node.op, op)]

    def named(self, role: Role) -> dict[str, Node]:
        """The outputs of one role by name."""
        return {out.name: out.node for out in self.outputs if out.role is role}

    def output(self, role: Role) -> Node:
        """The only output of this role."""
        (node,) = self.named(role).values()
        return node

    @property
    def roots(self) -> list[Node]:
        return [out.node for out in self.outputs] + [node for node in self.nodes if node.op.is_root]

    def to_networkx(self) -> nx.DiGraph:
        """A `networkx.DiGraph` on the nodes, an edge from each argument to its user.

        Each networkx node carries ``op``, ``type`` and ``loc``; each edge ``positions``: where among
        the user's arguments it stands, several times for ``b * b``.
        """
        graph = nx.DiGraph()
        for node in self.nodes:
            graph.add_node(node, op=node.op, type=node.type, loc=node.loc)
            for arg in dict.fromkeys(node.args):
                positions = tuple(i for i, a in enumerate(node.args) if a is arg)
                graph.add_edge(arg, node, positions=positions)
        return graph

    def to_json(self) -> dict[str, Any]:
        """The graph for machines: what `json.dumps(…, allow_nan=False)` takes, equal in every process.

        Of data and of constant arrays there are no values, only types; a number that the program closes over is there,
        also one that fills an array. `docs/json.md` has every field.
        """
        return to_json(self)

    def draw(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        detail: str = "sites",
        shapes: bool = False,
        format: str | None = None,  # noqa: A002
    ) -> Drawing:
        """A picture of the graph; of a density its values and terms.

        Args:
            path: of a file to write it to; what it ends in says the format.
            detail: "sites", "code" (sites and the deterministic code between them) or "equations" (every node).
            shapes: whether nodes say dtype, shape and support.
            format: svg, png, dot, mermaid, json or text, where `path` does not say it.

        Raises:
            OptionError: there is no such detail or format.
            OSError: the file can't be written; what was there before stays.
        """
        return draw(self.to_json(), path, detail=detail, shapes=shapes, format=format)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    def site_graph(self) -> SiteGraph:
        """Which site depends on which: parents, Markov blankets, plates, d-separation. Of a model graph."""
        return SiteGraph(site_graph(self.to_json()))

    def semantic_hash(self) -> str:
        """Equal where two graphs say the same density, as hexadecimal digits; `plait.diff` says where they differ.

        It does not depend on lines, on the names of Python variables, on the order of independent sites, on code that
        nobody reads or that is written twice, on deterministic sites, and on the order of the flat vector. It does on
        the names of sites and data, on distributions, plates, masks, scales, what is observed, constants, shapes and
        dtypes. Equal formulas that are written in other ways (``a + b``, ``b + a``) count as different.
        """
        return semantic_hash(self)

    def __str__(self) -> str:
        return to_text(self)

    def __repr__(self) -> str:
        return f"<graph of {len(self.nodes)} nodes>"


def ancestors(roots: Iterable[Node]) -> set[Node]:
    """The roots and everything that they depend on."""
    found: set[Node] = set()
    todo = list(roots)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo.extend(node.args)
    return found


def downstream(graph: Graph, is_source: Callable[[Node], bool]) -> set[Node]:
    """The sources and everything that depends on one of them."""
    found: set[Node] = set()
    for node in graph:
        if is_source(node) or any(arg in found for arg in node.args):
            found.add(node)
    return found


def with_outputs(nodes: Iterable[Node], outputs: Iterable[Output]) -> Graph:
    """The graph of `nodes` without what no root needs."""
    whole = Graph(tuple(nodes), tuple(outputs))
    alive = ancestors(whole.roots)
    return Graph(tuple(n for n in whole.nodes if n in alive), whole.outputs)


def rewrite(graph: Graph, rule: Callable[[Node, tuple[Node, ...]], Node | list[Node] | None]) -> Graph:
    """Rebuilds the graph in order; the workhorse of the passes.

    Args:
        graph: what to rewrite.
        rule: gets a node and its already rewritten arguments. It answers None (keep the node, on the
            new arguments), a node that stands in its place, or a list of new nodes whose last one does.

    Returns:
        The new graph, its outputs mapped, dead nodes dropped.
    """
    new: dict[Node, Node] = {}
    nodes: list[Node] = []
    placed: set[Node] = set()
    for node in graph:
        args = tuple(new[a] for a in node.args)
        answer = rule(node, args)
        if answer is None:
            answer = node if args == node.args else make(node.op, args, node.loc)
        added = answer if isinstance(answer, list) else [answer]
        fresh = [n for n in added if n not in placed]
        placed.update(fresh)
        nodes.extend(fresh)
        new[node] = added[-1]
    return with_outputs(nodes, renamed_outputs(graph, new))


def renamed_outputs(graph: Graph, new: Mapping[Node, Node]) -> list[Output]:
    """The outputs of `graph` on the nodes that stand in for its own."""
    return [Output(out.role, out.name, new[out.node]) for out in graph.outputs]
