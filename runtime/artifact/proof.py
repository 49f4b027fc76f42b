"""What a file says at numbers of rows far from the saved one, beside the model compiled on as many.

That functions are the same but for sizes is seen at three numbers that lie next to each other; that nothing changes
farther on (`min(len(y), 100)`, an algorithm for many rows) is seen by the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from plait.ir.errors import ArtifactError, ModelError

TOLERANCE = {8: 1e-7, 4: 2e-3}  # by the bytes of a float; of the largest entry of a result


CompiledModel = Any  # which saves itself, so that its module can't be imported here


def require_same(loaded: CompiledModel, compiled: CompiledModel, rows: int) -> None:
    """Compares densities, derivatives, terms, values and draws.

    Args:
        loaded: the model of the file, on data with so many rows.
        compiled: the same from its source.
        rows: how many.

    Raises:
        ArtifactError: one differs.
    """
    if compiled.has_random_params:
        params = compiled.init_param_values(jax.random.key(0))
        loaded, compiled = loaded.with_params(params), compiled.with_params(params)
    for name, function in _compared(compiled):
        found, wanted = (jax.tree_util.tree_leaves_with_path(function(model)) for model in (loaded, compiled))
        for (path, a), (_, b) in zip(found, wanted, strict=True):
            if not _is_same(np.asarray(a), np.asarray(b)):
                at = f"{name}{jax.tree_util.keystr(path)}"
                raise ArtifactError(f"the file would be wrong at {rows} rows, in {at}: the code is another there")


def _compared(compiled: CompiledModel) -> Iterator[tuple[str, Callable[[CompiledModel], Any]]]:
    key = jax.random.key(1)
    if compiled.has_log_density:
        z = 0.5 * jax.random.normal(key, (2, compiled.dim), compiled.dtype)
        values = compiled.constrain(z)
        yield "log_density_and_grad", lambda m: jax.vmap(m.log_density_and_grad)(z)
        yield "hvp", lambda m: m.hvp(z[0], z[1])
        yield "constrain", lambda m: m.constrain(z, deterministic=True)
        yield "unconstrain", lambda m: m.unconstrain(values)
    else:
        values = {name: x for name, x in compiled.sample(key, (2,)).items() if name in compiled.shapes}
    first = {name: x[0] for name, x in values.items()}
    yield "log_joint", lambda m: m.log_joint(first)
    yield "log_prob_terms", lambda m: m.log_prob_terms(first)
    yield "observed_data", lambda m: m.observed_data
    yield "sample", lambda m: m.sample(key, (2,), given=first)
    if not _refuses(lambda: compiled.sample(key)):
        yield "sample", lambda m: m.sample(key, (2,))
    u = jax.random.uniform(key, (2, compiled.dim), compiled.dtype)
    if not _refuses(lambda: compiled.prior_transform(u)):
        yield "prior_transform", lambda m: m.prior_transform(u)


def _refuses(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ModelError:
        return True
    return False


def _is_same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite = np.abs(b[np.isfinite(b)])
    size = np.max(finite, initial=1.0)
    return bool(np.allclose(a, b, rtol=0, atol=TOLERANCE[a.dtype.itemsize] * size, equal_nan=True))


__all__ = ["require_same"]
