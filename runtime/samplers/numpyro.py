"""NumPyro's NUTS with its window adaptation, on a compiled model.

NumPyro's kernel is run by its own ``init`` and ``sample`` in one compiled loop for warm-up and draws, as its ``MCMC``
runs it, with the same draws: but ``MCMC`` compiles again for each number of iterations, and shows no live progress of
vectorized chains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from plait.runtime.samplers.loop import (
    Kept,
    compiled_loop,
    constants_as_arguments,
    hamiltonian_details,
    run_phase,
    strongly_typed,
)

# The statistics' names, and where NumPyro's state has them.
_FIELDS = {
    "acceptance_rate": "accept_prob",
    "diverging": "diverging",
    "energy": "energy",
    "n_steps": "num_steps",
    "step_size": "adapt_state.step_size",
}

_WHOLE = "compilation, warm-up and draws"  # the one phase of a run that MCMC makes


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    chains: int = 4,
    warmup: int = 1000,
    draws: int = 1000,
    target_accept: float = 0.8,
    max_treedepth: int = 10,
    dense_mass: bool = False,
    chain_method: Any = "vectorized",
    init: Any = None,
    progress: bool | OnProgress = True,
) -> Draws:
    """Draws from the posterior by NumPyro's NUTS.

    Args:
        compiled: the model.
        key: a jax random key.
        chains: how many.
        warmup: adapting iterations of each chain, not kept.
        draws: kept iterations of each chain.
        target_accept: acceptance rate that the step size is adapted to, in (0, 1).
        max_treedepth: a trajectory has at most ``2**max_treedepth - 1`` gradients.
        dense_mass: whether the adapted mass matrix is dense instead of diagonal.
        chain_method: "vectorized", the chains side by side on one device, with live progress; or what else
            `numpyro.infer.MCMC` takes: "parallel", "sequential" or a transformation such as `jax.pmap`.
        init: unconstrained starting points, (dim,) or (chains, dim); default `CompiledModel.init_params`.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            before compilation and after each block of steps.

    Raises:
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: the model has nothing to sample, or no usable starting point.
        ValueError: a count is too small, or `chain_method` is none of NumPyro's.
    """
    require("numpyro")  # before anything slow
    at_least(1, chains=chains, draws=draws, max_treedepth=max_treedepth)
    at_least(0, warmup=warmup)
    probability(target_accept=target_accept)
    if not callable(chain_method) and chain_method not in ("vectorized", "parallel", "sequential"):
        raise ValueError(f"chain_method is 'vectorized', 'parallel', 'sequential' or callable, got {chain_method!r}")
    start_key, key = jax.random.split(one_key(key))
    keys = jax.random.split(key, chains)
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        z = start_points(compiled, start_key, chains, init)
        nuts = optional("numpyro.infer").NUTS(
            potential_fn=potential_fn(compiled),
            target_accept_prob=target_accept,
            max_tree_depth=max_treedepth,
            dense_mass=dense_mass,
        )
        run = _vectorized if chain_method == "vectorized" or chains == 1 else _by_mcmc(chain_method)
        stats = run(nuts, keys, z, warmup, draws, report)
    stats["tree_depth"] = np.floor(np.log2(np.maximum(stats["n_steps"], 1))).astype(np.int32) + 1
    return constrained_draws(compiled, stats.pop("position"), stats)


def potential_fn(compiled: CompiledModel) -> Callable[[Any], Any]:
    """The **negative** log density (nats) of one flat unconstrained vector, for a loop of your own.

    It is what ``numpyro.infer.NUTS(potential_fn=…)``, HMC, SA, BarkerMH and the like take; their ``MCMC.run`` takes
    ``init_params=compiled.init_params(key, (chains,))``, with a leading axis only where there are several chains.
    ``compiled.constrain`` reads the samples.
    """
    return lambda z: -compiled.log_density(z)


def _vectorized(nuts: Any, keys: Any, z: Any, warmup: int, draws: int, report: OnProgress) -> Kept:
    """By name, (chains, draws, …): all chains in one compiled loop."""
    data, init = constants_as_arguments(lambda keys, z: nuts.init(keys, warmup, z, (), {}), keys, z)
    state = jax.jit(lambda data, keys, z: strongly_typed(init(data, keys, z)))(data, keys, z)

    def step(state: Any) -> tuple[Any, Kept]:
        state = nuts.sample(state, (), {})
        return strongly_typed(state), {"position": state.z} | {name: _field(state, f) for name, f in _FIELDS.items()}

    data, pure = constants_as_arguments(step, state)
    block = compiled_loop(lambda data, state, _: pure(data, state), data, state, jnp.zeros(warmup + draws))
    report(Progress("compile", 1, 1))
    state, _ = run_phase(block, state, Progress("warmup", 0, warmup), 0, report, hamiltonian_details)
    _, kept = run_phase(block, state, Progress("draws", 0, draws), warmup, report, hamiltonian_details)
    return {name: np.swapaxes(values, 0, 1) for name, values in kept.items()}


def _by_mcmc(chain_method: Any) -> Callable[..., Kept]:
    """The same by `numpyro.infer.MCMC`, which hands the loop back only when all is done."""

    def run(nuts: Any, keys: Any, z: Any, warmup: int, draws: int, report: OnProgress) -> Kept:
        mcmc = optional("numpyro.infer").MCMC(
            nuts,
            num_warmup=warmup,
            num_samples=draws,
            num_chains=len(keys),
            chain_method=chain_method,
            progress_bar=False,
        )
        report(Progress("compile", 1, 1))
        report(Progress(_WHOLE, 0, None))
        mcmc.run(keys, init_params=z, extra_fields=tuple(_FIELDS.values()))
        found = mcmc.get_extra_fields(group_by_chain=True)
        stats = {name: np.asarray(found[f]) for name, f in _FIELDS.items()}
        n, size = warmup + draws, float(stats["step_size"][:, -1].mean())
        report(Progress(_WHOLE, n, n, int(stats["diverging"].sum()), size))
        return stats | {"position": np.asarray(mcmc.get_samples(group_by_chain=True))}

    return run


def _field(state: Any, path: str) -> Any:
    for name in path.split("."):
        state = getattr(state, name)
    return state


__all__ = ["potential_fn", "sample"]
