"""Draws and what belongs to them as ArviZ holds them, before and from its 1.0."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from plait.ir.errors import ModelError, ValueNamesError
from plait.ir.names import unknown_names
from plait.runtime.compiled import CompiledModel
from plait.runtime.description import Dims
from plait.runtime.draws import Draws
from plait.runtime.extras import optional
from plait.runtime.given import one_key

Values = Mapping[str, np.ndarray]

MOST_BYTES = 2**32  # of a log likelihood: what a laptop still holds beside the draws


def to_arviz(
    draws: Draws,
    compiled: CompiledModel | None = None,
    *,
    key: Any = None,
    prior_draws: int = 500,
    log_likelihood: bool = True,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """The draws as ArviZ holds them: InferenceData before its 1.0, a DataTree from then on.

    Groups: posterior (deterministics included) and sample_stats; with the model observed_data, constant_data and
    log_likelihood; with a key, too, posterior_predictive, prior and prior_predictive. The axes of plates have the
    plates' names. ArviZ's files have no ``/`` in names: a scoped site ``a/b`` is called ``a.b``.

    Args:
        draws: of a sampler.
        compiled: the model that they were drawn from.
        key: a jax random key for what is predicted.
        prior_draws: how many draws of the prior; 0 for none.
        log_likelihood: whether to add the log likelihood of each observation (nats), unscaled: draws × observations
            numbers. Factors are no observations, and a masked one has 0.
        coords: by plate, or name of `dims`, the labels of its elements, default 0, 1, …
        dims: by site the names of its axes, all of them, where the plates' are not what you want or events have some.

    Raises:
        MissingExtraError: arviz is not installed.
        ModelError: a site has no prior draws (`prior_draws=0` does without), or the log likelihood is too large.
        ValueNamesError: `coords` has an unknown plate, or not as many labels as it has elements; `dims` an unknown
            site, or not as many names as it has axes.
    """
    if compiled is None:
        if key is not None or coords or dims:
            raise ValueError("key, coords and dims need the model: to_arviz(draws, compiled, ...)")
        return _made({"posterior": draws.values, "sample_stats": draws.stats}, {}, {}, _attributes(draws))
    groups = {
        "posterior": draws.values,
        "sample_stats": draws.stats,
        "observed_data": _on_host(compiled.observed_data),
        "constant_data": constant_data(compiled),
        "log_likelihood": log_likelihood_of(draws, compiled) if log_likelihood else {},
    }
    if key is not None:
        groups |= predictions(draws, compiled, key, prior_draws)
    axes = compiled.dims | _own_dims(compiled, dims or {})
    labels = _labels(compiled, axes, coords or {})
    return _made(groups, _named_axes(axes, groups, labels), labels, _attributes(draws))


def constant_data(compiled: CompiledModel) -> dict[str, np.ndarray]:
    """The model's data arrays that are not the value of an observed site of that name."""
    observed = compiled.observed_sites
    return {name: x for name, x in _on_host(compiled.data).items() if name not in observed}


def log_likelihood_of(draws: Draws, compiled: CompiledModel) -> dict[str, np.ndarray]:
    """By observed site (chains, draws, *site), in nats, unscaled."""
    if not log_likelihood_fits(draws, compiled):
        observations, size = _log_likelihood_size(draws, compiled)
        raise ModelError(
            f"the log likelihood of {draws.chains * draws.draws:,} draws × {observations:,} observations takes "
            f"{size / 2**30:.0f} GiB: pass log_likelihood=False, or fewer draws"
        )
    return _on_host(compiled.log_likelihood({name: draws.values[name] for name in compiled.shapes}))


def log_likelihood_fits(draws: Draws, compiled: CompiledModel) -> bool:
    """Whether `log_likelihood_of` has a size that can be held."""
    return _log_likelihood_size(draws, compiled)[1] <= MOST_BYTES


def _log_likelihood_size(draws: Draws, compiled: CompiledModel) -> tuple[int, int]:
    """Observations, and bytes for all draws."""
    observations = sum(math.prod(compiled.site_shapes[name]) for name in compiled.observed_sites)
    return observations, observations * draws.chains * draws.draws * np.dtype(compiled.dtype).itemsize


def predictions(draws: Draws, compiled: CompiledModel, key: Any, prior_draws: int) -> dict[str, Values]:
    """Draws of the observed sites given the posterior, and of all sites from the prior (one chain)."""
    posterior_key, prior_key = jax.random.split(one_key(key))
    latents = {name: draws.values[name] for name in compiled.shapes}
    observed = list(compiled.observed_sites)
    replicated = compiled.sample(posterior_key, given=latents)
    groups: dict[str, Values] = {"posterior_predictive": _on_host({n: replicated[n] for n in observed})}
    if prior_draws:
        prior = _on_host(compiled.sample(prior_key, (1, prior_draws)))
        groups["prior"] = {name: x for name, x in prior.items() if name not in observed}
        groups["prior_predictive"] = {name: prior[name] for name in observed}
    return groups


# -- axes -----------------------------------------------------------------------------------------------


def _own_dims(compiled: CompiledModel, dims: Mapping[str, Sequence[str]]) -> dict[str, Dims]:
    shapes = compiled.site_shapes
    unknown_names(dims.keys(), list(shapes), "site")
    for name, axes in dims.items():
        if isinstance(axes, str) or len(axes) != len(shapes[name]):
            raise ValueNamesError(f"site {name!r} has shape {shapes[name]}, got the names {axes!r} for its axes")
    return {name: tuple(axes) for name, axes in dims.items()}


def _labels(
    compiled: CompiledModel, axes: Mapping[str, Dims], coords: Mapping[str, Sequence[Any]]
) -> dict[str, np.ndarray]:
    """The labels of each plate's elements; not of a plate that has several sizes."""
    sizes: dict[str, set[int]] = {}
    shapes = compiled.site_shapes
    for name, dims in axes.items():
        for plate, n in zip(dims, shapes[name], strict=True):
            if plate is not None:
                sizes.setdefault(plate, set()).add(n)
    one_size = {plate: found.pop() for plate, found in sizes.items() if len(found) == 1}
    unknown_names(coords.keys(), list(one_size), "plate")
    for plate, labels in coords.items():
        if len(labels) != one_size[plate]:
            raise ValueNamesError(f"plate {plate!r} has {one_size[plate]} elements, got {len(labels)} labels")
    return {plate: np.asarray(coords.get(plate, np.arange(n))) for plate, n in one_size.items()}


def _named_axes(
    dims: Mapping[str, Dims], groups: Mapping[str, Values], labels: Collection[str]
) -> dict[str, list[str]]:
    """The names of all axes after those of chains and draws, by variable."""
    return {
        name: [axis if axis is not None and axis in labels else f"{name}_dim_{i}" for i, axis in enumerate(axes)]
        for name, axes in dims.items()
        if any(name in group for group in groups.values())
    }  # fmt: skip


def _attributes(draws: Draws) -> dict[str, Any]:
    """What ArviZ keeps beside the draws."""
    found: dict[str, Any] = {"inference_library": "plait", "inference_library_version": version("plait")}
    if draws.log_evidence is not None:
        found["log_evidence"] = draws.log_evidence
    if draws.log_evidence_error is not None:
        found["log_evidence_error"] = draws.log_evidence_error
    return found


def _made(
    groups: Mapping[str, Values],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> Any:
    az = installed_arviz()
    named = {
        group: {_in_file(name): x for name, x in values.items()} for group, values in groups.items() if values
    }  # fmt: skip
    axes = {_in_file(name): list(map(_in_file, of_one)) for name, of_one in dims.items()}
    labels = {_in_file(plate): x for plate, x in coords.items()}
    with quiet():
        if before_1(az):
            found = az.from_dict(**named, dims=axes, coords=labels)
        else:
            found = az.from_dict(named, dims=axes, coords=labels)
        found["posterior"].attrs.update(attributes)
        return found


def _in_file(name: str) -> str:
    return name.replace("/", ".")


def _on_host(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(x) for name, x in values.items()}


# -- ArviZ ----------------------------------------------------------------------------------------------


def installed_arviz() -> Any:
    """The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    with quiet():  # 0.23 announces its own 1.0 at import
        return optional("arviz")


def before_1(az: Any) -> bool:
    """Whether it has InferenceData instead of DataTree."""
    return int(az.__version__.partition(".")[0]) < 1


@contextmanager
def quiet() -> Iterator[None]:
    """Without ArviZ's warnings, above all of single chains and constant entries: those cells are NaN."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # ArviZ's logger is its own object, which no name finds
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


__all__ = ["before_1", "installed_arviz", "log_likelihood_fits", "quiet", "to_arviz"]
