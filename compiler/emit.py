"""What becomes of a site when it has been through the handlers: it binds, it draws, or it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.primitives import _PYRO_STACK, Messenger, _subsample_fn

from plait.compiler import staging
from plait.compiler.given import require_numbers
from plait.compiler.jax_compat import trace_state
from plait.compiler.source import current_loc
from plait.compiler.stack import Compiling, Site, is_compiling, open_frames, walk
from plait.ir.errors import ModelError
from plait.ir.ops import Deterministic, Plate
from plait.ir.types import ArrayType


class OwnMessenger(Messenger):
    """A NumPyro handler of plait's, which tells it apart from the user's own ones."""


def emit(site: Site) -> Any:
    """Sends a site through the handlers; then it binds (being compiled), draws, or is refused.

    Returns:
        Its value, or what `handlers.do` puts in its place.
    """
    if not site.foreign:
        _refuse_numpyro_handlers(site)
    passed = walk(site)
    compiling = bool(passed) and isinstance(passed[-1], Compiling)
    if site.type == "sample":
        if site.value is not None:
            require_numbers(f"site {site.name!r} is observed as", site.value)
        _settle_shapes(site)
    site.value = _stage(site) if compiling else _run(site)
    for frame in reversed(passed):
        frame.finish(site)
    return site.value if site.intervention is None else site.intervention


def _refuse_numpyro_handlers(site: Site) -> None:
    foreign = [handler for handler in _PYRO_STACK if not isinstance(handler, OwnMessenger)]
    if foreign:
        what = type(foreign[-1])
        where = "numpyro" if what.__name__ == "plate" else "numpyro.handlers"
        raise ModelError(
            f"site {site.name!r} is plait's and under {where}.{what.__name__}, which it does not see; "
            f"use plait's or write the site with numpyro too",
            current_loc(),
        )


# -- being compiled -------------------------------------------------------------------------------------


def _stage(site: Site) -> Any:
    match site.type:
        case "inspect":
            return None
        case "prng_key":
            return staging.bind_key(site.name)
        case "plate":
            return _stage_plate(site)
        case "deterministic":
            return staging.bind(Deterministic(site.name, site.cond_indep_stack), (jnp.asarray(site.value),))
        case "param":
            return site.value if site.value is not None else _stage_param(site)
    plates = site.cond_indep_stack
    if site.is_factor:
        return staging.bind_factor(site.name, site.fn, plates, site.mask, site.scale)
    if site.value is None:
        key = None if callable(site.rng_key) else site.rng_key
        return staging.bind_sample(site.name, site.fn, plates, mask=site.mask, scale=site.scale, key=key)
    value, mask, scale = _value_of_step(site), site.mask, site.scale
    return staging.bind_observe(site.name, site.fn, plates, value, mask=mask, scale=scale, replicated=site.is_observed)


def _stage_plate(site: Site) -> Any:
    name, frame = site.name, site.fn  # the name that scope gave it
    indices = [] if frame.full_size is None else [_subsample(site)]
    if site.foreign:  # NumPyro's plates know their own indices; the sites inside bring the frames
        return indices[0] if indices else site.value
    index_type = ArrayType(jax.dtypes.canonicalize_dtype(int), (frame.size,), (name,))
    op = Plate(replace(frame, name=name), index_type)
    return staging.bind(op, tuple(jnp.asarray(x, index_type.dtype) for x in indices))


def _stage_param(site: Site) -> Any:
    init = site.fn(staging.bind_key(site.name)) if site.draws_init else site.fn
    _check_has_init(site, init)
    return staging.bind_param(site.name, init, site.constraint, site.cond_indep_stack)


def _value_of_step(site: Site) -> Any:
    """The site's value, or its part of the current step where a handler outside of scans gave all steps' values."""
    if site.given_in is None:
        return site.value
    if jnp.issubdtype(jnp.result_type(site.value), jnp.floating):  # as wide as a draw would be
        site.value = jnp.asarray(site.value, jax.dtypes.canonicalize_dtype(float))
    if site.given_in == trace_state():
        return site.value
    outermost = next(iter(open_frames()))
    around_model = site.given_in == outermost.opened_in and site.given_stacked
    return staging.bind_steps(site.name, site.value, _steps(site), around_model)


def _steps(site: Site) -> int:
    """How many leading axes of a given value are steps of scans between its handler and the site."""
    if site.given_in is None or site.given_in == trace_state():
        return 0
    return max(jnp.ndim(site.value) - len(site.sample_shape + tuple(site.fn.shape())), 0)


# -- running eagerly ------------------------------------------------------------------------------------


def _run(site: Site) -> Any:
    """The value of a site that is not compiled."""
    match site.type:
        case "inspect":
            return None
        case "prng_key":
            return _key(site)
        case "plate":
            return jnp.arange(site.fn.size) if site.fn.full_size is None else _subsample(site)
    if site.value is not None or site.type == "deterministic":
        return site.value
    if site.type == "param":
        _check_has_init(site, site.fn)
        if site.draws_init and site.rng_key is None:
            raise ModelError(
                f"param {site.name!r} draws its initial value but there is no random key; wrap the model in "
                "handlers.seed",
                current_loc(),
            )
        return site.fn(_key(site)) if site.draws_init else site.fn
    key = _key(site)
    if key is None:
        hidden = " (block hides it from the compiled model)" if is_compiling() else ""
        raise ModelError(
            f"site {site.name!r} has no value and no random key{hidden}: wrap the model in handlers.seed, "
            "pass rng_key, or use plait.compile",
            current_loc(),
        )
    try:
        return site.fn.sample(key, site.sample_shape)
    except (NotImplementedError, ImportError):
        raise ModelError(
            f"site {site.name!r} ({type(site.fn).__name__}) has no draws; give its value", current_loc()
        ) from None


def _subsample(site: Site) -> Any:
    """The indices of a subsampled plate: given, or drawn as NumPyro draws them."""
    frame = site.fn
    if site.value is None:
        if (key := _key(site)) is None:
            raise ModelError(
                f"plate {site.name!r} subsamples {frame.size} of {frame.full_size} elements and has no random key: "
                "wrap the model in handlers.seed, or give the indices with "
                f"handlers.substitute(data={{{site.name!r}: indices}})",
                current_loc(),
            )
        with jax.ensure_compile_time_eval():  # a constant where the key is one
            return _subsample_fn(frame.full_size, frame.size, key)
    if not jnp.issubdtype(jnp.result_type(site.value), jnp.integer):
        raise ModelError(f"the indices of plate {site.name!r} must be integers, got {site.value}", current_loc())
    if jnp.shape(site.value) != (frame.size,):
        raise ModelError(
            f"plate {site.name!r} subsamples {frame.size} of {frame.full_size} elements, got indices of shape "
            f"{jnp.shape(site.value)}",
            current_loc(),
        )
    return jnp.asarray(site.value)


def _key(site: Site) -> Any:
    """The site's random key; while a model is compiled it is made where it is needed only."""
    return site.rng_key() if callable(site.rng_key) else site.rng_key


def _check_has_init(site: Site, init: Any) -> None:
    if init is None:
        raise ModelError(f"param {site.name!r} has no initial value; pass init_value", current_loc())


# -- shapes ---------------------------------------------------------------------------------------------


def expand(site: Site) -> None:
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


def _settle_shapes(site: Site) -> None:
    """Brings mask, scale and given value together with the site's batch shape, or says what clashes."""
    batch = site.sample_shape + tuple(site.fn.batch_shape)
    if site.mask is not None:
        batch = _broadcast(site, "the mask", jnp.shape(site.mask), batch)
    if site.value is not None and not site.is_factor:
        batch = _batch_of_value(site, batch)
    if site.scale is not None and _broadcast(site, "the scale", jnp.shape(site.scale), batch) != batch:
        raise ModelError(
            f"site {site.name!r} of batch shape {batch} is under a scale of shape {jnp.shape(site.scale)}, which "
            "would count it several times; open a plate of that shape",
            current_loc(),
        )
    # without a key of its own the batch shape may still hold sample_shape, which only a draw keeps apart
    if site.value is not None or site.mask is not None or is_compiling():
        site.fn, site.sample_shape = _expanded(site.fn, batch), ()


def _batch_of_value(site: Site, batch: tuple[int, ...]) -> tuple[int, ...]:
    event = tuple(site.fn.event_shape)
    value = jnp.shape(site.value)[_steps(site) :]
    what = "the substituted value" if site.substituted else "the observed value"
    if event and value[-len(event) :] != event:
        raise ModelError(
            f"site {site.name!r} has events of shape {event}{_plates(site)}, {what} has shape {value}; its last axes "
            "are the event's",
            current_loc(),
        )
    shape = _broadcast(site, what, value, batch + event)
    from_handler = site.substituted or site.given_in is not None
    if shape != batch + event and (site.cond_indep_stack or from_handler):
        beyond = "its plate" if site.cond_indep_stack else "its shape"
        raise ModelError(
            f"site {site.name!r} of shape {batch + event}{_plates(site)} got a value of shape "
            f"{jnp.shape(site.value)}, which broadcasts it beyond {beyond}; reshape the value",
            current_loc(),
        )
    if repeated := _repeated_axes(site, value, shape):
        raise ModelError(
            f"site {site.name!r} has shape {batch + event}{_plates(site)} and {what} shape {value}: together {shape}, "
            f"which repeats the value along axis {repeated[0] - len(shape)} that no plate counts; give parameters and "
            "data the same shape",
            current_loc(),
        )
    return shape[: len(shape) - len(event)]


def _repeated_axes(site: Site, value: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """The axes of a site along which one of several values is repeated, and no plate says that it should be."""
    events = len(site.fn.event_shape)
    if not any(n > 1 for n in value):
        return []  # one value for all says what it means
    plates = {len(shape) - events + p.dim for p in site.cond_indep_stack}
    given = (1,) * (len(shape) - len(value)) + value
    return [i for i, (have, want) in enumerate(zip(given, shape, strict=True)) if have < want and i not in plates]


def _broadcast(site: Site, what: str, shape: tuple[int, ...], onto: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return jnp.broadcast_shapes(shape, onto)
    except ValueError:
        raise ModelError(
            f"site {site.name!r} has shape {onto}{_plates(site)}, {what} has shape {shape}: they do not broadcast; "
            "reshape one of them",
            current_loc(),
        ) from None


def _plates(site: Site) -> str:
    """`` (plate 'rows' of size 4)``: the plates that a site is in, for an error."""
    if not site.cond_indep_stack:
        return ""
    whole = [f"{p.name!r} of size {p.size}" for p in site.cond_indep_stack if p.full_size is None]
    parts = [f"{p.name!r}, {p.size} of {p.full_size}" for p in site.cond_indep_stack if p.full_size is not None]
    return f" (plate {', '.join(whole + parts)})"
