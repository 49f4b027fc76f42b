"""Handlers that decide a site's value, or whether it is observed, or what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpyro.distributions import Distribution
from numpyro.infer.reparam import Reparam

from plait.compiler.handlers.base import Handler, Model, lookup
from plait.compiler.source import current_loc
from plait.compiler.stack import Site, requested_key
from plait.ir.errors import ModelError


class substitute(Handler):
    """Replaces the values of sites, and the indices of plates; densities still count, sites stay unobserved.

    Args:
        fn: the model.
        data: values by site name; of a site in `jax.lax.scan` stacked over the steps.
        substitute_fn: from a site to its value, or None to leave it.
    """

    def __init__(
        self,
        fn: Model | None = None,
        data: Mapping[str, Any] | None = None,
        substitute_fn: Callable[[Site], Any] | None = None,
    ) -> None:
        super().__init__(fn)
        self._value = lookup("substitute", data, substitute_fn)
        self.gives_stacked = substitute_fn is None

    def process(self, site: Site) -> None:
        value = None if site.is_statement or site.is_factor else self._value(site)
        if value is not None:
            site.value, site.substituted = value, True


class condition(Handler):
    """Makes sites observed at given values; leaves deterministic sites alone.

    Args:
        fn: the model.
        data: values by site name; of a site in `jax.lax.scan` stacked over the steps.
        condition_fn: from a site to its value, or None to leave it.
    """

    def __init__(
        self,
        fn: Model | None = None,
        data: Mapping[str, Any] | None = None,
        condition_fn: Callable[[Site], Any] | None = None,
    ) -> None:
        super().__init__(fn)
        self._value = lookup("condition", data, condition_fn)
        self.gives_stacked = condition_fn is None

    def process(self, site: Site) -> None:
        value = self._value(site) if site.type == "sample" and not site.is_factor else None
        if value is not None:
            site.value, site.is_observed = value, True


class uncondition(Handler):
    """Makes observed sites latent again; ``site.infer["obs"]`` keeps what was observed.

    Args:
        fn: the model.
    """

    def process(self, site: Site) -> None:
        if site.type == "sample" and site.is_observed and not site.is_factor:
            site.infer |= {"was_observed": True, "obs": site.value}
            site.value, site.is_observed = None, False
            if site.rng_key is None:
                site.rng_key = requested_key()


class do(Handler):
    """Intervenes: the program goes on with the given value, the site itself keeps its own value and density.

    Args:
        fn: the model.
        data: values by site name.
    """

    def __init__(self, fn: Model | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(fn)
        self._data = dict(data or {})

    def process(self, site: Site) -> None:
        if site.type == "sample" and site.name in self._data and site.intervention is None:
            site.intervention = self._data[site.name]


class replay(Handler):
    """Gives latent sites and plates' indices the values that they have in a trace, say of a guide.

    Args:
        fn: the model.
        trace: sites by name, as `handlers.trace` records them.
    """

    def __init__(self, fn: Model | None = None, trace: Mapping[str, Any] | None = None) -> None:
        super().__init__(fn)
        if trace is None:
            raise ModelError("replay needs `trace`, the sites that handlers.trace recorded", current_loc())
        self._trace = trace

    def process(self, site: Site) -> None:
        recorded = self._trace.get(site.name)
        if recorded is None or site.type not in ("sample", "plate") or site.is_observed:
            return
        if recorded["type"] != site.type or (site.type == "sample" and recorded["is_observed"]):
            found = "an observed site" if recorded["type"] == "sample" else f"a {recorded['type']}"
            raise ModelError(
                f"site {site.name!r} is a latent {site.type} here and {found} in the trace that replay got",
                current_loc(),
            )
        site.value, site.substituted = recorded["value"], True


class lift(Handler):
    """Turns params into sample sites.

    Args:
        fn: the model.
        prior: one distribution for every param, or distributions by name; params without one stay.
    """

    def __init__(self, fn: Model | None = None, prior: Distribution | Mapping[str, Distribution] | None = None) -> None:
        super().__init__(fn)
        if prior is None:
            raise ModelError("lift needs `prior`, a distribution or a dict of them by param name", current_loc())
        self._prior = prior

    def process(self, site: Site) -> None:
        prior = self._prior.get(site.name) if isinstance(self._prior, Mapping) else self._prior
        if site.type == "param" and prior is not None:
            site.type, site.fn = "sample", prior


class reparam(Handler):
    """Writes sites in other coordinates by a strategy of `numpyro.infer.reparam`.

    Args:
        fn: the model.
        config: strategies by site name, or a function from a site to a strategy or None.
    """

    def __init__(
        self,
        fn: Model | None = None,
        config: Mapping[str, Reparam] | Callable[[Site], Reparam | None] | None = None,
    ) -> None:
        super().__init__(fn)
        if config is None:
            raise ModelError("reparam needs `config`, strategies by site name or a function of the site", current_loc())
        self._strategy = config if callable(config) else lambda site: config.get(site.name)

    def process(self, site: Site) -> None:
        strategy = self._strategy(site) if site.type == "sample" and not site.is_factor else None
        if strategy is None:
            return
        try:  # the strategy's own sites arrive over NumPyro's primitives
            fn, value = strategy(site.name, site.fn, site.value)
        except (AssertionError, ValueError) as e:
            raise ModelError(
                f"site {site.name!r} can't be written by {type(strategy).__name__}: {e}", current_loc()
            ) from e
        if value is not None and fn is None:
            site.type = "deterministic"
        elif value is not None and site.value is None:
            site.is_observed = True
        site.value, site.fn = value, fn
