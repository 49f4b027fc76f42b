"""What the trace of a model and of its guide yield for an ELBO, whatever the data: jitted functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.lower.sampler import draw, draw_with_log_prob
from plait.compiler.members import expected_shapes, stacked, unstacked
from plait.compiler.subsampling import drawn_indices, given_indices, is_index
from plait.ir.types import PlateFrame
from plait.runtime import param_values
from plait.runtime.params import unpacked
from plait.runtime.program import Jitted, Program

Arrays = tuple[Any, ...]


class Data(NamedTuple):
    """The data arrays of the model and of the guide, without indices of subsamples."""

    model: Arrays
    guide: Arrays


@dataclass(frozen=True, eq=False, repr=False)
class ElboProgram:
    """Shared by an ELBO and everything that `bind` makes of it, so nothing compiles twice.

    Attributes:
        model: with an input for the indices of each plate `in_model`, after its data.
        guide: likewise; it is only drawn from.
        num_particles: draws of the guide in one estimate.
        plates: the subsampled ones by name.
        in_model: those whose indices come in, in the order of the inputs.
        in_guide: likewise.
        guide_arguments: the name of the guide's argument for each of the model's, None where it is several.
    """

    model: Program
    guide: Program
    num_particles: int
    plates: Mapping[str, PlateFrame]
    in_model: tuple[str, ...]
    in_guide: tuple[str, ...]
    guide_arguments: Mapping[str, str | None]

    @property
    def steps(self) -> int:
        """How many minibatches it takes to see all elements of all plates."""
        return max((-(-(p.full_size or p.size) // p.size) for p in self.plates.values()), default=1)

    def with_indices(self, data: Data, step: int = 0) -> Data:
        """Data with indices: of each plate the `step`-th part of its elements, from the first one again at the end."""

        def of(names: tuple[str, ...]) -> Arrays:
            plates = [self.plates[name] for name in names]
            starts = [step * p.size for p in plates]
            rows = [np.arange(s, s + p.size) % (p.full_size or p.size) for s, p in zip(starts, plates, strict=True)]
            return tuple(jnp.asarray(r) for r in rows)

        return Data((*data.model, *of(self.in_model)), (*data.guide, *of(self.in_guide)))

    # -- params -----------------------------------------------------------------------------------------

    @cached_property
    def constraints(self) -> dict[str, Any]:
        """The constraints of the params by name, the guide's before those that only the model has."""
        return param_values.constraints_of(self.guide.model) | param_values.constraints_of(self.model.model)

    def constrained(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Params on their constraints, of unconstrained ones."""
        return param_values.transformed(self.constraints, params, inverse=False)

    def _params(self, params: Mapping[str, Any]) -> tuple[Arrays, Arrays]:
        """The arrays of the model's and of the guide's params, of unconstrained ones by name."""
        values = self.constrained(params)

        def of(program: Program) -> Arrays:
            sites = program.description.params
            return unpacked(sites, {name: values[name] for name in sites.trees if name in values}, None)

        return of(self.model), of(self.guide)

    # -- estimates --------------------------------------------------------------------------------------

    @cached_property
    def loss(self) -> Jitted:
        """Of (known, data, params, key); `known` is what the model's program knows of the data."""
        return jax.jit(self._with_statistics)

    @cached_property
    def loss_and_grad(self) -> Jitted:
        """Likewise; the gradient is with respect to params."""
        return jax.jit(jax.value_and_grad(self._with_statistics, argnums=2))

    @cached_property
    def loss_of_rows(self) -> Jitted:
        """Of (data, params, key), for data that a jit traces, or of which each particle takes a subsample."""
        return jax.jit(self._of_rows)

    @cached_property
    def loss_and_grad_of_rows(self) -> Jitted:
        """Likewise; the gradient is with respect to params."""
        return jax.jit(jax.value_and_grad(self._of_rows, argnums=1))

    def _with_statistics(self, known: Arrays, data: Data, params: Mapping[str, Any], key: Any) -> Any:
        return self._mean(self.model, lambda arrays: known, data, params, key)

    def _of_rows(self, data: Data, params: Mapping[str, Any], key: Any) -> Any:
        model = self.on_rows
        return self._mean(model, model.lowered.prepare, data, params, key)

    @cached_property
    def on_rows(self) -> Program:
        """The model's program without statistics of the host."""
        return self.model.on_traced_data if self.model.lowered.kernels else self.model

    def _mean(
        self,
        model: Program,
        known_of: Callable[[Arrays], Arrays],
        data: Data,
        params: Mapping[str, Any],
        key: Any,
    ) -> Any:
        """Minus the mean over particles of log joint − log density of the guide."""
        of_model, of_guide = self._params(params)
        function = model.lowered.log_joint

        def particle(key: Any) -> Any:
            drawn = self._drawn(data, of_guide, key)
            known = known_of(drawn.model_data)
            log_joint = function.only([known[i] for i in function.uses], of_model, tuple(drawn.latents.values()))
            return log_joint - sum(jnp.sum(x) for x in drawn.log_probs.values())

        if self.num_particles == 1:
            return -particle(key)
        return -jnp.mean(jax.vmap(particle)(jax.random.split(key, self.num_particles)))

    # -- draws ------------------------------------------------------------------------------------------

    @cached_property
    def draws(self) -> Jitted:
        """Of (data, params, keys (n,)): n draws of the latents, and of the indices by plate."""

        def many(data: Data, params: Mapping[str, Any], keys: Any) -> Any:
            _, of_guide = self._params(params)

            def one(key: Any) -> Any:
                drawn = self._drawn(data, of_guide, key)
                return drawn.indices | drawn.latents

            return jax.vmap(one)(keys)

        return jax.jit(many)

    @cached_property
    def predictions(self) -> Jitted:
        """Likewise, with the model's observed sites and deterministics at these latents."""

        def many(data: Data, params: Mapping[str, Any], keys: Any) -> Any:
            of_model, of_guide = self._params(params)

            def one(key: Any) -> Any:
                guide_key, model_key = jax.random.split(key)
                drawn = self._drawn(data, of_guide, guide_key)
                sites = draw(self.model.model, drawn.model_data, of_model, model_key, drawn.latents)
                reported = given_indices(sites)
                return drawn.indices | reported | {n: x for n, x in sites.items() if not is_index(n)}

            return jax.vmap(one)(keys)

        return jax.jit(many)

    def _drawn(self, data: Data, of_guide: Arrays, key: Any) -> _Drawn:
        """One draw of the guide: a key for the minibatches, one for the sites."""
        index_key, key = jax.random.split(key)
        indices: dict[str, Any] = {
            name: drawn_indices(jax.random.fold_in(index_key, i), plate.full_size or plate.size, plate.size)
            for i, (name, plate) in enumerate(self.plates.items())
        }
        guide_data = (*data.guide, *(indices[name] for name in self.in_guide))
        record, log_probs = draw_with_log_prob(self.guide.model, guide_data, of_guide, key)
        indices |= given_indices(record)
        model_data = (*data.model, *(indices[name] for name in self.in_model))
        return _Drawn(model_data, self._latents(record), log_probs, indices)

    def _latents(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The latents as the model's program takes them, of what the guide drew."""
        mine, theirs = self.model.description.families, self.guide.description.families
        same = {name for name, family in theirs.items() if mine.get(name) == family}
        apart = {name: family for name, family in theirs.items() if name not in same}
        values = unstacked(record, apart)
        shapes = {name: t.shape for name, t in self.model.description.latents.items()}
        given = {name: values[name] for name in expected_shapes(values, shapes, mine)}
        whole = stacked(given, shapes, mine)
        return {name: jnp.asarray(whole[name], t.dtype) for name, t in self.model.description.latents.items()}


class _Drawn(NamedTuple):
    """A draw of the guide."""

    model_data: Arrays  # with the indices
    latents: dict[str, Any]  # by site or family of the model
    log_probs: dict[str, Any]  # of the guide's sites, unsummed
    indices: dict[str, Any]  # by plate
