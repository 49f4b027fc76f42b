"""What a value and gradient costs: densities of several libraries, measured in turn.

in a jit  microseconds for a value and gradient in a jitted `fori_loop` of gradient steps, whose values are summed.
          Data and statistics are its arguments, not its constants, so that XLA folds nothing of them.
Python    microseconds for a call from Python that waits for value and gradient.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

Gradient = Callable[[Any], tuple[Any, Any]]  # of a point: value and gradient
Run = Callable[[int], Any]  # so many gradients

CLOCKS: dict[str, Callable[[], float]] = {"CPU": time.process_time, "wall": time.perf_counter}
PLACES = ("in a jit", "Python")
SECONDS = 0.05  # that a round of one variant takes about
START = 0.1  # each entry of the point, or the size of them


@dataclass(frozen=True)
class Prepared:
    """One library's density of a model.

    Attributes:
        traceable: value and gradient, for use in a jit.
        called: the same as its users call it from Python.
        point: where to start, in the library's own shape.
        uphill: 1 for a log density, -1 for a potential energy.
        flat: the gradient in the order of plait's flat vector.
    """

    traceable: Gradient
    called: Gradient
    point: Any
    uphill: int
    flat: Callable[[Any], Any]


def measure(densities: Mapping[str, Prepared], rounds: int) -> list[dict[str, Any]]:
    """Microseconds of CPU and wall, for each library and place: medians over rounds that run all in turn.

    Returns:
        Records with "library", "place" and a figure for each of `CLOCKS`.
    """
    runs: dict[tuple[str, str], Run] = {}
    for library, density in densities.items():
        runs[library, PLACES[0]] = in_a_jit(density)
        runs[library, PLACES[1]] = from_python(density)
    counts = {key: enough(run) for key, run in runs.items()}
    spent: dict[tuple[str, str], list[tuple[float, ...]]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            spent[key].append(tuple(1e6 * s / counts[key] for s in seconds(run, counts[key])))
    medians = {key: [statistics.median(part) for part in zip(*all_, strict=True)] for key, all_ in spent.items()}
    return [
        {"library": library, "place": place, **dict(zip(CLOCKS, figures, strict=True))}
        for (library, place), figures in medians.items()
    ]


def in_a_jit(density: Prepared) -> Run:
    """So many steps uphill, each too small to leave the neighbourhood of the point; the sum of the values."""
    flat, unflat = ravel_pytree(density.point)
    closed = jax.make_jaxpr(density.traceable)(density.point)  # its consts are the data or their statistics

    def value_and_grad(known: Any, z: Any) -> Any:
        value, *gradient = jax.core.eval_jaxpr(closed.jaxpr, known, *jax.tree.leaves(unflat(z)))
        return value, ravel_pytree(gradient)[0]

    def steps(n: Any, known: Any, size: Any, z: Any) -> Any:
        def step(_: Any, carry: Any) -> Any:
            z, total = carry
            value, gradient = value_and_grad(known, z)
            return z + size * gradient, total + value

        return jax.lax.fori_loop(0, n, step, (z, jnp.zeros_like(z, shape=())))

    steepest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(density.called(density.point)[1]))
    size = jnp.asarray(density.uphill * 1e-6 / (steepest or 1.0), flat.dtype)
    jitted, known = jax.jit(steps), [jnp.asarray(c) for c in closed.consts]
    return lambda n: jax.block_until_ready(jitted(n, known, size, flat))


def from_python(density: Prepared) -> Run:
    """So many calls, each awaited."""

    def run(n: int) -> None:
        for _ in range(n):
            jax.block_until_ready(density.called(density.point))

    return run


def enough(run: Run, least: float = SECONDS) -> int:
    """How many gradients take about as long as a round should."""
    n = 1
    run(n)  # compiles
    while min(seconds(run, n)) < least and n < 10**6:
        n *= 2
    return n


def seconds(run: Run, n: int) -> tuple[float, ...]:
    """By each clock."""
    starts = [clock() for clock in CLOCKS.values()]
    run(n)
    return tuple(clock() - start for clock, start in zip(CLOCKS.values(), starts, strict=True))


__all__ = ["CLOCKS", "PLACES", "START", "Prepared", "enough", "from_python", "in_a_jit", "measure", "seconds"]
