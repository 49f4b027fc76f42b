"""The command line: each command is the function of its name in the module of its name in `plait.commands`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
import typer.core

import plait

# In the order of the help. A module is imported when its command is asked for: JAX and NumPyro take seconds, and
# somebody who presses the tabulator waits.
COMMANDS = ("sample", "explain", "show", "check", "bench", "compile", "info")

EXIT_CODES = """\b
Exit codes:
  0  done
  1  the sampler failed; check found a pass that changes the density, or bench
     densities that disagree; or plait has a defect
  2  the model, its data, the file or the command are wrong
  3  check found a density or gradient that is not finite
An error is one line on the standard error; --debug shows the traceback.
"""


class _Modules(Mapping[str, Any]):
    """The commands by name."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        one = typer.Typer(add_completion=False, rich_markup_mode=None)
        one.command(name)(getattr(importlib.import_module(f"plait.commands.{name}"), name))
        return typer.main.get_command(one)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Commands(typer.core.TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Modules()  # type: ignore[assignment]  # nobody adds to it


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
