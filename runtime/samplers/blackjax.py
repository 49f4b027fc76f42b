"""BlackJAX's NUTS with window adaptation, on a compiled model.

Warm-up and draws are steps of one jitted loop, which differ only in what a step adapts: so XLA compiles the
sampler once, and the host gets it back every fraction of a second to report progress.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from plait.runtime import (
    CompiledModel,
    Draws,
    OnProgress,
    Progress,
    constrained_draws,
    one_key,
    optional,
    require,
    start_points,
)

BLOCK = 100  # steps that one call of the loop can hold
BLOCK_SECONDS = 0.2  # how long a call should take, so that a progress bar is live with slow models too

# What a step adapts: the step size; that and the mass matrix; these, at the end of a window; nothing.
FAST, SLOW, WINDOW_END, DRAW = range(4)


class Chain(NamedTuple):
    """The state of a chain: where it is, and what it has learned about step size and mass matrix."""

    state: Any
    step_size: Any
    mass_matrix: Any


Step = dict[str, Any]  # what is kept of a step: the position, and the statistics by name


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    chains: int = 4,
    warmup: int = 1000,
    draws: int = 1000,
    target_accept: float = 0.8,
    max_treedepth: int = 10,
    init: Any = None,
    on_progress: OnProgress | None = None,
) -> Draws:
    """Draws from the posterior by NUTS, the chains side by side on one device.

    Step size and diagonal mass matrix are adapted in Stan's windows, as `blackjax.window_adaptation` does.

    Args:
        compiled: the model.
        key: a jax random key.
        chains: how many.
        warmup: adapting iterations of each chain, not kept.
        draws: kept iterations of each chain.
        target_accept: acceptance rate that the step size is adapted to, in (0, 1).
        max_treedepth: a trajectory has at most ``2**max_treedepth`` gradients.
        init: unconstrained starting points, (dim,) or (chains, dim); default `CompiledModel.init_params`.
        on_progress: called with a `Progress` before compilation and after each block of steps.

    Raises:
        MissingExtraError: blackjax is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: the model has nothing to sample, or no usable starting point.
    """
    require("blackjax")  # before anything slow
    _check(chains, warmup, draws, target_accept, max_treedepth)
    key = one_key(key)
    report = on_progress or (lambda progress: None)
    report(Progress("compile", 0, 1))
    start_key, keys = _keys(key, chains, warmup + draws)
    z = start_points(compiled, start_key, chains, init)
    data, density = _data_as_argument(logdensity(compiled), jax.ShapeDtypeStruct(z.shape[1:], z.dtype))
    start, step = _algorithm(density, target_accept, max_treedepth)
    chain = jax.jit(jax.vmap(start, (None, 0)))(data, z)
    stages = np.concatenate([_warmup_stages(warmup), np.full(draws, DRAW, np.int32)])
    block = jax.jit(partial(_block, step)).lower(data, chain, stages, keys, 0, 0).compile()
    run = partial(block, data)
    report(Progress("compile", 1, 1))
    chain, _ = _phase(run, chain, stages, keys, Progress("warmup", 0, warmup), 0, report)
    _, blocks = _phase(run, chain, stages, keys, Progress("draws", 0, draws), warmup, report)
    kept = {name: np.swapaxes(np.concatenate([b[name] for b in blocks]), 0, 1) for name in blocks[0]}
    return constrained_draws(compiled, kept.pop("position"), kept)


def logdensity(compiled: CompiledModel) -> Callable[[Any], Any]:
    """The log density (nats) as BlackJAX's algorithms want it, for a loop of your own.

    It takes one flat unconstrained vector, as `init_params` gives them and `constrain` reads them.
    """
    return compiled.log_density


def _check(chains: int, warmup: int, draws: int, target_accept: float, max_treedepth: int) -> None:
    if chains < 1 or draws < 1 or warmup < 0 or max_treedepth < 1:
        got = f"{chains=}, {draws=}, {warmup=}, {max_treedepth=}"
        raise ValueError(f"chains, draws and max_treedepth are at least 1, warmup at least 0; got {got}")
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept is a probability between 0 and 1, got {target_accept}")


# -- the algorithm --------------------------------------------------------------------------------------


def _algorithm(density: Callable[[Any, Any], Any], target_accept: float, max_treedepth: int) -> Any:
    """Of BlackJAX's parts, for one chain: ``start(data, z)`` and ``step(data, stage, key, chain)``."""
    nuts = optional("blackjax").nuts
    kernel = nuts.build_kernel()
    size_init, size_update, size_final = _step_size_parts(target_accept)
    mass_init, mass_update, mass_final = optional("blackjax.adaptation.mass_matrix").mass_matrix_adaptation()

    def start(data: Any, z: Any) -> Chain:
        chain = Chain(nuts.init(z, partial(density, data)), size_init(1.0), mass_init(z.size))
        # Python numbers would make the loop's first call differ in type from the next ones.
        return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), chain)

    def step(data: Any, stage: Any, key: Any, chain: Chain) -> tuple[Chain, Step]:
        learned = chain.step_size
        size = jnp.exp(jnp.where(stage == DRAW, learned.log_step_size_avg, learned.log_step_size))
        matrix = chain.mass_matrix.inverse_mass_matrix
        state, info = kernel(key, chain.state, partial(density, data), size, matrix, max_treedepth)

        def fast(c: Chain) -> Chain:
            return Chain(state, size_update(c.step_size, info.acceptance_rate), c.mass_matrix)

        def slow(c: Chain) -> Chain:
            c = fast(c)
            return Chain(state, c.step_size, mass_update(c.mass_matrix, state.position))

        def window_end(c: Chain) -> Chain:
            c = slow(c)
            return Chain(state, size_init(size_final(c.step_size)), mass_final(c.mass_matrix))

        def draw(c: Chain) -> Chain:
            return Chain(state, c.step_size, c.mass_matrix)

        adapted = jax.lax.switch(stage, (fast, slow, window_end, draw), chain)
        kept = {
            "position": state.position,
            "acceptance_rate": info.acceptance_rate,
            "diverging": info.is_divergent,
            "energy": info.energy,
            "n_steps": info.num_integration_steps,
            "tree_depth": info.num_trajectory_expansions,
            "step_size": size,
        }
        return adapted, kept

    return start, step


def _step_size_parts(target_accept: float) -> Any:
    return optional("blackjax.adaptation.step_size").dual_averaging_adaptation(target_accept)


def _warmup_stages(warmup: int) -> np.ndarray:
    """What each step of the warm-up adapts: Stan's windows."""
    if warmup == 0:
        return np.zeros(0, np.int32)
    schedule = np.asarray(optional("blackjax.adaptation.window_adaptation").build_schedule(warmup))
    slow, window_end = schedule.T
    return np.where(window_end, WINDOW_END, np.where(slow, SLOW, FAST)).astype(np.int32)


# -- the loop -------------------------------------------------------------------------------------------


def _block(step: Any, data: Any, chains: Chain, stages: Any, keys: Any, first: Any, n: Any) -> tuple[Chain, Step]:
    """`n` steps of all chains from step `first` on, and what is kept of them: (BLOCK, chains, …)."""
    # The stage is the same for all chains, so what it selects stays a branch under vmap.
    step = jax.vmap(partial(step, data), (None, 0, 0))
    _, one = jax.eval_shape(step, stages[0], keys[0], chains)
    kept = jax.tree.map(lambda x: jnp.zeros((BLOCK, *x.shape), x.dtype), one)

    def body(i: Any, carry: tuple[Chain, Step]) -> tuple[Chain, Step]:
        chains, kept = carry
        chains, now = step(stages[first + i], keys[first + i], chains)
        return chains, jax.tree.map(lambda whole, x: whole.at[i].set(x), kept, now)

    return jax.lax.fori_loop(0, n, body, (chains, kept))


def _phase(
    run: Any, chain: Chain, stages: Any, keys: Any, progress: Progress, offset: int, report: OnProgress
) -> tuple[Chain, list[Step]]:
    """All steps of a phase, in blocks of about `BLOCK_SECONDS`, and what each kept: (steps, chains, …)."""
    blocks: list[Step] = []
    n, done, divergences = 1, 0, 0
    while done < progress.total:
        n = min(n, BLOCK, progress.total - done)
        began = time.perf_counter()
        chain, kept = run(chain, stages, keys, offset + done, n)
        blocks.append({name: np.asarray(x)[:n] for name, x in kept.items()})
        seconds = time.perf_counter() - began
        done += n
        divergences += int(blocks[-1]["diverging"].sum())
        size = float(blocks[-1]["step_size"][-1].mean())
        report(Progress(progress.phase, done, progress.total, divergences, size))
        n = max(1, min(2 * n, int(n * BLOCK_SECONDS / max(seconds, 1e-9))))
    return chain, blocks


def _keys(key: Any, chains: int, steps: int) -> tuple[Any, Any]:
    """A key for the starting points, and (steps, chains) of them for the steps."""

    def split(key: Any) -> tuple[Any, Any]:
        start, rest = jax.random.split(key)
        per_chain = jax.vmap(lambda k: jax.random.split(k, steps))(jax.random.split(rest, chains))
        return start, jnp.swapaxes(per_chain, 0, 1)

    return jax.jit(split)(key)


def _data_as_argument(function: Callable[[Any], Any], z: Any) -> tuple[Any, Callable[[Any, Any], Any]]:
    """The arrays that a function closes over, and the function of these and its argument.

    XLA would write arrays that are closed over into the program, and fold constants in a million rows.
    """
    closed = jax.make_jaxpr(function)(z)

    def call(data: Any, z: Any) -> Any:
        (value,) = jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, data))(z)
        return value

    return closed.consts, call


__all__ = ["logdensity", "sample"]
