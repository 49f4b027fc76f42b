"""nutpie's NUTS, which is written in Rust and runs each chain in a thread of its own, on a compiled model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax
import numpy as np

from plait.runtime import (
    CompiledModel,
    Draws,
    ModelError,
    OnProgress,
    Progress,
    constrained_draws,
    one_key,
    optional,
    reporting,
    require,
    start_points,
)
from plait.runtime.samplers.arguments import at_least, probability
from plait.runtime.samplers.batches import OnPoints, numpy_seed

REPORT_SECONDS = 0.1

# The statistics' names, and nutpie's.
_FIELDS = {
    "acceptance_rate": "mean_tree_accept",
    "diverging": "diverging",
    "energy": "energy",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "tree_depth": "depth",
}

Expand = Callable[[np.ndarray], dict[str, np.ndarray]]


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    chains: int = 4,
    warmup: int = 400,
    draws: int = 1000,
    target_accept: float = 0.8,
    max_treedepth: int = 10,
    cores: int | None = None,
    init: Any = None,
    progress: bool | OnProgress = True,
) -> Draws:
    """Draws from the posterior by nutpie's NUTS, a thread for each chain.

    Its mass matrix is learned from draws and gradients, so that less warm-up does than elsewhere.

    Args:
        compiled: the model.
        key: a jax random key.
        chains: how many.
        warmup: adapting iterations of each chain, at least 2, not kept.
        draws: kept iterations of each chain.
        target_accept: acceptance rate that the step size is adapted to, in (0, 1).
        max_treedepth: a trajectory has at most ``2**max_treedepth`` gradients.
        cores: how many chains run at a time; default as many as there are cores.
        init: an unconstrained starting point of all chains, (dim,); default `CompiledModel.init_params` for each.
            nutpie does not say which chain it asks a point for, so there can't be one for each; and it takes no point
            where an entry of the gradient is 0, as at a mode.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            a few times a second. Chains that wait for a core count as at their start.

    Raises:
        MissingExtraError: nutpie is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: the model has nothing to sample, or no usable starting point.
    """
    require("nutpie")  # before anything slow
    at_least(1, chains=chains, draws=draws, max_treedepth=max_treedepth, cores=1 if cores is None else cores)
    at_least(2, warmup=warmup)
    probability(target_accept=target_accept)
    start_key, key = jax.random.split(one_key(key))
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        start = start_points(compiled, start_key, 1, init)[0]
        if init is not None:
            _require_slopes(compiled, start)
        steps = _Steps()
        vectors = _pyfunc(compiled, steps.expander, {"z": start}, None if init is None else start)
        report(Progress("compile", 1, 1))
        running = optional("nutpie").sample(
            vectors,
            draws=draws,
            tune=warmup,
            chains=chains,
            cores=cores,
            seed=int(numpy_seed(key).view(np.uint64)[0]),
            target_accept=target_accept,
            maxdepth=max_treedepth,
            save_warmup=False,
            progress_bar=False,
            blocking=False,
        )
        trace = _wait(running, lambda: steps.report(report, chains, warmup, draws))
    stats = {name: np.asarray(trace["sample_stats"][field]) for name, field in _FIELDS.items()}
    z = np.asarray(trace["posterior"]["z"]).astype(compiled.dtype)
    return constrained_draws(compiled, z, stats)


def model(compiled: CompiledModel) -> Any:
    """What ``nutpie.sample`` takes, a `nutpie.compiled_pyfunc.PyFuncModel`, for settings and loops of your own.

    Its draws are the constrained values of latents and deterministics, all in float64; axes of plates have the plates'
    names. It can be called from any number of threads.
    """
    constrain = OnPoints(compiled, lambda z: compiled.constrain(z, deterministic=True))
    values = jax.eval_shape(constrain.function, constrain.data, jax.ShapeDtypeStruct((compiled.dim,), compiled.dtype))

    def expander(*_: int) -> Expand:
        return lambda z: {name: np.asarray(value, np.float64) for name, value in constrain(z).items()}

    return _pyfunc(compiled, expander, values, None, *_dims(compiled, values))


def _pyfunc(
    compiled: CompiledModel, expander: Any, values: Any, init: Any, dims: Any = None, coords: Any = None
) -> Any:
    density = OnPoints(compiled, compiled.log_density_and_grad)

    def start(seed: int) -> np.ndarray:
        with jax.enable_x64(density.x64):  # which holds in one thread only
            point = compiled.init_params(jax.random.key(seed % 2**32)) if init is None else init
            return np.array(point, np.float64)

    return optional("nutpie.compiled_pyfunc").from_pyfunc(
        compiled.dim,
        lambda: density,
        expander,
        [np.dtype(np.float64)] * len(values),
        [v.shape for v in values.values()],
        list(values),
        coords=coords,
        dims=dims,
        make_initial_point_fn=start,
    )


def _dims(compiled: CompiledModel, values: Any) -> tuple[dict[str, tuple[str, ...]], dict[str, np.ndarray]]:
    """The axes' names of sites in plates, and the coordinates of all their axes."""
    dims: dict[str, tuple[str, ...]] = {}
    coords: dict[str, np.ndarray] = {}
    for slot in compiled.slots:
        name, shape = slot.name, slot.value.shape
        axes = tuple(axis or f"{name}_dim_{i}" for i, axis in enumerate(slot.value.axes))
        sizes = dict(zip(axes, shape, strict=True))
        fits = all(len(coords.get(axis, range(n))) == n for axis, n in sizes.items())
        # nutpie joins names by commas; a subsampled plate may have several lengths.
        if name in values and values[name].shape == shape and fits and not any("," in axis for axis in axes):
            dims[name] = axes
            coords |= {axis: np.arange(n) for axis, n in sizes.items()}
    return dims, coords


def _require_slopes(compiled: CompiledModel, z: Any) -> None:
    """nutpie's first mass matrix is made of the gradient's entries."""
    grad = np.asarray(compiled.log_density_and_grad(z)[1])
    if not grad.all():
        name = compiled.names[int(np.argmin(grad != 0))]
        raise ModelError(f"nutpie can't start at init: the gradient is 0 along {name!r} there; move it a little")


class _Steps:
    """Counts the iterations of each chain: nutpie expands the position after each of them."""

    def __init__(self) -> None:
        self.counts: list[list[int]] = []

    def expander(self, *_: int) -> Expand:
        count = [0]  # of one chain, hence changed by one thread
        self.counts.append(count)

        def expand(z: np.ndarray) -> dict[str, np.ndarray]:
            count[0] += 1
            return {"z": np.array(z)}

        return expand

    def report(self, report: OnProgress, chains: int, warmup: int, draws: int) -> None:
        counts = [count for (count,) in self.counts]
        report(Progress("warmup", sum(min(c, warmup) for c in counts) // chains, warmup))
        if done := sum(max(c - warmup, 0) for c in counts) // chains:
            report(Progress("draws", done, draws))


def _wait(running: Any, report: Callable[[], None]) -> Any:
    """What a sampler that runs in the background found; on an error or an interrupt it is stopped."""
    try:
        while True:
            try:
                trace = running.wait(timeout=REPORT_SECONDS)
            except TimeoutError:
                report()
                continue
            report()
            return trace
    except BaseException as error:
        with suppress(type(error)):  # where a chain's thread has panicked, stopping says so again
            running.cancel()  # or its threads would go on
        raise


__all__ = ["model", "sample"]
