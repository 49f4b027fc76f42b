"""Reads a saved model: checks that it is whole; its functions are read as they are asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from plait.compiler.explanation import Explanation
from plait.compiler.jax_compat import has_64_bits
from plait.ir.errors import ArtifactError, InternalError
from plait.ir.records import from_data
from plait.runtime.artifact.arrays import read_arrays
from plait.runtime.artifact.container import read
from plait.runtime.artifact.lengths import Line, on_line
from plait.runtime.artifact.manifest import FunctionRecord, KernelRecord, Known, Manifest, kernels_on_line, structure_of
from plait.runtime.artifact.parts import ON_ROWS, UNSCALED, WHOLE_MODEL
from plait.runtime.artifact.pictures import Pictures
from plait.runtime.description import Description

ONE_ROW = (0, 1)  # what is saved of `Longer`
REMEDY = "compile and save the model again (rows= lets a file take any number of rows)"


@dataclass(frozen=True, eq=False)
class Saved:
    """The content of a file, taken apart as far as it is asked for.

    Attributes:
        path: of the file.
        manifest: what the file says of itself.
        arrays: on the host.
        members: the others, as bytes.
    """

    path: Path
    manifest: Manifest
    arrays: list[np.ndarray]
    members: Mapping[str, bytes]

    @cached_property
    def about(self) -> Description:
        """What the model says of itself."""
        return self.about_longer(WHOLE_MODEL, 0)

    def about_longer(self, program: str, steps: int) -> Description:
        """What a program says of itself where data have so many rows more than are saved."""
        longer, is_unscaled = self.manifest.longer, program.removeprefix(ON_ROWS) == UNSCALED
        about = self.manifest.unscaled if is_unscaled else self.manifest.about
        if longer and steps:
            about = on_line([about, longer.unscaled if is_unscaled else longer.about], Line(ONE_ROW, steps))
        structures = {name: structure_of(tree) for name, tree in self.manifest.trees.items()}
        static = {name: AsWritten(text) for name, text in self.manifest.static.items()}
        fewest = longer.rows.fewest if longer else 0
        data = replace(about.data, static=static, rows=self.manifest.rows, fewest_rows=fewest, remedy=REMEDY)
        return replace(about, params=replace(about.params, trees=structures), data=data)

    def kernels_longer(self, program: str, steps: int) -> tuple[KernelRecord, ...]:
        """What the host computes for a program, where data have so many rows more than are saved."""
        kernels, longer = self.manifest.programs[program].kernels, self.manifest.longer
        return (
            kernels_on_line([kernels, longer.kernels[program]], Line(ONE_ROW, steps)) if longer and steps else kernels
        )

    def more_rows(self, data: Sequence[Any]) -> int:
        """How many rows these data have more than are saved."""
        return int(np.shape(data[self._place_of_rows])[0]) - self._rows if self.manifest.rows else 0

    @cached_property
    def explanation(self) -> Explanation:
        """The explain report."""
        return Explanation.from_json(_parsed(self.members["explanation"], "explanation"))

    @cached_property
    def graphs(self) -> dict[str, Any]:
        """The graphs as JSON, "traced" and "density", and "pictures"."""
        found: dict[str, Any] = _parsed(self.members["graph"], "graph")
        return found

    @cached_property
    def pictures(self) -> Pictures:
        """What is shown of the model."""
        return from_data(Pictures, self.graphs.get("pictures"), "the pictures")

    def function(self, name: str, steps: int = 0) -> Callable[..., Any]:
        """An exported function, with the arrays that it closes over; it is read when it is first called.

        Args:
            name: with its program.
            steps: how many rows more than are saved the data have.
        """

        def call(*arguments: Any) -> Any:
            exported, constants = self._read(name)
            witness = [np.zeros((self._rows + steps, 0), bool)] if self._places[name][0].any_rows else []
            return exported.call([*constants, *witness], *arguments)

        return call

    @property
    def _rows(self) -> int:
        """How many are saved, where data may have another number."""
        return self.arrays[self.manifest.data[self._place_of_rows]].shape[0]

    @property
    def _place_of_rows(self) -> int:
        return self.manifest.about.data.names.index(self.manifest.rows[0])

    def _read(self, name: str) -> tuple[export.Exported, list[Any]]:
        if name not in self._called:
            record, start = self._places[name]
            blob = bytearray(self.members["functions"][start : start + record.size])
            try:
                found = export.deserialize(blob)
            except ValueError as e:  # another version of its format
                raise ArtifactError(
                    f"{self.path} was written with jax {self.manifest.jax}, and jax {jax.__version__} can't read "
                    f"{name}: {e}; save the model again with this version"
                ) from e
            self._called[name] = found, self.on_device(record.constants)
        return self._called[name]

    def known(self, records: tuple[Known, ...]) -> tuple[Any, ...]:
        """What is known of the saved data."""
        if any(not record.is_tuple and len(record.arrays) != 1 for record in records):
            raise ArtifactError(f"{self.path}: something known of the data is no array")
        values = [tuple(self.on_device(record.arrays)) for record in records]
        return tuple(v if record.is_tuple else v[0] for v, record in zip(values, records, strict=True))

    def on_device(self, places: Sequence[int]) -> list[Any]:
        """These arrays, there at once where jax is tracing, too."""
        with jax.ensure_compile_time_eval():
            return [jax.device_put(self.arrays[i]) for i in places]  # jnp.asarray compiles a copy for each shape

    @cached_property
    def _called(self) -> dict[str, tuple[export.Exported, list[Any]]]:
        return {}

    @cached_property
    def _places(self) -> dict[str, tuple[FunctionRecord, int]]:
        places, start = {}, 0
        for record in self.manifest.functions:
            places[record.name] = record, start
            start += record.size
        return places


class AsWritten:
    """An argument that is part of the program: only its text is saved, so what equals it is plain data of that text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return _is_plain(other) and repr(other) == self.text

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return self.text


def _is_plain(x: Any) -> bool:
    """Whether the text of a value is all of it: that of an object may leave out anything, as numpy's of long arrays."""
    if type(x) is dict:
        return all(map(_is_plain, (*x, *x.values())))
    if type(x) in (tuple, list):
        return all(map(_is_plain, x))
    return x is None or type(x) in (bool, int, float, complex, str, bytes)


def open_saved(path: Path) -> Saved:
    """A file that is whole, whether or not it fits this process: see `require_process`.

    Raises:
        ArtifactError: it is no saved model, damaged, or of another format.
        OSError: it can't be read.
    """
    return opened(path, read(path))


def opened(path: Path, members: Mapping[str, bytes]) -> Saved:
    """The same of the members of a file.

    Raises:
        ArtifactError: they do not fit each other.
    """
    try:
        manifest = from_data(Manifest, _parsed(members["manifest"], "manifest"), "the manifest")
    except InternalError as e:  # something stands where this version writes nothing
        raise ArtifactError(f"{path}: {e}") from None
    sizes = [f.size for f in manifest.functions]
    if sum(sizes) != len(members["functions"]) or any(size < 0 for size in sizes):
        raise ArtifactError(f"{path}: the functions have other sizes than the manifest says")
    _require_whole(path, manifest)
    return Saved(path, manifest, read_arrays(manifest.arrays, members["arrays"]), members)


def _require_whole(path: Path, manifest: Manifest) -> None:
    """What is named by numbers has to be there."""
    known = [i for p in manifest.programs.values() for k in p.known for i in k.arrays]
    named = [*manifest.data, *(manifest.params or ()), *known, *(i for f in manifest.functions for i in f.constants)]
    if WHOLE_MODEL not in manifest.programs or not all(0 <= i < len(manifest.arrays) for i in named):
        raise ArtifactError(f"{path}: the manifest names programs or arrays that are not there")


def require_process(saved: Saved) -> None:
    """Checks that a file can be used in this process.

    Raises:
        ArtifactError: it is of another precision or platform.
    """
    if saved.manifest.x64 and not has_64_bits():
        raise ArtifactError(
            f"{saved.path} was compiled in float64, and this process computes in float32: switch on jax_enable_x64, or "
            "compile it in float32"
        )
    here = platform()
    if here not in saved.manifest.platforms:
        raise ArtifactError(
            f"{saved.path} was saved for {', '.join(saved.manifest.platforms)}, and this process runs on {here}: save "
            f"it with platforms=({here!r},), or --platform {here}"
        )


def platform() -> str:
    """What this process runs on, as `save` calls it."""
    return _PLATFORMS.get(jax.default_backend(), jax.default_backend())


_PLATFORMS = {"gpu": "cuda"}


def _parsed(member: bytes, name: str) -> Any:
    try:
        return json.loads(member)
    except (ValueError, RecursionError) as e:
        raise ArtifactError(f"the saved model's {name} is no JSON: {e}") from None


__all__ = ["Saved", "open_saved", "opened", "platform", "require_process"]
