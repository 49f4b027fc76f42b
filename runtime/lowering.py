"""A compiled model's functions by name, each with its data as an argument, lowered by JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from plait.compiler.members import member_shapes
from plait.ir.errors import OptionError
from plait.ir.names import unknown_names
from plait.ir.parts import JACOBIAN, LIKELIHOOD, PRIOR, WHOLE, Part
from plait.ir.types import Shape
from plait.runtime.bound import Bound
from plait.runtime.params import packed


@dataclass(frozen=True)
class Function:
    """A public function that can be lowered.

    Attributes:
        points: what it takes first: "vector", "values" or "key".
        reads: the functions of the program whose known values it reads; of none: it reads the data themselves.
        options: names of its options.
        has_params: whether it takes values of params.
        part: of the log density, of which it is a function; None where it is none.
        method: of that part's model, where it has another name.
    """

    points: tuple[str, ...]
    reads: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    has_params: bool = True
    part: Part | None = None
    method: str | None = None


VECTOR = ("vector",)
DENSITY = ("log_density",)
FUNCTIONS = {
    "log_density": Function(VECTOR, DENSITY, ("jacobian", "propto"), part=WHOLE),
    "log_density_and_grad": Function(VECTOR, DENSITY, ("jacobian", "propto"), part=WHOLE),
    "hessian": Function(VECTOR, DENSITY, ("jacobian",), part=WHOLE),
    "hvp": Function(("vector", "vector"), DENSITY, ("jacobian",), part=WHOLE),
    "log_prior": Function(VECTOR, DENSITY, ("jacobian",), part=PRIOR, method="log_density"),
    "total_log_likelihood": Function(VECTOR, DENSITY, part=LIKELIHOOD, method="log_density"),
    "log_det_jacobian": Function(VECTOR, DENSITY, part=JACOBIAN, method="log_density"),
    "log_joint": Function(("values",), ("log_joint",)),
    "log_prob_terms": Function(("values",), ("terms",)),
    "constrain": Function(VECTOR, ("values", "deterministics"), ("deterministic", "stacked"), has_params=False),
    "unconstrain": Function(("values",), has_params=False),
    "sample": Function(("key",), options=("shape",)),
    "prior_transform": Function(VECTOR, options=("deterministic", "stacked")),
    "init_params": Function(("key",), DENSITY, ("shape",), has_params=False),
}


@dataclass(frozen=True)
class Stage:
    """A function of a model before it is lowered.

    Attributes:
        model: whose method it is: the model, or a part of its density.
        method: the method.
        options: that the method is called with.
        function: what it takes.
        name: of the function.
    """

    model: Bound
    method: str
    options: Mapping[str, Any]
    function: Function
    name: str

    @classmethod
    def of(cls, model: Bound, name: str, options: Mapping[str, Any]) -> Stage:
        """The stage of a public function.

        Raises:
            OptionError: there is no such function, or it has no such option.
            ModelError: the model has no density of the flat vector, and the function is of one.
        """
        unknown_names([name], list(FUNCTIONS), "function to lower", OptionError)
        function = FUNCTIONS[name]
        unknown_names(options, function.options, f"option of {name}", OptionError)
        if {"log_density", "values"} & set(function.reads):
            model._require_density()
        if function.part is None:
            return cls(model, name, options, function, name)
        part = _changed(function.part, **options)
        at = model if part == WHOLE else model._of(part)
        return cls(at, function.method or name, {}, function, name)

    @property
    def data(self) -> dict[str, Any]:
        """What is read besides points and params that are given."""
        model = self.model
        known = tuple(model._known[i] for i in self._places)
        read: dict[str, Any] = {"known": known} if self.function.reads else {"data": model._data}
        return read if self.function.has_params else {**read, "params": model._given(None)}

    @property
    def _places(self) -> list[int]:
        """What it reads of what is known of the data."""
        uses = self.model._program.uses
        return sorted({place for function in self.function.reads for place in uses(function)})

    def _on(self, data: Mapping[str, Any]) -> Bound:
        """The model with these data instead of its own."""
        model = self.model
        if "data" in data:
            return replace(model, _data=data["data"], _params=data.get("params", model._params))
        known = dict(enumerate(model._known)) | dict(zip(self._places, data["known"], strict=True))
        return replace(model, _known=tuple(known.values()), _params=data.get("params", model._params))

    def lower(self, batch: Shape) -> jax.stages.Lowered:
        """JAX's stage of the function, of points with these axes in front of their own."""
        n = len(self.function.points)

        def call(*arguments: Any, data: Any) -> Any:
            method, params = getattr(self._on(data), self.method), arguments[n:]

            def at(*points: Any) -> Any:
                return method(*points, **self.options, **({"params": params[0]} if params else {}))

            return _mapped(at, len(batch))(*arguments[:n])

        call.__name__ = self.name  # the module's in XLA, so in its dumps and profiles, too
        points = [jax.tree.map(lambda x: _batched(x, batch), self._point(kind)) for kind in self.function.points]
        with jax.enable_x64(True) if self.model.dtype == np.float64 else nullcontext():  # as it was compiled
            return jax.jit(call).lower(*points, *self._params(), data=self.data)

    def _params(self) -> list[Any]:
        """Shapes and dtypes of the params, where it takes them and there are some."""
        sites = self.model._about.params
        if not self.function.has_params or not sites.arrays:
            return []
        return [packed(sites, [jax.ShapeDtypeStruct(site.type.shape, site.type.dtype) for site in sites.arrays])]

    def _point(self, kind: str) -> Any:
        """Shapes and dtypes of one point."""
        about = self.model._about
        if kind == "vector":
            return jax.ShapeDtypeStruct((self.model.dim,), about.dtype)
        if kind == "key":
            return jax.eval_shape(lambda: jax.random.key(0))
        return {
            site: jax.ShapeDtypeStruct(shape, t.dtype)
            for name, t in about.latents.items()
            for site, shape in member_shapes({name: t.shape}, about.families).items()
        }


def _changed(part: Part, jacobian: bool | None = None, propto: bool = False) -> Part:
    """A part of the log density under the options of its function."""
    with_jacobian = part.jacobian if jacobian is None else bool(jacobian)
    return replace(part, jacobian=with_jacobian, constants=part.constants and not propto)


def _mapped(function: Callable[..., Any], axes: int) -> Callable[..., Any]:
    for _ in range(axes):
        function = jax.vmap(function)
    return function


def _batched(x: Any, batch: Shape) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*batch, *x.shape), x.dtype)


__all__ = ["Stage"]
