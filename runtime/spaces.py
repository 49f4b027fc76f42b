"""The spaces of a compiled model: constrained values by site, the flat vector, and the names in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to

from plait.compiler.jax_compat import is_tracer
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.lower.sampler import drawn_shapes
from plait.compiler.members import expected_shapes, member_shapes, member_slots, unstacked
from plait.compiler.wording import in_words
from plait.ir.errors import ValueNamesError
from plait.ir.graph import Node
from plait.ir.ops import Input, Param, Value, inputs
from plait.ir.spec import rebuild
from plait.ir.types import Shape, Slot
from plait.runtime import stan
from plait.runtime.bound import Bound
from plait.runtime.boundary import latent_values
from plait.runtime.dims import site_dims
from plait.runtime.given import flat_vector
from plait.runtime.names import flat_names, leading_axes


class Spaces(Bound):
    """Names and shapes, and the way from one space to the other."""

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
