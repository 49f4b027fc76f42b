"""Why a term is not finite: its value, its parameters, what they were computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.compiler.nonfinite.frames import Element, Frame, Index, aligned, inside, outside
from plait.compiler.nonfinite.gradients import Slope
from plait.compiler.nonfinite.origins import Origin, code_in_words, feeding, first, is_moving, origin
from plait.compiler.nonfinite.parameters import Parameter, parameters
from plait.compiler.refused_data import shown
from plait.compiler.wording import in_words
from plait.ir.graph import Node
from plait.ir.ops import Const, InSupport, LogDet, LogProb, Param, Value, array_type
from plait.ir.spec import family, rebuild


@dataclass(frozen=True, eq=False)
class Reading:
    """What one entry of a log_prob is computed from.

    Attributes:
        frame: where.
        family: of the distribution.
        value: of the site; of several numbers where the distribution has event axes.
        value_node: the values of all entries.
        value_index: of the first number of `value` that is not finite among those; None where there is none.
        parameters: of the distribution.
    """

    frame: Frame
    family: str
    value: np.ndarray
    value_node: Node
    value_index: Index | None
    parameters: list[Parameter]


def reading(element: Element) -> Reading | None:
    """For an entry of a site's term; None where no log_prob of NumPyro's computes it."""
    while not isinstance(element.node.op, LogProb):
        before = inside(element) or (next(feeding(element), None) if is_moving(element.node) else None)
        if before is None:
            return None
        element = before
    frame, node, op = element.frame, element.node, element.node.op
    n = len(node.args) - op.masked - op.scaled
    value, *leaves = frame.arrays(node.args[:n])
    event = rebuild(op.dist, leaves).event_dim
    own = value.shape[: value.ndim - event]
    at = aligned(element.index, own)
    bad = first(~np.isfinite(np.asarray(value[at], float))) if value.dtype.kind in "biuf" else None
    index = None if bad is None else (*at, *bad)
    return Reading(frame, family(op.dist), value[at], node.args[0], index, parameters(node, leaves, element.index))


def parameter_at_fault(read: Reading | None) -> Origin | None:
    """A value or parameter that is no finite number, or a parameter that is not allowed; None where all may be."""
    if read is None:
        return None
    if read.value_index is not None:
        return _with("its value", Element(read.frame, read.value_node, read.value_index))
    bad = [p for p in read.parameters if p.index is not None]
    nan = [p for p in bad if np.isnan(p.value).any()]
    refused = [p for p in read.parameters if p.refused and p.index is None]
    if nan or (bad and not refused):
        worst = (nan or bad)[0]
        assert worst.index is not None
        return _with(worst.name.replace("log_factor", "it"), Element(read.frame, worst.node, worst.index))
    return _refused(read.frame, refused[0]) if refused else None


def _with(name: str, element: Element) -> Origin:
    began = origin(element)
    return Origin(f"{name} is {element.number}: {began}", began.loc)


def _refused(frame: Frame, parameter: Parameter) -> Origin:
    text = f"{parameter.name} is {shown(parameter.value)}, allowed are {parameter.refused}"
    index = np.unravel_index(int(parameter.places.flat[0]), array_type(parameter.node).shape)
    source = _source(Element(frame, parameter.node, tuple(map(int, index))))
    if isinstance(source.node.op, (Value, Param)):
        return Origin(f"{text}: it is the value of {source.node.op.name!r}", None)
    if isinstance(source.node.op, Const) or not source.node.args:
        return Origin(text, None)
    made = Origin(f"{text}: it is {code_in_words(source)}", source.node.loc)
    return Origin(f"{made.text} ({made.loc})" if made.loc else made.text, made.loc)


def _source(element: Element) -> Element:
    """The code or the latent that an entry comes from, through what only moves it."""
    while True:
        before = inside(element) or outside(element)
        if before is None and is_moving(element.node) and element.node not in element.frame.given:
            before = next(feeding(element), None)
        if before is None:
            return element
        element = before


def outside_support(element: Element) -> Origin:
    """For an entry of a condition that does not hold."""
    frame, node, op = element.frame, element.node, element.node.op
    assert isinstance(op, InSupport)
    value, *leaves = frame.arrays(node.args[: len(node.args) - op.masked])
    names = [shown(x) if x.size == 1 else "…" for x in leaves]
    one = value[aligned(element.index, value.shape[: len(element.index)])]
    return Origin(f"its value {shown(one)} is outside the support ({in_words(op.support, names)})", None)


def jacobian_at_fault(element: Element) -> Origin:
    """For an entry of a log Jacobian."""
    frame, node = element.frame, element.node
    assert isinstance(node.op, LogDet)
    u = frame.array(node.args[0])
    bad = first(~np.isfinite(u))
    if bad is not None:
        return _with("the unconstrained value", Element(frame, node.args[0], bad))
    at = u[aligned(element.index, u.shape[: len(element.index)])]
    return Origin(f"of the bijection to {in_words(node.op.support, ['…'] * len(node.args))} at {shown(at)}", None)


def nothing_at_fault(number: float) -> Origin:
    """Where value and parameters are allowed."""
    if number == -np.inf:
        return Origin("the density is 0 at this value, or too small for the dtype", None)
    if number == np.inf:
        return Origin("the density is infinite at this value, or too large for the dtype", None)
    return Origin("value and parameters are finite and allowed: the formula of the log probability is not", None)


def steepness(frame: Frame, slope: Slope, about: str) -> Origin:
    """For a derivative that is not finite."""
    node, loc = slope.node, slope.node.loc
    if isinstance(node.op, LogProb):
        arg = node.args[slope.position]
        nodes = vars_of(node)
        what = "its value" if slope.position == 0 else nodes.get(arg, "a parameter")
        return Origin(f"{about}: the log probability's derivative by {what} is {slope.number}", None)
    index = slope.index if len(slope.index) == array_type(node).ndim else ()
    text = f"{about}: the derivative of {code_in_words(Element(frame, node, index))} is {slope.number}"
    return Origin(f"{text} ({loc})" if loc is not None else text, loc)


def vars_of(node: Node) -> dict[Node, str]:
    """The names of the parameters whose values are a log_prob's arguments."""
    assert isinstance(node.op, LogProb)
    leaves = [np.zeros(array_type(a).shape) for a in node.args[1:]]
    return {p.node: p.name for p in parameters(node, leaves, ())}


__all__ = [
    "Reading",
    "jacobian_at_fault",
    "nothing_at_fault",
    "outside_support",
    "parameter_at_fault",
    "reading",
    "steepness",
]
