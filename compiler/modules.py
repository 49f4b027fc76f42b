"""Neural networks in a model: their parameters are one `param` site, or have priors of their own.

What differs between the libraries of networks is NumPyro's business; its functions arrive here as sites.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from numpyro.contrib import module as contrib
from numpyro.distributions import Distribution

from plait.compiler.given import require_name
from plait.compiler.handlers.effects import scope
from plait.compiler.numpyro_bridge import bridged
from plait.compiler.primitives import param, sample
from plait.compiler.source import current_loc
from plait.ir.errors import ModelError, SiteTypeError

# one distribution, distributions by path, or a function from (path, shape)
Prior: TypeAlias = Any


def module(
    name: str,
    nn: Any,
    input_shape: tuple[int, ...] | None = None,
    *,
    apply_rng: Sequence[str] | None = None,
    mutable: Sequence[str] | None = None,
) -> Any:
    """A neural network whose parameters are the one `param` site ``name$params``.

    Args:
        name: unique within the model.
        nn: a stax pair ``(init, apply)``, a Flax module (linen or nnx) or an Equinox module.
        input_shape: shape of the network's input; stax and linen need it for the initial values.
        apply_rng: linen: the kinds of random keys that the network wants, such as ``["dropout"]``.
        mutable: linen: the collections that a call changes, such as ``["batch_stats"]``. State is the param site
            ``name$state``; what a call made of it are the deterministics ``name$new_state…``.

    Returns:
        The network with its parameters bound.

    Raises:
        SiteTypeError: `nn` is no network that plait knows.
        ModelError: `input_shape` is missing.
    """
    library, settings = _library(name, nn, input_shape, apply_rng, mutable)
    with bridged():
        return library.module(name, nn, **settings)


def random_module(
    name: str,
    nn: Any,
    prior: Prior,
    input_shape: tuple[int, ...] | None = None,
    *,
    apply_rng: Sequence[str] | None = None,
    mutable: Sequence[str] | None = None,
) -> Any:
    """A Bayesian neural network: each of its arrays is a latent site ``name/path``.

    Args:
        name: unique within the model.
        nn: as for `module`.
        prior: one distribution for all arrays, distributions by path (arrays without one stay parameters; stax has
            no names, so there every path is given), or a function from (path, shape) to a distribution.
        input_shape, apply_rng, mutable: as for `module`.

    Returns:
        The network with its parameters bound.
    """
    library, settings = _library(name, nn, input_shape, apply_rng, mutable)
    with bridged():
        return library.random_module(name, nn, prior, **settings)


def _library(
    name: str, nn: Any, input_shape: Any, apply_rng: Sequence[str] | None, mutable: Sequence[str] | None
) -> tuple[_Library, dict[str, Any]]:
    """The library that a network is from, and what it does not know itself of its networks."""
    library = _LIBRARIES[_package(name, nn)]
    _require_shape(name, "input_shape" in library.settings, input_shape)
    kinds, collections = list(apply_rng or ()) or None, list(mutable or ()) or None
    given = {"input_shape": input_shape, "apply_rng": kinds, "mutable": collections}
    return library, {setting: given[setting] for setting in library.settings}


def _package(name: str, nn: Any) -> str:
    """The package that a network is from, told without importing it."""
    require_name(name, "module")
    if isinstance(nn, tuple) and len(nn) == 2 and all(map(callable, nn)):
        return "jax.example_libraries.stax"
    bases = [f"{c.__module__}." for c in type(nn).__mro__]
    for package in _LIBRARIES:
        if any(base.startswith(f"{package}.") for base in bases):
            return package
    raise SiteTypeError(
        f"module {name!r} must be a stax pair (init, apply), a Flax module or an Equinox module, "
        f"got {type(nn).__name__}",
        current_loc(),
    )


def _require_shape(name: str, needed: bool, input_shape: Any) -> None:
    if needed and input_shape is None:
        raise ModelError(f"module {name!r} needs `input_shape` for its initial values", current_loc())
    if input_shape is not None and not isinstance(input_shape, (tuple, list)):
        raise SiteTypeError(
            f"module {name!r}: input_shape is a tuple of integers, such as (rows, columns), got {input_shape!r}",
            current_loc(),
        )


def _stax(name: str, nn: tuple[Any, Any], input_shape: tuple[int, ...]) -> Any:
    init, apply = nn
    return functools.partial(apply, param(f"{name}$params", lambda key: init(key, input_shape)[1]))


def _random_stax(name: str, nn: tuple[Any, Any], prior: Prior, input_shape: tuple[int, ...]) -> Any:
    init, apply = nn
    shapes = jax.eval_shape(lambda key: init(key, input_shape)[1], jax.random.key(0))
    paths, treedef = jax.tree_util.tree_flatten_with_path(shapes)
    with scope(prefix=name):
        weights = [_weight(".".join(str(part.idx) for part in path), x.shape, prior) for path, x in paths]
    return functools.partial(apply, jax.tree_util.tree_unflatten(treedef, weights))


def _weight(path: str, shape: tuple[int, ...], prior: Prior) -> Any:
    if isinstance(prior, Mapping):
        if path not in prior:
            raise ModelError(f"parameter {path!r} of shape {shape} has no prior", current_loc())
        fn = prior[path]
    else:
        fn = prior if isinstance(prior, Distribution) else prior(path, shape)
    return sample(path, fn.expand(jnp.broadcast_shapes(shape[: len(shape) - fn.event_dim])).to_event())


class _Library(NamedTuple):
    """What makes sites of a library's networks: with parameters, and with priors; and the settings that it takes."""

    module: Callable[..., Any]
    random_module: Callable[..., Any]
    settings: tuple[str, ...] = ()


_LIBRARIES = {
    "jax.example_libraries.stax": _Library(_stax, _random_stax, ("input_shape",)),
    "flax.linen": _Library(contrib.flax_module, contrib.random_flax_module, ("input_shape", "apply_rng", "mutable")),
    "flax.nnx": _Library(contrib.nnx_module, contrib.random_nnx_module),
    "equinox": _Library(contrib.eqx_module, contrib.random_eqx_module),
}
