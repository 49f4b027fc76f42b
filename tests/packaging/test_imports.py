"""Dependencies point one way, ``ir ← compiler ← runtime ← plait``, and imports form no circle.

Imports are read from the source with `ast`, not by running it, so those inside functions and under
``if TYPE_CHECKING`` count too. Only what a saved model needs to run its kernels is read as Python does.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parents[2]

# From the bottom to the top: a module may import from its own layer and from those before it.
LAYERS = {"ir": "plait.ir", "compiler": "plait.compiler", "runtime": "plait.runtime", "plait": "plait"}
ADAPTERS = "plait.runtime.samplers"
# What an adapter may see of plait, beside its own folder: the public names of this one package.
ADAPTERS_MAY_IMPORT = "plait.runtime"
# What a saved model runs on new data, and the packages that this may import with all that it needs.
KERNELS = "plait.compiler.kernels"
KERNELS_MAY_IMPORT = {"numpy", "scipy", *sys.stdlib_module_names}


@dataclass(frozen=True)
class Module:
    """A source file under its import name."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        """The package that a relative import starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), filename=str(self.path))


@dataclass(frozen=True)
class Import:
    """One module imports another, or a name from it, on a line."""

    importer: Module
    target: str
    name: str | None
    line: int

    def __str__(self) -> str:
        what = self.target if self.name is None else f"{self.name} from {self.target}"
        return f"{self.importer.path}:{self.line}: {self.importer.name} imports {what}"


# Reading a tree.


def modules_of(root: Path) -> dict[str, Module]:
    """Every module of the four folders by import name; the links in ``plait/`` are not followed."""
    found = (
        Module(import_name(prefix, path.relative_to(root / folder)), path)
        for folder, prefix in LAYERS.items()
        for path in python_files(root / folder)
    )
    return {module.name: module for module in found}


def python_files(folder: Path) -> Iterator[Path]:
    for top, _, names in os.walk(folder, followlinks=False):
        yield from (Path(top, name) for name in names if name.endswith(".py"))


def import_name(prefix: str, relative: Path) -> str:
    """``passes/simplify.py`` below ``plait.compiler`` is ``plait.compiler.passes.simplify``."""
    parts = relative.with_suffix("").parts
    return ".".join([prefix, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def imports_of(module: Module, known: dict[str, Module]) -> Iterator[Import]:
    """The imports of plait's own modules, wherever they stand in the file."""
    return (item for item in imports_at(module, known, ast.walk(module.tree)) if lies_in(item.target, "plait"))


def imports_at(module: Module, known: dict[str, Module], nodes: Iterable[ast.AST]) -> Iterator[Import]:
    """The imports among some nodes of a module, of plait's modules and of others."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_base(module, node)
            yield from (Import(module, *resolve(base, alias.name, known), node.lineno) for alias in node.names)


def walk_as_run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below but those under ``if TYPE_CHECKING``."""
    yield node
    only_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    for child in node.orelse if only_types else ast.iter_child_nodes(node):
        yield from walk_as_run(child)


def absolute_base(module: Module, node: ast.ImportFrom) -> str:
    """The absolute name of what stands between ``from`` and ``import``."""
    if not node.level:
        return node.module or ""
    parts = module.package.split(".")
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def resolve(base: str, name: str, known: dict[str, Module]) -> tuple[str, str | None]:
    """``from plait import ir`` reads the module ``plait.ir`` and nothing of ``plait`` itself."""
    submodule = f"{base}.{name}"
    return (submodule, None) if submodule in known else (base, name)


def lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def all_imports(root: Path) -> list[Import]:
    known = modules_of(root)
    return [item for module in known.values() for item in imports_of(module, known)]


# The four rules. Each returns sentences, none when the tree is right.


def layer(module: str) -> int:
    """The rank of the first, hence most specific, layer that a module lies in."""
    return next(rank for rank, prefix in enumerate(LAYERS.values()) if lies_in(module, prefix))


def upward_imports(root: Path) -> list[str]:
    return [
        f"{item}, which lies above it" for item in all_imports(root) if layer(item.target) > layer(item.importer.name)
    ]


def import_cycles(root: Path) -> list[str]:
    edges = ((item.importer.name, item.target) for item in all_imports(root))
    graph = nx.DiGraph((a, b) for a, b in edges if a != b)
    return [one_cycle(graph.subgraph(c)) for c in nx.strongly_connected_components(graph) if len(c) > 1]


def one_cycle(component: nx.DiGraph) -> str:
    edges = nx.find_cycle(component)
    return " → ".join([*(a for a, _ in edges), edges[0][0]])


def adapter_trespasses(root: Path) -> list[str]:
    known = modules_of(root)
    adapters = [module for name, module in known.items() if lies_in(name, ADAPTERS)]
    imports = [item for module in adapters for item in imports_of(module, known)]
    return [
        *(f"{item}; an adapter sees {ADAPTERS_MAY_IMPORT} only" for item in imports if not may_import(item)),
        *(sentence for module in adapters for sentence in private_uses(module)),
    ]


def kernel_trespasses(root: Path) -> list[str]:
    """What runs where neither JAX nor NumPyro is installed: the kernels and all that they import, near or far.

    Importing a module runs its packages too, but for `plait` itself, whose door a saved model does not go through.
    """
    known = modules_of(root)
    todo = [name for name in known if lies_in(name, KERNELS)]
    seen, found = {"plait"}, []
    while todo:
        name = todo.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        items = list(imports_at(known[name], known, walk_as_run(known[name].tree)))
        todo += [name.rpartition(".")[0], *(item.target for item in items if lies_in(item.target, "plait"))]
        strange = [item for item in items if item.target.partition(".")[0] not in {"plait", *KERNELS_MAY_IMPORT}]
        strange += [item for item in items if item.target == "plait"]
        found += [f"{item}, which a saved model's kernels must do without" for item in strange]
    return found


def may_import(item: Import) -> bool:
    if lies_in(item.target, ADAPTERS):
        return True
    return item.target == ADAPTERS_MAY_IMPORT and not is_private(item.name or "")


def private_uses(module: Module) -> Iterator[str]:
    """Uses of ``compiled._something``: an adapter makes do with what every user has."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not is_self(node.value):
            yield f"{module.path}:{node.lineno}: {module.name} uses the private attribute {node.attr}"


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


# The tree as it is.


def test_every_layer_is_read() -> None:
    assert set(LAYERS.values()) <= modules_of(ROOT).keys()


@pytest.mark.parametrize("rule", [upward_imports, import_cycles, adapter_trespasses, kernel_trespasses])
def test_the_tree_keeps(rule) -> None:
    assert rule(ROOT) == []


OPTIONAL = ("arviz", "blackjax", "dynesty", "emcee", "equinox", "flax", "nutpie", "optax", "sklearn", "statsmodels")


def test_plait_imports_no_optional_package() -> None:
    """All of them are installed here, so an import would succeed and only be slow."""
    assert imported_by("import plait; [getattr(plait, name) for name in plait.__all__]", OPTIONAL) == []


def test_neither_plait_alone_nor_a_compiled_model_imports_numpyro() -> None:
    """A loaded model needs none: NumPyro takes longer to import than a model to load."""
    code = "import plait.runtime.compiled; from plait import CompiledModel, samplers, summary, to_arviz"
    assert imported_by(code, ("numpyro",)) == []
    assert imported_by(code + "; plait.compile", ("numpyro",)) == ["numpyro"]


def imported_by(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of these packages a new process imports."""
    code = f"{code}; import sys; print(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split()


def test_every_adapter_is_listed() -> None:
    """A module in the folder of adapters with a `sample` of its own is one, and so is a package."""
    folder = ROOT / "runtime/samplers"
    adapters = [path.stem for path in folder.glob("*.py") if "\ndef sample(" in path.read_text(encoding="utf-8")]
    adapters += [path.parent.name for path in folder.glob("*/__init__.py")]
    for listing in (folder / "__init__.py", ROOT / "plait/samplers.py"):
        assert f"import {', '.join(sorted(adapters))}\n" in listing.read_text(encoding="utf-8")


# The rules themselves, on small trees with a planted fault.


def plant(root: Path, sources: dict[str, str]) -> Path:
    """Writes a tree of empty packages, and in it the given files."""
    for folder in (*LAYERS, "compiler/passes", "compiler/kernels", "runtime/samplers"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
    for name, source in sources.items():
        (root / name).write_text(source, encoding="utf-8")
    return root


def test_a_right_tree_passes(tmp_path: Path) -> None:
    sources = {
        "ir/types.py": "import jax",
        "ir/node.py": "from plait.ir.types import ArrayType",
        "compiler/passes/simplify.py": "from ...ir import node\nfrom plait import ir",
        "runtime/samplers/blackjax.py": "def sample():\n    from plait.runtime import CompiledModel",
        "plait/cli.py": "import plait\nimport plait.compiler.passes\nfrom .runtime.samplers import blackjax",
    }
    tree = plant(tmp_path, sources)
    assert upward_imports(tree) == import_cycles(tree) == adapter_trespasses(tree) == []


@pytest.mark.parametrize(
    "source",
    [
        "import plait",
        "import plait.runtime.bind",
        "from plait import CompiledModel",
        "from plait import runtime",
        "from plait.runtime import CompiledModel",
        "from ..runtime.bind import CompiledModel",
        "from .. import runtime",
        "def late():\n    from plait.runtime import CompiledModel",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import plait.runtime",
    ],
)
def test_an_upward_import_is_noticed(tmp_path: Path, source: str) -> None:
    tree = plant(tmp_path, {"compiler/trace.py": source, "runtime/bind.py": ""})
    (sentence,) = upward_imports(tree)
    assert "trace.py" in sentence
    assert "plait.compiler.trace imports" in sentence


@pytest.mark.parametrize(
    "back",
    [
        "import plait.ir.node",
        "from plait.ir.node import Node",
        "from . import node",
        "from .node import Node",
        "def late():\n    from plait.ir import node",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from plait.ir.node import Node",
    ],
)
def test_a_cycle_is_noticed(tmp_path: Path, back: str) -> None:
    tree = plant(tmp_path, {"ir/node.py": "from plait.ir.types import ArrayType", "ir/types.py": back})
    (cycle,) = import_cycles(tree)
    assert set(cycle.split(" → ")) == {"plait.ir.node", "plait.ir.types"}


def test_a_cycle_through_the_door_of_a_package_is_noticed(tmp_path: Path) -> None:
    sources = {"ir/__init__.py": "from .node import Node", "ir/node.py": "from plait.ir import ArrayType"}
    tree = plant(tmp_path, sources)
    (cycle,) = import_cycles(tree)
    assert set(cycle.split(" → ")) == {"plait.ir", "plait.ir.node"}


@pytest.mark.parametrize(
    "source",
    [
        "from plait.runtime.bind import CompiledModel",
        "from plait.runtime import _flatten",
        "from plait.ir import Graph",
        "def dim(compiled):\n    return compiled._dim",
    ],
)
def test_an_adapter_that_knows_too_much_is_noticed(tmp_path: Path, source: str) -> None:
    tree = plant(tmp_path, {"runtime/samplers/emcee.py": source, "runtime/bind.py": ""})
    (sentence,) = adapter_trespasses(tree)
    assert "emcee" in sentence


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("compiler/kernels/pairs.py", "import jax.numpy as jnp"),
        ("compiler/kernels/pairs.py", "from jax import Array"),
        ("compiler/kernels/pairs.py", "def late():\n    import numpyro"),
        ("compiler/kernels/pairs.py", "from plait import compile"),
        ("compiler/kernels/__init__.py", "import networkx"),
        ("compiler/__init__.py", "import jax"),
        ("ir/types.py", "import jax"),
        (
            "ir/errors.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\nelse:\n    import jax",
        ),
    ],
)
def test_a_kernel_that_needs_more_than_numpy_is_noticed(tmp_path: Path, importer: str, source: str) -> None:
    sources = {
        "compiler/kernels/cells.py": "import math\nimport numpy as np\nfrom plait.ir.types import Shape",
        "compiler/kernels/rows.py": "import scipy.special\nfrom plait.compiler.kernels import cells",
        "ir/types.py": "from plait.ir import errors",
        "ir/errors.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import jax",
        "compiler/rules.py": "import jax",
    }
    assert kernel_trespasses(plant(tmp_path / "right", sources)) == []
    (sentence,) = kernel_trespasses(plant(tmp_path / "wrong", sources | {importer: source}))
    assert importer in sentence
