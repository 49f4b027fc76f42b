"""Points of the flat vector drawn from the prior: where sequential Monte Carlo and nested sampling start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from numpyro.distributions import MaskedDistribution

from plait.compiler.control_flow import named_nodes
from plait.compiler.lower.prior_transform import weighted
from plait.ir.errors import ModelError
from plait.ir.ops import Sample
from plait.ir.spec import Part, Spec
from plait.ir.types import Shape
from plait.runtime.compiled import CompiledModel


def prior_points(compiled: CompiledModel, key: Any, shape: Shape | int) -> Any:
    """Draws from the prior as flat unconstrained vectors, whose density is `CompiledModel.log_prior`.

    Args:
        compiled: the model.
        key: a jax random key.
        shape: of independent draws.

    Returns:
        Shape ``shape + (dim,)``, finite.

    Raises:
        ModelError: the model has no latent; a prior is improper, or its density is masked or scaled, so that it is not
            that of its draws; a draw lies on the edge of a support, where the unconstrained value is infinite.
    """
    if compiled.dim == 0:
        raise ModelError("the model has no latent site, so there is nothing to sample")
    require_normalized_prior(compiled)
    try:
        values = compiled.sample(key, shape)
    except ModelError as error:
        message = "this sampler starts from draws of the prior, so each latent needs a proper one"
        raise ModelError(f"{message}: {error}") from error
    z = jax.jit(compiled.unconstrain)({name: values[name] for name in compiled.shapes})
    finite = np.isfinite(z).reshape(-1, compiled.dim)
    if not finite.all():
        entry = compiled.names[int(np.argmin(finite.all(axis=0)))]
        raise ModelError(
            f"{int((~finite.all(axis=1)).sum())} of {len(finite)} prior draws have {entry} on the edge of its support "
            f"in {np.dtype(compiled.dtype).name}, where its unconstrained value is infinite; use float64, or a prior "
            "with less mass at the edge"
        )
    return z


def require_normalized_prior(compiled: CompiledModel) -> None:
    """Raises ModelError where the density of a latent is masked or scaled: an evidence would have no meaning."""
    for node in named_nodes(compiled.graph):
        if isinstance(node.op, Sample) and (why := weighted(node, node.op) or _masks_itself(node.op)):
            raise ModelError(f"this sampler starts from prior draws, and of latent {node.op.name!r} {why}", node.loc)


def _masks_itself(op: Sample) -> str | None:
    if not any(spec.cls is MaskedDistribution for spec in _nested(op.dist)):
        return None
    return "the distribution is masked by .mask(), so its draws are not from its density; mask observed sites alone"


def _nested(part: Part) -> Iterator[Spec]:
    """A distribution and what is inside it."""
    if isinstance(part, Spec):
        yield part
        for _, value in part.fields:
            yield from _nested(value)


__all__ = ["prior_points", "require_normalized_prior"]
