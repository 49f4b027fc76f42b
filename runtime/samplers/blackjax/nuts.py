"""BlackJAX's NUTS with window adaptation, on a compiled model.

Warm-up and draws are steps of one jitted loop, which differ only in what a step adapts: so XLA compiles the
sampler once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from plait.runtime import (
    CompiledModel,
    Draws,
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
from plait.runtime.samplers.blackjax.densities import logdensity
from plait.runtime.samplers.loop import (
    Kept,
    compiled_loop,
    constants_as_arguments,
    hamiltonian_details,
    run_phase,
    strongly_typed,
)

# What a step adapts: the step size; that and the mass matrix; these, at the end of a window; nothing.
FAST, SLOW, WINDOW_END, DRAW = range(4)


class Chain(NamedTuple):
    """The state of a chain: where it is, and what it has learned about step size and mass matrix."""

    state: Any
    step_size: Any
    mass_matrix: Any


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
    progress: bool | OnProgress = True,
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
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            before compilation and after each block of steps.

    Raises:
        MissingExtraError: blackjax is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: the model has nothing to sample, or no usable starting point.
    """
    require("blackjax")  # before anything slow
    at_least(1, chains=chains, draws=draws, max_treedepth=max_treedepth)
    at_least(0, warmup=warmup)
    probability(target_accept=target_accept)
    key = one_key(key)
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        start_key, keys = _keys(key, chains, warmup + draws)
        z = start_points(compiled, start_key, chains, init)
        data, density = constants_as_arguments(logdensity(compiled), jax.ShapeDtypeStruct(z.shape[1:], z.dtype))
        start, step = _algorithm(density, target_accept, max_treedepth)
        chain = jax.jit(jax.vmap(start, (None, 0)))(data, z)
        stages = np.concatenate([_warmup_stages(warmup), np.full(draws, DRAW, np.int32)])
        block = compiled_loop(step, data, chain, (stages, keys))
        report(Progress("compile", 1, 1))
        chain, _ = run_phase(block, chain, Progress("warmup", 0, warmup), 0, report, hamiltonian_details)
        _, kept = run_phase(block, chain, Progress("draws", 0, draws), warmup, report, hamiltonian_details)
    by_chain = {name: np.swapaxes(values, 0, 1) for name, values in kept.items()}
    return constrained_draws(compiled, by_chain.pop("position"), by_chain)


# -- the algorithm --------------------------------------------------------------------------------------


def _algorithm(density: Callable[[Any, Any], Any], target_accept: float, max_treedepth: int) -> Any:
    """Of BlackJAX's parts: ``start(data, z)`` of one chain, and ``step(data, chains, (stage, keys))`` of all."""
    nuts = optional("blackjax").nuts
    kernel = nuts.build_kernel()
    size_init, size_update, size_final = _step_size_parts(target_accept)
    mass_init, mass_update, mass_final = optional("blackjax.adaptation.mass_matrix").mass_matrix_adaptation()

    def start(data: Any, z: Any) -> Chain:
        return strongly_typed(Chain(nuts.init(z, partial(density, data)), size_init(1.0), mass_init(z.size)))

    def one_step(data: Any, stage: Any, key: Any, chain: Chain) -> tuple[Chain, Kept]:
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

    def step(data: Any, chains: Chain, x: tuple[Any, Any]) -> tuple[Chain, Kept]:
        stage, keys = x
        # The stage is the same for all chains, so what it selects stays a branch under vmap.
        return jax.vmap(partial(one_step, data), (None, 0, 0))(stage, keys, chains)

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


def _keys(key: Any, chains: int, steps: int) -> tuple[Any, Any]:
    """A key for the starting points, and (steps, chains) of them for the steps."""

    def split(key: Any) -> tuple[Any, Any]:
        start, rest = jax.random.split(key)
        per_chain = jax.vmap(lambda k: jax.random.split(k, steps))(jax.random.split(rest, chains))
        return start, jnp.swapaxes(per_chain, 0, 1)

    return jax.jit(split)(key)


__all__ = ["sample"]
