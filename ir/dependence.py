"""What the site graph says of a model: parents, Markov blankets, plates, and which sites are independent.

A site stands for all of its elements: two elements of a plate, or two steps of a scan, are not told apart. The edges
of a scan may form cycles among sites, though none among their elements. So independence is read off the moral graph of
ancestors (Lauritzen, Dawid, Larsen and Leimer, *Independence properties of directed Markov fields*, Networks 20, 1990):
each path between elements is a path between their sites, so what is separated here is separated element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import networkx as nx

from plait.ir.names import unknown_names

Names = str | Collection[str]


@dataclass(frozen=True)
class SitePlate:
    """A plate with the sites in it; a scan counts as one, of its length.

    `full_size` is, of a subsampled plate, the number of all elements.
    """

    name: str
    size: int
    full_size: int | None
    sites: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class SiteGraph:
    """Which site depends on which, and what follows from it. All names are returned in program order.

    Args:
        digraph: its nodes are names, in program order; each carries as ``site`` what has `kind` and `plates`. An edge
            marked ``temporal`` leads to the next step of a scan. A latent marked ``weighted`` has a scaled term, which
            does not integrate to 1, so that its parents meet in it even where nothing observes it.
    """

    digraph: nx.DiGraph

    def __post_init__(self) -> None:
        object.__setattr__(self, "digraph", nx.freeze(self.digraph.copy()))

    # -- names ------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """All of them: sites, params, factors, deterministics and the data that one of these reads."""
        return tuple(self.digraph)

    @property
    def latents(self) -> tuple[str, ...]:
        """The sites that are drawn and not observed."""
        return self._of("latent")

    @property
    def observed(self) -> tuple[str, ...]:
        """The observed sites: ``given=g.observed`` asks about the posterior."""
        return self._of("observed")

    @property
    def plates(self) -> tuple[SitePlate, ...]:
        """The plates, as the sites enter them; those of one name and size are one plate."""
        inside: dict[tuple[str, int, int | None], list[str]] = {}
        for name, site in self.digraph.nodes(data="site"):
            for p in site.plates:
                inside.setdefault((p.name, p.size, p.full_size), []).append(name)
        return tuple(SitePlate(*plate, tuple(sites)) for plate, sites in inside.items())

    # -- edges ------------------------------------------------------------------------------------------

    def parents(self, name: str) -> tuple[str, ...]:
        """What the site reads: sites, params, deterministics and data. In a scan its own last step may be one."""
        return self._sorted(self.digraph.predecessors(self._known(name)))

    def children(self, name: str) -> tuple[str, ...]:
        """What reads the site."""
        return self._sorted(self.digraph.successors(self._known(name)))

    def ancestors(self, name: str) -> tuple[str, ...]:
        """What the site depends on, near or far, without itself."""
        return self._sorted(nx.ancestors(self.digraph, self._known(name)))

    def descendants(self, name: str) -> tuple[str, ...]:
        """What depends on the site, near or far, without itself."""
        return self._sorted(nx.descendants(self.digraph, self._known(name)))

    def topological_order(self) -> tuple[str, ...]:
        """Each name after its parents, and as near to program order as that allows.

        Temporal edges don't count. Where the branches of a cond draw the same sites in different orders, no order fits
        all of them; such sites stand together, in program order.
        """
        now = nx.DiGraph(self.digraph)
        now.remove_edges_from([(a, b) for a, b, temporal in self.digraph.edges(data="temporal") if temporal])
        place = {name: i for i, name in enumerate(self.names)}
        knots = nx.condensation(now)
        members = {knot: sorted(names, key=place.__getitem__) for knot, names in knots.nodes(data="members")}
        order = nx.lexicographical_topological_sort(knots, key=lambda knot: place[members[knot][0]])
        return tuple(name for knot in order for name in members[knot])

    # -- dependence -------------------------------------------------------------------------------------

    def markov_blanket(self, name: str) -> tuple[str, ...]:
        """The sites and params whose values the density of this one needs, given all others.

        These are its parents, its children, and the other parents of its children. Deterministic sites are seen
        through; factors bring their parents. Data are left out: they are constants. A site in a scan is not in its own
        blanket. Of a deterministic site or a factor: what its value is computed from.
        """
        self._known(name)
        children: set[str] = set()
        if self._kind(name) != "deterministic":
            children = self._near([name], self.digraph.successors)
        family = children | self._near([name, *children], self.digraph.predecessors)
        return self._sorted(n for n in family - {name} if self._kind(n) in _WITH_VALUES)

    def moral_graph(self) -> nx.Graph:
        """The parents of each site joined, and no directions: who meets whom in a term of the joint density.

        Nodes carry ``site``; no node is joined to itself.
        """
        return _moral(self.digraph)

    def is_d_separated(self, a: Names, b: Names, given: Names = ()) -> bool:
        """Whether the graph implies that `a` and `b` are independent, given `given`.

        Params and data are constants, and so always given; so are factors, which weigh the joint density as a
        likelihood does. Observed sites are given where they are named: ``given=g.observed``. A deterministic site is
        given as soon as all that it is computed from is; when itself is given, what it is computed from is not. What is
        given is independent of everything.

        Args:
            a: a name, or names.
            b: as well.
            given: as well.

        Returns:
            True: independent, whatever the distributions are. Of sites in plates and scans this is said of all elements
            together. False: the graph does not say so.

        Raises:
            ValueNamesError: a name is not in the graph.
        """
        a, b, given = (self._all_known(names) for names in (a, b, given))
        known = self._determined(given.union(self._of(*_ALWAYS_GIVEN)))
        weighted = {name for name, is_weighted in self.digraph.nodes(data="weighted") if is_weighted}
        above = _reached(self.digraph.reverse(copy=False), a | b | known | weighted)
        moral = _moral(self.digraph.subgraph(above))
        moral.remove_nodes_from(known)
        return not _reached(moral, a - known) & b

    # -- helpers ----------------------------------------------------------------------------------------

    def _kind(self, name: str) -> str:
        kind: str = self.digraph.nodes[name]["site"].kind
        return kind

    def _of(self, *kinds: str) -> tuple[str, ...]:
        return tuple(name for name in self.digraph if self._kind(name) in kinds)

    def _sorted(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        return tuple(name for name in self.digraph if name in wanted)

    def _known(self, name: str) -> str:
        unknown_names([name], self.names, "site")
        return name

    def _all_known(self, names: Names) -> set[str]:
        names = [names] if isinstance(names, str) else list(names)
        unknown_names(names, self.names, "site")
        return set(names)

    def _determined(self, given: set[str]) -> set[str]:
        """With the deterministic sites that follow: those that no path reaches from a random site that is not given."""
        rest = self.digraph.subgraph(set(self.digraph) - given)
        random = {name for name in rest if self._kind(name) != "deterministic"}
        return given | (set(rest) - _reached(rest, random))

    def _near(self, names: Iterable[str], step: Callable[[str], Iterator[str]]) -> set[str]:
        """The nearest names that are not deterministic, one `step` after the other."""
        found: set[str] = set()
        todo = list(names)
        while todo:
            fresh = set(step(todo.pop())) - found
            found |= fresh
            todo += [name for name in fresh if self._kind(name) == "deterministic"]
        return {name for name in found if self._kind(name) != "deterministic"}

    def __repr__(self) -> str:
        return f"<site graph of {len(self.digraph)} names>"


_ALWAYS_GIVEN = ("data", "param", "factor")
_WITH_VALUES = ("latent", "observed", "param")


def _reached(graph: nx.Graph, sources: Iterable[str]) -> set[str]:
    """The sources, and all that edges lead to from there."""
    return set(chain.from_iterable(nx.bfs_layers(graph, list(sources))))


def _moral(digraph: nx.DiGraph) -> nx.Graph:
    plain = nx.DiGraph()
    plain.add_nodes_from(digraph.nodes(data=True))
    plain.add_edges_from((a, b) for a, b in digraph.edges if a != b)
    return nx.moral_graph(plain)


__all__ = ["SiteGraph", "SitePlate"]
