"""What is open while a model runs: handlers, plates, and whether it is being compiled.

While a model is compiled the stack is the value of a jax user context, so it is part of jax's trace key: a
jitted helper or a scan body that was traced under one plate, scale, mask or scope is never reused under another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import jax

from plait.compiler.jax_compat import trace_state
from plait.compiler.loops.state import Loops
from plait.compiler.source import current_loc
from plait.ir.errors import ModelError
from plait.ir.types import Loc, PlateFrame

SiteType = Literal["sample", "param", "deterministic", "plate", "inspect", "prng_key"]


@dataclass(eq=False, slots=True)
class Site:
    """One call of a primitive on its way through the open handlers; what `handlers.trace` records.

    Attributes follow NumPyro's messages, and ``site["value"]`` works like ``site.value``. Those that have no like
    there: `given_in` is jax's trace state where the handler that gave the value was opened, `given_stacked` says
    whether that value has an axis for each scan around the site, `intervention` is what the program goes on with
    instead of the value, and `foreign` says that the site came from NumPyro's primitives.
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
    substituted: bool = False
    given_in: Any = None
    given_stacked: bool = False
    intervention: Any = None
    foreign: bool = False

    @property
    def is_statement(self) -> bool:
        """Whether it only asks the handlers, and is no site."""
        return self.type in ("inspect", "prng_key")

    @property
    def draws_init(self) -> bool:
        """Whether it is a param whose initial value is a function of a random key."""
        return self.type == "param" and callable(self.fn) and not self.foreign

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None


class Frame:
    """One entry of the stack. Equal frames may share jax's traces, so a handler's frame equals only itself."""

    opened_in: Any = None  # jax's trace state when it was opened
    gives_stacked = True  # the values that it gives have an axis for each scan between it and the site
    asks_names: str | None = None  # a handler's name, where what it does depends on sites' names or on their number

    def process(self, site: Site) -> None:
        """Changes the site before it gets its value; innermost frame first."""

    def finish(self, site: Site) -> None:
        """Sees the site when it has its value; outermost frame first."""


class Compiling(Frame):
    """The outermost frame while a model is traced: a site that reaches it binds its JAX primitive.

    It keeps where each name was bound, only to notice a site that never reaches the program, and what is known of the
    loops over plates.
    """

    def __init__(self, loops: Loops) -> None:
        self.loops = loops
        self.bound: dict[str, Loc | None] = {}

    def finish(self, site: Site) -> None:
        """Notes the line."""
        is_site = site.type != "plate" and not site.is_statement
        if is_site and not (site.type == "param" and site.substituted):
            self.bound[site.name] = current_loc()


_OPEN: ContextVar[tuple[Frame, ...]] = ContextVar("plait_open_frames", default=())
_TRACE_KEY = jax.make_user_context(())


def open_frames() -> tuple[Frame, ...]:
    """The open frames, outermost first."""
    return _OPEN.get()


def is_compiling() -> bool:
    """Whether a model is being traced for `plait.compile`."""
    return compiling() is not None


def compiling() -> Compiling | None:
    """The outermost frame, where a model is being traced for `plait.compile`."""
    outermost = next(iter(open_frames()), None)
    return outermost if isinstance(outermost, Compiling) else None


@contextmanager
def opened(frame: Frame) -> Iterator[None]:
    """A context in which `frame` is the innermost one.

    While a model is compiled the frames are part of jax's trace key. An eager run leaves the key alone: a key
    that changes with every handler would compile each jnp function anew.
    """
    frame.opened_in = trace_state()
    frames = (*open_frames(), frame)
    token = _OPEN.set(frames)
    try:
        with _TRACE_KEY(frames) if is_compiling() else nullcontext():
            yield
    finally:
        _OPEN.reset(token)


def walk(site: Site) -> list[Frame]:
    """Sends a site through the open frames until one hides it; returns those it passed, innermost first.

    Raises:
        ModelError: the site runs inside a jax transformation that was opened under a handler of an eager run;
            jax would cache what it sees there.
    """
    passed: list[Frame] = []
    state = None if is_compiling() else trace_state()
    for frame in reversed(open_frames()):
        if state is not None and frame.opened_in != state:
            raise ModelError(
                f"site {site.name!r} is inside a jax transformation (jit, scan, vmap) that was opened under a handler "
                "or plate, whose cached trace would repeat this draw; call the helper without it, or plait.compile "
                "the model",
                current_loc(),
            )
        passed.append(frame)
        before = site.value
        frame.process(site)
        if site.value is not before:
            site.given_in, site.given_stacked = frame.opened_in, frame.gives_stacked
        if site.hidden:
            break
    return passed


def requested_key() -> Any:
    """A random key from the open handlers, or None where none of them has one."""
    statement = Site("prng_key", "prng_key")
    walk(statement)
    return statement.rng_key
