"""NumPyro's answers for a test model: densities, gradients, per-site terms and prior draws.

Everything runs at the precision of its inputs: call inside `jax.enable_x64(True)` (or with x64 configured)
for float64. `params` are constrained values of the model's `param` sites; None means the initial values.
Each answer is one jitted function per model, because NumPyro's eager operations cost a compilation each.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpy.typing import DTypeLike
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer import Predictive, init_to_uniform, util

from .model import Data, Model

Params = Mapping[str, Any]  # a leaf per param site, a pytree per module
Values = Mapping[str, Any]
Trace = dict[str, dict[str, Any]]


class Answers(NamedTuple):
    """What NumPyro says at one unconstrained point."""

    density: jax.Array
    gradient: dict[str, jax.Array]
    values: dict[str, jax.Array]
    joint: jax.Array
    terms: dict[str, jax.Array]


def log_joint(model: Model, values: Values, data: Data, params: Params | None = None) -> jax.Array:
    """The joint log density (nats) at constrained latent values; a scalar."""
    return _log_joint(model, dict(values), dict(data), _params(model, data, params))


def log_density_and_grad(
    model: Model, z_by_site: Values, data: Data, params: Params | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The log density of the unconstrained latents, Jacobian terms included, and its gradient by site."""
    return _log_density_and_grad(model, dict(z_by_site), dict(data), _params(model, data, params))


def site_log_probs(model: Model, values: Values, data: Data, params: Params | None = None) -> dict[str, jax.Array]:
    """The log probability of each latent, observed and factor site, scaled and masked but not summed."""
    return _site_log_probs(model, dict(values), dict(data), _params(model, data, params))


def constrain(model: Model, z_by_site: Values, data: Data, params: Params | None = None) -> dict[str, jax.Array]:
    """The latent values on their supports, from unconstrained ones."""
    return _constrain(model, dict(z_by_site), dict(data), _params(model, data, params))


def answers(model: Model, z_by_site: Values, data: Data, params: Params | None = None) -> Answers:
    """All of the above at an unconstrained point, as one compilation: joint and terms are those of `values`."""
    return _answers(model, dict(z_by_site), dict(data), _params(model, data, params))


def prior_draws(model: Model, data: Data, key: jax.Array, n: int, params: Params | None = None) -> dict[str, jax.Array]:
    """n draws of each latent site from the prior, stacked in front; factors and observations have no say."""
    run = _with_params(model, _params(model, data, params))
    return Predictive(run, num_samples=n, return_sites=latent_names(model, data))(key, **data)


def init_params(model: Model, data: Data) -> dict[str, Any]:
    """The initial values of the param sites; a module's weights are drawn with the key 0."""
    return _init_params(model, dict(data))


def latent_names(model: Model, data: Data) -> list[str]:
    """The latent sites in the order of the program."""
    return list(unconstrained_shapes(model, data))


def unconstrained_shapes(model: Model, data: Data) -> dict[str, tuple[int, ...]]:
    """The shape of each latent site's unconstrained value, in the order of the program."""
    shapes: dict[str, tuple[int, ...]] = {}

    def record() -> None:
        latents = {name: site for name, site in _trace(model, data).items() if _is_latent(site)}
        shapes.update({name: _unconstrained_shape(site) for name, site in latents.items()})

    jax.eval_shape(record)
    return shapes


def random_z(
    model: Model, data: Data, rng: np.random.Generator, dtype: DTypeLike = np.float64
) -> dict[str, np.ndarray]:
    """A random unconstrained point, uniform on (-2, 2)."""
    shapes = unconstrained_shapes(model, data)
    return {name: np.asarray(rng.uniform(-2, 2, size=shape), dtype) for name, shape in shapes.items()}


@partial(jax.jit, static_argnums=0)
def _log_joint(model: Model, values: Values, data: Data, params: Params) -> jax.Array:
    return jnp.asarray(util.log_density(_with_params(model, params), (), data, values)[0])


@partial(jax.jit, static_argnums=0)
def _log_density_and_grad(
    model: Model, z_by_site: Values, data: Data, params: Params
) -> tuple[jax.Array, dict[str, jax.Array]]:
    run = _with_params(model, params)
    return jax.value_and_grad(lambda z: -jnp.asarray(util.potential_energy(run, (), data, z)))(z_by_site)


@partial(jax.jit, static_argnums=0)
def _site_log_probs(model: Model, values: Values, data: Data, params: Params) -> dict[str, jax.Array]:
    run = _with_params(model, params)
    return util.compute_log_probs(run, (), data, values, sum_log_prob=False)[0]


@partial(jax.jit, static_argnums=0)
def _constrain(model: Model, z_by_site: Values, data: Data, params: Params) -> dict[str, jax.Array]:
    return util.constrain_fn(_with_params(model, params), (), data, z_by_site)


@partial(jax.jit, static_argnums=0)
def _answers(model: Model, z_by_site: Values, data: Data, params: Params) -> Answers:
    density, gradient = _log_density_and_grad(model, z_by_site, data, params)
    values = _constrain(model, z_by_site, data, params)
    joint, terms = _log_joint(model, values, data, params), _site_log_probs(model, values, data, params)
    return Answers(density, gradient, values, joint, terms)


@partial(jax.jit, static_argnums=0)
def _init_params(model: Model, data: Data) -> dict[str, Any]:
    sites = _trace(model, data).items()
    return {name: site["value"] for name, site in sites if site["type"] == "param"}


def _params(model: Model, data: Data, params: Params | None) -> dict[str, Any]:
    return init_params(model, data) if params is None else dict(params)


def _with_params(model: Model, params: Params) -> Callable[..., Any]:
    return handlers.substitute(model.bind(numpyro), data=params)


def _trace(model: Model, data: Data) -> Trace:
    # Latents start at uniform unconstrained points, which an improper prior allows and a draw does not.
    seeded = handlers.seed(model.bind(numpyro), 0)
    started = handlers.substitute(seeded, substitute_fn=init_to_uniform)
    return handlers.trace(started).get_trace(**data)


def _is_latent(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and not site["is_observed"]


def _unconstrained_shape(site: dict[str, Any]) -> tuple[int, ...]:
    return tuple(biject_to(site["fn"].support).inverse_shape(jnp.shape(site["value"])))
