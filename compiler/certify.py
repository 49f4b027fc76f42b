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
from plait.compiler.passes import PIPELINE, run_passes
from plait.compiler.reference import Report, interpret
from plait.ir.errors import CertificateError
from plait.ir.graph import Graph, Role

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
        slots: the layout of z.
        points: random unconstrained points, uniform in (-2, 2).

    Raises:
        CertificateError: names the first pass after which value or gradient differ.
    """
    rows: list[Row] = []
    whole: set[str] = set()
    dim = sum(s.unconstrained.size for s in slots)
    for point in range(points):
        truth = _Truth(reference, exact, slots, random_point(point, dim))
        whole |= truth.report.whole
        for stage, graph in history:
            rows.append(_compare(stage, graph, case, slots, truth, point))
    return Certificate(tuple(rows), tuple(sorted(whole)))


def random_point(point: int, dim: int) -> np.ndarray:
    """The unconstrained point of that number: uniform in (-2, 2), the same in every process."""
    return np.random.default_rng(point).uniform(-2, 2, dim)


class _Truth:
    """The reference's values and gradients at one point, in float64."""

    def __init__(self, graph: Graph, case: Case, slots: Sequence[Slot], z: np.ndarray) -> None:
        self.z, self.slots = z, slots
        with jax.enable_x64(True):
            u = split_flat(slots, z)
            self.density, self.d_density = _with_gradient(lambda p: _run(graph, case, p, True).log_density, u)
            self.report = _run(graph, case, u, True)
            self.values = _stacked_values(graph, case, u, slots)
            self.joint, self.d_joint = _with_gradient(lambda p: _run(graph, case, p, False).log_joint, self.values)
            self.scale = 1.0 + sum(abs(float(t)) for t in self.report.terms.values())


def _compare(stage: str, graph: Graph, case: Case, slots: Sequence[Slot], truth: _Truth, point: int) -> Row:
    lowered = lower(graph) if graph.named(Role.LOG_JOINT) else None
    unconstrained = lowered is not None and lowered.log_density is not None
    if unconstrained:
        assert lowered is not None
        known, _ = lowered.prepare(case.data)
        wanted = (truth.density, truth.d_density)
        got = _with_gradient(
            lambda u: _density(lowered, known, case, slots, u), _cast(split_flat(slots, truth.z), slots)
        )
    else:
        wanted = (truth.joint, truth.d_joint)
        f = _joint(lowered, case, slots) if lowered is not None else lambda v: _run(graph, case, v, False).log_joint
        got = _with_gradient(f, _cast(truth.values, slots))
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


def _density(lowered: Lowered, known: Sequence[Any], case: Case, slots: Sequence[Slot], u: Mapping[str, Any]) -> Any:
    assert lowered.log_density is not None
    z = jnp.concatenate([jnp.ravel(u[s.name]) for s in slots]) if slots else jnp.zeros(0)
    return apply(lowered.log_density, known, case.params, (z,))[""]


def _joint(lowered: Lowered, case: Case, slots: Sequence[Slot]) -> Callable[[Mapping[str, Any]], Any]:
    known, _ = lowered.prepare(case.data)
    return lambda v: apply(lowered.log_joint, known, case.params, [v[s.name] for s in slots])[""]


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
    z = jnp.concatenate([jnp.ravel(u[s.name]) for s in slots]) if slots else jnp.zeros(0)
    return apply(lowered.values, known, case.params, (z,))


def lower_to_density(graph: Graph) -> Lowered:
    """The functions of a model graph with no optional pass."""
    off = {p.name: False for p in PIPELINE if p.optional}
    return lower(run_passes(graph, PIPELINE, off, lambda name, graph: None))


def _with_gradient(f: Callable[[Mapping[str, Any]], Any], point: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    value, gradient = jax.value_and_grad(f)(dict(point)) if point else (f(point), {})
    return jnp.asarray(value), gradient


def _cast(point: Mapping[str, Any], slots: Sequence[Slot]) -> dict[str, Any]:
    return {s.name: jnp.asarray(np.asarray(point[s.name]), s.unconstrained.dtype) for s in slots}


def _error(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.max(np.where(same, 0.0, np.abs(a - b)), initial=0.0))


def _gradient_error(got: Mapping[str, Any], wanted: Mapping[str, Any], scale: float) -> float:
    largest = max((float(np.max(np.abs(g), initial=0.0)) for g in wanted.values()), default=0.0)
    return max((_error(got[k], wanted[k]) for k in wanted), default=0.0) / max(scale, largest)


__all__ = ["Case", "Certificate", "Row", "certify", "random_point", "split_flat"]
