"""A program whose functions come from a file: what `runtime.program` is for one that was made from graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.explanation import Explanation
from plait.compiler.jax_compat import is_tracer
from plait.compiler.refused_data import Asked, refuse_where_not
from plait.ir.errors import ArtifactError, ModelError, ValueNamesError
from plait.ir.parts import Part
from plait.runtime.artifact.calling import any_axes, at_one, over_points
from plait.runtime.artifact.derivatives import Density, pulled_back, with_derivative
from plait.runtime.artifact.load import Saved
from plait.runtime.artifact.manifest import ProgramRecord
from plait.runtime.artifact.parts import NAMES, OF_DATA, ON_ROWS, UNSCALED
from plait.runtime.artifact.refused_derivatives import without_derivative
from plait.runtime.description import Description
from plait.runtime.functions import BATCH
from plait.runtime.params import packed, refuse_not_allowed, unpacked
from plait.runtime.stage_graph import LAST, TRACED, StageGraph
from plait.runtime.start import find_start
from plait.runtime.tempered import Density as Both
from plait.runtime.tempered import Tempered

Arrays = Sequence[Any]
Jitted = Callable[..., Any]


class LoadedProgram:
    """The whole of a saved model, or a part of its density.

    Args:
        saved: the file.
        name: of the program in it.
        steps: how many rows more than the saved data it is for.
        others: all programs of the file that are in use, by name and steps; each has its compiled functions.
    """

    def __init__(
        self, saved: Saved, name: str, steps: int = 0, others: dict[tuple[str, int], LoadedProgram] | None = None
    ) -> None:
        self.saved = saved
        self.name = name
        self.steps = steps
        self._others = {} if others is None else others
        self._others[name, steps] = self

    @cached_property
    def description(self) -> Description:
        """What it says of itself."""
        return self.saved.about_longer(self.name, self.steps)

    @property
    def model_json(self) -> Mapping[str, Any]:
        """The JSON form of the model graph, the sites that loops made as one each."""
        graphs = self.saved.graphs
        found: Mapping[str, Any] = graphs.get("rolled", graphs["traced"])
        return found

    @property
    def has_source(self) -> bool:
        """Whether the lines that it names are in files that are here."""
        return False

    @property
    def stages(self) -> tuple[StageGraph, ...]:
        """The graphs that the file has: as traced, and after the last pass."""
        graphs, last = self.saved.graphs, self.saved.explanation.passes[-1][0]
        return StageGraph("trace", TRACED, graphs["traced"]), StageGraph(last, LAST, graphs["density"])

    @property
    def _record(self) -> ProgramRecord:
        return self.saved.manifest.programs[self.name]

    def _function(self, name: str) -> Callable[..., Any]:
        return self.saved.function(f"{self.name}/{name}", self.steps)

    def _of_data(self, name: str) -> Callable[..., Any]:
        """A function of data, not of what is prepared: all programs have the same."""
        return self.saved.function(f"{OF_DATA}/{name}", self.steps)

    # -- data -------------------------------------------------------------------------------------------

    def prepared(self, data: Arrays) -> tuple[LoadedProgram, tuple[Any, ...]]:
        """The program that fits the data, and what it knows of them, after they have been checked.

        Data that do not fit the statistics of the host are evaluated row by row; so are data that jax is tracing.

        Raises:
            DataError: the data contradict the model.
        """
        if (steps := self.saved.more_rows(data)) != self.steps:
            return self._other(self.name, steps).prepared(data)
        if steps and not self._record.any_rows:
            return self._on_rows.prepared(data)
        if any(map(is_tracer, data)):
            program = self._on_rows if self._record.kernels else self
            return program, program._assembled(data, program._computed(data), [])
        if self._is_saved(data):
            return self, self.saved.known(self._record.known)
        with jax.ensure_compile_time_eval():
            computed = self._computed(data)
            self._require(computed)
            statistics = self._statistics(data, computed)
            if statistics is None:
                return self._on_rows.prepared(data)
            return self, self._assembled(data, computed, statistics)

    def _is_saved(self, data: Arrays) -> bool:
        own = [self.saved.arrays[i] for i in self.saved.manifest.data]
        return all(x is y for x, y in zip(data, own, strict=True))

    @property
    def _on_rows(self) -> LoadedProgram:
        return self._other(ON_ROWS + self.name, self.steps)

    @cached_property
    def _computed(self) -> Jitted:
        computed = without_derivative(over_points(self._function("computed"), 0), "data")
        return jax.jit(lambda data: computed(tuple(data)))

    @cached_property
    def _assembled(self) -> Jitted:
        return jax.jit(without_derivative(over_points(self._function("assembled"), 0), "data"))

    def _require(self, computed: Arrays) -> None:
        if not self._record.checks:
            return
        found = self._conditions(computed)
        for holds, check in zip(found, self._record.checks, strict=True):
            asked = Asked(check.message, check.event_ndim, check.loc)
            refuse_where_not(np.asarray(holds), np.asarray(computed[check.value]), asked, self.description.families)

    @cached_property
    def _conditions(self) -> Jitted:
        return jax.jit(self._function("conditions"))

    def _statistics(self, data: Arrays, computed: Arrays) -> list[tuple[Any, ...]] | None:
        """Of the host; None where the data do not fit them."""
        kernels = self.saved.kernels_longer(self.name, self.steps)
        if not kernels:
            return []
        from plait.runtime.artifact.statistics import statistics  # imports scipy, which takes 0.3 s

        places = {"data": data, "computed": computed, "array": self.saved.arrays}
        return statistics(kernels, places)

    def uses(self, function: str) -> tuple[int, ...]:
        """The places, among what `prepared` knows of data, of what a function reads."""
        return self._record.uses[function]

    @cached_property
    def observed(self) -> Jitted:
        """Of (data, params)."""
        return jax.jit(over_points(self._of_data("observed"), 0))

    # -- the flat vector --------------------------------------------------------------------------------

    @cached_property
    def density(self) -> Density:
        """The log density with its derivatives, not jitted."""
        if self.description.no_density is not None:
            raise self.description.no_density.error()
        value, both, product = map(self._function, ("log_density", "log_density_and_grad", "hvp"))
        return Density(
            value, both, product, self._function("params_gradient") if self.description.params.arrays else None
        )

    @cached_property
    def log_density(self) -> Jitted:
        """Of (known, params, z)."""
        return jax.jit(self.density.log_density)

    @cached_property
    def log_density_and_grad(self) -> Jitted:
        """Of (known, params, z)."""
        return jax.jit(self.density.log_density_and_grad)

    def jacobians(self, known: Arrays, params: Arrays, z: Any) -> dict[str, Any]:
        """Of (known, params, z): none, as a file has their sum alone."""
        return {}

    @cached_property
    def hessian(self) -> Jitted:
        """Of (known, params, z)."""
        return jax.jit(self.density.hessian)

    @cached_property
    def hvp(self) -> Jitted:
        """Of (known, params, z, v)."""
        return jax.jit(self.density.hvp)

    @cached_property
    def values(self) -> Jitted:
        """Of (known, params, z), with any leading axes of z."""
        return jax.jit(any_axes(pulled_back(self._function("values"), self._function("values_pulled_back"))))

    @cached_property
    def deterministics(self) -> Jitted:
        """Of (known, params, z), with any leading axes of z."""
        both = self._function("deterministics"), self._function("deterministics_pulled_back")
        return jax.jit(any_axes(pulled_back(*both)))

    @cached_property
    def start(self) -> Jitted:
        """Of (known, params, keys)."""

        def many(known: Any, params: Any, keys: Any) -> Any:
            both = partial(self.density.log_density_and_grad, known, params)
            dim = sum(slot.unconstrained.size for slot in self.description.slots)
            return jax.vmap(partial(find_start, both, dim, self.description.dtype))(keys)

        return jax.jit(many)

    # -- constrained values -----------------------------------------------------------------------------

    @cached_property
    def log_joint(self) -> Jitted:
        """Of (known, params, values)."""
        return jax.jit(with_derivative(self._function("log_joint"), self._function("log_joint_and_grad")))

    @cached_property
    def terms(self) -> Jitted:
        """Of (known, params, values)."""
        return jax.jit(self._terms)

    @cached_property
    def _terms(self) -> Callable[..., Any]:
        return at_one(over_points(self._function("terms"), 1), 1)

    @cached_property
    def terms_of_draws(self) -> Jitted:
        """Of (known, params, values stacked n times)."""

        def many(known: Any, params: Any, values: Any) -> Any:
            return jax.lax.map(partial(self._terms, known, params), values, batch_size=BATCH)

        return jax.jit(many)

    def unconstrain(self, data: Arrays, params: Arrays, values: Arrays, axes: int) -> Any:
        """Of (data, params, values), with the same leading axes of all values, as many as `axes` says."""
        lead = jnp.shape(values[0])[:axes] if values else ()
        flat = tuple(jnp.reshape(x, (math.prod(lead), *jnp.shape(x)[axes:])) for x in values)
        z = self._unconstrain(tuple(data), tuple(params), flat)
        return jnp.reshape(z, (*lead, z.shape[-1]))

    @cached_property
    def _unconstrain(self) -> Jitted:
        return jax.jit(over_points(self._of_data("unconstrain"), 1))

    # -- draws ------------------------------------------------------------------------------------------

    def sample(self, data: Arrays, params: Arrays, keys: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Of (data, params, keys (n,), given values stacked n times)."""
        numbers, n = self._key_data(keys), len(keys)
        whole = {name: self._given(name, given.get(name), n) for name in self.description.sites}
        return self._sample(tuple(data), tuple(params), numbers, whole)

    @cached_property
    def _sample(self) -> Jitted:
        return jax.jit(over_points(self._of_data("sample"), 2))

    def _given(self, name: str, value: Any, n: int) -> Any:
        """A site's value and which of its elements are given; of a site that can't be drawn the value alone."""
        dtype = self.saved.manifest.drawn[name]
        shape = (n, *self.description.sites[name])
        if name in self.saved.manifest.given_always:
            if value is None or isinstance(value, tuple):
                loc = self.description.lines.get(name)
                raise ModelError(f"site {name!r} has no draws; give its value, or sample the posterior", loc)
            return jnp.asarray(value, dtype)
        if value is None:
            return jnp.zeros(shape, dtype), jnp.zeros(shape, bool)
        value, counts = value if isinstance(value, tuple) else (value, jnp.ones(shape, bool))
        return jnp.asarray(value, dtype), counts

    def _key_data(self, keys: Any) -> Any:
        if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
            return keys
        impl = str(jax.random.key_impl(keys))
        if impl != self.saved.manifest.key_impl:
            raise ArtifactError(
                f"the model was saved for keys of {self.saved.manifest.key_impl}, and this one is of {impl}: take "
                f"jax.random.key(seed, impl={self.saved.manifest.key_impl!r})"
            )
        return jax.random.key_data(keys)

    @cached_property
    def prior_transform(self) -> Jitted:
        """Of (data, params, u), with any leading axes of u."""
        if self.saved.manifest.no_prior_transform is not None:
            raise self.saved.manifest.no_prior_transform.error()
        return jax.jit(any_axes(over_points(self._of_data("prior_transform"), 1)))

    # -- params -----------------------------------------------------------------------------------------

    def initial_params(self, data: Arrays, key: Any = None) -> tuple[Any, ...]:
        """The arrays of the params' initial values, the random ones drawn with a key."""
        if not self.description.params.arrays:
            return ()
        n = self.saved.manifest.param_keys
        keys = jax.random.split(key, n) if n else jnp.zeros((0, 2), jnp.uint32)
        return tuple(self._of_params("initial_params")(tuple(data), self._key_data(keys)))

    def require_params(self, arrays: Arrays) -> None:
        """Raises ValueNamesError where a param's value does not satisfy its constraint."""
        if any(map(is_tracer, arrays)) or not arrays:
            return
        inside = self._of_params("params_allowed")(tuple(arrays))
        for site, value, holds in zip(self.description.params.arrays, arrays, inside, strict=True):
            refuse_not_allowed(site, np.asarray(value), np.asarray(holds), "is given as", ValueNamesError)

    def transformed_params(self, given: Mapping[str, Any], inverse: bool) -> dict[str, Any]:
        """Params by site moved onto their constraints, or back; what the model does not read stays as it is."""
        sites = self.description.params
        default = [np.ones(site.type.shape, site.type.dtype) for site in sites.arrays]
        arrays = unpacked(sites, given, default)
        name = "params_unconstrained" if inverse else "params_constrained"
        moved = packed(sites, self._of_params(name)(arrays))
        return {name: moved[name] for name in given}

    def _of_params(self, name: str) -> Jitted:
        if name not in self._params:
            self._params[name] = jax.jit(over_points(self._of_data(name), 0))
        return self._params[name]

    @cached_property
    def _params(self) -> dict[str, Jitted]:
        return {}

    # -- other programs ---------------------------------------------------------------------------------

    def of(self, part: Part, data: Arrays | None) -> LoadedProgram:
        """The program whose log density is a part of this one's."""
        rows = ON_ROWS if self.name.startswith(ON_ROWS) else ""
        name = NAMES[part]
        return self._other(rows + name if rows + name in self.saved.manifest.programs else name, self.steps)

    @property
    def unscaled(self) -> LoadedProgram:
        """The program in which each observation counts once."""
        return self._other(UNSCALED, self.steps)

    def _other(self, name: str, steps: int) -> LoadedProgram:
        if (name, steps) not in self._others:
            LoadedProgram(self.saved, name, steps, self._others)
        return self._others[name, steps]

    def tempered(self, prior: LoadedProgram, likelihood: LoadedProgram) -> Tempered:
        """The functions of both, prior + beta · likelihood."""
        parts = (Both(p.density.log_density, p.density.log_density_and_grad) for p in (prior, likelihood))
        return self._tempered.setdefault((prior, likelihood), Tempered(*parts))

    @cached_property
    def _tempered(self) -> dict[tuple[LoadedProgram, LoadedProgram], Tempered]:
        return {}

    def freed(self, names: Collection[str]) -> NoReturn:
        """Refuses: a file has no program in which observed sites are latent."""
        raise ArtifactError(
            f"a loaded model takes no values of observed sites, such as {sorted(names)[0]!r}: bind other data, or "
            "compile the model from its source"
        )

    # -- looking ----------------------------------------------------------------------------------------

    def explain(self, certificate: Any, data: Arrays | None) -> Explanation:
        """What was evaluated when the model was saved."""
        if not self.steps:
            return self.saved.explanation
        note = "this is the plan of the data that were saved, which have another number of rows"
        return replace(self.saved.explanation, notes=(note, *self.saved.explanation.notes))

    def find_nonfinite(self, *_: Any, **__: Any) -> NoReturn:
        """Refuses: it looks into the graph."""
        raise ArtifactError(
            "find_nonfinite looks into the model's graph, which a loaded model has only as a picture: log_prob_terms "
            "of its constrained values has each site's term, or compile the model from its source"
        )

    @property
    def traced(self) -> NoReturn:
        """Refuses, as `model`, `density_graph` and `history` do."""
        raise ArtifactError("a loaded model has its graphs as JSON only: plait show prints them")

    model = density_graph = history = traced


__all__ = ["LoadedProgram"]
