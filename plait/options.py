"""What several commands take: their arguments and options, and what a shell completes of them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Dtype(StrEnum):
    """Precisions."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"


class Platform(StrEnum):
    """What exported code runs on."""

    CPU = "cpu"
    CUDA = "cuda"
    ROCM = "rocm"
    TPU = "tpu"


class Detail(StrEnum):
    """How much a picture shows."""

    SITES = "sites"
    CODE = "code"
    EQUATIONS = "equations"


class Format(StrEnum):
    """What a picture is written as."""

    SVG = "svg"
    PNG = "png"
    DOT = "dot"
    MERMAID = "mermaid"
    JSON = "json"
    TEXT = "text"


def starting_with(names: Callable[[], list[str]]) -> Callable[[str], list[str]]:
    """What a shell offers for a value that has been begun; `names` is called when somebody asks."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def optional_passes() -> list[str]:
    """The passes that can be switched off."""
    from plait.compiler.passes import PIPELINE  # imports NumPyro

    return [p.name for p in PIPELINE if p.optional]


def stages() -> list[str]:
    """What has a graph: the trace, and each pass."""
    from plait.compiler.passes import PIPELINE  # imports NumPyro

    return ["trace", *(p.name for p in PIPELINE)]


Target = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A Python file with the model, MODEL.py[:function], or a saved model."),
]
Source = Annotated[str, typer.Argument(metavar="MODEL", help="A Python file with the model, MODEL.py[:function].")]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE.json", help="Data by argument name; replaces entries of data()."),
]
Without = Annotated[
    list[str] | None,
    typer.Option(metavar="PASS", help="Switch a pass off (repeatable).", autocompletion=starting_with(optional_passes)),
]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option("--dtype", help="Precision of all values; float64, but of a saved model its own.", show_default=False),
]
Float64 = Annotated[
    bool | None, typer.Option("--float64/--float32", help="Short for --dtype float64, float32.", show_default=False)
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--compilation-cache",
        metavar="DIR",
        envvar="PLAIT_COMPILATION_CACHE",
        help="Keep what XLA compiles in this folder, for later runs.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, on one line; docs/json.md has its fields.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
