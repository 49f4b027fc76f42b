"""Handlers that give keys, names, weights or notes to sites, hide them, or record them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.given import require_numbers
from plait.compiler.handlers.base import Handler, Model
from plait.compiler.jax_compat import is_tracer
from plait.compiler.source import current_loc
from plait.compiler.stack import Site, is_compiling, requested_key
from plait.ir.errors import ModelError, SiteTypeError
from plait.ir.types import Loc, PlateFrame


class seed(Handler):
    """Gives each unobserved site a random key, split off `rng_seed` in program order as NumPyro does.

    Args:
        fn: the model.
        rng_seed: an integer or a jax random key.
        hide_types: types of sites that get no key.
    """

    def __init__(self, fn: Model | None = None, rng_seed: Any = None, hide_types: Sequence[str] | None = None) -> None:
        super().__init__(fn)
        if rng_seed is None:
            raise ModelError("seed needs `rng_seed`, an integer or a jax random key", current_loc())
        dtype = rng_seed.dtype if hasattr(rng_seed, "dtype") else np.asarray(rng_seed).dtype
        is_integer = jnp.ndim(rng_seed) == 0 and jnp.issubdtype(dtype, np.integer)
        if not (is_integer or dtype == np.uint32 or jnp.issubdtype(dtype, jax.dtypes.prng_key)):
            raise SiteTypeError(f"rng_seed is an integer or a jax random key, got {rng_seed!r}", current_loc())
        if jnp.ndim(rng_seed) > (dtype == np.uint32):
            raise SiteTypeError(
                f"rng_seed is one key, got keys of shape {jnp.shape(rng_seed)}; use jax.vmap over them", current_loc()
            )
        self._start = rng_seed
        self._first = (lambda: jax.random.PRNGKey(self._start)) if is_integer else (lambda: self._start)
        self._hidden = frozenset(hide_types or ())
        self._keys: list[_Keys] = []

    def __enter__(self) -> Any:
        self._keys.append(_Keys(self._first))
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        self._keys.pop()

    def process(self, site: Site) -> None:
        if site.type in self._hidden or not takes_key(site):
            return
        # While compiling, the sampler's own keys decide; only a plate's subsample or a hidden site asks for ours.
        later = self._keys[-1].reserve()
        site.rng_key = later if is_compiling() else later()


def takes_key(site: Site) -> bool:
    """Whether a random key decides the site's value, and it has none yet."""
    if site.value is not None or site.rng_key is not None:
        return False
    match site.type:
        case "param":
            return site.draws_init
        case "plate":
            return site.fn.full_size is not None
    return site.type in ("sample", "prng_key")


class _Keys:
    """Keys split off one after the other, each made when it is asked for."""

    def __init__(self, first: Callable[[], Any]) -> None:
        self._first = first
        self._rest: list[Any] = []  # what is left after each split
        self._made: list[Any] = []
        self._reserved = 0

    def reserve(self) -> Callable[[], Any]:
        """The next key, not made yet."""
        index, self._reserved = self._reserved, self._reserved + 1
        return lambda: self._get(index)

    def _get(self, index: int) -> Any:
        with jax.ensure_compile_time_eval():  # so that no key belongs to the trace of a loop's body
            while len(self._made) <= index:
                rest, key = jax.random.split(self._rest[-1] if self._rest else self._first())
                self._rest.append(rest)
                self._made.append(key)
        return self._made[index]


class block(Handler):
    """Hides sites from the handlers outside, and from the compiled model: they need a value or a key inside.

    Args:
        fn: the model.
        hide_fn: from a site to whether it is hidden.
        hide: names to hide.
        expose_types: types of sites not to hide; everything else is.
        expose: names not to hide; everything else is.
    """

    def __init__(
        self,
        fn: Model | None = None,
        hide_fn: Callable[[Site], bool] | None = None,
        hide: Sequence[str] | None = None,
        expose_types: Sequence[str] | None = None,
        expose: Sequence[str] | None = None,
    ) -> None:
        super().__init__(fn)
        if sum(x is not None for x in (hide_fn, hide, expose_types, expose)) > 1:
            raise ModelError("block takes one of hide_fn, hide, expose_types and expose", current_loc())
        if isinstance(hide, str) or isinstance(expose, str):
            raise SiteTypeError(
                f"block takes hide= and expose= as a list of names, got {hide or expose!r}", current_loc()
            )
        if hide_fn is not None:
            self._hides = hide_fn
        elif hide is not None:
            self._hides = lambda site: site.name in hide
        elif expose_types is not None:
            self._hides = lambda site: site.type not in expose_types
        elif expose is not None:
            self._hides = lambda site: site.name not in expose
        else:
            self._hides = lambda site: True

    def process(self, site: Site) -> None:
        site.hidden = site.type != "prng_key" and bool(self._hides(site))
        if site.hidden and takes_key(site):  # keys come through
            site.rng_key = requested_key()


class scale(Handler):
    """Multiplies the log probabilities of sites by a positive number or array.

    Args:
        fn: the model.
        scale: broadcasts to the batch shape of every site inside.
    """

    asks_names = False

    def __init__(self, fn: Model | None = None, scale: Any = 1.0) -> None:
        super().__init__(fn)
        require_numbers("a scale is a positive number or an array of them, not", scale)
        if jnp.issubdtype(jnp.result_type(scale), jnp.complexfloating):
            raise ModelError(f"scale must be real, got dtype {jnp.result_type(scale)}", current_loc())
        if not is_tracer(scale):
            _require_positive(np.asarray(scale))
        self._scale = scale

    def process(self, site: Site) -> None:
        site.scale = self._scale if site.scale is None else self._scale * site.scale


class mask(Handler):
    """Counts the log probabilities of sites only where `mask` is true.

    Args:
        fn: the model.
        mask: a bool or a boolean array that broadcasts against the batch shape of every site inside.
    """

    asks_names = False

    def __init__(self, fn: Model | None = None, mask: Any = True) -> None:
        super().__init__(fn)
        mask = np.asarray(mask) if isinstance(mask, (list, tuple)) else mask
        if jnp.result_type(mask) != jnp.bool_:
            raise ModelError(f"mask must be boolean, got dtype {jnp.result_type(mask)}", current_loc())
        self._mask = mask

    def process(self, site: Site) -> None:
        if site.type == "inspect" or (site.type == "sample" and self._mask is not True):
            site.mask = self._mask if site.mask is None else self._mask & site.mask


class scope(Handler):
    """Prefixes the names of sites and plates.

    Args:
        fn: the model.
        prefix: what goes before each name.
        divider: stands between prefix and name.
        hide_types: types of sites that keep their names.
    """

    asks_names = False

    def __init__(
        self,
        fn: Model | None = None,
        prefix: str = "",
        divider: str = "/",
        *,
        hide_types: Sequence[str] | None = None,
    ) -> None:
        super().__init__(fn)
        self._prefix = f"{prefix}{divider}"
        self._hidden = frozenset(hide_types or ())

    def process(self, site: Site) -> None:
        if site.type not in self._hidden:
            site.name = self._prefix + site.name
        if "plate" not in self._hidden:
            site.cond_indep_stack = tuple(self._renamed(f) for f in site.cond_indep_stack)

    def _renamed(self, frame: PlateFrame) -> PlateFrame:
        return replace(frame, name=self._prefix + frame.name)


class infer_config(Handler):
    """Adds notes for inference algorithms to sample sites.

    Args:
        fn: the model.
        config_fn: from a site to a dict, which joins ``site.infer``.
    """

    def __init__(self, fn: Model | None = None, config_fn: Callable[[Site], dict[str, Any]] | None = None) -> None:
        super().__init__(fn)
        self._config = config_fn or (lambda site: {})

    def process(self, site: Site) -> None:
        if site.type == "sample":
            site.infer |= self._config(site)


class trace(Handler):
    """Records each site that passes, in order: ``trace(seed(model, 0)).get_trace(*args)``."""

    def __enter__(self) -> dict[str, Site]:
        super().__enter__()
        self.sites: dict[str, Site] = {}
        self._lines: dict[str, Loc | None] = {}
        return self.sites

    def finish(self, site: Site) -> None:
        if site.is_statement:
            return
        if (first := self.sites.get(site.name)) is not None and not _is_same_plate(first, site):
            raise ModelError(
                f"two sites are called {site.name!r}, the other one at {self._lines[site.name]}; rename one",
                current_loc(),
            )
        self.sites[site.name], self._lines[site.name] = site, current_loc()

    def get_trace(self, *args: Any, **kwargs: Any) -> dict[str, Site]:
        """Runs the model and returns its sites by name."""
        self(*args, **kwargs)
        return self.sites


def _is_same_plate(first: Site, second: Site) -> bool:
    """Two plates of one name are the same elements, unless they are two subsamples."""
    both = first.type == second.type == "plate"
    return both and first.fn.size == second.fn.size and first.fn.full_size is None


def _require_positive(scale: np.ndarray) -> None:
    for place in np.argwhere(scale <= 0)[:1].tolist():
        where = f"but entry {place} is" if place else "got"
        raise ModelError(f"scale must be positive, {where} {scale[tuple(place)]}", current_loc())
