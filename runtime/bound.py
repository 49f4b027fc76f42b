"""A program bound to data: what every member of a compiled model works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import jax

from plait.compiler.analysis.cells import LayoutChangedError
from plait.compiler.certificate import Certificate
from plait.compiler.control_flow import named_nodes
from plait.compiler.jax_compat import is_tracer
from plait.compiler.layout import obstacles
from plait.compiler.members import expected_shapes, member_names
from plait.compiler.variants import observed_names
from plait.ir.errors import InternalError, ModelError, ValueNamesError
from plait.ir.graph import Graph, Node
from plait.ir.ops import Deterministic, Site
from plait.ir.parts import LIKELIHOOD, PRIOR, Part
from plait.ir.types import Loc, Shape, Slot
from plait.runtime import params as param_sites
from plait.runtime.boundary import latent_values
from plait.runtime.given import flat_vector, one_number
from plait.runtime.names import require_dict
from plait.runtime.program import Program
from plait.runtime.tempered import Tempered

Params = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Bound:
    """A program, its data, and what is computed of them before any call."""

    _program: Program
    _data: tuple[Any, ...]
    _known: tuple[Any, ...]
    _params: tuple[Any, ...] | None  # None while random initial values have not been drawn
    _params_are_users: bool = False  # given by `with_params`, so they outlive a `bind`
    certificate: Certificate | None = None

    @classmethod
    def bound(cls, program: Program, data: Sequence[Any]) -> Self:
        """The program on data: runs `prepare` and the checks on the data."""
        if any(map(is_tracer, data)):
            program = program.on_traced_data if program.lowered.kernels else program
            known = _known(program, data)
        else:
            with jax.ensure_compile_time_eval():  # also where the caller's jit is tracing
                program, known = _checked(program, data)
        params = None if param_sites.are_drawn(program.model) else param_sites.initial(program.model, data)
        return cls(program, tuple(data), known, params)

    @cached_property
    def dim(self) -> int:
        """Length of the flat unconstrained vector."""
        return sum(slot.unconstrained.size for slot in self._slots)

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

    def _vector(self, z: Any, what: str = "the flat vector") -> Any:
        return flat_vector(z, self.dim, self.dtype, batched=False, what=what)

    def _at(self, values: Mapping[str, Any]) -> Self:
        """This model, or the one in which the observed sites that `values` names are free."""
        require_dict(values, "latent")
        named = member_names(list(values), self._program.families)
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
        return next(
            (node.loc for node in named_nodes(self._program.traced) if site in (node.op.label, *_members(node))), None
        )

    @property
    def _slots(self) -> tuple[Slot, ...]:
        """Those of sites and families."""
        self._require_density()
        return self._program.lowered.slots


def _known(program: Program, data: Sequence[Any]) -> tuple[Any, ...]:
    """What a program knows of traced data; nobody can look at them."""
    return program.lowered.finished(data, program.computed(tuple(data)))


def _checked(program: Program, data: Sequence[Any]) -> tuple[Program, tuple[Any, ...]]:
    """The program that fits the data, after they have been checked, and what it knows of them."""
    for fitting in program.fitting(data):
        computed = fitting.computed(tuple(data))
        if fitting is program:
            program.require(computed)
        try:
            return fitting, fitting.lowered.finished(data, computed)
        except LayoutChangedError:
            continue
    raise InternalError("a program does not fit the data that it was made for")


def _members(node: Node) -> tuple[str, ...]:
    members = node.op.members if isinstance(node.op, (Site, Deterministic)) else None
    return () if members is None else members.names
