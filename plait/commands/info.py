"""``plait info``: what a saved model is, without running it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from plait.ir.errors import ArtifactError
from plait.options import Debug, Json
from plait.runtime.artifact.about import about
from plait.session import session

File = Annotated[str, typer.Argument(metavar="MODEL.plait", help="A file that `plait compile` or `save` wrote.")]


def info(target: File, as_json: Json = False, debug: Debug = False) -> None:
    """Print what a saved model is, without running it.

    Its sites, data, platforms, versions and sizes; also of a model that can't run here.
    """
    with session(target, None, None, debug) as at:
        if at.saved is None:
            raise ArtifactError(f"{target} is no saved model: `plait compile` makes one of MODEL.py")
        found = about(at.saved)
        if as_json:
            typer.echo(json.dumps(found.to_json(), allow_nan=False))
        else:
            at.out.print(found)
