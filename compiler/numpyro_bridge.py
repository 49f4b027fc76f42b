"""NumPyro's primitives as plait's sites: one outermost NumPyro handler takes what reaches it.

NumPyro's own handlers and plates further in have acted by then, so a message's distribution is expanded already and
its plates, scale and mask are taken as they are. Then the site passes plait's open handlers like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from numpyro.distributions import ExpandedDistribution, MaskedDistribution, constraints
from numpyro.distributions.distribution import Unit
from numpyro.ops.pytree import PytreeTrace
from numpyro.primitives import _PYRO_STACK

from plait.compiler import staging
from plait.compiler.emit import OwnMessenger, emit
from plait.compiler.plates import taken
from plait.compiler.source import current_loc
from plait.compiler.stack import Frame, Site, is_compiling, opened
from plait.ir.errors import ModelError
from plait.ir.types import PlateFrame

Message = dict[str, Any]


@contextmanager
def bridged() -> Iterator[None]:
    """A context in which NumPyro's primitives make sites of plait's; inside NumPyro's own handlers it does nothing."""
    if _PYRO_STACK:
        yield
    else:
        with Bridge():
            yield


class Bridge(OwnMessenger):
    """The outermost NumPyro handler."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()  # params that a module asked for before it gave their initial values
        self._full_sizes: dict[str, int] = {}
        self._mutables: dict[str, tuple[Any, Any]] = {}  # what a module may change, and its leaves before
        self._answers: dict[str, Callable[[Message], None]] = {
            "sample": self._sample,
            "param": self._param,
            "deterministic": self._deterministic,
            "plate": self._plate,
            "control_flow": self._control_flow,
            "prng_key": self._prng_key,
            "mutable": self._mutable,
            "inspect": self._inspect,
            "subsample": self._subsample,
        }

    def process_message(self, msg: Message) -> None:
        """Answers a message with a value."""
        answer = self._answers.get(msg["type"])
        if answer is None:
            raise ModelError(f"numpyro.{msg['type']} is not supported in a compiled model", current_loc())
        answer(msg)

    def emit_mutables(self) -> None:
        """Reports what modules changed, each array as the deterministic ``name$new_state[path]``."""
        for name, (holder, before) in self._mutables.items():
            after, _ = jax.tree_util.tree_flatten_with_path(holder)
            for (path, x), old in zip(after, before, strict=True):
                if x is not old and not jnp.issubdtype(jnp.result_type(x), jax.dtypes.extended):
                    new_name = f"{name.removesuffix('$state')}$new_state{jax.tree_util.keystr(path)}"
                    emit(Site("deterministic", new_name, value=x, foreign=True))

    # -- messages ---------------------------------------------------------------------------------------

    def _sample(self, msg: Message) -> None:
        fn, mask = _without_handler_masks(msg["fn"])
        is_factor = isinstance(fn, Unit) and bool(msg["is_observed"])
        key = msg["kwargs"].get("rng_key")
        site = Site(
            "sample",
            msg["name"],
            fn,
            msg["value"],
            bool(msg["is_observed"]),
            is_factor,
            # a key that a handler gave would freeze the draw; the sampler has its own
            rng_key=None if is_compiling() and _under_seed() else key,
            sample_shape=msg["kwargs"].get("sample_shape", ()),
            scale=msg["scale"],
            mask=mask,
            cond_indep_stack=self._frames(msg),
            infer=msg["infer"],
            substituted=msg["value"] is not None and not msg["is_observed"],
            foreign=True,
        )
        msg["value"] = emit(site)
        msg["is_observed"] = site.is_observed

    def _param(self, msg: Message) -> None:
        init = msg["value"]
        if init is None:
            init = msg["fn"](*msg["args"], **msg["kwargs"])
        if init is None:  # a module asks whether there is a value already, and goes on with its own
            self.asked.add(msg["name"])
            msg["fn"] = lambda *args, **kwargs: None
            return
        constraint = msg["kwargs"].get("constraint", constraints.real)
        site = Site("param", msg["name"], init, constraint=constraint, foreign=True)
        site.cond_indep_stack = self._frames(msg)
        if msg["value"] is not None:
            site.value, site.substituted = msg["value"], True
        value, event_dim = emit(site), msg["kwargs"].get("event_dim")
        msg["value"] = value if event_dim is None else taken(f"param {site.name!r}", value, event_dim)

    def _deterministic(self, msg: Message) -> None:
        site = Site("deterministic", msg["name"], value=msg["value"], foreign=True)
        site.cond_indep_stack = self._frames(msg)
        msg["value"] = emit(site)

    def _plate(self, msg: Message) -> None:
        size, subsample_size = msg["args"]
        if self._full_sizes.setdefault(msg["name"], size) != size:
            raise ModelError(
                f"two plates are called {msg['name']!r}, of sizes {self._full_sizes[msg['name']]} and {size}; "
                "rename one",
                current_loc(),
            )
        is_whole = subsample_size in (None, size) and len(msg["value"]) == size
        n = size if is_whole else subsample_size or len(msg["value"])
        frame = PlateFrame(msg["name"], n, 0, None if is_whole else size)
        key = None if msg["value"] is not None else msg["kwargs"]["rng_key"]
        msg["value"] = emit(Site("plate", msg["name"], frame, msg["value"], rng_key=key, foreign=True))

    def _prng_key(self, msg: Message) -> None:
        msg["value"] = emit(Site("prng_key", "prng_key", rng_key=msg["kwargs"]["rng_key"], foreign=True))

    def _mutable(self, msg: Message) -> None:
        holder = msg["value"]
        if holder is None or not is_compiling():
            return
        holder.update(staging.bind_param(msg["name"], dict(holder), constraints.real, ()))  # the module keeps it
        self._mutables[msg["name"]] = holder, jax.tree.leaves(holder)

    def _inspect(self, msg: Message) -> None:
        site = Site("inspect", "mask", mask=msg["mask"], foreign=True)
        emit(site)
        msg["mask"] = site.mask

    def _subsample(self, msg: Message) -> None:
        msg["value"] = taken("the data of numpyro.subsample", msg["value"], msg["kwargs"]["event_dim"])

    def _control_flow(self, msg: Message) -> None:
        if not is_compiling():
            raise ModelError(
                "numpyro.contrib.control_flow is under a plait handler, which runs no loops; use numpyro.handlers, "
                "or plait.compile the model",
                current_loc(),
            )
        with ExitStack() as contexts:
            contexts.enter_context(_InControlFlow())
            for kind, given in msg["kwargs"]["substitute_stack"]:
                contexts.enter_context(opened(_LoopValues(kind, given)))
            # partial() makes a function that jax has not cached under other handlers
            if len(msg["args"]) == 4:
                pred, true_fun, false_fun, operand = msg["args"]
                value = jax.lax.cond(pred, partial(true_fun), partial(false_fun), operand)
                msg["value"] = value, PytreeTrace({})
            else:
                f, init, xs, length, reverse = msg["args"]
                carry, ys = jax.lax.scan(partial(f), init, xs, length=length, reverse=reverse)
                msg["value"] = (length, None, carry), (PytreeTrace({}), ys)

    def _frames(self, msg: Message) -> tuple[PlateFrame, ...]:
        return tuple(self._frame(f) for f in msg["cond_indep_stack"])

    def _frame(self, frame: Any) -> PlateFrame:
        full = self._full_sizes.get(frame.name, frame.size)
        return PlateFrame(frame.name, frame.size, frame.dim, full if full != frame.size else None)


class _InControlFlow(OwnMessenger):
    """Keeps NumPyro's value handlers off the body's sites: they have handed their values to the loop as a whole."""

    def process_message(self, msg: Message) -> None:
        msg["_control_flow_done"] = True


class _LoopValues(Frame):
    """What a handler of NumPyro's has for the sites of a loop: arrays stacked over the steps, or a function."""

    def __init__(self, kind: str, given: Any) -> None:
        self.observes = kind == "condition"
        self.gives_stacked = not callable(given)
        replayed = kind == "replay"
        self._value = given if callable(given) else lambda site: _recorded(given.get(site.name), replayed)

    def process(self, site: Site) -> None:
        value = self._value(site) if site.type == "sample" and not site.is_factor else None
        if value is not None:
            site.value, site.substituted = value, not self.observes
            site.is_observed = site.is_observed or self.observes


def _recorded(entry: Any, replayed: bool) -> Any:
    return entry["value"] if replayed and entry is not None else entry


def _under_seed() -> bool:
    return any(isinstance(handler, numpyro.handlers.seed) for handler in _PYRO_STACK)


def _without_handler_masks(fn: Any) -> tuple[Any, Any]:
    """The distribution without the masks of NumPyro's open handlers, and those masks together.

    A handler's mask counts for the Jacobian too, one that the user gave to the distribution does not.
    """
    n = sum(isinstance(handler, numpyro.handlers.mask) for handler in _PYRO_STACK)
    batch, mask, inner = fn.batch_shape, None, fn
    while n and isinstance(inner, (ExpandedDistribution, MaskedDistribution)):
        if isinstance(inner, MaskedDistribution):
            n -= 1
            mask = inner._mask if mask is None else mask & inner._mask
            fn = inner.base_dist
        inner = inner.base_dist
    return (fn if fn.batch_shape == batch else fn.expand(batch)), mask
