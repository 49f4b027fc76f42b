"""BlackJAX's sequential Monte Carlo from prior to posterior, with adaptive tempering, on a compiled model.

Del Moral, Doucet and Jasra, Sequential Monte Carlo samplers, JRSS B 68 (2006); the tuning of its Hamiltonian moves
follows Buchholz, Chopin and Jacob, Adaptive tuning of Hamiltonian Monte Carlo within SMC, Bayesian Analysis 16 (2021).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from plait.runtime import (
    CompiledModel,
    Draws,
    ModelError,
    OnProgress,
    Progress,
    constrained_draws,
    one_key,
    optional,
    prior_points,
    reporting,
    require,
)
from plait.runtime.samplers.arguments import at_least, probability
from plait.runtime.samplers.blackjax.start import checked_likelihood, finite_likelihood
from plait.runtime.samplers.loop import Kept, compiled_loop, constants_as_arguments, run_until_done, stepping_until

ACCEPTANCE = 0.8  # that the step size of the moves is adapted to
FIRST_STEP = 0.8  # step size of the first moves, in standard deviations, times dim ** -1/4
JITTER = 0.4  # particles' step sizes differ by so much of their mean: no trajectory comes back to where it began
LEAST = 1e-20  # a smaller step of the inverse temperature leads nowhere
GAIN = 2.0  # how strongly the log of the step size follows the acceptance rate, from one temperature to the next


class Population(NamedTuple):
    """The particles of one run: BlackJAX's state, what its moves have learned, and the evidence so far."""

    state: Any  # particles, weights, inverse temperature
    key: Any
    log_step_size: Any
    log_evidence: Any
    moved: Any  # whether the particles have been moved at inverse temperature 1
    stuck: Any  # whether no step of the inverse temperature was found
    acceptance_rate: Any  # of each particle's last moves


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    chains: int = 4,
    particles: int = 1000,
    moves: int = 5,
    leapfrog_steps: int = 8,
    target_ess: float = 0.7,
    progress: bool | OnProgress = True,
) -> Draws:
    """Draws from the posterior and the log evidence, by particles that go from the prior to the posterior.

    Likelihood is added in steps: each multiplies it by a power that leaves `target_ess` of the particles effective;
    they are resampled systematically, and moved by Hamiltonian Monte Carlo whose masses are the particles' variances
    and whose step size follows the acceptance rate. Several modes are no obstacle where prior draws lie in all of them.

    Args:
        compiled: the model; its latents have proper priors.
        key: a jax random key.
        chains: independent populations, side by side: the evidence's error is computed from their differences.
        particles: of each population.
        moves: Hamiltonian moves of each particle at each temperature.
        leapfrog_steps: gradients of a move.
        target_ess: effective share of the particles after a step, in (0, 1): the larger, the more steps.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            before compilation and after each step; its ``details`` have the least inverse temperature ``beta``.

    Returns:
        Draws (chains, particles), of equal weight; neighbours may descend from one particle. ``log_evidence`` is the
        log of the populations' mean evidence (nats), ``log_evidence_error`` the standard error of it, NaN of one
        population. ``stats`` has ``acceptance_rate``, of a particle's last moves.

    Raises:
        MissingExtraError: blackjax is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: there are no prior draws to start from (see `plait.runtime.prior_points`), or none of them has a
            positive likelihood, or tempering does not get on.
        ValueError: a count is too small.

    Warns:
        RuntimeWarning: the log likelihood was NaN at a prior draw; it counts as impossible.
    """
    require("blackjax")  # before anything slow
    at_least(1, chains=chains, moves=moves, leapfrog_steps=leapfrog_steps)
    at_least(2, particles=particles)
    probability(target_ess=target_ess)
    start_key, key = jax.random.split(one_key(key))
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        z = prior_points(compiled, start_key, (chains, particles))
        likelihood = checked_likelihood(compiled, z)
        one = jax.ShapeDtypeStruct((compiled.dim,), compiled.dtype)
        data, both = constants_as_arguments(partial(_prior_and_likelihood, compiled), one)
        start, step = _algorithm(both, moves, leapfrog_steps, target_ess)
        populations = jax.jit(jax.vmap(start))(jax.random.split(key, chains), z, likelihood > -np.inf)
        done = stepping_until(lambda p: jnp.all(p.moved) | jnp.any(p.stuck), step)
        block = compiled_loop(done, data, populations, ())
        report(Progress("compile", 1, 1))
        populations, _ = run_until_done(block, populations, Progress("tempering", 0, None), report, _details)
    if populations.stuck.any():
        beta = float(populations.state.tempering_param.min())
        raise ModelError(
            f"tempering is stuck at inverse temperature {beta:.3g}: no step from there leaves {target_ess:g} of the "
            "particles effective; take more particles, float64, or a lower target_ess"
        )
    evidence = _mean_evidence(np.asarray(populations.log_evidence, np.float64))
    stats = {"acceptance_rate": populations.acceptance_rate}
    return constrained_draws(compiled, populations.state.particles, stats, evidence)


# -- the algorithm --------------------------------------------------------------------------------------


def _prior_and_likelihood(compiled: CompiledModel, z: Any) -> tuple[Any, Any]:
    """The log densities that are blended: of the prior where the data are possible, and of the data."""
    likelihood = compiled.total_log_likelihood(z)
    return jnp.where(likelihood > -jnp.inf, compiled.log_prior(z), -jnp.inf), finite_likelihood(likelihood)


def _algorithm(both: Any, moves: int, leapfrog_steps: int, target_ess: float) -> Any:
    """Of BlackJAX's parts: ``start(key, z)`` of one population, and ``step(data, populations, x)`` of all."""
    hmc, tempered = optional("blackjax").hmc, optional("blackjax.smc.adaptive_tempered")
    base, resampling = optional("blackjax.smc.tempered"), optional("blackjax.smc.resampling")

    def start(key: Any, z: Any, possible: Any) -> Population:
        n, dim = z.shape
        # Where the data are impossible there is nothing to go on from, and no power of the likelihood to find.
        key, resampling_key = jax.random.split(key)
        share = possible.astype(z.dtype).mean()
        kept = resampling.systematic(resampling_key, possible / (n * share), n)
        return Population(
            base.TemperedSMCState(z[kept], jnp.full(n, 1 / n, z.dtype), jnp.zeros((), z.dtype)),
            key,
            jnp.log(jnp.asarray(FIRST_STEP * dim**-0.25, z.dtype)),
            jnp.log(share),
            jnp.asarray(False),
            jnp.asarray(False),
            jnp.zeros(n, z.dtype),
        )

    def one_step(data: Any, population: Population) -> Population:
        state = population.state
        kernel = tempered.build_kernel(
            lambda z: both(data, z)[0],
            lambda z: both(data, z)[1],
            hmc.build_kernel(),
            hmc.init,
            resampling.systematic,
            target_ess,
        )
        key, jitter_key, step_key = jax.random.split(population.key, 3)
        n = len(state.weights)
        jitter = jax.random.uniform(jitter_key, (n,), state.particles.dtype, 1 - JITTER, 1 + JITTER)
        parameters = {
            "step_size": jnp.exp(population.log_step_size) * jitter,
            # A leading axis of length 1 says that all particles share it.
            "inverse_mass_matrix": _variances(state)[None],
            "num_integration_steps": jnp.asarray([leapfrog_steps]),
        }
        new, info = kernel(step_key, state, moves, parameters)
        acceptance = info.update_info.acceptance_rate.mean(axis=1)
        return Population(
            new,
            key,
            population.log_step_size + GAIN * (acceptance.mean() - ACCEPTANCE),
            population.log_evidence + info.log_likelihood_increment,
            state.tempering_param >= 1,
            (state.tempering_param < 1) & ~(new.tempering_param - state.tempering_param > LEAST),
            acceptance,
        )

    def step(data: Any, populations: Population, x: Any) -> tuple[Population, Kept]:
        new = jax.vmap(partial(one_step, data))(populations)
        return new, {"beta": new.state.tempering_param.min(), "step_size": jnp.exp(new.log_step_size).mean()}

    return start, step


def _variances(state: Any) -> Any:
    """Of the weighted particles, (dim,)."""
    centred = state.particles - state.weights @ state.particles
    return state.weights @ centred**2


def _mean_evidence(log_evidence: np.ndarray) -> tuple[float, float]:
    """The log of the mean of independent evidences, and its standard error by the delta method."""
    n = len(log_evidence)
    mean = float(logsumexp(log_evidence)) - np.log(n)
    relative = np.exp(log_evidence - mean)
    return mean, float(np.std(relative, ddof=1) / np.sqrt(n)) if n > 1 else np.nan


def _details(progress: Progress, kept: Kept) -> Progress:
    return replace(progress, step_size=float(kept["step_size"][-1]), details={"beta": float(kept["beta"][-1])})


__all__ = ["sample"]
