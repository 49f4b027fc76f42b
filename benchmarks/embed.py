"""What a compiled density costs inside samplers, and how fast NUTS is on it: plait beside NumPyro.

    python benchmarks/embed.py [--part calls nuts] [--models eight_schools radon] [--repeats 3] [--json FILE]

calls  Microseconds of CPU and wall for one call from Python of the density in each sampler's shape:
         "plait"    plait's adapter;
         "jitted"   the jitted function in it, called with what the sampler has (a numpy array, or one of JAX's) and its
                    result given back as the sampler takes it;
         "NumPyro"  the same jitted call of NumPyro's potential_fn.
       "added" is plait less jitted. emcee gets 64 points a call; dynesty the likelihood alone, which NumPyro has not.
nuts   Effective samples per second of NUTS: the least effective sample size of all entries of all latents, by
       numpyro.diagnostics, over the wall seconds of warm-up and draws without compilation. plait.samplers.numpyro,
       blackjax and nutpie on the compiled density, and NumPyro's NUTS on its potential_fn in one compiled loop (its
       MCMC makes the same draws, but compiles in every run), with the same numbers of chains, warm-up iterations and
       draws. Medians of repeats with different keys, in turn, after one run of each.

Float64, the models of examples/. Asynchronous dispatch is off: to wake another thread costs 30 µs or nothing, by
chance, whoever calls (docs/performance.md).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import NUTS
from numpyro.infer.util import initialize_model
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, whichever is installed

import plait
from plait import samplers
from plait.timing import CLOCKS, enough, seconds

MODELS = {
    "eight_schools": "eight_schools",
    "hierarchical_regression": "investment",
    "logistic_regression": "benign",
    "doctor_visits": "doctor_visits",
    "diabetes": "progression",
    "radon": "radon",
}  # example file: its model function
ROUNDS = 9
WALKERS = 64
CHAINS, WARMUP, DRAWS = 4, 500, 500

Call = Callable[[], Any]
Record = dict[str, Any]


def example_of(model: str) -> tuple[Callable[..., Any], Callable[..., Any], dict[str, Any]]:
    """An example's function over plait's primitives, the same over NumPyro's, and its data."""
    ours, theirs = (_fresh(model) for _ in range(2))
    theirs.plait = numpyro  # type: ignore[attr-defined]
    return getattr(ours, MODELS[model]), getattr(theirs, MODELS[model]), ours.data()


def _fresh(model: str) -> ModuleType:
    """The example's file, run."""
    path = Path(__file__).parents[1] / "examples" / f"{model}.py"
    spec = importlib.util.spec_from_file_location(model, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- what one call costs ----------------------------------------------------------------------------------


def calls(model: str) -> list[Record]:
    """A record for each sampler and variant."""
    function, theirs, data = example_of(model)
    compiled = plait.compile(function, **data)
    runs = _runs(compiled, _potential(theirs, data, compiled))
    spent: dict[tuple[str, str], list[list[float]]] = {key: [] for key in runs}
    counts = {key: enough(run) for key, run in runs.items()}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            spent[key].append([1e6 * s / counts[key] for s in seconds(run, counts[key])])
    medians = {key: [statistics.median(clock) for clock in zip(*of, strict=True)] for key, of in spent.items()}
    return [
        {"model": model, "sampler": sampler, "variant": variant, **dict(zip(CLOCKS, figures, strict=True))}
        for (sampler, variant), figures in medians.items()
    ]


def _potential(model: Callable[..., Any], data: Mapping[str, Any], compiled: Any) -> Callable[[Any], Any]:
    """NumPyro's potential energy of plait's flat vector."""
    info = initialize_model(jax.random.key(0), model, model_kwargs=dict(data))
    shapes = {name: x.shape for name, x in info.param_info.z.items()}

    def of_site(z: Any, name: str, offset: int) -> Any:
        return z[offset : offset + math.prod(shapes[name])].reshape(shapes[name])

    return lambda z: info.potential_fn({s.name: of_site(z, s.name, s.offset) for s in compiled.slots})


def _runs(compiled: Any, potential: Callable[[Any], Any]) -> dict[tuple[str, str], Callable[[int], None]]:
    z = 0.1 * np.cos(np.arange(compiled.dim))
    on_device, many = jnp.asarray(z), z + 0.01 * np.arange(WALKERS)[:, None]
    gradient = jax.jit(compiled.log_density_and_grad)
    batch = jax.jit(jax.vmap(compiled.log_density))
    likelihood = jax.jit(compiled.total_log_likelihood)
    theirs = jax.jit(jax.value_and_grad(potential))
    their_batch = jax.jit(jax.vmap(potential))
    numpy_ones = {
        "nutpie": samplers.nutpie.model(compiled)._make_logp_func(),
        "scipy": samplers.scipy.negative_log_density(compiled),
    }
    jax_ones = {
        "numpyro": samplers.numpyro.potential_fn(compiled),
        "blackjax": samplers.blackjax.logdensity(compiled),
        "optax": samplers.optax.loss(compiled),
    }
    found: dict[tuple[str, str], Call] = {}
    for name, density in jax_ones.items():
        jitted = jax.jit(jax.value_and_grad(density))
        found[name, "plait"] = lambda f=jitted: jax.block_until_ready(f(on_device))
        found[name, "jitted"] = lambda: jax.block_until_ready(gradient(on_device))
        found[name, "NumPyro"] = lambda: jax.block_until_ready(theirs(on_device))
    for name, density in numpy_ones.items():
        found[name, "plait"] = lambda f=density: f(z)
        found[name, "jitted"] = lambda: _on_host(gradient(z))
        found[name, "NumPyro"] = lambda: _on_host(theirs(z))
    emcee, dynesty = samplers.emcee.log_prob_fn(compiled), samplers.dynesty.loglikelihood(compiled)
    found["emcee", "plait"] = lambda: emcee(many)
    found["emcee", "jitted"] = lambda: _on_host(batch(many))
    found["emcee", "NumPyro"] = lambda: _on_host(their_batch(many))
    found["dynesty", "plait"] = lambda: dynesty(z)
    found["dynesty", "jitted"] = lambda: _on_host(likelihood(z))
    return {key: _repeated(call) for key, call in found.items()}


def _on_host(result: Any) -> Any:
    """As numpy's samplers take it: numbers and writable arrays."""
    return jax.tree.map(lambda x: np.array(x) if x.ndim else float(x), result)


def _repeated(call: Call) -> Callable[[int], None]:
    def run(n: int) -> None:
        for _ in range(n):
            call()

    return run


# -- effective samples per second ---------------------------------------------------------------------------


def nuts(model: str, repeats: int) -> list[Record]:
    """A record for each sampler: medians of repeats."""
    function, theirs, data = example_of(model)
    compiled = plait.compile(function, **data)
    runs: dict[str, Callable[[int], tuple[float, Mapping[str, Any]]]] = {
        "NumPyro": _numpyros(theirs, data),
        **{
            f"plait.samplers.{name}": lambda seed, name=name: _ours(getattr(samplers, name), compiled, seed)
            for name in ("numpyro", "blackjax", "nutpie")
        },
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run(100)  # imports and compilation
    for seed in range(repeats):
        for name, run in runs.items():
            took, values = run(seed)
            found[name].append((took, min(float(np.min(effective_sample_size(x))) for x in values.values())))
    return [
        {
            "model": model,
            "sampler": name,
            "seconds": statistics.median(took for took, _ in of),
            "ess": statistics.median(ess for _, ess in of),
            "per_second": statistics.median(ess / took for took, ess in of),
        }
        for name, of in found.items()
    ]


def _ours(sampler: ModuleType, compiled: Any, seed: int) -> tuple[float, Mapping[str, Any]]:
    """Seconds from the end of compilation to the last draw, and the latents' draws."""
    times: list[float] = []

    def note(report: Any) -> None:
        if report.phase != "compile" or report.done == report.total:
            times.append(time.perf_counter())

    draws = sampler.sample(compiled, jax.random.key(seed), chains=CHAINS, warmup=WARMUP, draws=DRAWS, progress=note)
    return times[-1] - times[0], {name: draws.values[name] for name in compiled.shapes}


def _numpyros(model: Callable[..., Any], data: Mapping[str, Any]) -> Callable[[int], tuple[float, Mapping[str, Any]]]:
    """The same of NumPyro's, which starts as plait's do: uniformly in (-2, 2)."""
    info = initialize_model(jax.random.key(0), model, model_kwargs=dict(data))
    kernel = NUTS(potential_fn=info.potential_fn)

    def step(state: Any, _: Any) -> tuple[Any, Any]:
        state = kernel.sample(state, (), {})
        return state, state.z

    @jax.jit
    def all_draws(keys: Any, start: Any) -> Any:
        state = kernel.init(keys, WARMUP, start, (), {})
        state, _ = jax.lax.scan(lambda state, _: (step(state, _)[0], None), state, length=WARMUP)
        return jax.lax.scan(step, state, length=DRAWS)[1]

    def run(seed: int) -> tuple[float, Mapping[str, Any]]:
        keys = jax.random.split(jax.random.key(seed), CHAINS)
        z = info.param_info.z
        start = jax.tree.map(lambda x: jax.random.uniform(keys[0], (CHAINS, *x.shape), x.dtype, -2, 2), z)
        began = time.perf_counter()
        draws = jax.block_until_ready(all_draws(keys, start))
        took = time.perf_counter() - began
        values = jax.vmap(jax.vmap(info.postprocess_fn))(draws)
        return took, {name: np.swapaxes(values[name], 0, 1) for name in z}

    return run


# -- the tables ---------------------------------------------------------------------------------------------


def call_table(records: Sequence[Record]) -> Table:
    """A row for each model and sampler."""
    shown = Table("model", "sampler", box=None)
    for clock in CLOCKS:
        for variant in ("jitted", "plait", "NumPyro"):
            shown.add_column(f"{variant}\n{clock} µs", justify="right")
    shown.add_column("added\nCPU µs", justify="right")
    shown.add_column("NumPyro /\nplait", justify="right")
    by: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records:
        by.setdefault((record["model"], record["sampler"]), {})[record["variant"]] = record
    for key, of in by.items():
        figures = [
            f"{of[variant][clock]:.4g}" if variant in of else "–"
            for clock in CLOCKS
            for variant in ("jitted", "plait", "NumPyro")
        ]
        added = of["plait"]["CPU"] - of["jitted"]["CPU"]
        ratio = f"{of['NumPyro']['CPU'] / of['plait']['CPU']:.2f}" if "NumPyro" in of else "–"
        shown.add_row(*key, *figures, f"{added:+.1f}", ratio)
    return shown


def nuts_table(records: Sequence[Record]) -> Table:
    """A row for each model and sampler; the ratio is to NumPyro."""
    shown = Table("model", "sampler", box=None)
    for column in ("seconds", "least ESS", "ESS / s", "/ NumPyro"):
        shown.add_column(column, justify="right")
    base = {r["model"]: r["per_second"] for r in records if r["sampler"] == "NumPyro"}
    for r in records:
        ratio = r["per_second"] / base[r["model"]]
        shown.add_row(
            r["model"], r["sampler"], f"{r['seconds']:.2f}", f"{r['ess']:.0f}", f"{r['per_second']:.0f}", f"{ratio:.2f}"
        )
    return shown


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=("calls", "nuts"), default=("calls", "nuts"))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=3, help="of each run of NUTS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all records")
    asked = parser.parse_args()
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    out, records = Console(), {}
    out.width = max(out.width, 110)
    with jax.enable_x64(True):
        if "calls" in asked.part:
            records["calls"] = [record for model in asked.models for record in calls(model)]
            out.print(call_table(records["calls"]))
        if "nuts" in asked.part:
            records["nuts"] = [record for model in asked.models for record in nuts(model, asked.repeats)]
            out.print(nuts_table(records["nuts"]))
    if asked.json is not None:
        asked.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
