"""The first site of a model, in the order in which it runs, whose density or gradient is not finite at a point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from plait.compiler.members import Stack
from plait.compiler.nonfinite.frames import Element, Frame, Index, inside, is_float
from plait.compiler.nonfinite.gradients import first_steep, steep
from plait.compiler.nonfinite.origins import Origin, first
from plait.compiler.nonfinite.reasons import (
    Reading,
    jacobian_at_fault,
    nothing_at_fault,
    outside_support,
    parameter_at_fault,
    reading,
    steepness,
)
from plait.compiler.nonfinite.report import NonFinite, number_of
from plait.compiler.nonfinite.sites import Located, Place, locate, places, scans_around
from plait.ir.graph import Graph, Node, Role
from plait.ir.ops import Factor, Guard, Input, InSupport, Site, Sum, Value, array_type

SUPPORT, PROBABILITY, JACOBIAN = "support", "log probability", "log Jacobian"


@dataclass(frozen=True, eq=False)
class Point:
    """A model at a point.

    Attributes:
        traced: the graph as traced, with the user's sites.
        model: the same with its loops rolled.
        frame: the density graph before terms are fused, with data, params, and z or the latents' values.
        families: where the user's sites are in the values of families.
        unconstrained: whether z is given, so that Jacobians count too.
    """

    traced: Graph
    model: Graph
    frame: Frame
    families: Mapping[str, Stack]
    unconstrained: bool

    @cached_property
    def places(self) -> Mapping[str, Place]:
        return places(self.traced)

    @cached_property
    def scans(self) -> Mapping[str, int]:
        return scans_around(self.model)

    @cached_property
    def terms(self) -> Mapping[str, Node]:
        """The sites' log probabilities, unsummed."""
        return self.frame.graph.named(Role.TERM)

    @cached_property
    def jacobians(self) -> Mapping[str, Node]:
        """The latents' log Jacobians, unsummed, where they count."""
        found = self.frame.graph.named(Role.JACOBIAN) if self.unconstrained else {}
        return {name: node.args[0] if isinstance(node.op, Sum) else node for name, node in found.items()}

    def place(self, site: str) -> Place:
        """Of a site, or of the first one of a family."""
        return self.places[self.families[site].names[0] if site in self.families else site]


@dataclass(frozen=True, eq=False)
class _Suspect:
    """An entry of a site's term, support condition or log Jacobian that is not as it should be."""

    site: str  # or family
    what: str
    element: Element
    at: Located


def find(point: Point, density: float, gradient: Mapping[str, np.ndarray]) -> NonFinite | None:
    """What is first in a model to be infinite or NaN at a point; None where all is finite.

    Args:
        point: the model at the point.
        density: the compiled one there (nats).
        gradient: the compiled one, by name of the entry of z or of the latent.
    """
    suspects = sorted(_suspects(point), key=lambda s: point.places[s.at.name].turn(s.at.steps))
    if suspects:
        return _explained(point, suspects[0])
    if not np.isfinite(density):
        why = "each term is finite and their sum is not; look at log_prob_terms"
        return NonFinite("", "log density", density, "", (), None, {}, why, None, None)
    bad = {name: number_of(g) for name, g in gradient.items() if not np.isfinite(g).all()}
    return _steepest(point, *next(iter(bad.items()))) if bad else None


# -- values ---------------------------------------------------------------------------------------------


def _suspects(point: Point) -> Iterator[_Suspect]:
    """The first bad entry of each site, of whatever kind."""
    frame = point.frame
    conditions = _conditions(frame.graph, point.unconstrained)
    frame.fetch([*point.terms.values(), *conditions, *point.jacobians.values()])
    about = {f"site {name!r}": name for name in point.scans}  # as conditions say it
    for node in conditions:
        wrong = ~frame.array(node)
        if wrong.any():
            yield _suspect(point, about[_asked(Element(frame, node, _first(wrong)))], SUPPORT, node, wrong)
    for what, nodes in ((PROBABILITY, point.terms), (JACOBIAN, point.jacobians)):
        for name, node in nodes.items():
            wrong = ~np.isfinite(frame.array(node))
            if wrong.any():
                yield _suspect(point, name, what, node, wrong)


def _conditions(graph: Graph, unconstrained: bool) -> list[Node]:
    """What the guards ask: of observed values, and of given latents, which a bijector keeps inside."""
    found: list[Node] = []
    node = graph.output(Role.LOG_DENSITY if unconstrained else Role.LOG_JOINT)
    while isinstance(node.op, Guard):
        found += node.args[1:]
        node = node.args[0]
    return found


def _asked(element: Element) -> str:
    """The site that a condition is about."""
    op = _innermost(element).node.op
    assert isinstance(op, InSupport)
    return op.what


def _innermost(element: Element) -> Element:
    """The same entry where the body of a loop or branch computed it."""
    while (deeper := inside(element)) is not None:
        element = deeper
    return element


def _suspect(point: Point, name: str, what: str, node: Node, wrong: np.ndarray) -> _Suspect:
    family = point.families.get(name)
    scans = point.scans[name] if family is None else family.axis
    backwards = [b for _, b in point.place(name).path if b is not None][:scans]
    axes = tuple(i for i, b in enumerate(backwards) if b and i < wrong.ndim)
    flipped = _first(np.flip(wrong, axes))  # in the order in which the steps run
    index = tuple(wrong.shape[i] - 1 - k if i in axes else k for i, k in enumerate(flipped))
    at = _locate(point, name, index, wrong.shape)
    return _Suspect(name, what, Element(point.frame, node, index), at)


def _locate(point: Point, name: str, index: Index, shape: Index) -> Located:
    return locate(name, index, shape, point.scans[name], point.families)


def _first(wrong: np.ndarray) -> Index:
    index = first(wrong)
    assert index is not None
    return index


def _explained(point: Point, suspect: _Suspect) -> NonFinite:
    element = _innermost(suspect.element)
    read = _read(point, suspect.site, suspect.element.index)
    if suspect.what == SUPPORT:
        number, what = -np.inf, PROBABILITY
        why = parameter_at_fault(read) or outside_support(element)
    elif suspect.what == JACOBIAN:
        number, what = float(element.number), JACOBIAN
        why = jacobian_at_fault(element)
    else:
        number, what = float(element.number), PROBABILITY
        why = parameter_at_fault(read) or nothing_at_fault(number)
    return _report(point, what, number, suspect.at, read, why)


def _read(point: Point, site: str, index: Index) -> Reading | None:
    """The distribution and value of a site at an entry of its term."""
    node = point.terms[site]
    return reading(Element(point.frame, node, index)) if array_type(node).ndim == len(index) else None


def _report(point: Point, what: str, number: float, at: Located, read: Reading | None, why: Origin) -> NonFinite:
    place = point.place(at.name)
    op = place.node.op
    assert isinstance(op, Site)
    index = [*(("step", t) for t in at.steps), *zip(place.axes(len(at.rest)), at.rest, strict=True)]
    found = {} if read is None else {p.name: p.value for p in read.parameters}
    family = op.family if read is None else read.family
    value = None if read is None or isinstance(op, Factor) else read.value
    return NonFinite(at.name, what, number, family, tuple(index), value, found, why.text, why.loc, place.node.loc)


# -- gradients ------------------------------------------------------------------------------------------


def _steepest(point: Point, entry: str, number: float) -> NonFinite:
    """The first site whose gradient is not finite, and the code whose derivative is to blame."""
    frame = point.frame
    terms = [(name, PROBABILITY, node) for name, node in point.terms.items()]
    terms += [(name, JACOBIAN, node) for name, node in point.jacobians.items()]
    terms.sort(key=lambda t: point.place(t[0]).turn(()))
    free = [n for n in frame.given if isinstance(n.op, Value) or (isinstance(n.op, Input) and n.op.kind == Input.FLAT)]
    free = [n for n in free if is_float(n)]
    which = first_steep(frame, free, [node for *_, node in terms])
    about = f"with respect to {entry}"
    if which is None:
        text = f"{about}, although each term's gradient is finite: they are too large to be summed"
        return NonFinite("", "gradient", number, "", (), None, {}, text, None, None)
    site, what, node = terms[which]
    slope = steep(frame, free, node)
    why = Origin(about, None) if slope is None else steepness(frame, slope, about)
    index = slope.index if slope is not None and len(slope.index) == array_type(node).ndim else None
    if index is None:
        at, read = Located(site, (), ()), None
    else:
        at, read = _locate(point, site, index, array_type(node).shape), _read(point, site, index)
    return _report(point, f"gradient of the {what}", number, at, read, why)


__all__ = ["Point", "find"]
