"""The primitives that a model calls: NumPyro's names, signatures and meaning."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions.distribution import Unit

from plait.compiler import staging
from plait.compiler.handlers import mask as mask_handler
from plait.compiler.jax_compat import is_tracer
from plait.compiler.numpyro_guard import refuse_numpyro_handlers
from plait.compiler.source import current_loc
from plait.compiler.stack import Compiling, Frame, Site, is_compiling, open_frames, opened, walk
from plait.ir.errors import ModelError, SiteTypeError
from plait.ir.ops import Deterministic, Plate
from plait.ir.types import ArrayType, PlateFrame


def sample(
    name: str,
    fn: dist.Distribution,
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
    if not isinstance(name, str):
        raise SiteTypeError(f"the name of a site comes first and is a string, got {type(name).__name__}", current_loc())
    if obs_mask is not None:
        return _sample_partly_observed(name, fn, obs, obs_mask, rng_key, sample_shape, infer)
    if not isinstance(fn, dist.Distribution):
        raise SiteTypeError(
            f"site {name!r}: `fn` must be a numpyro distribution, got {type(fn).__name__}", current_loc()
        )
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
        infer=infer or {},
    )
    return _emit(site)


def factor(name: str, log_factor: Any) -> None:
    """Adds a term to the log joint.

    Args:
        name: unique within the model.
        log_factor: nats, an array that broadcasts against the open plates; its sum is added.
    """
    fn = Unit(jnp.asarray(log_factor, dtype=jnp.result_type(float, log_factor)))
    nothing = np.empty((*fn.batch_shape, 0))  # Unit's only value; numpy, so that it is no node of the graph
    _emit(Site("sample", name, fn, nothing, True, is_factor=True))


def deterministic(name: str, value: Any) -> Any:
    """Names a value, so that it is reported and drawn; returns it."""
    return _emit(Site("deterministic", name, value=value))


def param(name: str, init_value: Any = None, **kwargs: Any) -> Any:
    """A parameter to optimize: it has no density and is no part of the latent vector.

    Args:
        name: unique within the model.
        init_value: an array (or a pytree of arrays), or a function from a random key to one.
        **kwargs: `constraint` (default real) and `event_dim`, the number of rightmost axes that no plate counts.

    Raises:
        ModelError: there is no initial value, or a random one and no key.
    """
    if unknown := kwargs.keys() - {"constraint", "event_dim"}:
        raise SiteTypeError(f"param {name!r} takes constraint and event_dim, not {sorted(unknown)}", current_loc())
    constraint = kwargs.get("constraint", dist.constraints.real)
    site = Site("param", name, fn=init_value, constraint=constraint)
    value = _emit(site)
    for frame in site.cond_indep_stack:
        _check_param_axis(name, value, frame, kwargs.get("event_dim"))
    return value


def module(name: str, nn: tuple[Any, Any], input_shape: tuple[int, ...] | None = None) -> Callable[..., Any]:
    """A neural network whose parameters are the one `param` site ``name$params``.

    Args:
        name: unique within the model.
        nn: a stax pair ``(init, apply)``.
        input_shape: shape of the network's input, needed for the initial values.

    Returns:
        `apply` with the parameters bound.
    """
    init, apply = nn
    if input_shape is None:
        raise ModelError(f"module {name!r} needs `input_shape` for its initial values", current_loc())
    return functools.partial(apply, param(f"{name}$params", lambda key: init(key, input_shape)[1]))


class plate:
    """Conditionally independent elements: ``with plate("rows", 10):`` expands the sites inside.

    Args:
        name: of the plate; equal names mean the same elements.
        size: number of elements, a Python integer.
        subsample_size: equal to `size`, or None.
        dim: the batch axis that it takes, negative, from the right; default the rightmost free one.

    Entering returns the indices 0 … size-1.
    """

    def __init__(self, name: str, size: int, subsample_size: int | None = None, dim: int | None = None) -> None:
        self.name, self.size = name, _plate_size(name, size)
        if subsample_size is not None and subsample_size != self.size:
            raise ModelError(
                f"plate {name!r} asks for a subsample of {subsample_size} of {size}: plait does not subsample "
                "yet; pass the rows you want and put them under handlers.scale",
                current_loc(),
            )
        taken = {f.dim: f.name for f in _open_plates()}
        if dim is not None and (dim >= 0 or dim in taken):
            why = "is not negative" if dim >= 0 else f"is taken by plate {taken[dim]!r}"
            raise ModelError(f"plate {name!r}: dim={dim} {why}", current_loc())
        self.dim = dim if dim is not None else next(d for d in range(-1, -len(taken) - 2, -1) if d not in taken)
        self.frame = PlateFrame(name, self.size, self.dim)
        self._indices = _emit(Site("plate", name, fn=self.frame))
        self._contexts: list[Any] = []

    def __enter__(self) -> Any:
        for other in _open_plates():
            if other.name == self.name or other.dim == self.dim:
                clash = "it is open already" if other.name == self.name else f"both are at dim {self.dim}"
                raise ModelError(f"plate {self.name!r} can't open inside plate {other.name!r}: {clash}", current_loc())
        context = opened(_PlateFrame(self.frame))
        context.__enter__()
        self._contexts.append(context)
        return self._indices

    def __exit__(self, *exc: Any) -> None:
        self._contexts.pop().__exit__(*exc)


class _PlateFrame(Frame):
    """An open plate. Frames of equal plates are equal, so that they share jax's traces."""

    def __init__(self, plate: PlateFrame) -> None:
        self.plate = plate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _PlateFrame) and self.plate == other.plate

    def __hash__(self) -> int:
        return hash(self.plate)

    def process(self, site: Site) -> None:
        if site.type == "plate":
            return
        site.cond_indep_stack = (*site.cond_indep_stack, self.plate)
        if site.type == "sample":
            _expand(site)


def _open_plates() -> list[PlateFrame]:
    return [f.plate for f in open_frames() if isinstance(f, _PlateFrame)]


def _plate_size(name: str, size: Any) -> int:
    if is_tracer(size):
        raise ModelError(
            f"the size of plate {name!r} is a traced value; use a shape, or name the argument in static=",
            current_loc(),
        )
    try:
        n = operator.index(size)
    except TypeError:
        raise SiteTypeError(f"the size of plate {name!r} must be an integer, got {size!r}", current_loc()) from None
    if n <= 0:
        raise ModelError(f"the size of plate {name!r} must be positive, got {n}", current_loc())
    return n


def _expand(site: Site) -> None:
    """Expands the distribution over the plates that the site has passed so far."""
    wanted = [1] * max(-p.dim for p in site.cond_indep_stack)
    for p in site.cond_indep_stack:
        wanted[p.dim] = p.size
    have = site.sample_shape + tuple(site.fn.batch_shape)
    for p in site.cond_indep_stack:
        if -p.dim <= len(have) and have[p.dim] not in (1, p.size):
            raise ModelError(
                f"site {site.name!r} has batch shape {have}, which does not fit plate {p.name!r} of size {p.size} "
                f"at dim {p.dim}; index its parameters to the plate, or move axes into the event with .to_event",
                current_loc(),
            )
    site.fn = _expanded(site.fn, jnp.broadcast_shapes(tuple(wanted), have))
    site.sample_shape = ()


def _expanded(fn: Any, batch: tuple[int, ...]) -> Any:
    return fn if tuple(fn.batch_shape) == batch else fn.expand(batch)


def _emit(site: Site) -> Any:
    """Sends a site through the handlers; then it binds (being compiled), draws, or is refused."""
    passed = walk(site)
    compiling = bool(passed) and isinstance(passed[-1], Compiling)
    if site.type == "sample":
        _settle_shapes(site)
    if compiling:
        refuse_numpyro_handlers(site.name)
    site.value = _stage(site) if compiling else _run(site)
    for frame in reversed(passed):
        frame.finish(site)
    return site.value


def _stage(site: Site) -> Any:
    plates = site.cond_indep_stack
    if site.type == "plate":
        index_type = ArrayType(jax.dtypes.canonicalize_dtype(int), (site.fn.size,), (site.name,))
        return staging.bind(Plate(PlateFrame(site.name, site.fn.size, site.fn.dim), index_type))
    if site.type == "deterministic":
        return staging.bind(Deterministic(site.name, plates), (jnp.asarray(site.value),))
    if site.type == "param":
        return site.value if site.value is not None else _stage_param(site)
    if site.is_factor:
        return staging.bind_factor(site.name, site.fn, plates, site.mask, site.scale)
    if site.value is None:
        key = None if callable(site.rng_key) else site.rng_key
        return staging.bind_sample(site.name, site.fn, plates, mask=site.mask, scale=site.scale, key=key)
    return staging.bind_observe(
        site.name, site.fn, plates, site.value, mask=site.mask, scale=site.scale, replicated=site.is_observed
    )


def _stage_param(site: Site) -> Any:
    init = site.fn(staging.bind_key(site.name)) if callable(site.fn) else site.fn
    _check_has_init(site, init)
    return staging.bind_param(site.name, init, site.constraint, site.cond_indep_stack)


def _run(site: Site) -> Any:
    """The value of a site that is not compiled."""
    if site.type == "plate":
        return jnp.arange(site.fn.size)
    if site.value is not None or site.type == "deterministic":
        return site.value
    key = site.rng_key() if callable(site.rng_key) and _needs_key(site) else site.rng_key
    if site.type == "param":
        _check_has_init(site, site.fn)
        return site.fn(key) if callable(site.fn) else site.fn
    if key is None:
        hidden = " (block hides it from the compiled model)" if is_compiling() else ""
        raise ModelError(
            f"site {site.name!r} has no value and no random key{hidden}: wrap the model in handlers.seed, "
            "pass rng_key, or use plait.compile",
            current_loc(),
        )
    return site.fn.sample(key, site.sample_shape)


def _needs_key(site: Site) -> bool:
    return site.type == "sample" or callable(site.fn)


def _check_has_init(site: Site, init: Any) -> None:
    if init is None:
        raise ModelError(f"param {site.name!r} has no initial value; pass init_value", current_loc())
    if callable(init) and site.rng_key is None:
        raise ModelError(
            f"param {site.name!r} draws its initial value but there is no random key; wrap the model in handlers.seed",
            current_loc(),
        )


def _check_param_axis(name: str, value: Any, plate: PlateFrame, event_dim: int | None) -> None:
    if event_dim is None:
        return
    shape = jnp.shape(value)
    axis = plate.dim - event_dim
    if len(shape) >= -axis and shape[axis] not in (1, plate.size):
        raise ModelError(
            f"param {name!r} of shape {shape} with event_dim={event_dim} does not fit plate {plate.name!r} "
            f"of size {plate.size}",
            current_loc(),
        )


def _settle_shapes(site: Site) -> None:
    """Brings mask, scale and observed value together with the site's batch shape, or says what clashes."""
    batch = site.sample_shape + tuple(site.fn.batch_shape)
    if site.mask is not None:
        batch = _broadcast(site, "the mask", jnp.shape(site.mask), batch)
    if site.scale is not None and _broadcast(site, "the scale", jnp.shape(site.scale), batch) != batch:
        raise ModelError(
            f"site {site.name!r} of batch shape {batch} is under a scale of shape {jnp.shape(site.scale)}, which "
            "would count it several times; open a plate of that shape",
            current_loc(),
        )
    if site.value is not None and not site.is_factor:
        event = tuple(site.fn.event_shape)
        shape = _broadcast(site, "the observed value", jnp.shape(site.value), batch + event)
        if shape != batch + event and site.cond_indep_stack:
            plates = ", ".join(f"{p.name!r} of size {p.size}" for p in site.cond_indep_stack)
            raise ModelError(
                f"site {site.name!r} of shape {batch + event} (plate {plates}) got a value of shape "
                f"{jnp.shape(site.value)}, which broadcasts it beyond its plate; reshape the value",
                current_loc(),
            )
        batch = shape[: len(shape) - len(event)]
    # without a key of its own the batch shape may still hold sample_shape, which only a draw keeps apart
    if site.value is not None or site.mask is not None or is_compiling():
        site.fn, site.sample_shape = _expanded(site.fn, batch), ()


def _broadcast(site: Site, what: str, shape: tuple[int, ...], onto: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return jnp.broadcast_shapes(shape, onto)
    except ValueError:
        raise ModelError(
            f"site {site.name!r} has shape {onto}, {what} has shape {shape}: they do not broadcast",
            current_loc(),
        ) from None


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
