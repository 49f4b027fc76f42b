"""What every command of the command line shares: precision, the model or the saved one, and errors as one line."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jax
import typer
from rich.console import Console
from rich.text import Text

import plait
from plait.ir.errors import ArtifactError, PlaitError
from plait.ir.site_line import SiteLine
from plait.model_file import ModelFile, ModelFileError, load, read_data, require_file
from plait.options import Dtype
from plait.render import console, model_title
from plait.runtime.artifact.container import is_saved
from plait.runtime.artifact.load import Saved, open_saved
from plait.runtime.compiled import CompiledModel

OnGraph = Callable[[str, Any], None]


@dataclass(frozen=True)
class Opened:
    """A model that a command works with.

    Attributes:
        name: what the user calls it: ``eight_schools.py: eight_schools``, or the saved file's name.
        compiled: the model, on its data.
        sites: what its table says.
        seconds: to compile or load it.
        file: the model's source; None of a saved model.
    """

    name: str
    compiled: CompiledModel
    sites: Sequence[SiteLine]
    seconds: float
    file: ModelFile | None

    @property
    def title(self) -> Text:
        """Its name and its data."""
        return model_title(self.name, self.compiled.data)


@dataclass(frozen=True)
class Session:
    """One run of a command.

    Attributes:
        out: where it prints.
        target: what the user named.
        saved: the saved model, where that is one.
    """

    out: Console
    target: str
    saved: Saved | None

    def opened(self, data: Path | None, without: Sequence[str] | None, on_graph: OnGraph | None = None) -> Opened:
        """The model, compiled or loaded."""
        if self.saved is not None:
            return self._loaded(self.saved, data, without)
        from plait.ir.sites import site_lines  # imports NumPyro, as compiling does

        model = load(self.target, data)
        args, kwargs = model.arguments()
        began = time.perf_counter()
        compiled = plait.compile(model.function, *args, passes=switches(without), on_graph=on_graph, **kwargs)
        seconds = time.perf_counter() - began
        return Opened(f"{model.path.name}: {model.name}", compiled, site_lines(compiled.rolled_graph), seconds, model)

    def _loaded(self, saved: Saved, data: Path | None, without: Sequence[str] | None) -> Opened:
        if without:
            raise ArtifactError(f"{saved.path} is compiled: give --without to `plait compile`")
        from plait.runtime.load import loaded  # imports scipy, which `plait info` does without

        began = time.perf_counter()
        compiled = loaded(saved)
        if data is not None:
            compiled = compiled.bind(**read_data(data))
        return Opened(saved.path.name, compiled, saved.pictures.sites, time.perf_counter() - began, None)

    def refuse_for_saved(self, data: Path | None, without: Sequence[str] | None) -> None:
        """Raises ArtifactError for options of a command that prints what a saved model holds as text."""
        for option, given in (("--data", data), ("--without", without)):
            if given:
                raise ArtifactError(
                    f"{self.target} was compiled before, and what is printed of it is as it was then: give its "
                    f"MODEL.py with {option}"
                )


def switches(without: Sequence[str] | None) -> Mapping[str, bool]:
    """The passes that are off."""
    return dict.fromkeys(without or (), False)


def with_fixed_params(compiled: CompiledModel, seed: int) -> CompiledModel:
    """The model at initial values of its params, the random ones drawn."""
    if not compiled.has_random_params:
        return compiled
    return compiled.with_params(compiled.init_param_values(jax.random.key(seed)))


# -- beginning --------------------------------------------------------------------------------------------


@contextmanager
def session(
    target: str, float64: bool | None, dtype: Dtype | None, debug: bool, cache: Path | None = None
) -> Iterator[Session]:
    """Precision, quiet logs, and errors of the model or its file as one line with exit code 2."""
    # That a GPU could be used is for who installs jax, not for who reads a posterior.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    try:
        saved = _saved(target)
        with jax.enable_x64(_computes_in_64_bits(saved, float64, dtype)), compilation_cache(cache):
            yield Session(console(), target, saved)
    except (typer.Exit, BrokenPipeError):
        raise
    except PlaitError as e:
        fail(str(e), 2, debug)
    except Exception as e:
        at = where(e, target)
        fail(f"{one_line(e)} ({at or 'not in your file: --debug shows where'})", 2 if at else 1, debug)


def _saved(target: str) -> Saved | None:
    """The target as a saved model; None where it is none."""
    path = Path(target)
    if path.suffix != ".plait" and not is_saved(path):
        return None
    require_file(path)
    try:
        return open_saved(path)
    except OSError as e:
        raise ModelFileError(f"can't read {path}: {e.strerror or e}") from None


def _computes_in_64_bits(saved: Saved | None, float64: bool | None, dtype: Dtype | None) -> bool:
    asked = None if dtype is None else dtype is Dtype.FLOAT64
    if None not in (asked, float64) and asked != float64:
        raise ModelFileError(f"--dtype {dtype} and --{_name(bool(float64))} contradict each other")
    wanted = float64 if asked is None else asked
    if saved is None:
        return wanted is None or wanted
    if wanted not in (None, saved.manifest.x64):
        raise ArtifactError(
            f"{saved.path} was compiled in {_name(saved.manifest.x64)}, and {_name(not saved.manifest.x64)} is asked "
            "for: compile the model in that precision, from its source"
        )
    return saved.manifest.x64


def _name(float64: bool) -> str:
    return "float64" if float64 else "float32"


@contextmanager
def compilation_cache(folder: Path | None) -> Iterator[None]:
    """JAX's persistent cache of compiled code in a folder; without one as jax is configured.

    Raises:
        ModelFileError: the folder can't be made.
    """
    if folder is None:
        yield
        return
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ModelFileError(f"can't keep compiled code in {folder}: {e.strerror or e}") from None
    before = {name: getattr(jax.config, name) for name in _CACHING}
    for name, value in (_CACHING | {"jax_compilation_cache_dir": str(folder)}).items():
        jax.config.update(name, value)
    reset_cache()  # jax looks once at where it is
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        reset_cache()


_CACHING: dict[str, Any] = {
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 0.0,  # a model has many functions that take less than jax's 1 s
    "jax_persistent_cache_min_entry_size_bytes": 0,
}


# -- errors ---------------------------------------------------------------------------------------------


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
