"""`CompiledModel`: the one object that users hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to

from plait.compiler.certify import Certificate
from plait.compiler.explain import Explanation, explain
from plait.compiler.jax_compat import is_tracer
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.passes.unconstrain import Slot, obstacles
from plait.ir.errors import DataError, ModelError
from plait.ir.graph import Graph, Node
from plait.ir.ops import Deterministic, Observe, Param, Sample, Scan, Value
from plait.ir.spec import rebuild
from plait.ir.types import Shape
from plait.runtime import names
from plait.runtime.data import rebound_arrays
from plait.runtime.program import Program, initial_params

INIT_TRIES = 100  # NumPyro's bound on the search for a start with finite density and gradient
INIT_RADIUS = 2.0  # and its distance from 0, as in Stan


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
    certificate: Certificate | None = None

    # -- making ---------------------------------------------------------------------------------------

    @classmethod
    def bound(cls, program: Program, data: Sequence[Any]) -> CompiledModel:
        """The program on data: runs `prepare` and the checks on the data."""
        known, flags = program.prepare(tuple(data))
        for node, ok in zip(program.lowered.checks, flags, strict=True):
            if not is_tracer(ok) and not ok:
                raise _data_error(program, node, data)
        params = None if program.needs_key else initial_params(program, data, {})
        return cls(program, tuple(data), known, params)

    def bind(self, **new: Any) -> CompiledModel:
        """This program on other data, by the names of the model's arguments; those not named stay.

        Nothing is traced or compiled. Under a caller's jit or vmap over data, checks on values are left out.

        Raises:
            BindError: an argument has another shape, dtype, structure or static value; says which.
            DataError: the data contradict the model.
        """
        return CompiledModel.bound(self._program, rebound_arrays(self._program.arguments, self._data, new))

    def _with(self, **changes: Any) -> CompiledModel:
        return replace(self, **changes)

    # -- spaces ---------------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Length of the flat unconstrained vector."""
        self._require_density()
        return sum(slot.unconstrained.size for slot in self._program.lowered.slots)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Where each latent sits in the flat vector: name, offset, types of its unconstrained and its own value."""
        self._require_density()
        return self._program.lowered.slots

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the flat vector's entries, in program order: ``('mu', 'theta[0]', …)``."""
        self._require_density()
        return names.flat_names(self._program.lowered.slots)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the latents' constrained values, by site."""
        return {n.op.name: n.type.shape for n in self._program.latents}  # type: ignore[attr-defined, union-attr]

    def constrain(self, z: Any, *, deterministic: bool = False) -> dict[str, Any]:
        """Values by site at a flat vector.

        Args:
            z: shape (..., dim); the leading axes are kept.
            deterministic: whether to add the deterministic sites.
        """
        function = self._require_density().constrain
        known = self._program.known_for(function, self._known)
        z = self._flat(z)
        call = lambda v: self._program.constrain(known, self._params_given(None), v)  # noqa: E731
        for _ in range(z.ndim - 1):
            call = jax.vmap(call)
        values, named = call(z)
        return {**values, **named} if deterministic else dict(values)

    def unconstrain(self, values: Mapping[str, Any]) -> Any:
        """The flat vector of constrained values: the inverse of `constrain`.

        Args:
            values: by site; leading axes that all of them share are kept.

        Returns:
            Shape (..., dim). Values on the edge of a support give infinities.
        """
        self._require_density()
        expected = self.shapes
        batch = _leading(values, expected)
        ordered = names.ordered_values(values, expected, "latent", batch)
        call = self._unconstrain_one
        for _ in batch:
            call = jax.vmap(call)
        return call(ordered)

    def _unconstrain_one(self, ordered: list[Any]) -> Any:
        graph = _last_with_values(self._program.history)
        nodes = graph.of(Value)
        data = zip((n for n in graph if n.op.mnemonic == "input" and n.op.kind == "data"), self._data, strict=True)  # type: ignore[attr-defined]
        given: dict[Node, Any] = dict(data)
        given |= zip(graph.of(Param), self._params_given(None), strict=True)
        given |= zip(nodes, self._cast(ordered), strict=True)
        parts = []
        for node in nodes:
            op = node.op
            assert isinstance(op, Value)
            leaves = evaluate(graph, given, op.leaves(node.args))
            parts.append(jnp.ravel(biject_to(rebuild(op.support, leaves)).inv(given[node])))
        dtype = self._z_dtype
        return jnp.concatenate(parts).astype(dtype) if parts else jnp.zeros(0, dtype)

    # -- densities ------------------------------------------------------------------------------------

    def log_joint(self, values: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> Any:
        """Log joint density of latents and data at constrained values (nats, a scalar); no Jacobian.

        Args:
            values: every latent by name, in its site's shape. Outside a support the density is -inf.
            params: values of `param` sites, default their initial ones.

        Raises:
            ValueNamesError: a value is missing, unknown or misshaped.
        """
        known = self._program.known_for(self._program.lowered.log_joint, self._known)
        return self._program.log_joint(known, self._params_given(params), self._ordered(values))

    def log_prob_terms(self, values: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Each site's log probability, unsummed over its batch, masked and scaled; they sum to `log_joint`."""
        known = self._program.known_for(self._program.lowered.terms, self._known)
        return dict(self._program.terms(known, self._params_given(params), self._ordered(values)))

    def log_density(self, z: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Log density of the flat unconstrained vector, with the Jacobian of `constrain` (nats, a scalar).

        Args:
            z: shape (dim,).
            params: values of `param` sites, default their initial ones.
        """
        known = self._program.known_for(self._require_density().log_density, self._known)
        return self._program.log_density(known, self._params_given(params), self._vector(z))

    def log_density_and_grad(self, z: Any, params: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
        """`log_density` and its gradient, of shape (dim,), in one pass."""
        known = self._program.known_for(self._require_density().log_density, self._known)
        return self._program.log_density_and_grad(known, self._params_given(params), self._vector(z))  # type: ignore[no-any-return]

    # -- sampling -------------------------------------------------------------------------------------

    def init_params(self, key: Any, shape: Shape = ()) -> Any:
        """Starting points for a sampler: uniform in (-2, 2) with finite density and gradient, as NumPyro's.

        Args:
            key: a jax random key.
            shape: of independent points, such as ``(chains,)``.

        Returns:
            Shape ``shape + (dim,)``.

        Raises:
            ModelError: after 100 tries there is no such point.
        """
        n = int(np.prod(shape, dtype=int))
        points, found = jax.vmap(self._start)(jax.random.split(key, n))
        if not is_tracer(found) and not bool(jnp.all(found)):
            raise ModelError(
                f"no starting point with finite log density and gradient in {INIT_TRIES} draws from "
                f"({-INIT_RADIUS}, {INIT_RADIUS}); look at log_prob_terms at your own values"
            )
        return jnp.reshape(points, (*shape, self.dim))

    def _start(self, key: Any) -> tuple[Any, Any]:
        def usable(z: Any) -> Any:
            value, grad = self.log_density_and_grad(z)
            return jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))

        def propose(key: Any) -> Any:
            return jax.random.uniform(key, (self.dim,), self._z_dtype, -INIT_RADIUS, INIT_RADIUS)

        def again(state: Any) -> Any:
            i, key, _, _ = state
            key, sub = jax.random.split(key)
            z = propose(sub)
            return i + 1, key, z, usable(z)

        first = (0, key, jnp.zeros(self.dim, self._z_dtype), jnp.asarray(False))
        _, _, z, ok = jax.lax.while_loop(lambda s: ~s[3] & (s[0] < INIT_TRIES), again, first)
        return z, ok

    def sample(self, key: Any, shape: Shape = (), *, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Draws from the model: the prior, or with ``given=`` posterior draws the posterior predictive.

        Factors and masks do not change draws.

        Args:
            key: a jax random key.
            shape: of independent draws; goes before every site's shape.
            given: values of sites that are not drawn, of their shapes or with leading axes (draws) that all
                of them share.

        Returns:
            By name, of shape ``shape + leading axes + site``: latents, observed sites (replicates, not the
            data), deterministics.

        Raises:
            ModelError: a site has no draws, such as an improper prior that is not given.
            ValueNamesError: `given` has an unknown or misshaped entry.
        """
        sites = _drawn_shapes(self._program.model)
        given = dict(given or {})
        names.unknown_names(given.keys(), list(sites), "site")
        known = {k: sites[k] for k in given}
        batch = _leading(given, known)
        names.ordered_values(given, known, "site", batch)
        shape = tuple(shape)
        total = int(np.prod(shape + batch, dtype=int))
        repeated = {
            k: jnp.reshape(jnp.broadcast_to(v, shape + batch + sites[k]), (total, *sites[k])) for k, v in given.items()
        }
        draws = self._program.sample(self._data, self._params_or_drawn(), jax.random.split(key, total), repeated)
        return {k: jnp.reshape(v, shape + batch + v.shape[1:]) for k, v in draws.items()}

    # -- params ---------------------------------------------------------------------------------------

    @property
    def has_random_params(self) -> bool:
        """Whether a `param` or `module` draws its initial value, so that the densities want ``params=``."""
        return self._params is None

    @property
    def params(self) -> dict[str, Any]:
        """Initial values of the `param` sites, each an array or a module's pytree."""
        return self._packed(self._params_given(None))

    def init_param_values(self, key: Any) -> dict[str, Any]:
        """Initial values of the `param` sites, the random ones drawn with `key`."""
        return self._packed(self._drawn_params(key))

    def _drawn_params(self, key: Any) -> tuple[Any, ...]:
        inputs = [n.op.name for n in self._program.model if n.op.mnemonic == "input" and n.op.kind == "key"]  # type: ignore[attr-defined]
        keys = dict(zip(inputs, jax.random.split(key, max(len(inputs), 1)), strict=False))
        return initial_params(self._program, self._data, keys)

    def _params_or_drawn(self) -> tuple[Any, ...]:
        return self._drawn_params(jax.random.key(0)) if self._params is None else self._params

    def _params_given(self, params: Mapping[str, Any] | None) -> tuple[Any, ...]:
        if params is None:
            if self._params is None:
                raise ModelError(
                    "a param has a random initial value: pass params=compiled.init_param_values(key), or fix them "
                    "with compiled.with_params(...)"
                )
            return self._params
        known = list(dict.fromkeys(n.op.name for n in self._program.params))  # type: ignore[attr-defined]
        names.unknown_names(params.keys(), known, "param")
        flat = {name: iter(jax.tree.leaves(params[name])) for name in params}
        defaults = self._params or (None,) * len(self._program.params)
        return tuple(
            _param_leaf(node, flat.get(node.op.name), default)  # type: ignore[attr-defined]
            for node, default in zip(self._program.params, defaults, strict=True)
        )

    def with_params(self, params: Mapping[str, Any]) -> CompiledModel:
        """This model with other default values of its `param` sites."""
        return self._with(_params=self._params_given(params))

    def _packed(self, flat: Sequence[Any]) -> dict[str, Any]:
        grouped: dict[str, list[Any]] = {}
        trees: dict[str, Any] = {}
        for node, value in zip(self._program.params, flat, strict=True):
            assert isinstance(node.op, Param)
            grouped.setdefault(node.op.name, []).append(value)
            trees[node.op.name] = node.op.treedef
        return {name: jax.tree.unflatten(trees[name], leaves) for name, leaves in grouped.items()}

    # -- looking ----------------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """The model graph, as traced."""
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
        """What each term costs, at which stage; print it."""
        return explain(self._program.history, self.certificate)

    def __repr__(self) -> str:
        latents = ", ".join(f"{name}{list(shape) if shape else ''}" for name, shape in self.shapes.items())
        observed = ", ".join(n.op.name for n in self.graph.of(Observe))  # type: ignore[attr-defined]
        return f"CompiledModel(latents: {latents or 'none'}; observed: {observed or 'none'})"

    # -- helpers ----------------------------------------------------------------------------------------

    def _require_density(self) -> Any:
        lowered = self._program.lowered
        if lowered.log_density is None:
            graph = _last_with_values(self._program.history)
            node, why = obstacles(graph)[0]
            raise ModelError(
                f"latent {node.op.name!r} has no unconstrained density: {why}; use log_joint, or marginalize it",  # type: ignore[attr-defined]
                node.loc,
            )
        return lowered

    @property
    def _z_dtype(self) -> Any:
        (z,) = [n for n in self.density_graph if n.op.mnemonic == "input" and n.op.kind == "flat"] or [None]  # type: ignore[attr-defined]
        return jnp.zeros(0).dtype if z is None else z.type.dtype  # type: ignore[union-attr]

    def _flat(self, z: Any) -> Any:
        z = jnp.asarray(z, self._z_dtype)
        if z.ndim < 1 or z.shape[-1] != self.dim:
            raise names.ValueNamesError(f"the flat vector has shape (…, {self.dim}), got {z.shape}")
        return z

    def _vector(self, z: Any) -> Any:
        if jnp.shape(z) != (self.dim,):
            raise names.ValueNamesError(
                f"the flat vector has shape ({self.dim},), got {jnp.shape(z)}; use jax.vmap for several"
            )
        return z if getattr(z, "dtype", None) == self._z_dtype else jnp.asarray(z, self._z_dtype)

    def _ordered(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return self._cast(names.ordered_values(values, self.shapes, "latent"))

    def _cast(self, ordered: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            jnp.asarray(v, n.type.dtype)  # type: ignore[union-attr]
            for v, n in zip(ordered, self._program.latents, strict=True)
        )


def _last_with_values(history: Sequence[tuple[str, Graph]]) -> Graph:
    """The graph whose values still know their supports as ops."""
    return dict(history)["unconstrain"]


def _param_leaf(node: Node, leaves: Any, default: Any) -> Any:
    op, t = node.op, node.type
    assert isinstance(op, Param)
    value = next(leaves, None) if leaves is not None else default
    if value is None or jnp.shape(value) != t.shape:  # type: ignore[union-attr]
        got = "none" if value is None else f"shape {jnp.shape(value)}"
        raise names.ValueNamesError(f"param {op.name!r}{op.path} needs a value of shape {t.shape}, got {got}")  # type: ignore[union-attr]
    return jnp.asarray(value, t.dtype)  # type: ignore[union-attr]


def _leading(values: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Shape:
    """The leading axes that the first value has beyond its site's shape."""
    for name, shape in shapes.items():
        if name in values:
            got = jnp.shape(values[name])
            return got[: max(len(got) - len(shape), 0)]
    return ()


def _drawn_shapes(graph: Graph, steps: Shape = ()) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for node in graph:
        if isinstance(node.op, Scan):
            found |= _drawn_shapes(node.op.body, (*steps, node.op.length))
        elif isinstance(node.op, (Sample, Observe, Deterministic)):
            found[node.op.name] = steps + node.type.shape  # type: ignore[union-attr]
    return found


def _data_error(program: Program, node: Node, data: Sequence[Any]) -> DataError:
    graph = program.lowered.graph
    inputs = [n for n in graph if n.op.mnemonic == "input" and n.op.kind == "data"]  # type: ignore[attr-defined]
    condition, shown = evaluate(graph, dict(zip(inputs, data, strict=True)), node.args)
    bad = np.argwhere(~np.atleast_1d(np.asarray(condition)))
    index = tuple(int(i) for i in bad[0])
    value = np.atleast_1d(np.asarray(shown))[index] if np.ndim(shown) else np.asarray(shown)
    at = f" at index {list(index)}" if np.ndim(condition) else ""
    more = f" ({len(bad)} such elements)" if len(bad) > 1 else ""
    return DataError(f"{node.op.message}: got {value}{at}{more}", node.loc)  # type: ignore[attr-defined]


__all__ = ["CompiledModel"]
