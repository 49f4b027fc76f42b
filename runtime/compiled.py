"""`CompiledModel`: the one object that users hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to

from plait.compiler.analysis.cells import LayoutChangedError
from plait.compiler.certificate import Certificate
from plait.compiler.control_flow import named_nodes
from plait.compiler.explain import Explanation, explain
from plait.compiler.host_checks import require
from plait.compiler.jax_compat import is_tracer
from plait.compiler.layout import Slot, obstacles
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.lower.sampler import drawn_shapes
from plait.compiler.members import expected_shapes, member_names, member_shapes, member_slots, unstacked
from plait.compiler.nonfinite.report import NonFinite
from plait.compiler.parts import JACOBIAN, LIKELIHOOD, PRIOR, Part
from plait.compiler.variants import observed_names
from plait.compiler.wording import in_words
from plait.ir.errors import InternalError, ModelError, ValueNamesError
from plait.ir.graph import Graph, Node
from plait.ir.ops import Deterministic, Input, Param, Site, Value, array, inputs
from plait.ir.spec import rebuild
from plait.ir.types import Loc, Shape
from plait.runtime import nonfinite, stan
from plait.runtime import params as param_sites
from plait.runtime.boundary import given_sites, latent_values
from plait.runtime.data import rebound_arrays
from plait.runtime.dims import site_dims
from plait.runtime.given import cube_points, draws_shape, flat_vector, one_key, one_number
from plait.runtime.names import flat_names, leading_axes, require_dict
from plait.runtime.program import Program
from plait.runtime.start import RADIUS, TRIES
from plait.runtime.tempered import Tempered

Params = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A model compiled to its log density and its sampler, bound to data. Immutable; `bind` makes another.

    All densities are in nats, pure, and usable inside jit, vmap, grad and scan. Values are given and returned
    in the dtype of their sites.
    """

    _program: Program
    _data: tuple[Any, ...]
    _known: tuple[Any, ...]
    _params: tuple[Any, ...] | None  # None while random initial values have not been drawn
    _params_are_users: bool = False  # given by `with_params`, so they outlive a `bind`
    certificate: Certificate | None = None

    # -- data -------------------------------------------------------------------------------------------

    @classmethod
    def bound(cls, program: Program, data: Sequence[Any]) -> CompiledModel:
        """The program on data: runs `prepare` and the checks on the data."""
        if any(map(is_tracer, data)):
            program = program.on_traced_data if program.lowered.kernels else program
            known = _known(program, data)
        else:
            with jax.ensure_compile_time_eval():  # also where the caller's jit is tracing
                program, known = _checked(program, data)
        params = None if param_sites.are_drawn(program.model) else param_sites.initial(program.model, data)
        return cls(program, tuple(data), known, params)

    def bind(self, **new: Any) -> CompiledModel:
        """This program on other data, by the names of the model's arguments; those not named stay.

        The model is not traced again, and nothing is compiled, unless the new data have more cells than the program has
        room for (see `explain`). Under a caller's jit or vmap over data, checks on values are left out and rows are
        evaluated as they are written.

        Raises:
            BindError: an argument has another shape, dtype, structure or static value; says which.
            DataError: the data contradict the model.
        """
        bound = CompiledModel.bound(self._program, rebound_arrays(self._program.arguments, self._data, new))
        return replace(bound, _params=self._params, _params_are_users=True) if self._params_are_users else bound

    # -- spaces -----------------------------------------------------------------------------------------

    @cached_property
    def dim(self) -> int:
        """Length of the flat unconstrained vector."""
        return sum(slot.unconstrained.size for slot in self._slots)

    @property
    def has_log_density(self) -> bool:
        """Whether there is an unconstrained density: not with a discrete latent, whose `log_joint` works."""
        return self._program.lowered.log_density is not None

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Where each latent sits in the flat vector: name, offset, types of its unconstrained and own value.

        Latents that a Python loop made inside the body of a scan alternate with each other; they have one slot.
        """
        return member_slots(self._slots, self._program.families)

    @property
    def _slots(self) -> tuple[Slot, ...]:
        """Those of sites and families."""
        self._require_density()
        return self._program.lowered.slots

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the flat vector's entries, in its order: ``('mu', 'theta[0]', …)``."""
        return flat_names(self._slots, self._program.families)

    @property
    def param_names(self) -> tuple[str, ...]:
        """Names of the constrained values' entries as Stan and BridgeStan write them: ``mu``, ``theta.1``, ``L.2.1``.

        Indices count from 1, the first one fastest; `param_constrain` gives the values in this order.
        """
        return tuple(n for name, shape in self.shapes.items() for n in stan.column_major(name, shape))

    @property
    def param_unc_names(self) -> tuple[str, ...]:
        """Names of the flat vector's entries in its order, with Stan's indices from 1: `names` in other letters."""
        return flat_names(self._slots, self._program.families, stan.dotted)

    def param_constrain(self, z: Any) -> Any:
        """The constrained values of a flat vector as one vector, in the order of `param_names`.

        Args:
            z: shape (..., dim).

        Returns:
            Shape (..., number of names).
        """
        return stan.joined(self.constrain(z), self.shapes, self.dtype)

    def param_unconstrain(self, theta: Any) -> Any:
        """The flat vector, of shape (..., dim), of constrained values in the order of `param_names`."""
        return self.unconstrain(stan.split(theta, self.shapes))

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the latents' constrained values by site, in the order of the flat vector."""
        return member_shapes(self._shapes, self._program.families)

    @property
    def site_shapes(self) -> dict[str, Shape]:
        """Shapes of the values of all sites that `sample` draws: latents, observed sites, deterministics."""
        return member_shapes(drawn_shapes(self._program.model), self._program.families)

    @property
    def dims(self) -> dict[str, tuple[str | None, ...]]:
        """By site the plates of its value's axes, None for axes of an event or of a scan's steps.

        Latent, observed and deterministic sites, in program order.
        """
        return site_dims(self._program.model, self._program.families)

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """The sites that a loop made, by the name under which their values can be given and taken as one array.

        ``{"theta_*": ("theta_0", "theta_1", …)}``: latent, observed and deterministic sites, in C order of the axes
        of the stacked array that count them. Families of one pattern are numbered: ``y_*``, ``y_*2``.
        """
        return {name: family.names for name, family in self._program.families.items()}

    def constrain(self, z: Any, *, deterministic: bool = False, stacked: bool = False) -> dict[str, Any]:
        """Values by site at a flat vector.

        Args:
            z: shape (..., dim); the leading axes are kept.
            deterministic: whether to add the deterministic sites.
            stacked: whether each of `families` is one array, instead of one for each of its sites.
        """
        self._require_density()
        program, z = self._program, flat_vector(z, self.dim, self.dtype, batched=True)
        functions = [(program.lowered.values, program.values)]
        if deterministic:
            functions.append((program.lowered.deterministics, program.deterministics))
        parts = [(f.results, call(self._for(f), self._given(None), z)) for f, call in functions if f is not None]
        found = {name: values[name] for order, values in parts for name in order}
        return found if stacked else unstacked(found, program.families, z.ndim - 1)

    def unconstrain(self, values: Mapping[str, Any]) -> Any:
        """The flat vector of constrained values: the inverse of `constrain`.

        Args:
            values: by site; leading axes that all of them share are kept.

        Returns:
            Shape (..., dim). Values on the edge of a support give infinities.

        Raises:
            ValueNamesError: a value is missing, unknown, misshaped or outside its support.
        """
        self._require_density()
        expected = expected_shapes(values, self._shapes, self._program.families)
        batch = leading_axes(values, expected, "latent")
        call = self._unconstrain_one
        for _ in batch:
            call = jax.vmap(call)
        z = call(latent_values(self._program, values, expected, batch, self._line_of))
        self._refuse_outside(z)
        return z

    def _refuse_outside(self, z: Any) -> None:
        """A bijector's inverse is NaN outside the support; under a caller's jit nobody can look."""
        if is_tracer(z) or not np.isnan(z).any():
            return
        wrong = np.isnan(z).reshape(-1, self.dim).any(axis=0)
        slot = next(s for s in self._slots if wrong[s.offset : s.offset + s.unconstrained.size].any())
        op = next(op for op in self._graph_with_supports.ops(Value) if op.name == slot.name)
        allowed = in_words(op.support, ["…"] * op.n_leaves)
        name = self.names[int(np.argmax(wrong))].partition("[")[0] if slot.name in self.families else slot.name
        message = f"the value of latent {name!r} is outside its support ({allowed})"
        raise ValueNamesError(message, self._line_of(name))

    def _unconstrain_one(self, ordered: Sequence[Any]) -> Any:
        graph = self._graph_with_supports
        nodes = graph.of(Value)
        given: dict[Node, Any] = dict(zip(inputs(graph, Input.DATA), self._data, strict=True))
        given |= zip(graph.of(Param), self._given(None), strict=True)
        given |= zip(nodes, ordered, strict=True)
        parts = []
        for node, op in zip(nodes, graph.ops(Value), strict=True):
            leaves = evaluate(graph, given, op.leaves(node.args))
            parts.append(jnp.ravel(biject_to(rebuild(op.support, leaves)).inv(given[node])))
        return jnp.concatenate(parts).astype(self.dtype) if parts else jnp.zeros(0, self.dtype)

    # -- densities --------------------------------------------------------------------------------------

    def log_joint(self, values: Mapping[str, Any], params: Params | None = None) -> Any:
        """Log joint density of latents and data at constrained values (nats, a scalar); no Jacobian.

        Args:
            values: every latent by name, in its site's shape. Outside a support the density is -inf. An observed
                site may be named too: the density is then taken at that value instead of the data.
            params: values of `param` sites, default their initial ones.

        Raises:
            ValueNamesError: a value is missing, unknown or misshaped.
        """
        at = self._at(values)
        function = at._program.lowered.log_joint
        return at._program.log_joint(at._for(function), self._given(params), at._ordered(values))

    def log_prob_terms(self, values: Mapping[str, Any], params: Params | None = None) -> dict[str, Any]:
        """Each site's log probability (nats), unsummed over its batch, masked and scaled.

        Args:
            values: as for `log_joint`, whose value is the sum of the terms inside the supports.
            params: values of `param` sites, default their initial ones.
        """
        return self._terms(self._at(values), values, params)

    def log_likelihood(self, values: Mapping[str, Any], params: Params | None = None) -> dict[str, Any]:
        """Pointwise log likelihood (nats) of the observed sites, masked but not scaled: each observation counts once.

        Args:
            values: as for `log_joint`; leading axes (draws) that all of them share are kept.
            params: values of `param` sites, default their initial ones.
        """
        shapes = expected_shapes(values, self._shapes, self._program.families)
        batch = leading_axes(values, shapes, "latent")
        terms = self._terms(self._unscaled, values, params, batch)
        return {name: terms[name] for name in self._observed}

    def _terms(
        self, at: CompiledModel, values: Mapping[str, Any], params: Params | None, batch: Shape = ()
    ) -> dict[str, Any]:
        program, function = at._program, at._program.lowered.terms
        ordered = at._ordered(values, batch)
        if batch:
            flat = [jnp.reshape(x, (math.prod(batch), *x.shape[len(batch) :])) for x in ordered]
            terms = program.terms_of_draws(at._for(function), self._given(params), flat)
            terms = {name: jnp.reshape(x, (*batch, *x.shape[1:])) for name, x in terms.items()}
        else:
            terms = program.terms(at._for(function), self._given(params), ordered)
        return unstacked({name: terms[name] for name in function.results}, program.families, len(batch))

    def log_density(self, z: Any, params: Params | None = None, *, jacobian: bool = True, propto: bool = False) -> Any:
        """Log density of the flat unconstrained vector (nats, a scalar).

        Args:
            z: shape (dim,).
            params: values of `param` sites, default their initial ones.
            jacobian: whether to add log|det| of `constrain`'s Jacobian, which makes it a density of z. Without, its
                mode is that of the constrained values.
            propto: whether to leave addends out that depend neither on z nor on params.
        """
        at = self._summing(jacobian, propto)
        return at._program.log_density(at._density_known, self._given(params), self._vector(z))

    def log_density_and_grad(
        self, z: Any, params: Params | None = None, *, jacobian: bool = True, propto: bool = False
    ) -> tuple[Any, Any]:
        """`log_density` and its gradient, of shape (dim,), in one pass."""
        at = self._summing(jacobian, propto)
        value, grad = at._program.log_density_and_grad(at._density_known, self._given(params), self._vector(z))
        return value, grad

    def hessian(self, z: Any, params: Params | None = None, *, jacobian: bool = True) -> Any:
        """The Hessian of `log_density`, of shape (dim, dim)."""
        at = self._summing(jacobian, False)
        return at._program.hessian(at._density_known, self._given(params), self._vector(z))

    def hvp(self, z: Any, v: Any, params: Params | None = None, *, jacobian: bool = True) -> Any:
        """The Hessian of `log_density` times a vector v of shape (dim,), at the cost of a few gradients."""
        at = self._summing(jacobian, False)
        return at._program.hvp(at._density_known, self._given(params), self._vector(z), self._vector(v))

    def log_prior(self, z: Any, params: Params | None = None, *, jacobian: bool = True) -> Any:
        """Log density of the latents alone (nats, a scalar): of what `sample` draws.

        Args:
            z: shape (dim,).
            params: values of `param` sites, default their initial ones.
            jacobian: as for `log_density`.
        """
        return self._of(PRIOR if jacobian else Part(likelihood=False, jacobian=False)).log_density(z, params)

    def total_log_likelihood(self, z: Any, params: Params | None = None) -> Any:
        """The rest of `log_density`: observed sites and factors, masked and scaled, summed (nats, a scalar).

        `log_likelihood` has it by observation.

        Args:
            z: shape (dim,).
            params: values of `param` sites, default their initial ones.
        """
        return self._of(LIKELIHOOD).log_density(z, params)

    def log_det_jacobian(self, z: Any, params: Params | None = None) -> Any:
        """log|det| of the Jacobian of `constrain` (nats, a scalar): `log_density` with it minus without."""
        return self._of(JACOBIAN).log_density(z, params)

    def tempered_log_density(self, z: Any, beta: Any, params: Params | None = None) -> Any:
        """``log_prior + beta · total_log_likelihood`` (nats, a scalar), with the Jacobian; the prior alone at 0.

        Args:
            z: shape (dim,).
            beta: inverse temperature, a scalar; it may be traced.
            params: values of `param` sites, default their initial ones.
        """
        functions, known = self._tempered
        return functions.log_density(*known, self._given(params), self._vector(z), self._scalar(beta))

    def tempered_log_density_and_grad(self, z: Any, beta: Any, params: Params | None = None) -> tuple[Any, Any]:
        """`tempered_log_density` and its gradient with respect to z, of shape (dim,)."""
        functions, known = self._tempered
        value, grad = functions.log_density_and_grad(*known, self._given(params), self._vector(z), self._scalar(beta))
        return value, grad

    def find_nonfinite(self, at: Any, params: Params | None = None) -> NonFinite | None:
        """The first site, in the order in which the model runs, that makes density or gradient infinite or NaN.

        This is for looking into a failure: it takes seconds.

        Args:
            at: constrained values by name, as for `log_joint`: its terms, supports, and its gradient with respect to
                the latents that are floats. Or the flat vector, of shape (dim,), as for `log_density`: Jacobians too.
            params: values of `param` sites, default their initial ones.

        Returns:
            What is wrong, which prints as a few lines; None where value and gradient are finite.

        Raises:
            ValueNamesError: a value is missing, unknown or misshaped.
        """
        if isinstance(at, Mapping):
            model = self._at(at)
            known = model._for(model._program.lowered.log_joint)
            return nonfinite.at_values(model._program, model._data, known, self._given(params), model._ordered(at))
        known = self._density_known
        return nonfinite.at_flat(self._program, self._data, known, self._given(params), self._vector(at))

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
        known = self._for(self._require_density())
        shape = draws_shape(shape)
        keys = jax.random.split(one_key(key), math.prod(shape))
        points, found = self._program.start(known, self._given(None), keys)
        if not is_tracer(found) and not bool(jnp.all(found)):
            raise ModelError(
                f"no starting point with finite log density and gradient in {TRIES} draws from "
                f"({-RADIUS}, {RADIUS}); look at log_prob_terms at values of your own"
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
        program, sites = self._program, drawn_shapes(self._program.model)
        fixed, lead = given_sites(program, sites, {} if given is None else given, shape, self._line_of)
        keys = jax.random.split(key, math.prod(lead))
        draws = program.sample(self._data, self._given(params), keys, fixed)
        shaped = {name: jnp.reshape(draws[name], lead + draws[name].shape[1:]) for name in sites}
        return unstacked(shaped, program.families, len(lead))

    def prior_transform(
        self, u: Any, *, deterministic: bool = False, stacked: bool = False, params: Params | None = None
    ) -> dict[str, Any]:
        """Values by site at points of the unit cube: if u is uniform, they are draws from the prior of the latents.

        Each latent takes the entries of u at its place in the flat vector, given the latents before it. A univariate
        one rises in its entry; 0 and 1 are the ends of its support. Observed sites, factors and everything else that
        weighs draws are the likelihood. Differentiable inside the cube.

        Args:
            u: shape (..., dim), entries from 0 to 1; the leading axes are kept.
            deterministic: whether to add the deterministic sites.
            stacked: whether each of `families` is one array, instead of one for each of its sites.
            params: values of `param` sites, default their initial ones.

        Raises:
            ModelError: the prior of a latent has no inverse CDF, or is masked or scaled.
            ValueNamesError: u has another shape, or an entry outside [0, 1], which inside a caller's jit gives NaN.
        """
        program, transform = self._program, self._program.prior_transform
        u = cube_points(u, self.dim, self.dtype)
        found = transform(self._data, self._given(params), u)
        order = drawn_shapes(program.model)
        wanted = [*self._shapes, *(name for name in order if deterministic and name not in self._shapes)]
        values = {name: found[name] for name in wanted if name in found}
        return values if stacked else unstacked(values, program.families, u.ndim - 1)

    # -- params -----------------------------------------------------------------------------------------

    @property
    def has_random_params(self) -> bool:
        """Whether a `param` or `module` draws its initial value, so that the densities want ``params=``."""
        return self._params is None

    @property
    def params(self) -> dict[str, Any]:
        """Values of the `param` sites where none are given: each an array, or a module's pytree."""
        return param_sites.packed(self._program.model, self._given(None))

    @property
    def param_shapes(self) -> dict[str, Any]:
        """Shape and dtype of each `param` site: a `jax.ShapeDtypeStruct`, or a module's pytree of them."""
        model = self._program.model
        types = [array(node.type) for node in model.of(Param)]
        return param_sites.packed(model, [jax.ShapeDtypeStruct(t.shape, t.dtype) for t in types])

    def init_param_values(self, key: Any) -> dict[str, Any]:
        """Initial values of the `param` sites, the random ones drawn with `key`."""
        model = self._program.model
        return param_sites.packed(model, param_sites.initial(model, self._data, one_key(key)))

    def constrain_params(self, unconstrained: Params) -> dict[str, Any]:
        """Values of the `param` sites under their constraints, of unconstrained ones: what an optimizer moves."""
        return param_sites.transformed(param_sites.constraints_of(self._program.model), unconstrained, inverse=False)

    def unconstrain_params(self, params: Params) -> dict[str, Any]:
        """The inverse of `constrain_params`."""
        return param_sites.transformed(param_sites.constraints_of(self._program.model), params, inverse=True)

    def with_params(self, params: Params) -> CompiledModel:
        """This model with other default values of its `param` sites.

        Raises:
            ValueNamesError: a site is unknown, or its value has another shape or does not satisfy its constraint.
        """
        arrays = self._given(params)
        param_sites.require_allowed(self._program.model, arrays, "is given as", ValueNamesError)
        return replace(self, _params=arrays, _params_are_users=True)

    # -- looking ----------------------------------------------------------------------------------------

    @property
    def observed_sites(self) -> tuple[str, ...]:
        """The observed sites, in program order."""
        return tuple(self._observed)

    @property
    def data(self) -> dict[str, Any]:
        """The model's data arrays, by argument; those inside a list or dict by their path."""
        return dict(zip(self._program.arguments.names, self._data, strict=True))

    @property
    def observed_data(self) -> dict[str, Any]:
        """The values of the observed sites, in their sites' shapes, as far as data alone decide them."""
        program = self._program
        values = program.observed(self._data, self._given(None) if program.model.of(Param) else ())
        shapes = drawn_shapes(program.model)
        return unstacked({name: values[name] for name in shapes if name in values}, program.families)

    @property
    def graph(self) -> Graph:
        """The model graph, as traced."""
        return self._program.traced

    @property
    def rolled_graph(self) -> Graph:
        """The model graph with the sites that loops made as one site each: what is drawn from."""
        return self._program.model

    @property
    def density_graph(self) -> Graph:
        """The graph after the last pass."""
        return self._program.lowered.graph

    @property
    def history(self) -> tuple[tuple[str, Graph], ...]:
        """(pass, graph after it), the first one ("trace", graph)."""
        return self._program.history

    def explain(self) -> Explanation:
        """What you wrote, what is evaluated, at which cost, and why rows were not fused; print it."""
        data = None if any(map(is_tracer, self._data)) else self._data
        return explain(self._program.history, self.certificate, self._program.notes, data)

    def __repr__(self) -> str:
        latents = ", ".join(f"{name}{list(shape) if shape else ''}" for name, shape in self._shapes.items())
        observed = ", ".join(observed_names(self._program.model))
        return f"CompiledModel(latents: {latents or 'none'}; observed: {observed or 'none'})"

    # -- helpers ----------------------------------------------------------------------------------------

    @cached_property
    def dtype(self) -> Any:
        """The dtype of the flat vector."""
        return self._program.lowered.log_joint.results[""].type.dtype  # type: ignore[union-attr]

    @property
    def _graph_with_supports(self) -> Graph:
        """The graph whose values know their supports and whose bijectors are still ops."""
        return dict(self._program.history)["unconstrain"]

    def _require_density(self) -> Any:
        if self._program.lowered.log_density is None:
            node, why = obstacles(self._graph_with_supports)[0]
            by_hand = ", and you can sum it out by hand in a factor" if "discrete" in why else ""
            raise ModelError(
                f"latent {node.op.label!r} has no unconstrained density: {why}; log_joint works{by_hand}", node.loc
            )
        return self._program.lowered.log_density

    def _for(self, function: Any) -> tuple[Any, ...]:
        """What a function reads of `prepare`'s results."""
        return tuple(self._known[i] for i in function.uses)

    def _of(self, part: Part) -> CompiledModel:
        """This model with a part of its log density."""
        if part not in self._parts:
            self._require_density()
            data = None if any(map(is_tracer, self._data)) else self._data
            bound = CompiledModel.bound(self._program.of(part, data), self._data)
            self._parts[part] = replace(bound, _params=self._params)
        return self._parts[part]

    @cached_property
    def _parts(self) -> dict[Part, CompiledModel]:
        return {}

    def _summing(self, jacobian: bool, propto: bool) -> CompiledModel:
        return self if jacobian and not propto else self._of(Part(jacobian=jacobian, constants=not propto))

    @cached_property
    def _tempered(self) -> tuple[Tempered, tuple[Any, Any]]:
        """The functions, and what prior and likelihood know of the data."""
        prior, likelihood = self._of(PRIOR), self._of(LIKELIHOOD)
        functions = self._program.tempered(prior._program, likelihood._program)
        return functions, (prior._density_known, likelihood._density_known)

    def _scalar(self, beta: Any) -> Any:
        return one_number(beta, self.dtype, "beta")

    @cached_property
    def _density_known(self) -> tuple[Any, ...]:
        """What `log_density` reads of `prepare`'s results."""
        return self._for(self._require_density())

    def _given(self, params: Params | None) -> tuple[Any, ...]:
        if params is not None:
            return param_sites.unpacked(self._program.model, params, self._params)
        if self._params is None:
            raise ModelError(
                "a param has a random initial value: pass params=compiled.init_param_values(key), or fix it with "
                "compiled.with_params(...)"
            )
        return self._params

    def _vector(self, z: Any) -> Any:
        return flat_vector(z, self.dim, self.dtype, batched=False)

    def _at(self, values: Mapping[str, Any]) -> CompiledModel:
        """This model, or the one in which the observed sites that `values` names are free."""
        require_dict(values, "latent")
        named = member_names(list(values), self._program.families)
        free = frozenset(self._observed).intersection(named)
        if not free:
            return self
        if free not in self._with_free:
            self._with_free[free] = CompiledModel.bound(self._program.freed(free), self._data)
        return self._with_free[free]

    @cached_property
    def _with_free(self) -> dict[frozenset[str], CompiledModel]:
        return {}

    @cached_property
    def _unscaled(self) -> CompiledModel:
        """This model with each observation counted once."""
        return CompiledModel.bound(self._program.unscaled, self._data)

    @cached_property
    def _observed(self) -> list[str]:
        """The user's observed sites, in program order."""
        return member_names(observed_names(self._program.model), self._program.families)

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        """Shapes of the latents' constrained values by site or family, in the order of the flat vector."""
        return {name: t.shape for name, t in self._program.latents.items()}

    def _ordered(self, values: Mapping[str, Any], batch: Shape = ()) -> tuple[Any, ...]:
        expected = expected_shapes(values, self._shapes, self._program.families)
        if not values.keys() <= expected.keys():
            deterministic = [op.name for op in self._program.model.ops(Deterministic)]
            computed = [
                n for n in [*deterministic, *member_names(deterministic, self._program.families)] if n in values
            ]
            if computed:
                raise ValueNamesError(
                    f"site {computed[0]!r} is deterministic: the latents decide it, leave it out",
                    self._line_of(computed[0]),
                )
        return latent_values(self._program, values, expected, batch, self._line_of)

    def _line_of(self, site: str) -> Loc | None:
        return next((node.loc for node in named_nodes(self.graph) if site in (node.op.label, *_members(node))), None)


def _known(program: Program, data: Sequence[Any]) -> tuple[Any, ...]:
    """What a program knows of traced data; nobody can look at them."""
    return program.lowered.finished(data, program.computed(tuple(data)))


def _checked(program: Program, data: Sequence[Any]) -> tuple[Program, tuple[Any, ...]]:
    """The program that fits the data, after they have been checked, and what it knows of them."""
    for fitting in program.fitting(data):
        computed = fitting.computed(tuple(data))
        if fitting is program:
            for check, values in zip(program.lowered.checks, program.lowered.checked(computed), strict=True):
                require(check, values, program.families)
        try:
            return fitting, fitting.lowered.finished(data, computed)
        except LayoutChangedError:
            continue
    raise InternalError("a program does not fit the data that it was made for")


def _members(node: Node) -> tuple[str, ...]:
    members = node.op.members if isinstance(node.op, (Site, Deterministic)) else None
    return () if members is None else members.names
