"""What a saved model says of itself: the member "manifest" as dataclasses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from plait.ir.errors import ArtifactError
from plait.ir.types import Dtype, Loc, Shape
from plait.runtime.artifact.lengths import Line, on_line
from plait.runtime.description import Description, Refusal


@dataclass(frozen=True)
class ArrayRecord:
    """An array of the member "arrays", or the type of one."""

    dtype: Dtype
    shape: Shape


@dataclass(frozen=True)
class Tree:
    """The structure of a module's params.

    Attributes:
        kind: "leaf", "none", "tuple", "list" or "dict".
        keys: of a dict.
        items: what is inside.
    """

    kind: str
    keys: tuple[str, ...] = ()
    items: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class FunctionRecord:
    """An exported function of the member "functions".

    Attributes:
        name: such as ``whole/log_density``.
        size: in bytes.
        constants: its first argument: which of the arrays.
        any_rows: whether its data have any number of rows.
    """

    name: str
    size: int
    constants: tuple[int, ...]
    any_rows: bool


@dataclass(frozen=True)
class Source:
    """What a host kernel reads: `kind` is "data", "computed" or "array", `index` says which one."""

    kind: str
    index: int


@dataclass(frozen=True)
class KernelRecord:
    """Statistics that the host computes.

    Attributes:
        recipe: of the kernel, as JSON.
        sources: its arguments.
        results: types of its results.
        site: whose rows they are.
        data: names of the data that it reads, for messages.
        loc: the user's line.
    """

    recipe: str
    sources: tuple[Source, ...]
    results: tuple[ArrayRecord, ...]
    site: str
    data: tuple[str, ...]
    loc: Loc | None


@dataclass(frozen=True)
class CheckRecord:
    """A condition on data; whether it holds is a result of the function ``conditions``.

    Attributes:
        message: what the model says where it does not.
        value: which of the computed values is judged.
        event_ndim: how many of its rightmost axes make up an element.
        loc: the user's line.
    """

    message: str
    value: int
    event_ndim: int
    loc: Loc | None


@dataclass(frozen=True)
class Known:
    """One of the values that `prepare` makes of the data: an array, or a tuple of arrays."""

    arrays: tuple[int, ...]
    is_tuple: bool


@dataclass(frozen=True)
class ProgramRecord:
    """A program: the whole model, or a part of its density.

    Attributes:
        any_rows: whether it takes data with any number of rows.
        uses: by function the places of what it reads among what is known of the data.
        known: what is known of the data that are saved.
        kernels: what the host computes.
        checks: conditions on data.
    """

    any_rows: bool
    uses: dict[str, tuple[int, ...]]
    known: tuple[Known, ...]
    kernels: tuple[KernelRecord, ...]
    checks: tuple[CheckRecord, ...]


@dataclass(frozen=True)
class AnyRows:
    """Data of which there may be any number of rows.

    Attributes:
        names: of the data, which have the same number.
        fewest: that there may be.
    """

    names: tuple[str, ...]
    fewest: int


@dataclass(frozen=True)
class Longer:
    """What is another where data have one row more: all that is on a line in the number of rows is known by this.

    Attributes:
        rows: of which data.
        about: names, types and lines.
        unscaled: the same of the program in which each observation counts once.
        kernels: by program what the host computes; of those that take any number of rows.
    """

    rows: AnyRows
    about: Description
    unscaled: Description
    kernels: dict[str, tuple[KernelRecord, ...]]


@dataclass(frozen=True)
class Manifest:
    """All of a saved model that is no array, function, graph or explanation.

    Attributes:
        plait: the version that wrote it.
        jax: likewise.
        x64: whether jax had 64-bit types when it was compiled.
        platforms: that its functions run on.
        key_impl: the random generator whose keys it takes.
        about: names, types and lines; what is no plain data is in `trees` and `static`.
        unscaled: the same of the program in which each observation counts once, whose loops may be rolled otherwise.
        trees: by param site the structure of its values.
        static: arguments that are part of the program, in Python's words.
        programs: by name, such as ``whole`` and ``likelihood``.
        functions: in the order of the member "functions".
        arrays: in the order of the member "arrays".
        data: which arrays are the data.
        params: which are the params' values; None where none are bound.
        fixed_params: whether they were given by `with_params`.
        drawn: by site the dtype of its draws.
        param_keys: how many params are drawn.
        given_always: sites of which there are no draws, so that their values have to be given.
        no_prior_transform: why there is none.
        longer: where data may have another number of rows, what is another with one row more.
    """

    plait: str
    jax: str
    x64: bool
    platforms: tuple[str, ...]
    key_impl: str
    about: Description
    unscaled: Description
    trees: dict[str, Tree]
    static: dict[str, str]
    programs: dict[str, ProgramRecord]
    functions: tuple[FunctionRecord, ...]
    arrays: tuple[ArrayRecord, ...]
    data: tuple[int, ...]
    params: tuple[int, ...] | None
    fixed_params: bool
    drawn: dict[str, Dtype]
    param_keys: int
    given_always: tuple[str, ...]
    no_prior_transform: Refusal | None
    longer: Longer | None

    @property
    def rows(self) -> tuple[str, ...]:
        """The data whose leading axis may have another length."""
        return () if self.longer is None else self.longer.rows.names

    @property
    def precision(self) -> str:
        """What it was compiled in: "float64" or "float32"."""
        return "float64" if self.x64 else "float32"


def kernels_on_line(several: Sequence[Sequence[KernelRecord]], line: Line) -> tuple[KernelRecord, ...]:
    """What the host computes at another number of rows.

    Raises:
        DiffersError: there is no such line.
    """
    bare = on_line([tuple(replace(k, recipe="") for k in kernels) for kernels in several], line)
    recipes = on_line([[json.loads(k.recipe) for k in kernels] for kernels in several], line)
    return tuple(replace(k, recipe=json.dumps(r)) for k, r in zip(bare, recipes, strict=True))


def tree_of(structure: Any) -> Tree:
    """The structure of a param's values as data.

    Raises:
        ArtifactError: it holds something else than dicts with string keys, lists and tuples.
    """
    leaf = object()
    return _tree(jax.tree.unflatten(structure, [leaf] * structure.num_leaves), leaf)


def _tree(value: Any, leaf: object) -> Tree:
    if value is leaf:
        return Tree("leaf")
    if value is None:
        return Tree("none")
    if type(value) in (tuple, list):
        return Tree(type(value).__name__, items=tuple(_tree(x, leaf) for x in value))
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return Tree("dict", tuple(value), tuple(_tree(x, leaf) for x in value.values()))
    raise ArtifactError(
        f"a module's params are a {type(value).__name__}, which files have no form for: only dicts with names, lists "
        "and tuples can be saved"
    )


def structure_of(tree: Tree) -> Any:
    """The inverse of `tree_of`."""
    return jax.tree.structure(_value(tree))


def _value(tree: Tree) -> Any:
    items = [_value(item) for item in tree.items]
    match tree.kind:
        case "leaf":
            return 0
        case "none":
            return None
        case "tuple":
            return tuple(items)
        case "list":
            return items
        case "dict" if len(tree.keys) == len(items):
            return dict(zip(tree.keys, items, strict=True))
    raise ArtifactError(f"the manifest has a tree of kind {tree.kind!r}")


__all__ = [
    "AnyRows",
    "ArrayRecord",
    "CheckRecord",
    "FunctionRecord",
    "KernelRecord",
    "Known",
    "Longer",
    "Manifest",
    "ProgramRecord",
    "Source",
    "Tree",
    "kernels_on_line",
    "structure_of",
    "tree_of",
]
