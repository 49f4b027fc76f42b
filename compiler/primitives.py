"""The primitives that a model calls: NumPyro's names, signatures and meaning."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import tree_leaves
from numpyro.distributions.distribution import Unit

from plait.compiler.array_like import described
from plait.compiler.emit import emit
from plait.compiler.given import require_name, require_numbers
from plait.compiler.handlers.effects import mask as mask_handler
from plait.compiler.plates import open_plates, taken
from plait.compiler.source import current_loc
from plait.compiler.stack import Site
from plait.ir.errors import ModelError, SiteTypeError


def sample(
    name: str,
    fn: dist.Distribution | None = None,
    obs: Any = None,
    rng_key: Any = None,
    sample_shape: tuple[int, ...] = (),
    infer: dict[str, Any] | None = None,
    obs_mask: Any = None,
) -> Any:
    """A random site.

    Args:
        name: unique within the model.
        fn: its distribution; open plates expand its batch shape.
        obs: an observed value, which is returned as given; its shape broadcasts to the site's.
        rng_key: the key to draw with, before any other.
        sample_shape: joins the batch shape from the left.
        infer: notes for inference algorithms; they do not change the density.
        obs_mask: boolean, of the batch shape: where it is false, `obs` is missing and becomes latent. Makes
            the sites ``name_observed`` and ``name_unobserved`` and the deterministic ``name``.

    Returns:
        The value, of shape ``sample_shape + batch_shape + event_shape``.

    Raises:
        ModelError: no key and no value; shapes of `obs`, plates and `fn` that do not fit.
    """
    require_name(name, "site")
    if obs_mask is not None:
        return _sample_partly_observed(name, fn, obs, obs_mask, rng_key, sample_shape, infer)
    if not isinstance(fn, dist.Distribution):
        raise SiteTypeError(f"site {name!r}: `fn` must be a numpyro distribution, got {described(fn)}", current_loc())
    shape: Any = sample_shape  # whatever the user wrote there
    if not (isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)):
        raise SiteTypeError(f"site {name!r}: sample_shape must be a tuple of integers, got {shape!r}", current_loc())
    site = Site(
        "sample",
        name,
        fn,
        obs,
        obs is not None,
        rng_key=rng_key,
        sample_shape=sample_shape,
        infer=dict(infer or {}),
    )
    return emit(site)


def factor(name: str, log_factor: Any) -> None:
    """Adds a term to the log joint.

    Args:
        name: unique within the model.
        log_factor: nats, an array that broadcasts against the open plates; its sum is added.
    """
    require_name(name, "factor")
    require_numbers(f"factor {name!r} is", log_factor)
    fn = Unit(jnp.asarray(log_factor, dtype=jnp.result_type(float, log_factor)))
    _refuse_repeated(name, fn.batch_shape)
    nothing = np.empty((*fn.batch_shape, 0))  # Unit's only value; numpy, so that it is no node of the graph
    emit(Site("sample", name, fn, nothing, True, is_factor=True))


def _refuse_repeated(name: str, shape: tuple[int, ...]) -> None:
    """A scalar counts for each element of a plate; a column in a plate is a slip, and would count too often."""
    dims = {plate.dim: plate for plate in open_plates()}
    beyond = [d for d in range(-len(shape), 0) if shape[d] > 1 and d not in dims]
    repeated = [p for d, p in dims.items() if p.size > 1 and (-d > len(shape) or shape[d] == 1)]
    if beyond and repeated:
        raise ModelError(
            f"factor {name!r} has shape {shape}, whose axis {beyond[0]} no plate counts, and would count "
            f"{repeated[0].size} times in plate {repeated[0].name!r}; reshape it",
            current_loc(),
        )


def deterministic(name: str, value: Any) -> Any:
    """Names a value, so that it is reported and drawn; returns it."""
    require_name(name, "deterministic site")
    require_numbers(f"deterministic {name!r} is", value)
    return emit(Site("deterministic", name, value=value))


def param(name: str, init_value: Any = None, **kwargs: Any) -> Any:
    """A parameter to optimize: it has no density and is no part of the latent vector.

    Args:
        name: unique within the model.
        init_value: an array (or a pytree of arrays), or a function from a random key to one.
        **kwargs: `constraint` (default real) and `event_dim`, the number of rightmost axes that no plate counts;
            where it is given, a subsampled plate takes its part of the others.

    Raises:
        ModelError: there is no initial value, or a random one and no key.
    """
    require_name(name, "param")
    for leaf in [init_value] if isinstance(init_value, dist.Distribution) else tree_leaves(init_value):
        if not callable(leaf) or isinstance(leaf, dist.Distribution):
            require_numbers(f"param {name!r} starts at", leaf)
    if unknown := kwargs.keys() - {"constraint", "event_dim"}:
        raise SiteTypeError(f"param {name!r} takes constraint and event_dim, not {sorted(unknown)}", current_loc())
    site = Site("param", name, fn=init_value, constraint=kwargs.get("constraint", dist.constraints.real))
    value = emit(site)
    event_dim = kwargs.get("event_dim")
    return value if event_dim is None or site.type != "param" else taken(f"param {name!r}", value, event_dim)


def get_mask() -> Any:
    """What the open `handlers.mask` say together: None, a bool or a boolean array."""
    site = Site("inspect", "mask")
    emit(site)
    return site.mask


def _sample_partly_observed(
    name: str, fn: Any, obs: Any, obs_mask: Any, rng_key: Any, sample_shape: tuple[int, ...], infer: Any
) -> Any:
    if obs is None:
        raise ModelError(f"site {name!r} has an obs_mask but no obs", current_loc())
    with mask_handler(mask=obs_mask):
        observed = sample(f"{name}_observed", fn, obs, sample_shape=sample_shape, infer=infer)
    with mask_handler(mask=jnp.logical_not(obs_mask)):
        unobserved = sample(f"{name}_unobserved", fn, None, rng_key, sample_shape, infer)
    mask = jnp.reshape(obs_mask, jnp.shape(obs_mask) + (1,) * fn.event_dim)
    return deterministic(name, jnp.where(mask, observed, unobserved))
