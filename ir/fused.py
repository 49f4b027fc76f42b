"""The ops of a fused log density: statistics that the host computes, and the terms that read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from plait.ir.ops import Typed


@dataclass(frozen=True, slots=True)
class Kernel(Typed):
    """Statistics of known arrays that jax can't trace, such as distinct rows: numpy in float64, once per data set.

    Attributes:
        site: whose rows they summarize.
        kernel: a frozen dataclass of numbers and strings, called with numpy arrays; `name` tells which one it is.
    """

    site: str
    kernel: Any
    mnemonic: ClassVar[str] = "kernel"

    @property
    def owner(self) -> str:
        return self.site

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"of": self.site, "formula": self.kernel.name}

    def text(self, names: list[str]) -> str:
        return f"kernel {self.site!r} {self.kernel.name} {', '.join(names)}".rstrip()


@dataclass(frozen=True, slots=True)
class Fused(Typed):
    """The sum of a term of the log joint (nats, a scalar) in a form that costs less than its rows.

    Attributes:
        site: whose term it is.
        formula: a frozen dataclass, called with the arguments' arrays; `name` tells which one it is.
    """

    site: str
    formula: Any
    mnemonic: ClassVar[str] = "fused"

    @property
    def owner(self) -> str:
        return self.site

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"of": self.site, "formula": self.formula.name}

    def text(self, names: list[str]) -> str:
        return f"fused {self.site!r} {self.formula.name} {', '.join(names)}"


__all__ = ["Fused", "Kernel"]
