"""What a loop over sites costs beside a plate, in plait and in NumPyro.

    python benchmarks/loops.py [--repeats 3] [--sizes 10 100 1000 10000] [--models pairs walk] [--full] [--json FILE]

pairs: theta_i ~ N(mu, tau), y_i ~ N(theta_i, sigma_i). walk: x_t ~ N(x_{t-1}, tau), y_t ~ N(x_t, sigma_t).
Each written as a Python loop over `range`, as a loop over `plait.plate`, and with plates (the walk in them is one
`GaussianRandomWalk`). NumPyro stops at 1000 sites, and its Python loop at 100 unless --full is given: 1000 take it
minutes. Larger sizes are plait's alone.

  ready     CPU seconds from model and data to the first gradient in a fresh process. Imports and the start of JAX's
            backend are not counted; seconds add up over cores.
  trace     the part in which the library runs the model's Python: plait's one trace, NumPyro's last one (it runs the
            model 3 to 7 times), that of its potential energy and gradient.
  XLA       wall seconds in XLA's compiler, of all compilations until ready.
  in a jit  CPU microseconds for a gradient in a jitted `fori_loop` of gradient steps.
  Python    CPU microseconds for a call from Python that waits for the gradient.

The first three are medians over fresh processes, run in turn (one process a variant, round after round); the last two
are medians over rounds in one process that has all variants of a model and runs them in turn.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer.util import initialize_model
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, whichever is installed

import plait

Array = Any
Loop = Callable[[str, int], Iterable[Any]]
Gradient = Callable[[Any], tuple[Any, Any]]  # of a point: value and gradient

SIZES = (10, 100, 1000, 10000)
ROUNDS = 9
SECONDS = 0.05  # that a round of one variant takes about


def pairs(ppl: ModuleType, loop: Loop, sigma: Array, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfNormal(5))
    for i in loop("pairs", len(y)):
        theta = ppl.sample(f"theta_{i}", dist.Normal(mu, tau))
        ppl.sample(f"y_{i}", dist.Normal(theta, sigma[i]), obs=y[i])


def pairs_in_plate(ppl: ModuleType, sigma: Array, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfNormal(5))
    with ppl.plate("pairs", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def walk(ppl: ModuleType, loop: Loop, sigma: Array, y: Array) -> None:
    tau = ppl.sample("tau", dist.HalfNormal(1))
    x = 0.0
    for t in loop("time", len(y)):
        x = ppl.sample(f"x_{t}", dist.Normal(x, tau))
        ppl.sample(f"y_{t}", dist.Normal(x, sigma[t]), obs=y[t])


def walk_in_plate(ppl: ModuleType, sigma: Array, y: Array) -> None:
    tau = ppl.sample("tau", dist.HalfNormal(1))
    x = ppl.sample("x", dist.GaussianRandomWalk(tau, len(y)))
    with ppl.plate("time", len(y)):
        ppl.sample("y", dist.Normal(x, sigma), obs=y)


def ordinary(name: str, n: int) -> range:
    """The loop that every Python has."""
    return range(n)


MODELS = {"pairs": (pairs, pairs_in_plate), "walk": (walk, walk_in_plate)}
LOOPS: dict[str, tuple[ModuleType, Loop | None, float]] = {  # library, loop (None: with plates), largest size
    "plait, for … in range": (plait, ordinary, math.inf),
    "plait, for … in plate": (plait, plait.plate, math.inf),
    "plait, with plate": (plait, None, math.inf),
    "NumPyro, for … in range": (numpyro, ordinary, 100),
    "NumPyro, with plate": (numpyro, None, 1000),
}


def written(model: str, variant: str) -> Callable[..., None]:
    """The model's function of its data."""
    looped, in_plate = MODELS[model]
    ppl, loop, _ = LOOPS[variant]
    return functools.partial(in_plate, ppl) if loop is None else functools.partial(looped, ppl, loop)


def data(n: int) -> dict[str, np.ndarray]:
    """The same in every process."""
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.5, 2, n).astype(np.float32)
    return {"sigma": sigma, "y": (sigma * rng.normal(size=n)).astype(np.float32)}


def gradient_of(model: str, variant: str, n: int) -> tuple[Gradient, Any, float]:
    """The jitted gradient, a point for it, and the CPU seconds that the model's Python took."""
    prepare = with_plait if LOOPS[variant][0] is plait else with_numpyro
    return prepare(written(model, variant), data(n))


def with_plait(model: Callable[..., None], arguments: Mapping[str, Array]) -> tuple[Gradient, Any, float]:
    start = time.process_time()
    traced: list[float] = []
    compiled = plait.compile(model, on_graph=lambda *_: traced.append(time.process_time()), **arguments)
    return compiled.log_density_and_grad, jnp.full(compiled.dim, 0.1), traced[0] - start


def with_numpyro(model: Callable[..., None], arguments: Mapping[str, Array]) -> tuple[Gradient, Any, float]:
    """What its samplers do before the first step."""
    info = initialize_model(jax.random.key(0), model, model_kwargs=dict(arguments))
    gradient = jax.jit(jax.value_and_grad(info.potential_fn))
    point = jax.tree.map(lambda x: jnp.full(x.shape, 0.1), info.param_info.z)
    start = time.process_time()
    gradient.trace(point)
    return gradient, point, time.process_time() - start


# -- in a process of its own ------------------------------------------------------------------------------


def ready_here(model: str, variant: str, n: int) -> dict[str, float]:
    """Seconds to the first gradient in this process, which must be fresh."""
    compilations: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compilations.append(duration_secs)

    jnp.zeros(3).block_until_ready()
    jax.monitoring.register_event_duration_secs_listener(listen)
    start = time.process_time()
    gradient, point, trace = gradient_of(model, variant, n)
    jax.block_until_ready(gradient(point))
    return {"trace": trace, "xla": sum(compilations), "ready": time.process_time() - start}


def gradients_here(model: str, n: int, variants: Sequence[str]) -> dict[str, dict[str, float]]:
    """CPU microseconds for a gradient of each variant."""
    runs: dict[tuple[str, str], Callable[[int], Any]] = {}
    for variant in variants:
        gradient, point, _ = gradient_of(model, variant, n)
        runs[variant, "jit"] = in_a_jit(gradient, point)
        runs[variant, "python"] = from_python(gradient, point)
    counts = {key: enough(run) for key, run in runs.items()}
    spent: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            spent[key].append(cpu_seconds(run, counts[key]) / counts[key])
    return {v: {k: 1e6 * statistics.median(spent[v, k]) for k in ("jit", "python")} for v in variants}


def in_a_jit(gradient: Gradient, point: Any) -> Callable[[int], Any]:
    """So many steps along the gradient, each too small to leave the neighbourhood of the point."""

    def step(_: int, z: Any) -> Any:
        return jax.tree.map(lambda x, g: x + 1e-9 * g, z, gradient(z)[1])

    steps = jax.jit(lambda n, z: jax.lax.fori_loop(0, n, step, z))
    return lambda n: jax.block_until_ready(steps(n, point))


def from_python(gradient: Gradient, point: Any) -> Callable[[int], Any]:
    def run(n: int) -> None:
        for _ in range(n):
            jax.block_until_ready(gradient(point))

    return run


def enough(run: Callable[[int], Any]) -> int:
    """How many gradients take about as long as a round should."""
    n = 1
    run(n)  # compiles
    while cpu_seconds(run, n) < SECONDS and n < 10**6:
        n *= 2
    return n


def cpu_seconds(run: Callable[[int], Any], n: int) -> float:
    start = time.process_time()
    run(n)
    return time.process_time() - start


# -- over processes ---------------------------------------------------------------------------------------


def fresh(*command: str) -> Any:
    """What this script prints with --here in a fresh process."""
    out = subprocess.run([sys.executable, __file__, "--here", *command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def measure(model: str, n: int, variants: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """A record for each variant."""
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for _ in range(repeats):
        for variant in variants:
            runs[variant].append(fresh("ready", model, str(n), variant))
    gradients = fresh("gradients", model, str(n), *variants)
    return [
        {
            "model": model,
            "n": n,
            "variant": variant,
            **{k: statistics.median(run[k] for run in runs[variant]) for k in ("trace", "xla", "ready")},
            **gradients[variant],
        }
        for variant in variants
    ]


def table(records: Sequence[Mapping[str, Any]]) -> Table:
    shown = Table("model", "N", "written as", "trace s", "XLA s", "ready CPU s", "in a jit µs", "Python µs", box=None)
    for column in shown.columns[3:]:
        column.justify = "right"
    for r in records:
        seconds = [f"{r[k]:.2f}" for k in ("trace", "xla", "ready")]
        shown.add_row(r["model"], str(r["n"]), r["variant"], *seconds, f"{r['jit']:.2f}", f"{r['python']:.1f}")
    return shown


def main() -> None:
    """Prints the table, or with --here one process's figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes for each variant")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--full", action="store_true", help="NumPyro's Python loop at 1000, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--here", nargs="+", help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.here:
        what, model, n, *variants = options.here
        ready = what == "ready"
        print(json.dumps(ready_here(model, variants[0], int(n)) if ready else gradients_here(model, int(n), variants)))
        return
    records: list[dict[str, Any]] = []
    console = Console(width=120)
    with console.status("measuring") as status:
        for model in options.models:
            for n in options.sizes:
                most = {v: 1000 if options.full and ppl is numpyro else top for v, (ppl, _, top) in LOOPS.items()}
                status.update(f"{model}, N = {n}")
                records += measure(model, n, [v for v in LOOPS if n <= most[v]], options.repeats)
    console.print(table(records))
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
