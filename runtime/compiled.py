"""`CompiledModel`: the one object that users hold."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from plait.compiler.jax_compat import is_tracer
from plait.compiler.members import unstacked
from plait.ir.dependence import SiteGraph
from plait.ir.drawing.drawing import Drawing, draw
from plait.ir.drawing.site_graph import site_graph
from plait.ir.errors import BindError, ModelError
from plait.ir.types import Shape
from plait.runtime.bound import Params
from plait.runtime.boundary import given_sites
from plait.runtime.data import rebound_arrays
from plait.runtime.given import cube_points, draws_shape, one_key
from plait.runtime.params import packed
from plait.runtime.progress import OnProgress, reporting
from plait.runtime.stages import Stages
from plait.runtime.start import RADIUS, TRIES

if TYPE_CHECKING:
    from plait.ir.graph import Graph


class CompiledModel(Stages):
    """A model compiled to its log density and its sampler, bound to data. Immutable; `bind` makes another.

    All densities are in nats, pure, and usable inside jit, vmap, grad and scan. Values are given and returned
    in the dtype of their sites.
    """

    # -- data -------------------------------------------------------------------------------------------

    def bind(self, **new: Any) -> CompiledModel:
        """This program on other data, by the names of the model's arguments; those not named stay.

        The model is not traced again, and nothing is compiled, unless the new data have more cells than the program has
        room for (see `explain`). Under a caller's jit or vmap over data, checks on values are left out and rows are
        evaluated as they are written.

        Raises:
            BindError: an argument has another shape, dtype, structure or static value; says which.
            DataError: the data contradict the model.
        """
        bound = CompiledModel.bound(self._program, rebound_arrays(self._about.data, self._data, new))
        if not self._params_are_users:
            return bound
        for site, x in zip(bound._about.params.arrays, self._params or (), strict=True):
            if jnp.shape(x) != site.type.shape:
                raise BindError(
                    f"param {site.name!r} was given values of shape {jnp.shape(x)}, and with these data it has "
                    f"{site.type.shape}: bind the data before with_params, or save the model without it",
                    site.loc,
                )
        return replace(bound, _params=self._params, _params_are_users=True)

    # -- sampling ---------------------------------------------------------------------------------------

    def init_params(self, key: Any, shape: Shape | int = ()) -> Any:
        """Starting points for a sampler: uniform in (-2, 2) with finite density and gradient, as NumPyro's.

        Args:
            key: a jax random key.
            shape: of independent points, such as ``(chains,)``.

        Returns:
            Unconstrained points, of shape ``shape + (dim,)``.

        Raises:
            ModelError: after 100 tries there is no such point.
        """
        known = self._density_known
        shape = draws_shape(shape)
        keys = jax.random.split(one_key(key), math.prod(shape))
        points, found = self._program.start(known, self._given(None), keys)
        if not is_tracer(found) and not bool(jnp.all(found)):
            raise ModelError(
                f"no starting point with finite log density and gradient in {TRIES} draws from "
                f"({-RADIUS}, {RADIUS}); find_nonfinite(z) says why there is none at a z"
            )
        return jnp.reshape(points, (*shape, self.dim))

    def sample(
        self, key: Any, shape: Shape | int = (), *, given: Mapping[str, Any] | None = None, params: Params | None = None
    ) -> dict[str, Any]:
        """Draws from the model: the prior, or with ``given=`` posterior draws the posterior predictive.

        Factors and masks do not change draws.

        Args:
            key: a jax random key.
            shape: of independent draws; goes before every site's shape.
            given: values of sites that are not drawn, of their shapes or with leading axes (draws) that all
                of them share.
            params: values of `param` sites, default their initial ones.

        Returns:
            By name, of shape ``shape + leading axes + site``: latents, observed sites (replicates, not the
            data), deterministics.

        Raises:
            ModelError: a site has no draws, such as an improper prior that is not given.
            ValueNamesError: `given` has an unknown or misshaped entry.
        """
        shape, key = draws_shape(shape), one_key(key)
        fixed, lead = given_sites(self._about, {} if given is None else given, shape)
        keys = jax.random.split(key, math.prod(lead))
        draws = self._program.sample(self._data, self._given(params), keys, fixed)
        shaped = {name: jnp.reshape(draws[name], lead + draws[name].shape[1:]) for name in self._about.sites}
        return unstacked(shaped, self._about.families, len(lead))

    def prior_transform(
        self, u: Any, *, deterministic: bool = False, stacked: bool = False, params: Params | None = None
    ) -> dict[str, Any]:
        """Values by site at points of the unit cube: if u is uniform, they are draws from the prior of the latents.

        Each latent takes the entries of u at its place in the flat vector, given the latents before it. A univariate
        one rises in its entry; 0 and 1 are the ends of its support. Observed sites, factors and everything else that
        weighs draws are the likelihood. Differentiable inside the cube; where infinite ends meet in a later site, as
        0 · ∞, that one is NaN.

        Args:
            u: shape (..., dim), entries from 0 to 1; the leading axes are kept.
            deterministic: whether to add the deterministic sites.
            stacked: whether each of `families` is one array, instead of one for each of its sites.
            params: values of `param` sites, default their initial ones.

        Raises:
            ModelError: the prior of a latent has no inverse CDF, or is masked or scaled.
            ValueNamesError: u has another shape, or an entry outside [0, 1], which inside a caller's jit gives NaN.
        """
        transform = self._program.prior_transform
        u = cube_points(u, self.dim, self.dtype)
        found = transform(self._data, self._given(params), u)
        wanted = [*self._shapes, *(name for name in self._about.sites if deterministic and name not in self._shapes)]
        values = {name: found[name] for name in wanted if name in found}
        return values if stacked else unstacked(values, self._about.families, u.ndim - 1)

    # -- params -----------------------------------------------------------------------------------------

    @property
    def has_random_params(self) -> bool:
        """Whether a `param` or `module` draws its initial value, so that the densities want ``params=``."""
        return self._params is None

    @property
    def params(self) -> dict[str, Any]:
        """Values of the `param` sites where none are given: each an array, or a module's pytree."""
        return packed(self._about.params, self._given(None))

    @property
    def param_shapes(self) -> dict[str, Any]:
        """Shape and dtype of each `param` site: a `jax.ShapeDtypeStruct`, or a module's pytree of them."""
        sites = self._about.params
        return packed(sites, [jax.ShapeDtypeStruct(site.type.shape, site.type.dtype) for site in sites.arrays])

    def init_param_values(self, key: Any) -> dict[str, Any]:
        """Initial values of the `param` sites, the random ones drawn with `key`."""
        return packed(self._about.params, self._program.initial_params(self._data, one_key(key)))

    def constrain_params(self, unconstrained: Params) -> dict[str, Any]:
        """Values of the `param` sites under their constraints, of unconstrained ones: what an optimizer moves."""
        return self._program.transformed_params(unconstrained, inverse=False)

    def unconstrain_params(self, params: Params) -> dict[str, Any]:
        """The inverse of `constrain_params`."""
        return self._program.transformed_params(params, inverse=True)

    def with_params(self, params: Params) -> CompiledModel:
        """This model with other default values of its `param` sites.

        Raises:
            ValueNamesError: a site is unknown, or its value has another shape or does not satisfy its constraint.
        """
        arrays = self._given(params)
        self._program.require_params(arrays)
        return replace(self, _params=arrays, _params_are_users=True)

    # -- looking ----------------------------------------------------------------------------------------

    @property
    def observed_sites(self) -> tuple[str, ...]:
        """The observed sites, in program order."""
        return tuple(self._observed)

    @property
    def data(self) -> dict[str, Any]:
        """The model's data arrays, by argument; those inside a list or dict by their path."""
        return dict(zip(self._about.data.names, self._data, strict=True))

    @property
    def observed_data(self) -> dict[str, Any]:
        """The values of the observed sites, in their sites' shapes, as far as data alone decide them."""
        about = self._about
        values = self._program.observed(self._data, self._given(None) if about.params.arrays else ())
        return unstacked({name: values[name] for name in about.sites if name in values}, about.families)

    @property
    def graph(self) -> Graph:
        """The model graph, as traced."""
        return self._program.traced

    @cached_property
    def site_graph(self) -> SiteGraph:
        """Which site depends on which: parents, Markov blankets, plates, d-separation. Sites of a loop are one."""
        return SiteGraph(site_graph(self._program.model_json))

    @property
    def rolled_graph(self) -> Graph:
        """The model graph with the sites that loops made as one site each: what is drawn from."""
        return self._program.model

    @property
    def density_graph(self) -> Graph:
        """The graph after the last pass."""
        return self._program.density_graph

    @property
    def history(self) -> tuple[tuple[str, Graph], ...]:
        """(pass, graph after it), the first one ("trace", graph)."""
        return self._program.history

    def draw(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        detail: str = "sites",
        shapes: bool = False,
        format: str | None = None,  # noqa: A002
    ) -> Drawing:
        """A picture of the model: its sites with their distributions, plates as boxes, observed sites shaded.

        Sites that a loop made are one. Nothing is traced or run for it. In a notebook a drawing shows itself, and so
        does the model; ``print`` shows it as text.

        Args:
            path: of a file to write it to; what it ends in says the format: .svg, .png, .dot, .mmd, .json or .txt.
            detail: "sites", "code" (sites and the deterministic code between them) or "equations" (every node).
            shapes: whether sites say dtype, shape and support.
            format: svg, png, dot, mermaid, json or text, where `path` does not say it.

        Returns:
            The drawing; ``.svg``, ``.png``, ``.dot``, ``.mermaid`` and ``.text`` are its formats.

        Raises:
            OptionError: there is no such detail or format.
            DrawingError: there is no font for a PNG, or Graphviz can't lay the picture out.
            OSError: the file can't be written; what was there before stays.
        """
        model, supports = self._program.model_json, self._about.allowed
        return draw(model, path, detail=detail, shapes=shapes, format=format, supports=supports)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    # -- files ------------------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
        rows: Sequence[str] = (),
        progress: bool | OnProgress = True,
    ) -> None:
        """Writes the model with its data to a file, from which `plait.load` makes it again, without its source.

        Args:
            path: of the file, which is replaced in one step.
            platforms: that the model is to run on: of "cpu", "cuda", "rocm" and "tpu".
            rows: names of data, such as ("x", "y"), of which the loaded model takes another number of rows, the same
                for all. The model is compiled on several, so that it is known what the number decides.
            progress: as for samplers.

        Raises:
            ArtifactError: something of the model has no form in a file; there is no code of it for a platform, or none
                for any number of rows.
            OptionError: `rows` names no data, or such of different lengths; a platform is unknown.
            OSError: the file can't be written; what was there before stays.
        """
        from plait.runtime.artifact.save import save

        with reporting(progress) as report:
            save(self, Path(path), platforms, (rows,) if isinstance(rows, str) else tuple(rows), report)

    def __repr__(self) -> str:
        latents = ", ".join(f"{name}{list(shape) if shape else ''}" for name, shape in self._shapes.items())
        observed = ", ".join(self._about.observed)
        return f"CompiledModel(latents: {latents or 'none'}; observed: {observed or 'none'})"
