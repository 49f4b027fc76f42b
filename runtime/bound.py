"""A program bound to data: what every member of a compiled model works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from plait.compiler.jax_compat import is_tracer
from plait.compiler.members import expected_shapes
from plait.ir.errors import ModelError, ValueNamesError
from plait.ir.parts import LIKELIHOOD, PRIOR, Part
from plait.ir.types import Shape, Slot
from plait.runtime.boundary import latent_values
from plait.runtime.description import Description
from plait.runtime.functions import Functions, TemperedFunctions
from plait.runtime.given import flat_vector, one_number
from plait.runtime.names import require_dict
from plait.runtime.params import unpacked

if TYPE_CHECKING:
    from plait.compiler.certificate import Certificate

Params = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Bound:
    """A program, its data, and what is computed of them before any call."""

    _program: Functions
    _data: tuple[Any, ...]
    _known: tuple[Any, ...]
    _params: tuple[Any, ...] | None  # None while random initial values have not been drawn
    _params_are_users: bool = False  # given by `with_params`, so they outlive a `bind`
    certificate: Certificate | None = None

    @classmethod
    def bound(cls, program: Functions, data: Sequence[Any]) -> Self:
        """The program on data: runs `prepare` and the checks on the data."""
        fitting, known = program.prepared(data)
        params = None if fitting.description.params.are_drawn else fitting.initial_params(data)
        return cls(fitting, tuple(data), known, params)

    @property
    def _about(self) -> Description:
        return self._program.description

    @cached_property
    def dim(self) -> int:
        """Length of the flat unconstrained vector."""
        return sum(slot.unconstrained.size for slot in self._slots)

    @cached_property
    def dtype(self) -> Any:
        """The dtype of the flat vector."""
        return self._about.dtype

    def _require_density(self) -> None:
        if self._about.no_density is not None:
            raise self._about.no_density.error()

    def _for(self, function: str) -> tuple[Any, ...]:
        """What a function reads of `prepare`'s results."""
        return tuple(self._known[i] for i in self._program.uses(function))

    def _of(self, part: Part) -> Self:
        """This model with a part of its log density."""
        if part not in self._parts:
            self._require_density()
            data = None if any(map(is_tracer, self._data)) else self._data
            bound = self.bound(self._program.of(part, data), self._data)
            self._parts[part] = replace(bound, _params=self._params)
        return self._parts[part]

    @cached_property
    def _parts(self) -> dict[Part, Self]:
        return {}

    def _summing(self, jacobian: bool, propto: bool) -> Self:
        return self if jacobian and not propto else self._of(Part(jacobian=jacobian, constants=not propto))

    @cached_property
    def _tempered(self) -> tuple[TemperedFunctions, tuple[Any, Any]]:
        """The functions, and what prior and likelihood know of the data."""
        prior, likelihood = self._of(PRIOR), self._of(LIKELIHOOD)
        functions = self._program.tempered(prior._program, likelihood._program)
        return functions, (prior._density_known, likelihood._density_known)

    def _scalar(self, beta: Any) -> Any:
        return one_number(beta, self.dtype, "beta")

    @cached_property
    def _density_known(self) -> tuple[Any, ...]:
        """What `log_density` reads of `prepare`'s results."""
        self._require_density()
        return self._for("log_density")

    def _given(self, params: Params | None) -> tuple[Any, ...]:
        if params is not None:
            return unpacked(self._about.params, params, self._params)
        if self._params is None:
            raise ModelError(
                "a param has a random initial value: pass params=compiled.init_param_values(key), or fix it with "
                "compiled.with_params(...)"
            )
        return self._params

    def _vector(self, z: Any, what: str = "the flat vector") -> Any:
        return flat_vector(z, self.dim, self.dtype, batched=False, what=what)

    def _at(self, values: Mapping[str, Any]) -> Self:
        """This model, or the one in which the observed sites that `values` names are free."""
        require_dict(values, "latent")
        named = self._about.members(values)
        free = frozenset(self._observed).intersection(named)
        if not free:
            return self
        if free not in self._with_free:
            self._with_free[free] = self.bound(self._program.freed(free), self._data)
        return self._with_free[free]

    @cached_property
    def _with_free(self) -> dict[frozenset[str], Self]:
        return {}

    @cached_property
    def _unscaled(self) -> Self:
        """This model with each observation counted once."""
        return self.bound(self._program.unscaled, self._data)

    @cached_property
    def _observed(self) -> list[str]:
        """The user's observed sites, in program order."""
        return self._about.members(self._about.observed)

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        """Shapes of the latents' constrained values by site or family, in the order of the flat vector."""
        return {name: t.shape for name, t in self._about.latents.items()}

    def _ordered(self, values: Mapping[str, Any], batch: Shape = ()) -> tuple[Any, ...]:
        about = self._about
        expected = expected_shapes(values, self._shapes, about.families)
        if not values.keys() <= expected.keys():
            names = list(about.deterministics)
            computed = [n for n in [*names, *about.members(names)] if n in values]
            if computed:
                raise ValueNamesError(
                    f"site {computed[0]!r} is deterministic: the latents decide it, leave it out",
                    about.lines.get(computed[0]),
                )
        return latent_values(about, values, expected, batch)

    @property
    def _slots(self) -> tuple[Slot, ...]:
        """Those of sites and families."""
        self._require_density()
        return self._about.slots
