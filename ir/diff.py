"""Where two models differ, site by site, in the words of their authors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from plait.ir.graph import Graph, Node
from plait.ir.ops import Deterministic, Input, Param, Site, array_type
from plait.ir.semantics import Reading, site_hashes
from plait.ir.site_line import SiteLine
from plait.ir.sites import site_lines
from plait.ir.types import Loc, PlateFrame


@dataclass(frozen=True)
class ComparedSite:
    """A site, factor, param, deterministic or data array of one of two models.

    Attributes:
        line: its text, shape and kind; data are called as in the site graph, ``y (data)``.
        dtype: of its value.
        plates: that it is in, leftmost axis first.
        loc: the user's line, where it is known.
    """

    line: SiteLine
    dtype: str
    plates: tuple[PlateFrame, ...]
    loc: Loc | None


@dataclass(frozen=True)
class ChangedSite:
    """A site of both models whose own code differs.

    Attributes:
        name: of the site.
        before: it in the first model.
        after: it in the second model.
        what: differs, in words, such as ``~ Normal(mu, tau) → ~ Normal(mu, 2 * tau)``; at least one.
    """

    name: str
    before: ComparedSite
    after: ComparedSite
    what: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {_changed(self)}"


@dataclass(frozen=True)
class Difference:
    """What `diff` found.

    Attributes:
        same_density: whether the two say the same density; deterministic sites may differ all the same.
        added: the sites that the second model alone has.
        removed: the sites that the first model alone has.
        changed: the sites of both whose own code differs. A site whose parent alone differs is not one of them.
    """

    same_density: bool
    added: tuple[ComparedSite, ...]
    removed: tuple[ComparedSite, ...]
    changed: tuple[ChangedSite, ...]

    def __str__(self) -> str:
        said = [(site.name, _changed(site)) for site in self.changed]
        said += [(site.line.name, _one_sided("added", site)) for site in self.added]
        said += [(site.line.name, _one_sided("removed", site)) for site in self.removed]
        together: dict[str, list[str]] = {}  # a loop's sites, of which the same is said
        for name, words in said:
            together.setdefault(words, []).append(name)
        verdict = "the density is the same" if self.same_density else "the density differs"
        return "\n".join([verdict, *(f"{_few(names)} {words}" for words, names in together.items())])


def diff(before: Graph, after: Graph) -> Difference:
    """Whether the density changed, and at which site.

    A site is compared by its own code, down to the sites, params and data that it reads, which count by name. What
    counts and what does not is what `Graph.semantic_hash` says.

    Args:
        before: a model graph.
        after: another one.
    """
    old, new = _sites(before), _sites(after)
    named = Reading(through=False)
    left, right = site_hashes(before, named), site_hashes(after, named)
    # A site that reads a new deterministic site in place of its expression has new code and means the same.
    left_whole, right_whole = site_hashes(before, Reading()), site_hashes(after, Reading())
    changed = [n for n in right if n in left and left[n] != right[n] and left_whole[n] != right_whole[n]]
    without = Reading(through=False, constants=False)
    left_code, right_code = (site_hashes(g, without) if changed else {} for g in (before, after))
    return Difference(
        before.semantic_hash() == after.semantic_hash(),
        tuple(new[n] for n in right if n not in left),
        tuple(old[n] for n in left if n not in right),
        tuple(ChangedSite(n, old[n], new[n], _what(old[n], new[n], left_code[n] == right_code[n])) for n in changed),
    )


def _what(a: ComparedSite, b: ComparedSite, same_code: bool) -> tuple[str, ...]:
    """What differs between two sites, as far as their lines show it."""
    pairs = [
        (a.line.text, b.line.text, ""),
        (a.line.kind, b.line.kind, ""),
        (a.line.shape, b.line.shape, "shape "),
        # where the sizes differ, the shape has said so
        *([(_plates(a), _plates(b), "plates ")] if a.line.shape == b.line.shape else []),
        (a.dtype, b.dtype, "dtype "),
    ]
    shown = tuple(f"{what}{old or 'none'} → {new or 'none'}" for old, new, what in pairs if old != new)
    return shown or ("its constants differ" if same_code else "the code that it depends on differs",)


def _plates(site: ComparedSite) -> str:
    return ", ".join(f"{p}{'' if p.full_size is None else f' of {p.full_size}'}" for p in site.plates)


def _changed(site: ChangedSite) -> str:
    return f"changed: {', '.join(site.what)}{_at(site.after.loc)}"


def _one_sided(verb: str, site: ComparedSite) -> str:
    line = site.line
    return " ".join(filter(None, [f"{verb}:", line.text, line.shape, line.kind])) + _at(site.loc)


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]}, … ({len(names)} in all)"


def _at(loc: Loc | None) -> str:
    return f"  ({loc})" if loc else ""


def _sites(graph: Graph) -> dict[str, ComparedSite]:
    """Everything that has a name, in program order."""
    lines = {line.name: line for line in site_lines(graph)}
    found: dict[str, ComparedSite] = {}
    for node in _nodes(graph):
        match node.op:
            case Input(name, Input.DATA, t):
                shape = f"[{', '.join(map(str, t.shape))}]" if t.shape else ""
                line = SiteLine(f"{name} (data)", "", shape, "data")
                plates: tuple[PlateFrame, ...] = ()
            case (Site() | Deterministic() | Param()) as op:
                line, plates = lines[op.label or ""], tuple(sorted(op.plates, key=lambda p: p.dim))
            case _:
                continue
        # the branches of a cond hold one site each
        found.setdefault(line.name, ComparedSite(line, str(array_type(node).dtype), plates, node.loc))
    return found


def _nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph, and where one holds graphs those of theirs."""
    for node in graph:
        yield node
        for body in node.op.bodies:
            yield from _nodes(body)


__all__ = ["ChangedSite", "ComparedSite", "Difference", "diff"]
