"""What every command of the command line shares: options, precision, and errors as one line."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import jax
import typer
from rich.console import Console
from rich.text import Text

import plait
from plait.ir.errors import PlaitError
from plait.model_file import ModelFile, load
from plait.render import console
from plait.runtime.compiled import CompiledModel

Target = Annotated[str, typer.Argument(metavar="MODEL.py[:function]", help="A Python file with the model.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE.json", help="Data by argument name; replaces entries of data()."),
]
Without = Annotated[list[str] | None, typer.Option(metavar="PASS", help="Switch a pass off (repeatable).")]
Float64 = Annotated[bool, typer.Option("--float64/--float32", help="Precision of all values.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, on one line; docs/json.md has its fields.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


# -- models ---------------------------------------------------------------------------------------------


def compiled_file(target: str, data: Path | None, without: list[str] | None) -> tuple[ModelFile, CompiledModel, float]:
    """A model file, compiled, and how many seconds that took."""
    model = load(target, data)
    args, kwargs = model.arguments()
    began = time.perf_counter()
    compiled = plait.compile(model.function, *args, passes=switches(without), **kwargs)
    return model, compiled, time.perf_counter() - began


def switches(without: list[str] | None) -> Mapping[str, bool]:
    """The passes that are off."""
    return dict.fromkeys(without or (), False)


def with_fixed_params(compiled: CompiledModel, seed: int) -> CompiledModel:
    """The model at initial values of its params, the random ones drawn."""
    if not compiled.has_random_params:
        return compiled
    return compiled.with_params(compiled.init_param_values(jax.random.key(seed)))


# -- errors ---------------------------------------------------------------------------------------------


@contextmanager
def session(target: str, float64: bool, debug: bool) -> Iterator[Console]:
    """Precision, quiet logs, and errors of the model or its file as one line with exit code 2."""
    # That a GPU could be used is for who installs jax, not for who reads a posterior.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    try:
        with jax.enable_x64(float64):
            yield console()
    except (typer.Exit, BrokenPipeError):
        raise
    except PlaitError as e:
        fail(str(e), 2, debug)
    except Exception as e:
        at = where(e, target)
        fail(f"{one_line(e)} ({at or 'not in your file: --debug shows where'})", 2 if at else 1, debug)


def fail(message: str, code: int, debug: bool) -> NoReturn:
    """Ends the command with one line on the standard error."""
    if debug:
        traceback.print_exc()
    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), " ".join(message.split())), soft_wrap=True)
    raise typer.Exit(code)


def warn(out: Console, text: str) -> None:
    """A sentence that does not end the command."""
    out.print(Text.assemble(("warning: ", "bold yellow"), text))


def one_line(error: Exception) -> str:
    """The type and the first line of the message: jax's messages run over pages."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def where(error: Exception, target: str) -> str:
    """The line of the model's file on which an error arose; empty where that is not on its way."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{os.path.basename(error.filename)}:{error.lineno}"
    file = Path(target.rpartition(":")[0] if not os.path.exists(target) else target).resolve()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == file]
    return f"{file.name}:{frames[-1].lineno}" if frames else ""
