"""From model and data to the first gradient in a fresh process, beside NumPyro's `initialize_model`.

    python benchmarks/getting_ready.py [--repeats 5]

Each figure is the median over fresh processes, run in turn (plait, NumPyro, plait, …). Imports and the start of
JAX's backend are not counted. CPU seconds add up over cores.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

MODELS = {
    "eight_schools": "eight_schools",
    "hierarchical_regression": "investment",
    "logistic_regression": "benign",
}  # example file: its model function
LIBRARIES = ("plait", "numpyro")


def ready_plait(example: ModuleType, model: str) -> None:
    """One trace, one compile of the log density and its gradient, one call."""
    import plait

    compiled = plait.compile(getattr(example, model), **example.data())
    jax.block_until_ready(compiled.log_density_and_grad(jnp.zeros(compiled.dim)))


def ready_numpyro(example: ModuleType, model: str) -> None:
    """What NumPyro's samplers do before the first step."""
    from numpyro.infer.util import initialize_model

    info = initialize_model(jax.random.key(0), getattr(example, model), model_kwargs=example.data())
    jax.block_until_ready(jax.jit(jax.value_and_grad(info.potential_fn))(info.param_info.z))


def for_numpyro(example: ModuleType) -> ModuleType:
    """The same model over NumPyro's primitives: they have plait's names and signatures."""
    import numpyro

    example.plait = numpyro  # type: ignore[attr-defined]
    return example


def measure_here(library: str, model: str) -> dict[str, float]:
    """CPU and wall seconds in this process, which must be fresh."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    example = importlib.import_module(model)
    example.data()  # reading data sets is not what is measured
    import numpyro.infer.util  # noqa: F401

    import plait  # noqa: F401

    run = ready_plait if library == "plait" else ready_numpyro
    example = example if library == "plait" else for_numpyro(example)
    jnp.zeros(3).block_until_ready()
    wall, cpu = time.perf_counter(), time.process_time()
    run(example, MODELS[model])
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def measure(library: str, model: str) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--here", library, model]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def table(repeats: int) -> Table:
    """Medians, interleaved."""
    shown = Table("model", "plait CPU s", "plait wall s", "NumPyro CPU s", "NumPyro wall s", "CPU ratio", box=None)
    for model in MODELS:
        runs: dict[str, list[dict[str, float]]] = {library: [] for library in LIBRARIES}
        for _ in range(repeats):
            for library in LIBRARIES:
                runs[library].append(measure(library, model))
        median = {lib: {k: statistics.median(r[k] for r in rs) for k in ("cpu", "wall")} for lib, rs in runs.items()}
        cells = [f"{median[lib][k]:.2f}" for lib in LIBRARIES for k in ("cpu", "wall")]
        shown.add_row(model, *cells, f"{median['numpyro']['cpu'] / median['plait']['cpu']:.1f}x")
    return shown


def main() -> None:
    """Prints the table, or with --here one process's figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--here", nargs=2, metavar=("LIBRARY", "MODEL"))
    options: Any = parser.parse_args()
    if options.here:
        print(json.dumps(measure_here(*options.here)))
    else:
        Console(width=110).print(table(options.repeats))


if __name__ == "__main__":
    main()
