"""Families: the sites that a Python loop made, found in the graph, and the code that repeats with them.

theta_0 = sample Normal(mu, 1)              family theta_* of 2; operands: mu (shared), 1 (shared)
theta_1 = sample Normal(mu, 1)
y_0 = observe Normal(theta_0, 2) obs=a  ⇒   family y_* of 2; operands: theta_* at [0, 1], constants [2, 3],
y_1 = observe Normal(theta_1, 3) obs=b                                 rows [0, 1] of y

Sites of one line of the user's, of equal distribution and types, are look-alikes. Their operands are compared
position by position: nodes that are all one node are shared, constants are stacked, members of a family are taken by
their positions, and equal code on other operands is a family itself. Where operands differ in kind, look-alikes are
kept apart, with the reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import jax
import numpy as np

from plait.ir.graph import Graph, Node, Op
from plait.ir.ops import Apply, Const, Deterministic, Item, Observe, Plate, Site, array_type
from plait.ir.types import ArrayType, Loc, TupleType

MOST_RUNS = 6  # an operand that changes its kind more often along the members keeps them apart
MOST_CUTS = 32  # how often the sites of a line are cut where a chain starts: an order, or a tree's generations
DEEPEST = 150  # levels of code that are compared


@dataclass(eq=False)
class Family:
    """Nodes of equal structure, in program order, and how each operand of all of them is made at once."""

    members: tuple[Node, ...]
    operands: list[Recipe] = field(default_factory=list)

    @property
    def first(self) -> Node:
        return self.members[0]

    @property
    def size(self) -> int:
        return len(self.members)

    @property
    def is_of_sites(self) -> bool:
        return isinstance(self.first.op, (Site, Deterministic))


@dataclass(frozen=True, eq=False)
class Shared:
    """One node for all members."""

    node: Node
    size: int


@dataclass(frozen=True, eq=False)
class Stacked:
    """A constant for each member."""

    nodes: tuple[Node, ...]

    @property
    def size(self) -> int:
        return len(self.nodes)


@dataclass(frozen=True, eq=False)
class Taken:
    """Members of a family, by position."""

    family: Family
    positions: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class Joined:
    """Runs of different kinds, one after another."""

    parts: tuple[Shared | Stacked | Taken, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


Recipe = Shared | Stacked | Taken | Joined


def parts(recipe: Recipe) -> tuple[Shared | Stacked | Taken, ...]:
    """The recipe's runs."""
    return recipe.parts if isinstance(recipe, Joined) else (recipe,)


@dataclass(frozen=True)
class Apart:
    """Why two look-alikes are not in one family."""

    first: str
    other: str
    why: str

    def __str__(self) -> str:
        return f"{self.first} and {self.other} are kept apart: {self.why}"


class _Differ(Exception):  # noqa: N818 (an answer, which the search reads)
    """Members of a group differ in the kind of an operand, found by following `path` through arguments."""

    def __init__(self, group: tuple[Node, ...], path: tuple[int, ...], why: str) -> None:
        super().__init__(why)
        self.group, self.path = group, path


class Search:
    """Finds the families of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.place: dict[Node, tuple[Family, int]] = {}
        self.apart: list[Apart] = []
        self._graph = graph
        self._never: set[Node] = set()
        self._cuts: Counter[Loc | None] = Counter()
        self._groups = _look_alikes(graph)
        self.apart += _unlike(self._groups)
        self._sites = list(self._groups)
        self.run()

    def run(self) -> None:
        """Finds the families among what is not kept apart."""
        self.place = {}
        for node in self._sites:
            while node not in self.place and len(self._groups[node]) > 1:
                self._attempt(node)

    @property
    def families(self) -> list[Family]:
        return list(dict.fromkeys(family for family, _ in self.place.values()))

    def recipe_of(self, nodes: Sequence[Node]) -> Recipe | None:
        """How the values of some nodes are made at once; None where they differ in kind."""
        before = dict(self.place)
        try:
            return self._recipe(list(nodes), (), ())
        except _Differ:
            self.place = before
            return None

    def keep_apart(self, group: Sequence[Node], labels: Sequence[Hashable], why: str) -> None:
        """Splits a group by labels."""
        split: dict[Hashable, list[Node]] = defaultdict(list)
        for node, label in zip(group, labels, strict=True):
            split[label].append(node)
        for nodes in split.values():
            self._groups.update(dict.fromkeys(nodes, tuple(nodes)))
        first, other = (nodes[0] for nodes in list(split.values())[:2])
        self.apart.append(Apart(first.op.label or "", other.op.label or "", why))

    def cut(self, family: Family) -> bool:
        """Counts that the sites of a line are split where a chain starts; False where that was tried too often."""
        self._cuts[family.first.loc] += 1
        return self._cuts[family.first.loc] <= MOST_CUTS

    def forbid(self, family: Family, why: str) -> None:
        """The members of this family will be in none."""
        if family.is_of_sites:
            self.keep_apart(family.members, range(family.size), why)
        self._never.update(family.members)

    # -- the search -------------------------------------------------------------------------------------

    def _attempt(self, node: Node) -> None:
        """Makes a family of a site's group, or splits a group."""
        before = dict(self.place)
        try:
            self._family(self._groups[node], ())
        except _Differ as e:
            self.place = before
            if self.reordered(e.group):
                return
            labels = [self._label(_follow(n, e.path)) for n in e.group]
            if len(set(labels)) == 1:
                labels = list(range(len(labels)))
            self.keep_apart(e.group, labels, str(e))

    def reordered(self, group: tuple[Node, ...]) -> bool:
        """Puts a group in the order of its generations, where a loop over chains made it, if that is another order."""
        depth: dict[Node, int] = {}
        inside = set(group)
        for node in self._graph:
            depth[node] = max((depth[a] for a in node.args), default=0) + (node in inside)
        ordered = tuple(sorted(group, key=depth.__getitem__))
        self._groups.update(dict.fromkeys(group, ordered))
        return ordered != group

    def _family(self, members: tuple[Node, ...], path: tuple[int, ...], group: tuple[Node, ...] = ()) -> Family:
        """The family of these nodes; `group` and `path` say from which sites they were reached."""
        group = group or members
        family = Family(members)
        self.place.update({node: (family, i) for i, node in enumerate(members)})
        for k in range(len(members[0].args)):
            family.operands.append(self._recipe([n.args[k] for n in members], (*path, k), group))
        return family

    def _recipe(self, nodes: list[Node], path: tuple[int, ...], group: tuple[Node, ...]) -> Recipe:
        if all(n is nodes[0] for n in nodes):
            return Shared(nodes[0], len(nodes))
        if len(path) > DEEPEST:
            raise _Differ(group, path, f"more than {DEEPEST} operations lie between them and what they have in common")
        runs = list(_runs(nodes, [self._kind(n) for n in nodes]))
        several = len(runs) > 1 and isinstance(nodes[0].type, TupleType)  # results in tuples can't be joined
        if len(runs) > MOST_RUNS or several:
            raise _Differ(
                group, path, f"one depends on {_described(runs[0][0])}, the other on {_described(runs[1][0])}"
            )
        made = tuple(self._run(run, path, group) for run in runs)
        return made[0] if len(made) == 1 else Joined(made)

    def _run(self, nodes: list[Node], path: tuple[int, ...], group: tuple[Node, ...]) -> Shared | Stacked | Taken:
        same = len(set(nodes)) == 1 or isinstance(nodes[0].op, Plate)  # full plates of one size have equal indices
        if same and nodes[0] not in self.place:
            return Shared(nodes[0], len(nodes))
        if isinstance(nodes[0].op, Const):
            return Stacked(tuple(nodes))
        if nodes[0] not in self.place:
            self._family(tuple(dict.fromkeys(nodes)), path, group)
        family = self.place[nodes[0]][0]
        return Taken(family, tuple(self.place[n][1] for n in nodes))

    def _kind(self, node: Node) -> Hashable:
        """Nodes of equal kinds can be in one run; a site's whole group becomes a family first."""
        if node not in self.place and len(self._groups.get(node, ())) > 1:
            self._family(self._groups[node], ())
        if node in self.place:
            return id(self.place[node][0])
        return self._label(node)

    def _label(self, node: Node | None) -> Hashable:
        """What kind of code a node is."""
        if node is None or node in self._never:
            return node
        if node in self.place:
            return id(self.place[node][0])
        if node in self._groups:
            return self._groups[node][0]
        if isinstance(node.op, Const) and isinstance(array_type(node).dtype, np.dtype):
            return ("const", _kind_of_operand(node))
        key = _code_key(node)
        return node if key is None else key


def _runs(nodes: Sequence[Node], kinds: Sequence[Hashable]) -> Iterator[list[Node]]:
    """Consecutive nodes of one kind."""
    run: list[Node] = []
    for i, node in enumerate(nodes):
        if run and kinds[i] != kinds[i - 1]:
            yield run
            run = []
        run.append(node)
    yield run


def _follow(node: Node, path: Sequence[int]) -> Node | None:
    for k in path:
        if k >= len(node.args):
            return None
        node = node.args[k]
    return node


def _look_alikes(graph: Graph) -> dict[Node, tuple[Node, ...]]:
    """For each site those that one line of the user's made, of equal distribution and types."""
    groups: dict[Hashable, list[Node]] = defaultdict(list)
    for node in graph.of(Site, Deterministic):
        if node.loc is not None:
            groups[_site_key(node)].append(node)
    return {node: tuple(group) for group in groups.values() for node in group}


def _unlike(groups: Mapping[Node, tuple[Node, ...]]) -> Iterator[Apart]:
    """Neighbours that one line made, of different distribution or shape, where others of that line are alike."""
    lines: dict[Loc | None, list[Node]] = defaultdict(list)
    for node in groups:
        lines[node.loc].append(node)
    for nodes in lines.values():
        firsts = list(dict.fromkeys(groups[node][0] for node in nodes))
        if 1 < len(firsts) < len(nodes):
            for a, b in pairwise(firsts):
                if len(groups[a]) == len(groups[b]):
                    continue  # two statements on one line
                yield Apart(a.op.label or "", b.op.label or "", f"one is {_said(a)}, the other {_said(b)}")


def _said(node: Node) -> str:
    op = node.op
    if not isinstance(op, Site):
        return f"of {_shape(node)}"
    extras = [what for what in (op.MASK, op.SCALE, op.KEY) if what in op.extras]
    kind = "observed " * isinstance(op, Observe) + op.family
    return f"{kind} of {_shape(node)}" + (f" with a {' and a '.join(extras)}" if extras else "")


def _shape(node: Node) -> str:
    t = array_type(node)
    return f"shape {list(t.shape)} ({t.dtype})"


def _site_key(node: Node) -> Hashable:
    op = node.op
    assert isinstance(op, (Site, Deterministic))
    plates = tuple(replace(p, name="") for p in op.plates)
    bare: Op = replace(op, name="", plates=plates, members=None)
    if isinstance(bare, Site):
        bare = replace(bare, type=_unnamed(array_type(node)))
    return (node.loc, bare, op.members is None, _plain(node), tuple(map(_kind_of_operand, node.args)))


def _kind_of_operand(node: Node) -> Hashable:
    """An operand's type; Python's 1 is as good as 1.0."""
    if isinstance(node.op, Const) and type(node.op.value) is int:
        return replace(_unnamed(array_type(node)), dtype=jax.dtypes.canonicalize_dtype(float))
    return _plain(node)


def _plain(node: Node) -> Hashable:
    """A node's type without the names of its axes."""
    return _unnamed(node.type) if isinstance(node.type, ArrayType) else node.type


def _unnamed(t: ArrayType) -> ArrayType:
    return replace(t, axes=(None,) * t.ndim, weak=False)


def _code_key(node: Node) -> Hashable | None:
    """Equal for code that does the same on other operands; None for what is never in a family."""
    op = node.op
    types = tuple(map(_plain, node.args))
    if isinstance(op, Item):
        return None if _code_key(node.args[0]) is None else ("item", op.index, types)
    if isinstance(op, Plate) and not node.args:
        return ("plate", op.frame.size, array_type(node).dtype)
    if not isinstance(op, Apply):
        return None
    if is_slice(node):
        return ("slice", types, array_type(node).shape, op.parameters["strides"])
    key = (op.primitive, op.params, types, node.type)
    try:
        hash(key)
    except TypeError:  # a parameter that jax itself does not hash
        return None
    return key


def is_slice(node: Node) -> bool:
    """Whether it is a part of an array, such as ``y[3]``, whose place may differ from member to member."""
    return isinstance(node.op, Apply) and node.op.primitive.name == "slice"


def _described(node: Node) -> str:
    if node.op.label:
        return repr(node.op.label)
    if isinstance(node.op, Const):
        return "a constant"
    return node.op.primitive.name if isinstance(node.op, Apply) else node.op.mnemonic


__all__ = ["Apart", "Family", "Joined", "Recipe", "Search", "Shared", "Stacked", "Taken", "is_slice", "parts"]
