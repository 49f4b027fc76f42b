"""The loop of samplers that run on JAX: compiled once, in blocks, so that progress is live.

The host gets the loop back every fraction of a second, however long a step takes: how many steps a call makes is an
argument of the compiled program.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from plait.runtime import OnProgress, Progress

BLOCK = 100  # steps that one call of the loop can hold
BLOCK_SECONDS = 0.2  # how long a call should take, so that a progress bar is live with slow models too

Kept = dict[str, Any]  # what is kept of a step, by name
Step = Callable[[Any, Any, Any], tuple[Any, Kept]]  # of (data, carry, x): the new carry, and what is kept
Block = Callable[[Any, Any, Any], tuple[Any, Kept]]  # of (carry, first step, number of steps)
Details = Callable[[Progress, Kept], Progress]  # adds to a report what the kept arrays of a block say


def compiled_loop(step: Step, data: Any, carry: Any, xs: Any) -> Block:
    """A compiled function of (carry, first, n): `n` steps from step `first` on, with what is kept of them.

    Args:
        step: ``step(data, carry, x) -> (carry, kept)``, pure.
        data: arrays that every step reads.
        carry: of the first step; only types and shapes count.
        xs: what differs from step to step, with a leading axis for all steps of all phases; () for nothing.

    Returns:
        ``block(carry, first, n) -> (carry, kept)`` with ``n <= BLOCK``; kept arrays are (BLOCK, …), of which the
        first `n` count.
    """
    block = jax.jit(partial(_block, step)).lower(data, carry, xs, 0, 0).compile()
    return lambda carry, first, n: block(data, carry, xs, first, n)


def run_phase(
    block: Block,
    carry: Any,
    progress: Progress,
    first: int,
    report: OnProgress,
    details: Details | None = None,
    until: Callable[[Kept], bool] | None = None,
) -> tuple[Any, Kept]:
    """All steps of a phase, in blocks of about `BLOCK_SECONDS`.

    Args:
        block: of `compiled_loop`.
        carry: of the phase's first step.
        progress: its phase and total.
        first: the phase's first step among those of all phases.
        report: gets a `Progress` after each block.
        details: what else to report, from ``progress`` so far and what the last block kept.
        until: whether the phase may end, from what the last block kept.

    Returns:
        The last carry, and what was kept, on the host: (steps, …).
    """
    blocks: list[Kept] = []
    n, total = 1, progress.total or 0
    while progress.done < total:
        n = min(n, BLOCK, total - progress.done)
        began = time.perf_counter()
        carry, kept = block(carry, first + progress.done, n)
        blocks.append({name: np.asarray(x)[:n] for name, x in kept.items()})
        seconds = time.perf_counter() - began
        progress = replace(progress, done=progress.done + n)
        if details is not None:
            progress = details(progress, blocks[-1])
        report(progress)
        if until is not None and until(blocks[-1]):
            break
        n = _next_size(n, seconds)
    return carry, {name: np.concatenate([b[name] for b in blocks]) for name in (blocks[0] if blocks else {})}


def stepping_until(done: Callable[[Any], Any], step: Step) -> Step:
    """The step as long as ``done(carry)`` does not hold; from then on nothing is computed, and ``active`` is False.

    How many steps there are then depends on what they find, and not on how the clock cuts the loop into blocks.
    """

    def guarded(data: Any, carry: Any, x: Any) -> tuple[Any, Kept]:
        shapes = jax.eval_shape(step, data, carry, x)[1]

        def idle() -> tuple[Any, Kept]:
            return carry, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        active = ~done(carry)
        carry, kept = jax.lax.cond(active, lambda: step(data, carry, x), idle)
        return carry, kept | {"active": active}

    return guarded


def run_until_done(
    block: Block, carry: Any, progress: Progress, report: OnProgress, details: Details | None = None
) -> tuple[Any, Kept]:
    """All steps of a phase of unknown length, whose steps are `stepping_until`; else as `run_phase`."""
    blocks: list[Kept] = []
    n, active = 1, True
    while active:
        began = time.perf_counter()
        carry, kept = block(carry, 0, n)
        taken = int(np.asarray(kept["active"])[:n].sum())
        active = taken == n
        if taken:
            blocks.append({name: np.asarray(x)[:taken] for name, x in kept.items()})
            progress = replace(progress, done=progress.done + taken)
            report(progress if details is None else details(progress, blocks[-1]))
        n = _next_size(n, time.perf_counter() - began)
    return carry, {name: np.concatenate([b[name] for b in blocks]) for name in (blocks[0] if blocks else {})}


def _next_size(n: int, seconds: float) -> int:
    """How many steps the next call makes, when the last one took so long."""
    return min(BLOCK, max(1, min(2 * n, int(n * BLOCK_SECONDS / max(seconds, 1e-9)))))


def hamiltonian_details(progress: Progress, kept: Kept) -> Progress:
    """Divergences so far, and the chains' mean step size, from ``diverging`` and ``step_size``."""
    divergences = (progress.divergences or 0) + int(kept["diverging"].sum())
    return replace(progress, divergences=divergences, step_size=float(kept["step_size"][-1].mean()))


def constants_as_arguments(function: Callable[..., Any], *example: Any) -> tuple[Any, Callable[..., Any]]:
    """The arrays that a function closes over, and the function of these and its own arguments.

    XLA would write arrays that are closed over into the program, and fold constants in a million rows.

    Args:
        function: of pytrees of arrays, pure.
        example: arguments, of which only types and shapes count.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*example)
    structure = jax.tree.structure(shape)

    def call(data: Any, *args: Any) -> Any:
        results = jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, data))(*jax.tree.leaves(args))
        return jax.tree.unflatten(structure, results)

    return closed.consts, call


def strongly_typed(tree: Any) -> Any:
    """The tree without weak types: Python numbers would make a loop's first call differ in type from the next ones."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree)


def _block(step: Step, data: Any, carry: Any, xs: Any, first: Any, n: Any) -> tuple[Any, Kept]:
    def at(i: Any) -> Any:
        return jax.tree.map(lambda x: x[i], xs)

    _, one = jax.eval_shape(step, data, carry, jax.eval_shape(at, 0))
    kept = jax.tree.map(lambda x: jnp.zeros((BLOCK, *x.shape), x.dtype), one)

    def body(i: Any, state: tuple[Any, Kept]) -> tuple[Any, Kept]:
        carry, kept = state
        carry, now = step(data, carry, at(first + i))
        return carry, jax.tree.map(lambda whole, x: whole.at[i].set(x), kept, now)

    return jax.lax.fori_loop(0, n, body, (carry, kept))


__all__ = [
    "BLOCK",
    "Block",
    "Kept",
    "compiled_loop",
    "constants_as_arguments",
    "hamiltonian_details",
    "run_phase",
    "run_until_done",
    "stepping_until",
    "strongly_typed",
]
