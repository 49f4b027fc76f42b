"""What a saved model is, without running anything of it: `plait info`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import jax
from rich.console import Group
from rich.table import Table
from rich.text import Text

from plait.compiler.report import Report
from plait.ir.site_line import SiteLine
from plait.ir.types import Dtype, Loc, Shape
from plait.runtime.artifact.load import Saved, platform
from plait.runtime.artifact.manifest import FunctionRecord


@dataclass(frozen=True)
class SavedSite:
    """A site; of sites that a loop made one for all.

    Attributes:
        name: of the site, or the loop's pattern.
        kind: "latent", "observed", "deterministic", "param" or "factor", with ", masked" and ", scaled".
        text: its distribution or expression.
        shape: with the plates: ``[schools:8]``; empty of a scalar.
        support: of a latent or a param, in words; null where it is not known.
        members: the sites of the loop.
        loc: the user's line, or null.
    """

    name: str
    kind: str
    text: str
    shape: str
    support: str | None
    members: tuple[str, ...]
    loc: Loc | None


@dataclass(frozen=True)
class SavedArray:
    """A data array.

    Attributes:
        name: as `bind` takes it.
        dtype: of its numbers.
        shape: of the array.
        any_rows: whether its leading axis may have another length, the same for all of which this is so.
    """

    name: str
    dtype: Dtype
    shape: Shape
    any_rows: bool


@dataclass(frozen=True)
class SavedFunctions:
    """The exported functions of one program.

    Attributes:
        program: "data", which all share, "whole", "prior", …; those for data that do not fit the statistics begin with
            "rows/".
        count: how many.
        bytes: together.
    """

    program: str
    count: int
    bytes: int


@dataclass(frozen=True)
class SavedInfo(Report):
    """What a file holds; ``print`` shows it.

    Attributes:
        file: its name.
        bytes: of the file's members.
        plait: the version that wrote it.
        jax: likewise.
        precision: "float64" or "float32": what it was compiled in.
        platforms: that it has code for.
        dim: length of the flat unconstrained vector; null where there is none.
        no_log_density: why there is none, or null.
        sites: of the model, in program order.
        params: "none", "bound", or "drawn": their initial values are random and have to be given.
        data: the data arrays, which are in the file.
        static: arguments that are part of the program, as Python writes them.
        functions: by program.
        members: bytes by member of the file.
        key_impl: the random generator whose keys it takes.
        without: what it can't do, as sentences.
        here: the platform of this process.
        runs_here: whether it has code for that.
        jax_here: the version of this process.
    """

    schema: ClassVar[str] = "plait.info/1"
    what: ClassVar[str] = "the description of a saved model"

    file: str
    bytes: int
    plait: str
    jax: str
    precision: str
    platforms: tuple[str, ...]
    dim: int | None
    no_log_density: str | None
    sites: tuple[SavedSite, ...]
    params: str
    data: tuple[SavedArray, ...]
    static: dict[str, str]
    functions: tuple[SavedFunctions, ...]
    members: dict[str, int]
    key_impl: str
    without: tuple[str, ...]
    here: str
    runs_here: bool
    jax_here: str

    def __rich__(self) -> Group:
        return Group(
            Text.assemble((self.file, "bold"), (f"   {size(self.bytes)}, written by plait {self.plait}", "dim")),
            _sites(self.sites),
            Text(),
            _facts(dict(_said(self))),
        )


def about(saved: Saved) -> SavedInfo:
    """What a file holds, also one that this process can't use.

    Raises:
        ArtifactError: a part of it can't be read.
    """
    manifest, described = saved.manifest, saved.about
    density = described.no_density is None
    return SavedInfo(
        saved.path.name,
        sum(map(len, saved.members.values())),
        manifest.plait,
        manifest.jax,
        manifest.precision,
        manifest.platforms,
        sum(slot.unconstrained.size for slot in described.slots) if density else None,
        None if described.no_density is None else str(described.no_density.error()),
        tuple(_site(saved, line) for line in saved.pictures.sites),
        "none" if not described.params.arrays else "drawn" if manifest.params is None else "bound",
        tuple(_array(saved, name, i) for name, i in zip(described.data.names, manifest.data, strict=True)),
        dict(manifest.static),
        tuple(_functions(manifest.functions)),
        {name: len(member) for name, member in saved.members.items()},
        manifest.key_impl,
        tuple(_without(saved)),
        platform(),
        platform() in manifest.platforms,
        jax.__version__,
    )


def _site(saved: Saved, line: SiteLine) -> SavedSite:
    described = saved.about
    members = described.families[line.name].names if line.name in described.families else ()
    params = {f"{p.name}{p.path}": p for p in described.params.arrays}
    support = params[line.name].allowed if line.kind == "param" and line.name in params else None
    return SavedSite(
        line.name,
        line.kind,
        line.text,
        line.shape,
        described.allowed.get(line.name, support),
        members,
        described.lines.get(params[line.name].name if line.name in params else line.name),
    )


def _array(saved: Saved, name: str, index: int) -> SavedArray:
    record = saved.manifest.arrays[index]
    return SavedArray(name, record.dtype, record.shape, name in saved.manifest.rows)


def _functions(records: tuple[FunctionRecord, ...]) -> Iterator[SavedFunctions]:
    sizes: dict[str, list[int]] = {}
    for record in records:
        sizes.setdefault(record.name.rpartition("/")[0], []).append(record.size)
    for program, found in sizes.items():
        yield SavedFunctions(program, len(found), sum(found))


def _without(saved: Saved) -> Iterator[str]:
    manifest = saved.manifest
    yield "its source: data of other shapes, values for observed sites and a proof of the passes need that"
    if manifest.given_always:
        yield f"draws of {', '.join(manifest.given_always)}"
    if manifest.no_prior_transform is not None:
        yield f"a prior transform: {manifest.no_prior_transform.error()}"
    if saved.about.weighted_prior is not None:
        yield f"starts from prior draws: {saved.about.weighted_prior.error()}"


# -- as text ----------------------------------------------------------------------------------------------


def _sites(sites: tuple[SavedSite, ...]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for site in sites:
        style = SiteLine(site.name, site.text, site.shape, site.kind).style
        in_support = "" if site.support is None or site.kind == "param" else site.support
        cells = Text(site.text), Text(site.shape, "dim"), Text(site.kind, style), Text(in_support, "dim")
        table.add_row(Text(f"  {site.name}", style), *cells)
    return table


def _facts(facts: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in facts.items():
        table.add_row(Text(name, "bold"), Text(text))
    return table


def _said(info: SavedInfo) -> Iterator[tuple[str, str]]:
    if info.no_log_density is None:
        yield "log density", f"of {info.dim} unconstrained values, compiled in {info.precision}"
    else:
        yield "log density", f"none: {info.no_log_density}; compiled in {info.precision}"
    yield "data", "\n".join(map(_array_line, info.data)) or "none"
    if info.static:
        yield "fixed", "\n".join(f"{name} = {value}" for name, value in info.static.items())
    if info.params != "none":
        yield "params", "their values are in the file" if info.params == "bound" else "drawn: values have to be given"
    yield "runs on", f"{', '.join(info.platforms)}; {'also' if info.runs_here else 'not'} here, on {info.here}"
    yield (
        "jax",
        f"{info.jax}; here {info.jax_here}"
        + ("" if info.precision == "float32" else "; in Python with jax_enable_x64"),
    )
    count = sum(f.count for f in info.functions)
    other = ", ".join(f"{name} {size(n)}" for name, n in info.members.items() if name != "functions")
    yield "holds", f"{count} functions {size(info.members['functions'])}, {other}"
    yield "has not", "\n".join(info.without)


def _array_line(array: SavedArray) -> str:
    other = ", or any other number of rows" if array.any_rows else ""
    return f"{array.name}  {array.dtype.name}{list(array.shape)}{other}"


def size(count: int) -> str:
    """Bytes for people: ``386 kB``."""
    power = max((i for i in range(4) if count >= 1000**i), default=0)
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"


__all__ = ["SavedArray", "SavedFunctions", "SavedInfo", "SavedSite", "about", "size"]
