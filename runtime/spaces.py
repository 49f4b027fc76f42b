"""The spaces of a compiled model: constrained values by site, the flat vector, and the names in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from plait.compiler.jax_compat import is_tracer
from plait.compiler.members import expected_shapes, member_shapes, member_slots, unstacked
from plait.ir.errors import ValueNamesError
from plait.ir.types import Shape, Slot
from plait.runtime import stan
from plait.runtime.bound import Bound
from plait.runtime.boundary import latent_values
from plait.runtime.given import flat_vector
from plait.runtime.names import flat_names, leading_axes


class Spaces(Bound):
    """Names and shapes, and the way from one space to the other."""

    @property
    def has_log_density(self) -> bool:
        """Whether there is an unconstrained density: not with a discrete latent, whose `log_joint` works."""
        return self._about.no_density is None

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Where each latent sits in the flat vector: name, offset, types of its unconstrained and own value.

        Latents that a Python loop made inside the body of a scan alternate with each other; they have one slot.
        """
        return member_slots(self._slots, self._about.families)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the flat vector's entries, in its order: ``('mu', 'theta[0]', …)``."""
        return flat_names(self._slots, self._about.families)

    @property
    def param_names(self) -> tuple[str, ...]:
        """Names of the constrained values' entries as Stan and BridgeStan write them: ``mu``, ``theta.1``, ``L.2.1``.

        Indices count from 1, the first one fastest; `param_constrain` gives the values in this order.
        """
        return tuple(n for name, shape in self.shapes.items() for n in stan.column_major(name, shape))

    @property
    def param_unc_names(self) -> tuple[str, ...]:
        """Names of the flat vector's entries in its order, with Stan's indices from 1: `names` in other letters."""
        return flat_names(self._slots, self._about.families, stan.dotted)

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
        return member_shapes(self._shapes, self._about.families)

    @property
    def site_shapes(self) -> dict[str, Shape]:
        """Shapes of the values of all sites that `sample` draws: latents, observed sites, deterministics."""
        return member_shapes(self._about.sites, self._about.families)

    @property
    def dims(self) -> dict[str, tuple[str | None, ...]]:
        """By site the plates of its value's axes, None for axes of an event or of a scan's steps.

        Latent, observed and deterministic sites, in program order.
        """
        return dict(self._about.dims)

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """The sites that a loop made, by the name under which their values can be given and taken as one array.

        ``{"theta_*": ("theta_0", "theta_1", …)}``: latent, observed and deterministic sites, in C order of the axes
        of the stacked array that count them. Families of one pattern are numbered: ``y_*``, ``y_*2``.
        """
        return {name: family.names for name, family in self._about.families.items()}

    def constrain(self, z: Any, *, deterministic: bool = False, stacked: bool = False) -> dict[str, Any]:
        """Values by site at a flat vector.

        Args:
            z: shape (..., dim); the leading axes are kept.
            deterministic: whether to add the deterministic sites.
            stacked: whether each of `families` is one array, instead of one for each of its sites.
        """
        self._require_density()
        z, names = flat_vector(z, self.dim, self.dtype, batched=True), list(self._about.latents)
        found = self._program.values(self._for("values"), self._given(None), z)
        if deterministic:
            found |= self._program.deterministics(self._for("deterministics"), self._given(None), z)
            names += [name for name in self._about.sites if name in found and name not in self._about.latents]
        found = {name: found[name] for name in names}
        return found if stacked else unstacked(found, self._about.families, z.ndim - 1)

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
        expected = expected_shapes(values, self._shapes, self._about.families)
        batch = leading_axes(values, expected, "latent")
        ordered = latent_values(self._about, values, expected, batch)
        z = self._program.unconstrain(self._data, self._given(None), ordered, len(batch))
        self._refuse_outside(z)
        return z

    def _refuse_outside(self, z: Any) -> None:
        """A bijector's inverse is NaN outside the support; under a caller's jit nobody can look."""
        if is_tracer(z) or not np.isnan(z).any():
            return
        wrong = np.isnan(z).reshape(-1, self.dim).any(axis=0)
        slot = next(s for s in self._slots if wrong[s.offset : s.offset + s.unconstrained.size].any())
        name = self.names[int(np.argmax(wrong))].partition("[")[0] if slot.name in self.families else slot.name
        message = f"the value of latent {name!r} is outside its support ({self._about.allowed[slot.name]})"
        raise ValueNamesError(message, self._about.lines.get(name))
