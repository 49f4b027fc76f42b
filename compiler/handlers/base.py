"""What all handlers share: opening a frame, wrapping a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from plait.compiler.array_like import described
from plait.compiler.numpyro_bridge import bridged
from plait.compiler.source import current_loc
from plait.compiler.stack import Frame, Site, opened
from plait.ir.errors import ModelError, SiteTypeError

Model = Callable[..., Any]


class Handler:
    """Base: opens a frame of its own for each `with`, or around each call of `fn`; without `fn` it decorates."""

    gives_stacked = True
    asks_names = True  # or counts sites: then a loop over a plate is not traced once for all its sites

    def __init__(self, fn: Model | None = None) -> None:
        if fn is not None and not callable(fn):
            raise ModelError(
                f"handler {type(self).__name__!r} got {fn!r} where a model function belongs; "
                "name its setting, as in scale(scale=2.0)",
                current_loc(),
            )
        self.fn = fn
        self._contexts: list[ExitStack] = []

    def __enter__(self) -> Any:
        with ExitStack() as contexts:
            contexts.enter_context(bridged())
            contexts.enter_context(opened(_HandlerFrame(self)))
            self._contexts.append(contexts.pop_all())
        return self

    def __exit__(self, *exc: Any) -> None:
        self._contexts.pop().__exit__(*exc)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            if len(args) != 1 or kwargs or not callable(args[0]):
                raise ModelError(
                    f"handler {type(self).__name__!r} wraps no model, so it can't be called", current_loc()
                )
            self.fn = args[0]
            return self
        with self:
            return self.fn(*args, **kwargs)

    def process(self, site: Site) -> None: ...

    def finish(self, site: Site) -> None: ...


class _HandlerFrame(Frame):
    """Stands for one entry of a handler; its identity is what jax's trace key sees."""

    def __init__(self, handler: Handler) -> None:
        self.process = handler.process  # type: ignore[method-assign]
        self.finish = handler.finish  # type: ignore[method-assign]
        self.gives_stacked = handler.gives_stacked
        self.asks_names = type(handler).__name__ if handler.asks_names else None


def lookup(
    handler: str, data: Mapping[str, Any] | None, function: Callable[[Site], Any] | None
) -> Callable[[Site], Any]:
    """From a site to the value that a handler has for it."""
    if (data is None) == (function is None):
        raise ModelError(f"{handler} takes either `data` or `{handler}_fn`", current_loc())
    if function is not None:
        return function
    if not isinstance(data, Mapping):
        raise SiteTypeError(f"{handler} takes a dict of values by site name, got {described(data)}", current_loc())
    values = dict(data)
    return lambda site: values.get(site.name)
