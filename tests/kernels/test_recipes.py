"""A kernel is written as data and read again as the same kernel; what is not the recipe of one is refused."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest

import plait
from plait.compiler.kernels.cells import Layout, Taken
from plait.compiler.kernels.families import FamilyStatistics
from plait.compiler.kernels.outcomes import COUNTS
from plait.compiler.kernels.pairs import PairCounts
from plait.compiler.kernels.recipes import CLASSES, HostKernel, kernel_of, recipe
from plait.compiler.kernels.scatter import ScatterStatistics
from plait.ir.errors import ArtifactError
from tests.helpers import refused
from tests.kernels.recipe_models import KEPT, WRITTEN, fused, kernels
from tests.models import MODELS, SCAN_MODELS

each_written = pytest.mark.parametrize("kernel", WRITTEN, ids=lambda k: f"{k.name} {getattr(k, 'kept', '')}".strip())


LAYOUT = Layout(8, (Taken(0, 0), Taken(1, 1)), 2, 5)


def again(kernel: HostKernel) -> HostKernel:
    return kernel_of(json.loads(json.dumps(recipe(kernel), allow_nan=False)))


def parts(value: Any) -> Iterator[Any]:
    """The dataclasses in a kernel, itself first."""
    if isinstance(value, tuple):
        for item in value:
            yield from parts(item)
    elif is_dataclass(value):
        yield value
        for field in fields(value):
            yield from parts(getattr(value, field.name))


def is_read_again(kernel: HostKernel, arrays: list[np.ndarray]) -> None:
    """As an equal kernel, of the same hash and types, with the same results on the data, bit for bit."""
    got = again(kernel)
    assert got == kernel
    assert hash(got) == hash(kernel)
    assert repr(got) == repr(kernel)
    for x, y in zip(got(*arrays), kernel(*arrays), strict=True):
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


@pytest.mark.parametrize("model", [*MODELS, *SCAN_MODELS], ids=lambda m: m.name)
def test_the_kernels_of_a_model_are_read_again(model) -> None:
    compiled = plait.compile(plait.handlers.seed(model.bind(plait), 0), **model.args(np.float32))
    for kernel, arrays in kernels(compiled):
        is_read_again(kernel, arrays)


def test_every_kernel_and_every_loss_is_read_again() -> None:
    seen: list[Any] = []
    for compiled in fused():
        for kernel, arrays in kernels(compiled):
            is_read_again(kernel, arrays)
            seen += parts(kernel)
    assert {type(x) for x in seen} == set(CLASSES.values())
    assert {x.distribution for x in seen if hasattr(x, "distribution")} == set(COUNTS)


def test_every_kernel_is_called_by_its_own_name() -> None:
    assert all(CLASSES[cls.name] is cls for cls in get_args(HostKernel))
    assert len(set(CLASSES.values())) == len(CLASSES)


def test_the_kernels_written_here_have_every_class() -> None:
    assert {type(part) for kernel in WRITTEN for part in parts(kernel)} == set(CLASSES.values())
    assert {type(kept) for kept in KEPT} == {cls for cls in CLASSES.values() if hasattr(cls, "n_kept")}


@each_written
def test_nothing_is_lost(kernel) -> None:
    assert repr(again(kernel)) == repr(kernel)  # also what kernels are not compared by, and True where 1 is equal


def test_a_recipe_in_full() -> None:
    assert recipe(ScatterStatistics((50,), 2, LAYOUT, False, True, False, np.dtype("float32"))) == {
        "name": "scatter_statistics",
        "rows": [50],
        "d": 2,
        "layout": {
            "name": "layout",
            "size": 8,
            "entries": [{"name": "taken", "source": 0, "slot": 0}, {"name": "taken", "source": 1, "slot": 1}],
            "taken": 2,
            "occupied": 5,
        },
        "known_location": False,
        "weighted": True,
        "cells_differ": False,
        "dtype": "float32",
    }


# -- what is damaged -------------------------------------------------------------------------------------------

# For each type what a field of it may not be.
OTHERS: dict[type, tuple[Any, ...]] = {
    bool: (0, 1, 1.0, "true", None, [], {}),
    int: (-1, 2**63, 3.0, True, "3", None, [3], {"3": 3}, float("nan")),
    float: (1, -1, 0.5, "1.0", None, float("nan"), float("inf"), True, []),
    str: (0, 1.5, True, None, ["Poisson"], {}, "", "Normal", "object", "__class__", "Poisson\0"),
    list: (0, None, True, "12", {}, [None], ["x"], [[]], [-1], [0.5]),
    dict: (0, None, True, "layout", [], {}, {"name": "layout"}, {"name": ["layout"]}),
}


def damaged(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A recipe with one part of it wrong, and the field that is to blame."""
    if path:
        yield from ((path, x) for x in OTHERS[type(value)])
    if isinstance(value, dict):
        yield from without(value, path)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inside = f"{path}[{key}]" if isinstance(value, list) else f"{path}.{key}".lstrip(".")
        for at, wrong in damaged(item, inside):
            yield at, replaced(value, key, wrong)


def without(value: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """With each field dropped, or renamed; and with one more."""
    for key, item in value.items():
        rest = {k: x for k, x in value.items() if k != key}
        at = f"{path}.{key}".lstrip(".")
        yield at, rest
        yield at, rest | {key + "_": item}
    yield f"{path}.more".lstrip("."), value | {"more": 0}


def replaced(value: Any, key: Any, item: Any) -> Any:
    value = copy.copy(value)
    value[key] = item
    return value


@each_written
def test_what_is_damaged_is_refused(kernel) -> None:
    right = recipe(kernel)
    wrong = list(damaged(right))
    assert len(wrong) > 10 * len(right)
    for at, given in wrong:
        with pytest.raises(ArtifactError) as caught:
            kernel_of(given)
        said = str(caught.value)
        assert f"'{at}" in said, (said, at)  # or an item of it
        assert "\n" not in said
        if at != "name":
            assert f"kernel {kernel.name!r} can't be read" in said
    assert kernel_of(right) == kernel


@pytest.mark.parametrize("given", [None, 3, "pair_counts", [], {}, {"name": "layout"}, {"name": {}}, {1: 2}])
def test_what_is_no_recipe_is_refused(given) -> None:
    with refused(ArtifactError, "can't be read: it", "save the model again"):
        kernel_of(given)


def test_what_an_error_says() -> None:
    right = recipe(PairCounts((50,), 6, 9, 0, False, 3))
    say = partial(refused, ArtifactError)
    with say("kernel 'pair_counts' can't be read: its field 'rows[0]' is -1, not an integer from 0 to"):
        kernel_of(right | {"rows": [-1]})
    with say("its field 'width' is missing"):
        kernel_of({k: v for k, v in right.items() if k != "width"})
    with say("its field 'depth' is none that 'pair_counts' has"):
        kernel_of(right | {"depth": 1})
    with say("kernel 'pears' can't be read: its field 'name' is 'pears', not one of 'category_rows'"):
        kernel_of(right | {"name": "pears"})


def test_a_list_of_fixed_length_keeps_it() -> None:
    (normal,) = (recipe(k) for k in WRITTEN if k.name == "normal_statistics")
    for has in ([], [True, False], [True, False, True, False]):
        with refused(ArtifactError, f"'normal_statistics' can't be read: its field 'has' has {len(has)} items, not 3"):
            kernel_of(normal | {"has": has})


def test_a_part_of_another_kind_is_refused() -> None:
    (scatter,) = (recipe(k) for k in WRITTEN if k.name == "scatter_statistics")
    for wrong in ({"name": "signs"}, recipe(WRITTEN[0])):
        with refused(ArtifactError, "its field 'layout.name' is", "not one of 'layout'"):
            kernel_of(scatter | {"layout": wrong})


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    kernel = PairCounts((np.int64(50),), np.int32(6), 9, 0, np.bool_(False), 3)
    assert repr(again(kernel)) == repr(PairCounts((50,), 6, 9, 0, False, 3))


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (PairCounts((50,), 6, 9, None, False, 3), "kernel 'pair_counts' can't be saved: its field 'size' is None"),
        (ScatterStatistics((5,), 2, LAYOUT, True, True, False, np.dtype("int8")), "its field 'dtype' is"),
        (len, "can't be saved: it is <built-in function len>"),
    ],
    ids=["a value", "a dtype", "no kernel"],
)
def test_what_has_no_recipe_is_refused(kernel, says) -> None:
    with refused(ArtifactError, says):
        recipe(kernel)


# -- without JAX -----------------------------------------------------------------------------------------------

ALONE = """
import json, sys, types
plait = types.ModuleType("plait")  # its own __init__ offers everything, samplers too
plait.__path__ = json.loads(sys.argv[1])
sys.modules["plait"] = plait
import numpy as np
from plait.compiler.kernels.recipes import kernel_of
for recipe, arrays in json.load(sys.stdin):
    for x in kernel_of(recipe)(*map(np.asarray, arrays)):
        print(x.dtype, x.shape, x.tobytes().hex())
print(*[name for name in ("jax", "numpyro") if name in sys.modules])
"""


def test_kernels_run_in_a_process_that_has_neither_jax_nor_numpyro() -> None:
    rng = np.random.default_rng(0)
    y, g = rng.integers(0, 9, 50), rng.integers(0, 6, 50)
    pairs = PairCounts((50,), 6, 9, 0, False, 1), [y, g[:, None]]
    layout = Layout(8, (Taken(0, 0),), 1)
    family = FamilyStatistics((50,), (), layout, False, 1, 0, (1,), "GammaPoisson", 0)
    cases = pairs, (family, [y, np.full(50, 0.7), g[:, None]])
    given = json.dumps([[recipe(k), [x.tolist() for x in arrays]] for k, arrays in cases])
    command = [sys.executable, "-c", ALONE, json.dumps(list(plait.__path__))]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    wanted = [f"{x.dtype} {x.shape} {x.tobytes().hex()}" for k, arrays in cases for x in k(*arrays)]
    assert done.stdout.splitlines() == [*wanted, ""]
