"""JAX's own stages of a compiled model's functions: lowered, compiled, and what XLA says of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax

from plait.compiler.cost_analysis import CostAnalysis
from plait.compiler.jax_compat import is_tracer
from plait.ir.types import Shape
from plait.runtime.densities import Densities
from plait.runtime.given import draws_shape
from plait.runtime.lowering import Stage

if TYPE_CHECKING:
    from plait.compiler.explanation import Explanation


class Stages(Densities):
    """`lower`, and the report that needs it."""

    def lower(
        self, function: str = "log_density_and_grad", *, batch: Shape | int = (), **options: Any
    ) -> jax.stages.Lowered:
        """A public function of this model lowered to StableHLO: JAX's own stage, as of ``jax.jit(f).lower(…)``.

        ``lower(…).compile()`` is its `jax.stages.Compiled`. That is called with the points, then with the values of all
        `param` sites where the model has some and the function takes them, and with the data::

            stage = compiled.lower("log_density_and_grad", batch=(4,)).compile()
            value, grad = stage(z, data=compiled.stage_data())  # z: shape (4, dim)

        The data are an argument, so one stage serves what `bind` makes, too, as long as they have the same shapes. A
        stage takes arrays of the shapes and dtypes that it was lowered for, and keys of jax's default generator. It
        looks at no values: where the function refuses one, its result is NaN.

        Args:
            function: log_density, log_density_and_grad, hessian, hvp, log_prior, total_log_likelihood or
                log_det_jacobian of flat vectors; constrain of one; unconstrain, log_joint or log_prob_terms of the
                values of all latents by site; sample or init_params of a key; prior_transform.
            batch: axes in front of those of each point and of the results, mapped by `jax.vmap`.
            **options: of the function, such as ``propto=True``, or ``shape=(100,)`` of sample.

        Raises:
            OptionError: there is no such function, or it has no such option.
            ModelError: the model has no such function: no density of a flat vector, no draws, no inverse CDF.
        """
        return Stage.of(self, function, options).lower(draws_shape(batch, "the shape of a batch"))

    def stage_data(self, function: str = "log_density_and_grad", **options: Any) -> dict[str, Any]:
        """What a compiled stage takes as ``data=``: the arrays that it reads besides points and params.

        Args:
            function: as for `lower`.
            **options: likewise.

        Returns:
            Statistics of the data, and data of which there are none; the data alone for a function that draws. How they
            are arranged is plait's own.

        Raises:
            OptionError: there is no such function, or it has no such option.
        """
        return Stage.of(self, function, options).data

    def explain(self, *, cost_analysis: bool = False) -> Explanation:
        """What you wrote, what is evaluated, at which cost, and why rows were not fused; print it.

        Args:
            cost_analysis: whether to add what XLA says of `log_density_and_grad`, which it compiles for that; or of
                `log_joint`, where the model has no density of the flat vector.
        """
        data = None if any(map(is_tracer, self._data)) else self._data
        explained = self._program.explain(self.certificate, data)
        if not cost_analysis:
            return explained
        function = "log_density_and_grad" if self.has_log_density else "log_joint"
        return replace(explained, cost_analysis=cost_of(function, self.lower(function).compile()))


def cost_of(function: str, stage: jax.stages.Compiled) -> CostAnalysis:
    """What XLA says of a compiled function, as far as its backend does."""
    costs, memory, opcodes = _costs(stage), stage.memory_analysis(), _opcodes(stage)
    (device, *_) = jax.tree.leaves(stage.output_shardings)[0].device_set
    return CostAnalysis(
        function,
        device.platform,
        costs.get("flops"),
        costs.get("transcendentals"),
        costs.get("bytes accessed"),
        getattr(memory, "argument_size_in_bytes", None),
        getattr(memory, "output_size_in_bytes", None),
        getattr(memory, "temp_size_in_bytes", None),
        None if opcodes is None else opcodes.total(),
        None if opcodes is None else opcodes["while"],
        None if opcodes is None else opcodes["custom-call"],
    )


def _costs(stage: jax.stages.Compiled) -> dict[str, int]:
    """XLA's counts; it leaves out those that are 0 (`HloCostAnalysis::Properties::ForEach`), and -1 says unknown."""
    found = stage.cost_analysis()
    if not isinstance(found, Mapping) or "bytes accessed" not in found:
        return {}
    counts = {name: found.get(name, 0.0) for name in ("flops", "transcendentals", "bytes accessed")}
    return {name: int(count) for name, count in counts.items() if count >= 0}


def _opcodes(stage: jax.stages.Compiled) -> Counter[str] | None:
    """How often each instruction stands in the optimized HLO, in all of its computations."""
    text = stage.as_text()
    return None if text is None else Counter(_INSTRUCTION.findall(text))


# ``  ROOT %fusion.1 = (f64[8]{0}, f64[]) fusion(%a), kind=kLoop``: the opcode is the first word right before a bracket
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = .*?\s([a-z][a-z0-9\-]*)\(", re.MULTILINE)


__all__ = ["Stages", "cost_of"]
