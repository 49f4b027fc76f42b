"""Optax's optimizers: of any loss on any pytree, and for a compiled model the mode and its Laplace approximation.

Steps run in one compiled loop, the starting points of a mode side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.runtime import (
    CompiledModel,
    ConvergenceError,
    Draws,
    OnProgress,
    Progress,
    one_key,
    optional,
    reporting,
    require,
    start_points,
)
from plait.runtime.samplers.arguments import at_least
from plait.runtime.samplers.laplace import Laplace, draws_by, laplace_at
from plait.runtime.samplers.loop import Kept, compiled_loop, constants_as_arguments, run_phase, strongly_typed
from plait.runtime.samplers.modes import End, Mode, best_mode, default_tolerance

ADAM_STEP = 1e-2  # of the default for losses that are random
WINDOW = 100  # steps whose mean loss is shown: a random loss jumps


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where an optimizer ended.

    Attributes:
        params: in the tree of the starting ones.
        losses: before each step, (steps,).
    """

    params: Any
    losses: np.ndarray


def minimize(
    loss: Callable[..., Any],
    params: Any,
    key: Any = None,
    *,
    steps: int = 1000,
    optimizer: Any = None,
    progress: bool | OnProgress = True,
) -> Minimum:
    """Takes steps of an optimizer on a loss, in one compiled loop.

    Args:
        loss: ``loss(params)``, or with a `key` ``loss(params, key)``, a fresh key for each step: a scalar on JAX.
        params: where to start, a pytree of floating-point arrays.
        key: a jax random key, for a loss that is random.
        steps: how many.
        optimizer: an ``optax.GradientTransformation``, default ``optax.adam(1e-2)`` for a loss with a key, and
            ``optax.lbfgs()`` without. It gets the loss's value, gradient and function, as line searches want them.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            before compilation and after each block of steps.

    Raises:
        MissingExtraError: optax is not installed.
        ConvergenceError: the loss has become NaN.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
    """
    require("optax")  # before anything slow
    at_least(1, steps=steps)
    keys = jnp.zeros(steps) if key is None else jax.random.split(one_key(key), steps)
    start, step = _updates(loss if key is not None else lambda p, _: loss(p), _optimizer(optimizer, key is not None))
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        carry = start(jax.tree.map(jnp.asarray, params))
        data, pure = constants_as_arguments(step, carry, keys[0])
        block = compiled_loop(pure, data, carry, keys)
        report(Progress("compile", 1, 1))
        (params, _), kept = run_phase(
            block, carry, Progress("optimize", 0, steps), 0, report, _loss_shown, until=_is_nan
        )
    losses = kept["loss"]
    if np.isnan(losses).any():
        first = int(np.argmax(np.isnan(losses)))
        raise ConvergenceError(f"the loss is NaN at step {first} of {steps}: take smaller steps or another start")
    return Minimum(params, losses)


def maximum_a_posteriori(
    compiled: CompiledModel,
    key: Any,
    *,
    jacobian: bool = False,
    starts: int = 8,
    optimizer: Any = None,
    max_iterations: int = 1000,
    tolerance: float | None = None,
    init: Any = None,
    strict: bool = True,
    progress: bool | OnProgress = True,
) -> Mode:
    """The mode of the posterior: the highest that an optimizer finds from several starting points, side by side.

    It is the mode of the density of the constrained values, as Stan's ``optimize`` gives by default: the density
    without the Jacobian of the transformation. With ``jacobian=True`` it is that of the unconstrained vector, which
    depends on the transformation.

    Args:
        compiled: the model.
        key: a jax random key, of the starting points.
        jacobian: whether to add the Jacobian.
        starts: how many starting points.
        optimizer: an ``optax.GradientTransformation``, default ``optax.lbfgs()``.
        max_iterations: from each start; it ends earlier when all have converged.
        tolerance: the largest entry of the gradient at a mode, relative to the log density where that is more than 1
            nat; default the cube root of the dtype's precision.
        init: unconstrained starting points, (dim,) or (starts, dim); default `CompiledModel.init_params`.
        strict: whether to refuse what is no maximum instead of saying so in `Mode.converged`.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            before compilation and after each block of steps.

    Raises:
        MissingExtraError: optax is not installed.
        ConvergenceError: no maximum was found: the density is unbounded, or it takes more iterations.
        ModelError: the model has nothing to optimize, or no usable starting point.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
    """
    require("optax")  # before anything slow
    at_least(1, starts=starts, max_iterations=max_iterations)
    limit = default_tolerance(compiled) if tolerance is None else tolerance
    negative = loss(compiled, jacobian=jacobian)
    start, step = _updates(lambda z, _: negative(z), _optimizer(optimizer, False))

    def is_done(kept: Kept) -> bool:
        sizes = limit * np.maximum(1, np.abs(kept["loss"][-1]))
        return bool((kept["slope"][-1] <= sizes).all())

    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        z = start_points(compiled, one_key(key), 1 if np.ndim(init) == 1 else starts, init)
        carry = jax.vmap(start)(z)
        data, pure = constants_as_arguments(jax.vmap(step, (0, None)), carry, jnp.zeros(()))
        block = compiled_loop(pure, data, carry, jnp.zeros(max_iterations))
        report(Progress("compile", 1, 1))
        progress_of = Progress("optimize", 0, max_iterations)
        (z, _), kept = run_phase(block, carry, progress_of, 0, report, _loss_shown, until=is_done)
    said = "all starts have converged" if is_done(kept) else "no steps are left"
    lowest = np.fmin.reduce(kept["loss"])
    ends = [End(point, len(kept["loss"]), said, -float(least)) for point, least in zip(z, lowest, strict=True)]
    return best_mode(compiled, ends, jacobian, limit, strict)


def laplace(compiled: CompiledModel, key: Any, **options: Any) -> Laplace:
    """The normal approximation at the mode of the unconstrained vector's density.

    Args:
        compiled: the model.
        key: a jax random key, of the starting points.
        options: as for `maximum_a_posteriori`, without ``jacobian`` and ``strict``.

    Raises:
        ConvergenceError: no maximum was found, or none that is strict; names the direction that is flat.
    """
    return laplace_at(compiled, maximum_a_posteriori(compiled, key, jacobian=True, **options))


def sample(compiled: CompiledModel, key: Any, *, chains: int = 4, draws: int = 1000, **options: Any) -> Draws:
    """Independent draws of the Laplace approximation: see `Laplace.sample` and `laplace`, which has the options."""
    return draws_by(laplace, compiled, key, chains, draws, options)


def loss(compiled: CompiledModel, *, jacobian: bool = True) -> Callable[[Any], Any]:
    """Minus the log density (nats) of a flat unconstrained vector (dim,), to minimize in a loop of your own."""
    return lambda z: -compiled.log_density(z, jacobian=jacobian)


# -- the steps ------------------------------------------------------------------------------------------


def _optimizer(optimizer: Any, is_random: bool) -> Any:
    optax = optional("optax")
    if optimizer is None:
        optimizer = optax.adam(ADAM_STEP) if is_random else optax.lbfgs()
    return optax.with_extra_args_support(optimizer)


def _updates(loss: Callable[[Any, Any], Any], optimizer: Any) -> tuple[Callable[[Any], Any], Callable[..., Any]]:
    """The first carry, of params, and a step of (carry, key)."""
    optax = optional("optax")

    def start(params: Any) -> Any:
        return strongly_typed((params, optimizer.init(params)))

    def step(carry: Any, key: Any) -> tuple[Any, Kept]:
        params, state = carry

        def value_fn(p: Any) -> Any:
            return loss(p, key)

        value, grad = jax.value_and_grad(value_fn)(params)
        updates, state = optimizer.update(grad, state, params, value=value, grad=grad, value_fn=value_fn)
        slope = jnp.stack([jnp.max(jnp.abs(g), initial=0) for g in jax.tree.leaves(grad)]).max()
        return strongly_typed((optax.apply_updates(params, updates), state)), {"loss": value, "slope": slope}

    return start, step


def _loss_shown(progress: Progress, kept: Kept) -> Progress:
    """The mean loss of the last steps; of several starts the best one's."""
    losses = kept["loss"][-WINDOW:].mean(axis=0)
    return replace(progress, details={"loss": float(np.min(losses))})


def _is_nan(kept: Kept) -> bool:
    return bool(np.isnan(kept["loss"]).any())


__all__ = ["Minimum", "laplace", "loss", "maximum_a_posteriori", "minimize", "sample"]
