"""What a gradient of each test model costs: plait beside NumPyro, the worst ratio first.

    python benchmarks/models.py [--models radon factors] [--loops] [--rounds 15] [--x64] [--json FILE]

The models are those of `tests/models`, which are small, so that what is fixed for a call shows; with --loops also
those whose sites a Python loop makes. Where NumPyro cannot run a model as it stands, it runs the model's twin. Both
are compared at the point where they start: value and gradient, or the script stops.

  in a jit  CPU microseconds for a value and gradient in a jitted `fori_loop` of gradient steps; data are its
            arguments, not its constants, so that XLA folds nothing of them.
  Python    CPU microseconds for a call from Python that waits for value and gradient.

Medians over short rounds, in one process that runs the four in turn; ratios are medians over rounds, too. What is
slower than NumPyro by a fifth is measured again, in four times as many rounds, and those stand (marked *).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from numpyro.infer.util import initialize_model
from rich.console import Console
from rich.table import Table
from side_by_side import require_agreement

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, whichever is installed

import plait
from plait.timing import START, Prepared, enough, from_python, in_a_jit, seconds
from tests.models import MODELS, SCAN_MODELS, Model
from tests.models.loops import LOOP_MODELS
from tests.models.numpyro_reference import init_params

PLACES: dict[str, Callable[[Prepared], Callable[[int], Any]]] = {"in a jit": in_a_jit, "Python": from_python}
LIBRARIES = ("plait", "NumPyro")
ROUNDS = 15
SECONDS = 0.01  # that a round of one variant takes about
DOUBTFUL = 1.2  # plait / NumPyro that is measured again
SLOW = 1.3  # more than noise
ROUNDING = 3000  # units of the last place that value and gradient may differ by, relative to the largest entry

LOOPS = tuple(case.model for case in LOOP_MODELS)


def prepared(model: Model) -> dict[str, Prepared]:
    """Both libraries' gradients of the same data, and in agreement."""
    dtype = jnp.zeros(0).dtype
    data = model.args(dtype)
    params = init_params(model, data)
    compiled = plait.compile(model.bind(plait), **data).with_params(params)
    z = jnp.full(compiled.dim, START)
    gradient = compiled.log_density_and_grad
    run = numpyro.handlers.substitute(model.bind(numpyro), data=params)
    arrays = {name: jnp.asarray(value) for name, value in data.items()}
    info = initialize_model(jax.random.key(0), run, model_kwargs=arrays)
    potential = jax.value_and_grad(info.potential_fn)
    point = {slot.name: jnp.full(info.param_info.z[slot.name].shape, START) for slot in compiled.slots}
    found = {
        "plait": Prepared(gradient, gradient, z, 1, lambda g: g),
        "NumPyro": Prepared(potential, jax.jit(potential), point, -1, partial(uphill, list(point))),
    }
    require_agreement(found, ROUNDING * float(jnp.finfo(dtype).eps))
    return found


def uphill(sites: Sequence[str], gradient: Mapping[str, Any]) -> Any:
    """The gradient of a potential energy as one of plait's flat vector."""
    return -jnp.concatenate([jnp.ravel(gradient[site]) for site in sites])


def measure(model: Model, rounds: int) -> list[dict[str, Any]]:
    """A record for each place: microseconds of each library, and their ratio."""
    records = []
    densities = prepared(model)
    for place, prepare in PLACES.items():
        runs = {library: prepare(densities[library]) for library in LIBRARIES}
        counts = {library: enough(run, SECONDS) for library, run in runs.items()}
        record = in_turn(runs, counts, rounds)
        if record["ratio"] > DOUBTFUL:
            record = in_turn(runs, counts, 4 * rounds) | {"again": True}
        records.append({"model": model.name, "place": place, **record})
    return records


def in_turn(runs: Mapping[str, Callable[[int], Any]], counts: Mapping[str, int], rounds: int) -> dict[str, Any]:
    """Medians of microseconds a call, and of the rounds' ratios."""
    spent: dict[str, list[float]] = {library: [] for library in runs}
    for _ in range(rounds):
        for library, run in runs.items():
            spent[library].append(1e6 * seconds(run, counts[library])[0] / counts[library])
    ratios = [mine / theirs for mine, theirs in zip(*(spent[library] for library in LIBRARIES), strict=True)]
    return {**{library: statistics.median(s) for library, s in spent.items()}, "ratio": statistics.median(ratios)}


def table(records: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each model; the larger of its ratios has its place in the order."""
    shown = Table("model", box=None)
    for place in PLACES:
        for column in (*(f"{library}\n{place} µs" for library in LIBRARIES), f"plait /\nNumPyro\n{place}"):
            shown.add_column(column, justify="right")
    of = {(r["model"], r["place"]): r for r in records}
    names = dict.fromkeys(r["model"] for r in records)
    for name in sorted(names, key=lambda name: -max(of[name, place]["ratio"] for place in PLACES)):
        cells = []
        for place in PLACES:
            record = of[name, place]
            style = "red" if record["ratio"] >= SLOW else ""
            mark = "*" if record.get("again") else " "
            cells += [f"{record[library]:.3g}" for library in LIBRARIES]
            cells.append(f"[{style}]{record['ratio']:.2f}{mark}[/]" if style else f"{record['ratio']:.2f}{mark}")
        shown.add_row(name, *cells)
    return shown


def summary(records: Sequence[Mapping[str, Any]]) -> str:
    """One line for each place."""
    lines = []
    for place in PLACES:
        ratios = [r["ratio"] for r in records if r["place"] == place]
        slow = [r["model"] for r in records if r["place"] == place and r["ratio"] >= SLOW]
        lines.append(
            f"{place}: {len(ratios)} models, the median ratio {statistics.median(ratios):.2f}, the largest "
            f"{max(ratios):.2f}; slower than {SLOW} times NumPyro: {', '.join(slow) or 'none'}"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints the table and the summary."""
    known = {model.name: model for model in (*LOOPS, *MODELS, *SCAN_MODELS)}  # names of MODELS win
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(known), metavar="NAME", help="these alone")
    parser.add_argument("--loops", action="store_true", help="also the models whose sites a Python loop makes")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--x64", action="store_true", help="in float64 instead of float32")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options: Any = parser.parse_args()
    jax.config.update("jax_enable_x64", options.x64)
    chosen = [known[name] for name in options.models or ()] or [
        *MODELS,
        *SCAN_MODELS,
        *(LOOPS if options.loops else ()),
    ]
    records: list[dict[str, Any]] = []
    console = Console(width=120)
    with console.status("measuring") as status:
        for model in chosen:
            status.update(model.name)
            records += measure(model, options.rounds)
            jax.clear_caches()  # of programs that are done with: they are gigabytes in the end
    console.print(table(records))
    console.print(summary(records))
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
