"""The certificate: value and gradient after every pass equal the reference interpreter's in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.layout import Slot
from plait.compiler.lower.density import Function, Lowered, lower
from plait.compiler.lower.sampler import draw
from plait.compiler.passes import PIPELINE, run_passes
from plait.compiler.reference import Report, interpret
from plait.ir.errors import CertificateError
from plait.ir.graph import Graph, Role
from plait.ir.ops import array_type

TOLERANCE = {np.dtype("float64"): 1e-8, np.dtype("float32"): 5e-4}


@dataclass(frozen=True)
class Row:
    """One comparison: errors are relative to the sum of the terms' magnitudes."""

    stage: str
    point: int
    unconstrained: bool  # log density of z, or log joint of the constrained values
    value: float
    reference: float
    value_error: float
    gradient_error: float


@dataclass(frozen=True)
class Certificate:
    """What `check=True` compared."""

    rows: tuple[Row, ...]
    whole: tuple[str, ...]  # sites that the reference could not loop over

    @property
    def worst(self) -> float:
        return max((max(r.value_error, r.gradient_error) for r in self.rows), default=0.0)


@dataclass(frozen=True)
class Case:
    """Graphs of one model with the arrays to run them on."""

    data: Sequence[Any]
    params: Sequence[Any]


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
        points: random unconstrained points, uniform in (-2, 2).

    Raises:
        CertificateError: names the first pass after which value or gradient differ.
        ModelError: there is neither a bijection nor a prior draw.
    """
    rows: list[Row] = []
    whole: set[str] = set()
    for point in range(points):
        truth = _Truth(reference, exact, slots, list(history[-1][1].named(Role.VALUE)), point)
        whole |= truth.whole
        for stage, graph in history:
            rows.append(_compare(stage, graph, case, slots, truth, point))
    return Certificate(tuple(rows), tuple(sorted(whole)))


def random_point(point: int, dim: int) -> np.ndarray:
    """The unconstrained point of that number: uniform in (-2, 2), the same in every process."""
    return np.random.default_rng(point).uniform(-2, 2, dim)


class _Truth:
    """The reference's values and gradients at one point, in float64."""

    def __init__(self, graph: Graph, case: Case, slots: Sequence[Slot], latents: Sequence[str], point: int) -> None:
        with jax.enable_x64(True):
            if len(slots) == len(latents):
                self.u = split_flat(slots, random_point(point, sum(s.unconstrained.size for s in slots)))
                self.density = _with_gradient(lambda p: _run(graph, case, p, True).log_density, self.u)
                self.values = _stacked_values(graph, case, self.u, slots)
            else:
                drawn = draw(graph, case.data, case.params, jax.random.key(point), {})
                self.values = {name: drawn[name] for name in latents}
            self.joint = _with_gradient(lambda p: _run(graph, case, p, False).log_joint, self.values)
            report = _run(graph, case, self.values, False)
        self.whole = report.whole
        self.scale = 1.0 + sum(abs(float(t)) for t in report.terms.values())


def _compare(stage: str, graph: Graph, case: Case, slots: Sequence[Slot], truth: _Truth, point: int) -> Row:
    lowered = lower(graph) if graph.named(Role.LOG_JOINT) else None
    unconstrained = lowered is not None and lowered.log_density is not None
    if lowered is None:
        wanted, got = truth.joint, _with_gradient(lambda v: _run(graph, case, v, False).log_joint, _cast(truth.values))
    elif lowered.log_density is None:
        wanted, got = truth.joint, _with_gradient(_joint(lowered, case), _cast(truth.values))
    else:
        wanted, got = truth.density, _with_gradient(_density(lowered, case, slots), _cast(truth.u))
    errors = _error(got[0], wanted[0]) / truth.scale, _gradient_error(got[1], wanted[1], truth.scale)
    row = Row(stage, point, unconstrained, float(got[0]), float(wanted[0]), *errors)
    tolerance = TOLERANCE.get(np.dtype(got[0].dtype), 5e-4)
    if not (row.value_error <= tolerance and row.gradient_error <= tolerance):
        raise CertificateError(
            f"pass {stage!r} changes the density: log density {row.value:.12g}, reference {row.reference:.12g} "
            f"(relative error {row.value_error:.2g}, of the gradient {row.gradient_error:.2g}) at a random point; "
            f"switch it off with passes={{{stage!r}: False}} and report this model"
        )
    return row


def _density(lowered: Lowered, case: Case, slots: Sequence[Slot]) -> Callable[[Mapping[str, Any]], Any]:
    known, _ = lowered.prepare(case.data)
    function = lowered.log_density
    assert function is not None
    return lambda u: apply(function, known, case.params, (_joined(slots, u),))[""]


def _joint(lowered: Lowered, case: Case) -> Callable[[Mapping[str, Any]], Any]:
    known, _ = lowered.prepare(case.data)
    latents = [(node.op.label or "", array_type(node).dtype) for node in lowered.log_joint.arguments]

    def joint(values: Mapping[str, Any]) -> Any:
        ordered = [jnp.asarray(values[name], dtype) for name, dtype in latents]
        return apply(lowered.log_joint, known, case.params, ordered)[""]

    return joint


def apply(function: Function, known: Sequence[Any], params: Sequence[Any], x: Sequence[Any]) -> dict[str, Any]:
    """Calls a lowered function with what it needs of `prepare`'s results."""
    return function([known[i] for i in function.uses], params, x)


def split_flat(slots: Sequence[Slot], z: Any) -> dict[str, Any]:
    """The parts of the flat vector by site, in their unconstrained shapes."""
    return {s.name: jnp.reshape(z[s.offset : s.offset + s.unconstrained.size], s.unconstrained.shape) for s in slots}


def _run(graph: Graph, case: Case, point: Mapping[str, Any], unconstrained: bool) -> Report:
    return interpret(graph, case.data, case.params, point, unconstrained)


def _stacked_values(graph: Graph, case: Case, u: Mapping[str, Any], slots: Sequence[Slot]) -> dict[str, Any]:
    """Constrained values in the sites' shapes; a scan's sites come from the bijector of the stacked support."""
    lowered = lower_to_density(graph)
    known, _ = lowered.prepare(case.data)
    assert lowered.values is not None
    return apply(lowered.values, known, case.params, (_joined(slots, u),))


def _joined(slots: Sequence[Slot], u: Mapping[str, Any]) -> Any:
    """The flat vector of the parts: the inverse of `split_flat`."""
    return jnp.concatenate([jnp.ravel(u[s.name]) for s in slots]) if slots else jnp.zeros(0)


def lower_to_density(graph: Graph) -> Lowered:
    """The functions of a model graph with no optional pass."""
    off = {p.name: False for p in PIPELINE if p.optional}
    return lower(run_passes(graph, PIPELINE, off, lambda name, graph: None))


def _with_gradient(f: Callable[[Mapping[str, Any]], Any], point: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Value, and gradient with respect to the floats."""
    fixed = {name: x for name, x in point.items() if not jnp.issubdtype(x.dtype, jnp.floating)}
    free = {name: x for name, x in point.items() if name not in fixed}
    value, gradient = jax.value_and_grad(lambda p: f({**p, **fixed}))(free) if free else (f(point), {})
    return jnp.asarray(value), gradient


def _cast(point: Mapping[str, Any]) -> dict[str, Any]:
    """The reference's values in the precision that jax is configured for."""
    return {name: jnp.asarray(np.asarray(x)) for name, x in point.items()}


def _error(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.max(np.where(same, 0.0, np.abs(a - b)), initial=0.0))


def _gradient_error(got: Mapping[str, Any], wanted: Mapping[str, Any], scale: float) -> float:
    largest = max((float(np.max(np.abs(g), initial=0.0)) for g in wanted.values()), default=0.0)
    return max((_error(got[k], wanted[k]) for k in wanted), default=0.0) / max(scale, largest)


__all__ = ["Case", "Certificate", "Row", "certify", "random_point", "split_flat"]
