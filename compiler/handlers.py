"""Handlers change a site before it binds or draws. Each works as ``with h(...):`` and as ``h(model, ...)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.jax_compat import is_tracer
from plait.compiler.source import current_loc
from plait.compiler.stack import Frame, Site, is_compiling, opened
from plait.ir.errors import ModelError
from plait.ir.types import PlateFrame

Model = Callable[..., Any]


class Handler:
    """Base: opens a frame of its own for each `with`, or around each call of `fn`."""

    def __init__(self, fn: Model | None = None) -> None:
        if fn is not None and not callable(fn):
            raise ModelError(
                f"handler {type(self).__name__!r} got {fn!r} where a model function belongs; "
                "name its setting, as in scale(scale=2.0)",
                current_loc(),
            )
        self.fn = fn
        self._contexts: list[Any] = []

    def __enter__(self) -> Any:
        context = opened(_HandlerFrame(self))
        context.__enter__()
        self._contexts.append(context)
        return self

    def __exit__(self, *exc: Any) -> None:
        self._contexts.pop().__exit__(*exc)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            raise ModelError(f"handler {type(self).__name__!r} wraps no model, so it can't be called", current_loc())
        with self:
            return self.fn(*args, **kwargs)

    def process(self, site: Site) -> None: ...

    def finish(self, site: Site) -> None: ...


class _HandlerFrame(Frame):
    """Stands for one entry of a handler; its identity is what jax's trace key sees."""

    def __init__(self, handler: Handler) -> None:
        self.process = handler.process  # type: ignore[method-assign]
        self.finish = handler.finish  # type: ignore[method-assign]


class seed(Handler):
    """Gives each unobserved site a random key, split off `rng_seed` in program order as NumPyro does.

    Args:
        fn: the model.
        rng_seed: an integer or a jax random key.
    """

    def __init__(self, fn: Model | None = None, rng_seed: Any = None) -> None:
        super().__init__(fn)
        if rng_seed is None:
            raise ModelError("seed needs `rng_seed`, an integer or a jax random key", current_loc())
        is_integer = isinstance(rng_seed, (int, np.integer)) or (
            jnp.ndim(rng_seed) == 0 and not jnp.issubdtype(rng_seed.dtype, jax.dtypes.prng_key)
        )
        self._start = rng_seed
        self._first = (lambda: jax.random.PRNGKey(self._start)) if is_integer else (lambda: self._start)
        self._keys: list[Any] = []

    def __enter__(self) -> Any:
        self._keys.append(self._first())
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        self._keys.pop()

    def process(self, site: Site) -> None:
        wants_key = site.type in ("sample", "param") and site.value is None and site.rng_key is None
        # While compiling, the sampler's own keys decide; a site that `block` hides takes ours (see `draw`).
        if wants_key and not site.is_observed:
            site.rng_key = self.next_key if is_compiling() or site.type == "param" else self.next_key()

    def next_key(self) -> Any:
        """Splits off a key."""
        self._keys[-1], key = jax.random.split(self._keys[-1])
        return key


class substitute(Handler):
    """Replaces the values of sites; their densities still count, and they stay unobserved.

    Args:
        fn: the model.
        data: values by site name.
        substitute_fn: from a site to its value, or None to leave it.
    """

    def __init__(
        self,
        fn: Model | None = None,
        data: Mapping[str, Any] | None = None,
        substitute_fn: Callable[[Site], Any] | None = None,
    ) -> None:
        super().__init__(fn)
        self._value = _lookup("substitute", data, substitute_fn)

    def process(self, site: Site) -> None:
        value = self._value(site)
        if value is not None and not site.is_factor:
            site.value, site.substituted = value, True


class condition(Handler):
    """Makes sites observed at given values; leaves deterministic sites alone.

    Args:
        fn: the model.
        data: values by site name.
        condition_fn: from a site to its value, or None to leave it.
    """

    def __init__(
        self,
        fn: Model | None = None,
        data: Mapping[str, Any] | None = None,
        condition_fn: Callable[[Site], Any] | None = None,
    ) -> None:
        super().__init__(fn)
        self._value = _lookup("condition", data, condition_fn)

    def process(self, site: Site) -> None:
        value = self._value(site) if site.type == "sample" and not site.is_factor else None
        if value is not None:
            site.value, site.is_observed = value, True


class block(Handler):
    """Hides sites from the handlers outside, and from the compiled model: they need a value or a key inside.

    Args:
        fn: the model.
        hide_fn: from a site to whether it is hidden.
        hide: names to hide.
        expose: names not to hide; everything else is.
    """

    def __init__(
        self,
        fn: Model | None = None,
        hide_fn: Callable[[Site], bool] | None = None,
        hide: list[str] | None = None,
        expose: list[str] | None = None,
    ) -> None:
        super().__init__(fn)
        if sum(x is not None for x in (hide_fn, hide, expose)) > 1:
            raise ModelError("block takes one of hide_fn, hide and expose", current_loc())
        if hide_fn is not None:
            self._hides = hide_fn
        elif hide is not None:
            self._hides = lambda site: site.name in hide
        elif expose is not None:
            self._hides = lambda site: site.name not in expose
        else:
            self._hides = lambda site: True

    def process(self, site: Site) -> None:
        site.hidden = bool(self._hides(site))


class scale(Handler):
    """Multiplies the log probabilities of sites by a positive number or array.

    Args:
        fn: the model.
        scale: broadcasts to the batch shape of every site inside.
    """

    def __init__(self, fn: Model | None = None, scale: Any = 1.0) -> None:
        super().__init__(fn)
        if not is_tracer(scale) and np.any(np.asarray(scale) <= 0):
            raise ModelError(f"scale must be positive, got {scale}", current_loc())
        self._scale = scale

    def process(self, site: Site) -> None:
        site.scale = self._scale if site.scale is None else self._scale * site.scale


class mask(Handler):
    """Counts the log probabilities of sites only where `mask` is true.

    Args:
        fn: the model.
        mask: a bool or a boolean array that broadcasts against the batch shape of every site inside.
    """

    def __init__(self, fn: Model | None = None, mask: Any = True) -> None:
        super().__init__(fn)
        if jnp.result_type(mask) != jnp.bool_:
            raise ModelError(f"mask must be boolean, got dtype {jnp.result_type(mask)}", current_loc())
        self._mask = mask

    def process(self, site: Site) -> None:
        if self._mask is not True:
            site.mask = self._mask if site.mask is None else jnp.logical_and(self._mask, site.mask)


class scope(Handler):
    """Prefixes the names of sites and plates.

    Args:
        fn: the model.
        prefix: what goes before each name.
        divider: stands between prefix and name.
    """

    def __init__(self, fn: Model | None = None, prefix: str = "", divider: str = "/") -> None:
        super().__init__(fn)
        self._prefix = f"{prefix}{divider}"

    def process(self, site: Site) -> None:
        site.name = self._prefix + site.name
        site.cond_indep_stack = tuple(PlateFrame(self._prefix + f.name, f.size, f.dim) for f in site.cond_indep_stack)


class trace(Handler):
    """Records each site that passes, in order: ``trace(seed(model, 0)).get_trace(*args)``."""

    def __enter__(self) -> dict[str, Site]:
        super().__enter__()
        self.sites: dict[str, Site] = {}
        return self.sites

    def finish(self, site: Site) -> None:
        if site.name in self.sites and site.type != "plate":
            raise ModelError(f"two sites are called {site.name!r}; rename one", current_loc())
        self.sites[site.name] = site

    def get_trace(self, *args: Any, **kwargs: Any) -> dict[str, Site]:
        """Runs the model and returns its sites by name."""
        self(*args, **kwargs)
        return self.sites


def _lookup(
    handler: str, data: Mapping[str, Any] | None, function: Callable[[Site], Any] | None
) -> Callable[[Site], Any]:
    if (data is None) == (function is None):
        raise ModelError(f"{handler} takes either `data` or `{handler}_fn`", current_loc())
    if function is not None:
        return function
    assert data is not None
    values = dict(data)
    return lambda site: values.get(site.name)
