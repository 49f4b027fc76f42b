"""The wheel holds exactly the modules of the tree, and the explorer's page, with and without the links in ``plait/``.

A subfolder that is missing from ``packages`` in pyproject.toml works in the checkout, because the links
reach it, and is silently absent from the wheel. So the wheel is built, and compared in both directions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_OF = {"compiler": "plait/compiler", "ir": "plait/ir", "runtime": "plait/runtime", "plait": "plait"}
BUILD_FILES = ("pyproject.toml", "README.md", "LICENSE")
NO_SOURCE = shutil.ignore_patterns("__pycache__", "*.egg-info")

Contents = dict[str, bytes]


def copy_tree(target: Path, *, links: bool = True) -> Path:
    """Copies what a build reads: building in the checkout would leave ``build/`` and ``*.egg-info`` there."""
    for folder in PACKAGE_OF:
        shutil.copytree(ROOT / folder, target / folder, symlinks=True, ignore=NO_SOURCE)
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, target / name)
    if not links:
        for link in filter(Path.is_symlink, list((target / "plait").iterdir())):
            link.unlink()
    return target


def modules_of_tree(tree: Path) -> Contents:
    """Every module of the four folders, under the name that it has to have in the wheel."""
    return {
        f"{package}/{path.relative_to(tree / folder).as_posix()}": path.read_bytes()
        for folder, package in PACKAGE_OF.items()
        for path in files_below(tree / folder)
        if is_packaged(path.name)
    }


def files_below(folder: Path) -> list[Path]:
    """All files, not through links: what ``plait/ir`` shows is already listed under ``ir``."""
    return [Path(top, name) for top, _, names in os.walk(folder, followlinks=False) for name in names]


def is_packaged(name: str) -> bool:
    return name.endswith((".py", ".pyi")) or name in ("py.typed", "page.html")


def build_wheel(tree: Path) -> Contents:
    """Builds without isolation, hence without the network, and reads every member."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def modules_of_wheel(wheel: Contents) -> Contents:
    return {name: data for name, data in wheel.items() if is_packaged(name.rpartition("/")[2])}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("linked"))


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Contents:
    return build_wheel(tree)


def test_wheel_and_tree_hold_the_same_modules(tree: Path, wheel: Contents) -> None:
    expected, found = modules_of_tree(tree), modules_of_wheel(wheel)
    assert {"plait/py.typed", "plait/runtime/explore/page.html"} <= expected.keys()
    absent = sorted(expected.keys() - found.keys())
    assert not absent, f"in the tree but not in the wheel (name the package in pyproject.toml): {absent}"
    foreign = sorted(found.keys() - expected.keys())
    assert not foreign, f"in the wheel but not in the tree: {foreign}"
    assert found == expected


def test_a_checkout_without_links_builds_the_same_wheel(tmp_path: Path, wheel: Contents) -> None:
    bare = copy_tree(tmp_path, links=False)
    assert not any(path.is_symlink() for path in (bare / "plait").iterdir())
    assert build_wheel(bare) == wheel


def test_an_unnamed_subpackage_would_be_noticed(tmp_path: Path) -> None:
    planted = copy_tree(tmp_path)
    (planted / "compiler" / "unnamed").mkdir()
    (planted / "compiler" / "unnamed" / "__init__.py").touch()
    absent = modules_of_tree(planted).keys() - modules_of_wheel(build_wheel(planted)).keys()
    assert absent == {"plait/compiler/unnamed/__init__.py"}
