"""The certificate: value and gradient after every pass equal the reference interpreter's in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from plait.compiler.certificate import Certificate, Row
from plait.compiler.control_flow import named_nodes
from plait.compiler.evaluated import (
    Answer,
    Case,
    Latents,
    apply,
    evaluation,
    joined,
    sampled,
    split_flat,
    stage_of,
    with_gradient,
)
from plait.compiler.lower.density import Lowered, lower
from plait.compiler.lower.sampler import draw
from plait.compiler.passes import PIPELINE, run_passes
from plait.compiler.reference import Report, interpret
from plait.ir.graph import Graph, Node
from plait.ir.ops import Site
from plait.ir.types import Slot

TOLERANCE = {np.dtype("float64"): 1e-8, np.dtype("float32"): 5e-4}
# Of the value where a site is a negative binomial: the constant of NumPyro's, the reference's, is off by 7e-8 at most.
NEGATIVE_BINOMIAL = 1e-7
SKIPPED = 20  # points without a finite reference that are drawn at most


def certify(
    history: Sequence[tuple[str, Graph]],
    case: Case,
    reference: Graph,
    exact: Case,
    slots: Sequence[Slot],
    points: int,
) -> Certificate:
    """Compares every graph of a history with the reference interpreter.

    Args:
        history: (pass, graph after it), the first one the traced model.
        case: data and params in the compiled dtype.
        reference: the model graph of a second trace in float64.
        exact: data and params in float64.
        slots: the layout of z; none where a latent has no bijection onto the reals. Then the log joint alone is
            compared, at prior draws.
        points: random unconstrained points, uniform in (-2, 2), with a finite reference: where it is not finite no
            number proves anything. After `SKIPPED` of those no more are drawn.

    Returns:
        The comparisons, up to the first pass after which value or gradient differ.

    Raises:
        ModelError: there is neither a bijection nor a prior draw.
    """
    latents = Latents(rolled(history), slots)
    different, place = _different([graph for _, graph in history])
    stages = [stage_of(graph, case, latents) for graph in different]
    evaluate = evaluation(stages, case.params)
    changed = [before != here for before, here in zip([-1, *place], place, strict=False)]
    rows: list[Row] = []
    whole: set[str] = set()
    large: set[str] = set()
    skipped = done = 0
    while done < points and skipped < SKIPPED:
        truth = _Truth(reference, exact, latents, done + skipped)
        whole |= truth.whole
        large |= truth.large
        if not truth.is_finite:
            skipped += 1
            continue
        answers = evaluate(truth.at)
        for (name, _), i, new in zip(history, place, changed, strict=True):
            rows.append(_compare(name, stages[i].unconstrained, answers[i], truth, done, new))
        done += 1
        if not all(row.holds for row in rows):
            break
    return Certificate(_up_to_the_first_that_fails(rows), tuple(sorted(whole)), tuple(sorted(large)), skipped)


def _up_to_the_first_that_fails(rows: Sequence[Row]) -> tuple[Row, ...]:
    last = next((i for i, row in enumerate(rows) if not row.holds), len(rows))
    return tuple(rows[: last + 1])


def _different(graphs: Sequence[Graph]) -> tuple[list[Graph], list[int]]:
    """The graphs without those in which a pass found nothing to do, and which of them each one is."""
    found: list[Graph] = []
    place = []
    for graph in graphs:
        if not found or (graph.nodes, graph.outputs) != (found[-1].nodes, found[-1].outputs):
            found.append(graph)
        place.append(len(found) - 1)
    return found, place


def random_point(point: int, dim: int) -> np.ndarray:
    """The unconstrained point of that number: uniform in (-2, 2), the same in every process."""
    return np.random.default_rng(point).uniform(-2, 2, dim)


def rolled(history: Sequence[tuple[str, Graph]]) -> Graph:
    """The last model graph of a history: its sites are those of the densities."""
    names = [name for name, _ in history]
    return history[names.index("density") - 1][1]


class _Truth:
    """The reference's values and gradients at one point, in float64, by the user's sites."""

    def __init__(self, graph: Graph, case: Case, latents: Latents, point: int) -> None:
        names = sampled(graph)
        self.at: dict[bool, dict[str, Any]] = {}
        self.answers: dict[bool, Answer] = {}
        with jax.enable_x64(True):
            if latents.slots or not names:
                self.at[True] = u = latents.split(random_point(point, sum(s.unconstrained.size for s in latents.slots)))
                self.at[False] = values = _values(graph, case, u)
            else:
                drawn = draw(graph, case.data, case.params, jax.random.key(point), {})
                self.at[False] = values = {name: drawn[name] for name in names}
            report = _run(graph, case, values, False)
            self.is_finite = bool(np.isfinite(report.log_joint))
            for unconstrained, at in self.at.items() if self.is_finite else ():
                self.answers[unconstrained] = with_gradient(partial(_density, graph, case, unconstrained), at)
        self.whole, self.large = report.whole, report.large
        self.error = NEGATIVE_BINOMIAL if any(map(_is_negative_binomial, named_nodes(graph))) else 0.0
        self.is_finite &= all(_is_finite(answer) for answer in self.answers.values())
        self.scale = 1.0 + sum(abs(float(t)) for t in report.terms.values())


def _compare(stage: str, unconstrained: bool, got: Answer, truth: _Truth, point: int, changed: bool) -> Row:
    wanted = truth.answers[unconstrained]
    errors = _error(got[0], wanted[0]) / truth.scale, _gradient_error(got[1], wanted[1], truth.scale)
    tolerance = TOLERANCE.get(np.dtype(got[0].dtype), 5e-4)
    holds = errors[0] <= max(tolerance, truth.error) and errors[1] <= tolerance  # not so where one is NaN
    norms = _norm(got[1]), _norm(wanted[1])
    return Row(stage, point, unconstrained, float(got[0]), float(wanted[0]), *errors, *norms, changed, holds)


def _is_finite(answer: Answer) -> bool:
    """Whether value and gradient are."""
    return all(bool(np.isfinite(x).all()) for x in (answer[0], *answer[1].values()))


def _norm(gradient: Mapping[str, Any]) -> float:
    """Euclidean, of all entries."""
    return float(np.sqrt(sum(float(np.sum(np.square(np.asarray(g, np.float64)))) for g in gradient.values())))


def _is_negative_binomial(node: Node) -> bool:
    name = node.op.family if isinstance(node.op, Site) else ""
    return name == "GammaPoisson" or name.startswith("NegativeBinomial")


def _density(graph: Graph, case: Case, unconstrained: bool, at: Mapping[str, Any]) -> Any:
    report = _run(graph, case, at, unconstrained)
    return report.log_density if unconstrained else report.log_joint


def _run(graph: Graph, case: Case, point: Mapping[str, Any], unconstrained: bool) -> Report:
    return interpret(graph, case.data, case.params, point, unconstrained)


def _values(graph: Graph, case: Case, u: Mapping[str, Any]) -> dict[str, Any]:
    """Constrained values in the sites' shapes; a scan's sites come from the bijector of the stacked support."""
    lowered = lower_to_density(graph)
    known = lowered.prepare(case.data)
    assert lowered.values is not None
    return apply(lowered.values, known, case.params, (joined(lowered.slots, u),))


def lower_to_density(graph: Graph) -> Lowered:
    """The functions of a model graph with no optional pass."""
    off = {p.name: False for p in PIPELINE if p.optional}
    return lower(run_passes(graph, PIPELINE, off, lambda name, graph: None))


def _error(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.max(np.where(same, 0.0, np.abs(a - b)), initial=0.0))


def _gradient_error(got: Mapping[str, Any], wanted: Mapping[str, Any], scale: float) -> float:
    largest = max((float(np.max(np.abs(g), initial=0.0)) for g in wanted.values()), default=0.0)
    return max((_error(got[k], wanted[k]) for k in wanted), default=0.0) / max(scale, largest)


__all__ = ["Case", "certify", "random_point", "split_flat"]
