"""Many small priors: the log density and its gradient inside a jitted loop, with and without the joining passes.

    python benchmarks/priors.py [--repeats 9] [--steps 10000] [--sites 5 20 100]

Each model has scalar sites on lines of their own, a vector site of 100 and 8 observations. Figures are medians of
CPU time for each call, interleaved; compile times are XLA's CPU seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from rich.console import Console
from rich.table import Table

import plait

Y = np.linspace(-1, 1, 8)
WAYS = {"apart": {"join_parts": False, "join_terms": False}, "join_parts": {"join_terms": False}, "both": {}}
KINDS: dict[str, Callable[[int, int], str]] = {
    "Normal": lambda i, n: f"Normal(0, {1 + i / 7})",
    "Normal, then HalfCauchy": lambda i, n: f"{'Normal(0, ' if 4 * i < 3 * n else 'HalfCauchy('}{1 + i / 7})",
    "alternating": lambda i, n: f"{'HalfNormal(' if i % 2 else 'Normal(0, '}{1 + i / 7})",
}


def model_of(kind: str, n: int) -> Callable[..., Any]:
    """The model, its source written out: sites of one line would be rolled up."""
    lines = [f"    b{i} = plait.sample('b{i}', dist.{KINDS[kind](i, n)})" for i in range(n)]
    total = " + ".join(f"{0.1 * (i % 3 + 1):.1f} * b{i}" for i in range(n))
    lines.append("    v = plait.sample('v', dist.Normal(0, 1).expand([100]))")
    lines.append(f"    plait.sample('y', dist.Normal({total} + v[:8], 1.0), obs=y)")
    scope: dict[str, Any] = {"plait": plait, "dist": dist}
    exec("\n".join(["def model(y):", *lines]), scope)
    model: Callable[..., Any] = scope["model"]
    return model


def stepping(compiled: plait.CompiledModel, steps: int) -> tuple[Callable[[], Any], float]:
    """Many calls of value and gradient, each after the other; and the seconds that XLA took."""
    z = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, compiled.dim), compiled.dtype)

    def step(_: int, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        value, gradient = compiled.log_density_and_grad(carry[0])
        return z + 1e-6 * gradient, carry[1] + value

    lowered = jax.jit(lambda: jax.lax.fori_loop(0, steps, step, (z, jnp.zeros((), z.dtype)))).lower()
    begin = time.process_time()
    run = lowered.compile()
    return run, time.process_time() - begin


def seconds(run: Callable[[], Any]) -> float:
    """CPU seconds of one run."""
    begin = time.process_time()
    jax.block_until_ready(run())
    return time.process_time() - begin


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--sites", type=int, nargs="*", default=[5, 20, 100])
    options = parser.parse_args()
    shown = Table(
        "priors", "sites", *(f"{way} µs" for way in WAYS), "ratio", *(f"{way} XLA s" for way in WAYS), box=None
    )
    for kind in KINDS:
        for n in options.sites:
            model = model_of(kind, n)
            runs = {w: stepping(plait.compile(model, Y, passes=p), options.steps) for w, p in WAYS.items()}
            times: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(options.repeats + 1):
                for way, (run, _) in runs.items():
                    times[way].append(seconds(run))
            calls = {way: statistics.median(t[1:]) / options.steps * 1e6 for way, t in times.items()}
            ratio = f"{calls['apart'] / calls['both']:.1f}x"
            compiles = (f"{seconds:.2f}" for _, seconds in runs.values())
            shown.add_row(kind, str(n), *(f"{c:.2f}" for c in calls.values()), ratio, *compiles)
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
