"""The command line: each command is the function of its name in the module of its name in `plait.commands`."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
import typer.core

import plait

# In the order of the help, each with the first line of its own. A module is imported when its command is asked for:
# JAX and NumPyro take seconds, and somebody who presses the tabulator waits.
COMMANDS = {
    "sample": "Draw from a model's posterior, by default with NUTS.",
    "explain": "Print what is evaluated, term by term, with its cost.",
    "explore": "Write a page that shows source, graphs, passes, terms and code.",
    "draw": "Draw a model: its sites, plates as boxes, observed sites shaded.",
    "show": "Print a model's graph, as text, DOT or JSON.",
    "check": "Prove every pass, and find what is not finite.",
    "bench": "Time value and gradient beside NumPyro on the same model.",
    "compile": "Save a model as a file that runs without its source.",
    "info": "Print what a saved model is, without running it.",
}

EXIT_CODES = """\b
Exit codes:
  0  done
  1  the sampler failed; check found a pass that changes the density, or bench
     densities that disagree; or plait has a defect
  2  the model, its data, the file or the command are wrong
  3  check found a density or gradient that is not finite
An error is one line on the standard error; --debug shows the traceback.
"""


class Commands(typer.core.TyperGroup):
    """All commands: by name and help at first, whole once one is asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: typer.core.TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if name is None or command is None else imported(name), rest


def imported(name: str) -> Any:
    """A command with its options."""
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(name)(getattr(importlib.import_module(f"plait.commands.{name}"), name))
    return typer.main.get_command(one)


app = typer.Typer(
    cls=Commands,
    help="plait: a compiler for probabilistic models.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"plait {plait.__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


def main() -> None:
    """The ``plait`` command."""
    app(prog_name="plait")


if __name__ == "__main__":
    main()
