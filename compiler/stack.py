"""What is open while a model runs: handlers, plates, and whether it is being compiled.

The stack is the value of a jax user context, so it is part of jax's trace key: a jitted helper or a scan
body that was traced under one plate, scale, mask or scope is never reused under another.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import jax

from plait.ir.types import PlateFrame

SiteType = Literal["sample", "param", "deterministic", "plate"]


@dataclass(eq=False, slots=True)
class Site:
    """One call of a primitive on its way through the open handlers; what `handlers.trace` records.

    Attributes follow NumPyro's messages, and ``site["value"]`` works like ``site.value``.
    """

    type: SiteType
    name: str
    fn: Any = None
    value: Any = None
    is_observed: bool = False
    is_factor: bool = False
    rng_key: Any = None
    sample_shape: tuple[int, ...] = ()
    scale: Any = None
    mask: Any = None
    constraint: Any = None
    cond_indep_stack: tuple[PlateFrame, ...] = ()
    infer: dict[str, Any] = field(default_factory=dict)
    hidden: bool = False

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None


class Frame:
    """One entry of the stack. Equal frames may share jax's traces, so a handler's frame equals only itself."""

    def process(self, site: Site) -> None:
        """Changes the site before it gets its value; innermost frame first."""

    def finish(self, site: Site) -> None:
        """Sees the site when it has its value; outermost frame first."""


class Compiling(Frame):
    """The outermost frame while a model is traced: a site that reaches it binds its JAX primitive."""


_STACK = jax.make_user_context(())


def open_frames() -> tuple[Frame, ...]:
    """The open frames, outermost first."""
    return _STACK.value


def is_compiling() -> bool:
    """Whether a model is being traced for `plait.compile`."""
    return bool(open_frames()) and isinstance(open_frames()[0], Compiling)


def opened(frame: Frame) -> AbstractContextManager[Any]:
    """A context in which `frame` is the innermost one. New for each `with`: entering one twice does not nest."""
    return _STACK((*open_frames(), frame))


def walk(site: Site) -> list[Frame]:
    """Sends a site through the open frames until one hides it; returns those it passed, innermost first."""
    passed: list[Frame] = []
    for frame in reversed(open_frames()):
        passed.append(frame)
        frame.process(site)
        if site.hidden:
            break
    return passed
