"""BlackJAX's microcanonical Langevin Monte Carlo on a compiled model.

Robnik, De Luca, Silverstein and Seljak, Microcanonical Hamiltonian Monte Carlo, JMLR 24 (2023).
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
from plait.runtime.samplers.arguments import at_least, positive
from plait.runtime.samplers.blackjax.densities import logdensity
from plait.runtime.samplers.loop import (
    Kept,
    compiled_loop,
    constants_as_arguments,
    hamiltonian_details,
    run_phase,
    strongly_typed,
)


class Chain(NamedTuple):
    """A chain after its warm-up: where it is, its key, and what the warm-up has found."""

    state: Any
    key: Any
    tuned: Any


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    chains: int = 4,
    warmup: int = 5000,
    draws: int = 1000,
    thin: int = 10,
    energy_variance: float = 5e-4,
    init: Any = None,
    progress: bool | OnProgress = True,
) -> Draws:
    """Draws by MCLMC without a Metropolis correction: fast in many dimensions, and biased.

    The bias is that of the integrator: no step is rejected for its energy error, so that the draws follow a density
    near the posterior whatever their number. It falls with `energy_variance`, to which the step size is adapted: at
    the default it is below the Monte Carlo error of a few thousand draws in most models, and largest where the
    posterior has narrow regions, such as a funnel's neck, which a step cannot enter. Compare with NUTS
    (`plait.samplers.blackjax.sample`) before relying on it.

    Momentum decoherence length and step size are found for each chain by `blackjax.mclmc_find_L_and_step_size`, with a
    diagonal preconditioner.

    Args:
        compiled: the model, of two dimensions at least.
        key: a jax random key.
        chains: how many.
        warmup: adapting steps of each chain, at least 100, not kept.
        draws: kept iterations of each chain.
        thin: steps for each kept one; a step costs two gradients.
        energy_variance: wanted mean of the squared energy errors of a step, per dimension (nats²).
        init: unconstrained starting points, (dim,) or (chains, dim); default `CompiledModel.init_params`.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            before compilation, around the warm-up, and after each block of steps.

    Returns:
        Draws, with ``stats`` ``log_density`` (nats, with the Jacobian), ``energy_variance`` (of the draw's steps, as
        above), ``diverging`` (whether one of them was not finite, and undone), ``step_size`` and
        ``decoherence_length``.

    Raises:
        MissingExtraError: blackjax is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: the model has fewer than two dimensions, no usable starting point, or the warm-up found no step
            size.
        ValueError: a count is too small.
    """
    require("blackjax")  # before anything slow
    at_least(1, chains=chains, draws=draws, thin=thin)
    at_least(100, warmup=warmup)
    positive(energy_variance=energy_variance)
    start_key, tune_key, key = jax.random.split(one_key(key), 3)
    if compiled.dim == 1:
        raise ModelError("MCLMC moves on a sphere of momenta, so the model needs two dimensions, got 1: use NUTS")
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        z = start_points(compiled, start_key, chains, init)
        data, density = constants_as_arguments(logdensity(compiled), jax.ShapeDtypeStruct(z.shape[1:], z.dtype))
        tune, step = _algorithm(density, warmup, thin, energy_variance)
        keys = jax.random.split(tune_key, chains), jax.random.split(key, chains)
        tuning = jax.jit(jax.vmap(tune, (None, 0, 0, 0))).lower(data, *keys, z)
        after = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tuning.out_info)
        block = compiled_loop(step, data, after, ())
        tuned = tuning.compile()
        report(Progress("compile", 1, 1))
        report(Progress("warmup", 0, None))
        chain = tuned(data, *keys, z)
        _require_step_size(chain.tuned)
        report(Progress("warmup", warmup, warmup, step_size=float(np.mean(chain.tuned.step_size))))
        _, kept = run_phase(block, chain, Progress("draws", 0, draws), 0, report, hamiltonian_details)
    by_chain = {name: np.swapaxes(values, 0, 1) for name, values in kept.items()}
    return constrained_draws(compiled, by_chain.pop("position"), by_chain)


# -- the algorithm --------------------------------------------------------------------------------------


def _algorithm(density: Callable[[Any, Any], Any], warmup: int, thin: int, energy_variance: float) -> Any:
    """Of BlackJAX's parts: ``tune(data, keys, z)`` of one chain, and ``step(data, chains, x)`` of all."""
    blackjax = optional("blackjax")
    kernel = blackjax.mclmc.build_kernel()

    def tune(data: Any, tune_key: Any, key: Any, z: Any) -> Chain:
        start_key, tune_key = jax.random.split(tune_key)
        here = partial(density, data)
        state, tuned, _ = blackjax.mclmc_find_L_and_step_size(
            kernel,
            warmup,
            blackjax.mclmc.init(z, here, start_key),
            tune_key,
            here,
            # With the third of the second part that readjusts the step size, all steps are used.
            frac_tune1=0.3,
            frac_tune2=0.3,
            frac_tune3=0.3,
            desired_energy_var=energy_variance,
        )
        return strongly_typed(Chain(state, key, tuned))

    def one_draw(data: Any, chain: Chain) -> tuple[Chain, Kept]:
        tuned = chain.tuned
        key, step_key = jax.random.split(chain.key)

        def one_step(state: Any, key: Any) -> Any:
            return kernel(key, state, partial(density, data), tuned.inverse_mass_matrix, tuned.L, tuned.step_size)

        state, info = jax.lax.scan(one_step, chain.state, jax.random.split(step_key, thin))
        kept = {
            "position": state.position,
            "log_density": state.logdensity,
            "energy_variance": jnp.mean(info.energy_change**2) / state.position.size,
            "diverging": ~jnp.all(info.nonans),
            "step_size": tuned.step_size,
            "decoherence_length": tuned.L,
        }
        return Chain(state, key, tuned), kept

    def step(data: Any, chains: Chain, x: Any) -> tuple[Chain, Kept]:
        return jax.vmap(partial(one_draw, data))(chains)

    return tune, step


def _require_step_size(tuned: Any) -> None:
    usable = np.isfinite(tuned.step_size) & np.isfinite(tuned.L) & (np.asarray(tuned.step_size) > 0)
    if not usable.all():
        raise ModelError(
            f"the warm-up of chain {int(np.argmin(usable))} found no step size: its energy errors are not finite; give "
            "starting points (init=…) or a longer warm-up, or use NUTS"
        )


__all__ = ["sample"]
