"""The densities of a compiled model, whole and in parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.members import expected_shapes, unstacked
from plait.ir.parts import JACOBIAN, LIKELIHOOD, PRIOR, Part
from plait.ir.types import Shape
from plait.runtime.bound import Bound, Params
from plait.runtime.names import leading_axes
from plait.runtime.spaces import Spaces

if TYPE_CHECKING:
    from plait.compiler.nonfinite.report import NonFinite


class Densities(Spaces):
    """Of constrained values and of the flat vector; all in nats."""

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
        return at._program.log_joint(at._for("log_joint"), self._given(params), at._ordered(values))

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
        shapes = expected_shapes(values, self._shapes, self._about.families)
        batch = leading_axes(values, shapes, "latent")
        terms = self._terms(self._unscaled, values, params, batch)
        return {name: terms[name] for name in self._observed}

    def _terms(self, at: Bound, values: Mapping[str, Any], params: Params | None, batch: Shape = ()) -> dict[str, Any]:
        program, known = at._program, at._for("terms")
        ordered = at._ordered(values, batch)
        if batch:
            flat = tuple(jnp.reshape(x, (math.prod(batch), *x.shape[len(batch) :])) for x in ordered)
            terms = program.terms_of_draws(known, self._given(params), flat)
            terms = {name: jnp.reshape(x, (*batch, *x.shape[1:])) for name, x in terms.items()}
        else:
            terms = program.terms(known, self._given(params), ordered)
        return unstacked({name: terms[name] for name in at._about.terms}, at._about.families, len(batch))

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
        return at._program.hvp(at._density_known, self._given(params), self._vector(z), self._vector(v, "the vector v"))

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
        if not isinstance(at, Mapping):
            return self._nonfinite_at(self._vector(at), self._given(params))
        model = self._at(at)
        return model._nonfinite_of(model._ordered(at), self._given(params))

    def _nonfinite_at(self, z: Any, params: Sequence[Any]) -> NonFinite | None:
        value, gradient = self._program.log_density_and_grad(self._density_known, params, z)
        by_name = dict(zip(self.names, gradient, strict=True))
        return self._program.find_nonfinite(self._data, params, (z,), float(value), by_name, unconstrained=True)

    def _nonfinite_of(self, values: tuple[Any, ...], params: Sequence[Any]) -> NonFinite | None:
        known = self._for("log_joint")
        floats = {i: x for i, x in enumerate(values) if jnp.issubdtype(x.dtype, np.inexact)}

        def log_joint(moved: dict[int, Any]) -> Any:
            return self._program.log_joint(known, params, tuple(moved.get(i, x) for i, x in enumerate(values)))

        value, gradient = jax.value_and_grad(log_joint)(floats) if floats else (log_joint({}), {})
        names = list(self._about.latents)
        by_name = {names[i]: np.asarray(g) for i, g in gradient.items()}
        return self._program.find_nonfinite(self._data, params, values, float(value), by_name, unconstrained=False)
