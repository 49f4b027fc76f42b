"""Saved models beside the compiled ones: size, time to save, to the first gradient in a new process, and to the next.

    python benchmarks/artifact.py [--all] [--repeats 5] [--json FILE]

load, first gradient   seconds from the end of `import jax`, so that they count plait's own import and the start of the
                       backend; in a process without NumPyro and the model's source
compile                to the first gradient of `plait.compile`, with the imports of plait and NumPyro; and the same of
                       NumPyro's `initialize_model`. Reading the data is not counted.
next gradient          what a loaded model takes over what the compiled one takes in the same process, in turn: in a
                       jitted loop of steps, called from Python, and of 64 points at once in a jitted loop; CPU time

Figures to the first gradient are medians over fresh processes, run in turn; `artifact_here.py` is what they run.
All in float64.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from artifact_here import EXAMPLES, IN_EXAMPLES, POINTS, ROUNDS
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).with_name("artifact_here.py")
ROOT = HERE.parents[1]
FRESH = ("loaded", "compiled", "numpyro")
LOOP, PYTHON, MANY = "in a jit", "Python", f"in a jit, {POINTS} points"

Record = dict[str, Any]


def test_models() -> list[str]:
    """The names of the models in tests/models."""
    sys.path.insert(0, str(ROOT))
    from tests.models import MODELS, SCAN_MODELS

    return [model.name for model in (*MODELS, *SCAN_MODELS)]


def in_new_process(*arguments: str) -> Record:
    """The figures that `artifact_here.py` prints; where it fails, the last line of what it says, as "failed"."""
    environment = os.environ | {"JAX_ENABLE_X64": "1", "JAX_TRACEBACK_FILTERING": "off"}
    command = [sys.executable, str(HERE), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no words"])[-1]}
    figures: Record = json.loads(done.stdout.splitlines()[-1])
    return figures


def measured(models: Sequence[str], fresh: Sequence[str], repeats: int, rounds: int) -> Iterator[Record]:
    """A record for each model."""
    with tempfile.TemporaryDirectory() as folder:
        for name in models:
            path = str(Path(folder) / "model.plait")
            record = {"model": name, **in_new_process("saved", path, name, str(rounds))}
            if "next" in record:
                runs = [{what: in_new_process(what, path, name) for what in fresh} for _ in range(repeats)]
                record |= {what: medians([run[what] for run in runs]) for what in fresh}
            yield record


def medians(runs: Sequence[Record]) -> Record:
    """Of each stage by each clock; the failure where there is one."""
    failed = next((run for run in runs if "failed" in run), None)
    return failed or {
        stage: {clock: statistics.median(run[stage][clock] for run in runs) for clock in ("wall", "CPU")}
        for stage in runs[0]
    }


# -- the table --------------------------------------------------------------------------------------------


def table(records: Sequence[Record], clock: str) -> Table:
    """A row for each model; a dash where NumPyro does not run it, or is left out."""
    shown = Table("model", box=None)
    for column in (
        "dim",
        "file\nkB",
        f"save\n{clock} s",
        f"load\n{clock} s",
        f"first gradient\n{clock} s",
        f"compile\n{clock} s",
        f"NumPyro\n{clock} s",
        "next gradient\nin a jit",
        "called from\nPython",
        f"{POINTS} points\nin a jit",
    ):
        shown.add_column(column, justify="right")
    for record in records:
        if "next" in record:
            shown.add_row(record["model"], *cells(record, clock))
    return shown


def cells(record: Record, clock: str) -> Iterator[str]:
    """A model's row, after its name."""
    yield f"{record['dim']:,}"
    yield f"{record['bytes'] / 1e3:,.0f}"
    yield f"{record['saved'][clock]:.1f}"
    yield stage(record["loaded"], "loaded", clock)
    for what in FRESH:
        yield in_all(record.get(what, {}), clock)
    for place in (LOOP, PYTHON, MANY):
        yield ratio(record["next"][place])


def stage(run: Record, name: str, clock: str) -> str:
    return f"{run[name][clock]:.2f}" if name in run else "–"


def in_all(run: Record, clock: str) -> str:
    return "–" if not run or "failed" in run else f"{sum(spent[clock] for spent in run.values()):.2f}"


def ratio(microseconds: Record) -> str:
    """With what the loaded model takes."""
    loaded, compiled = (microseconds[library]["CPU"] for library in ("loaded", "compiled"))
    return f"{loaded:.3g} µs, {loaded / compiled:.2f}x"


def remarks(records: Sequence[Record]) -> Iterator[str]:
    """What was left out or failed, with the reason."""
    for record in records:
        for reason in ("left out", "failed"):
            if reason in record:
                yield f"{record['model']} {reason}: {record[reason]}"
        for what in FRESH:
            if "failed" in record.get(what, {}):
                yield f"{record['model']}, {what}, failed: {record[what]['failed']}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = parser.add_mutually_exclusive_group()
    models.add_argument("--all", action="store_true", help="the models of tests/models instead of the examples'")
    models.add_argument("--models", nargs="+", metavar="NAME", help="some of either, such as examples/radon or crossed")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes of each kind")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of further gradients")
    parser.add_argument("--no-numpyro", action="store_true", help="leave NumPyro's time out")
    parser.add_argument("--clock", choices=("wall", "CPU"), default="wall", help="of the seconds shown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options: Any = parser.parse_args()
    names = options.models or (test_models() if options.all else [IN_EXAMPLES + name for name in EXAMPLES])
    fresh = [what for what in FRESH if not (what == "numpyro" and options.no_numpyro)]
    records: list[Record] = []
    console = Console(width=170)
    with console.status("measuring") as status:
        for record in measured(names, fresh, options.repeats, options.rounds):
            records.append(record)
            status.update(f"{len(records)} of {len(names)} models")
            if options.json:  # after each, as the whole takes minutes
                options.json.write_text(json.dumps(records, indent=1))
    console.print(table(records, options.clock))
    for line in remarks(records):
        console.print(line, markup=False)


if __name__ == "__main__":
    main()
