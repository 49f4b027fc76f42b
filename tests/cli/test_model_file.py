"""Reading a model file: which function, which data, and one sentence for everything that can be wrong."""

from __future__ import annotations

import json
import sys
import textwrap

import numpy as np
import pytest

from plait.model_file import ModelFileError, load, split_target

SITE = 'plait.sample("a", None)'


@pytest.fixture(autouse=True)
def restored_imports(monkeypatch):
    """A model file is imported, with its folder on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "__plait_model__", raising=False)


@pytest.fixture
def write(tmp_path):
    def write(source: str, name: str = "m.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    return write


def load_error(target, data=None) -> str:
    with pytest.raises(ModelFileError) as e:
        load(str(target), data)
    return str(e.value)


# -- the function ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"def model(): {SITE}\ndef other(): {SITE}", "model"),
        (f"def schools(): {SITE}\ndef scale(x): return x / 2", "schools"),
        (f"def prior(): {SITE}\ndef schools(): prior()\ndef data(): return {{}}", "prior"),
        (f"def prior(): {SITE}\ndef schools():\n    prior()\n    {SITE}", "schools"),
        (f"def schools():\n    def inner(): {SITE}\n    inner()\ndef scale(x): return x", "schools"),
        ("from functools import partial\ndef schools(): pass\ndef data(): return {}\ndef main(): pass", "schools"),
        (f"def _helper(): {SITE}\ndef schools(): _helper()", "schools"),
    ],
    ids=["model", "calls_sites", "alone_calls_sites", "called_by_another", "nested", "only_one", "private"],
)
def test_the_function_is_found(write, source, expected):
    assert load(str(write(source))).name == expected


def test_the_function_can_be_named(write):
    path = write(f"def one(): {SITE}\ndef two(): {SITE}")
    model = load(f"{path}:two")
    assert (model.name, model.function.__name__) == ("two", "two")


def test_several_models_are_listed(write):
    path = write(f"def one(): {SITE}\ndef two(): {SITE}")
    assert load_error(path).endswith(f"choose one of {path}:one, {path}:two")


def test_imported_functions_do_not_count(write):
    assert "defines no model" in load_error(write("from textwrap import dedent"))


def test_an_unknown_function_has_a_neighbour(write):
    path = write("def schools(): pass\nx = 3")
    assert "has no function 'school'; did you mean 'schools'?" in load_error(f"{path}:school")
    assert "'x' in" in load_error(f"{path}:x")


@pytest.mark.parametrize(
    ("target", "path", "name"), [("m.py", "m.py", None), ("a/m.py:f", "a/m.py", "f"), ("C:/m.py", "C:/m.py", None)]
)
def test_split_target(target, path, name):
    assert (str(split_target(target)[0]), split_target(target)[1]) == (path, name)


# -- the file -------------------------------------------------------------------------------------------


def test_a_missing_file_has_a_neighbour(write):
    path = write("", "schools.py")
    assert load_error(path.with_name("school.py")).endswith(f"did you mean {path}?")
    assert "is a folder" in load_error(path.parent)
    assert "is not a Python file" in load_error(write("", "data.json"))


def test_a_file_may_import_its_neighbours(write):
    write("WIDTH = 2", "its_neighbour.py")
    path = write("from its_neighbour import WIDTH\ndef model(x): pass\ndef data(): return {'x': WIDTH}")
    assert load(str(path)).data == {"x": 2}


def test_main_does_not_run(write):
    path = write("def model(): pass\nif __name__ == '__main__': raise RuntimeError")
    assert load(str(path)).name == "model"


def test_dataclasses_work(write):
    path = write(
        """
        from __future__ import annotations
        from dataclasses import dataclass
        @dataclass
        class Prior:
            scale: float = 1.0
        def model(p): pass
        def data(): return {"p": Prior()}
        """
    )
    assert load(str(path)).data["p"].scale == 1


def test_errors_of_the_file_are_its_own(write):
    with pytest.raises(ZeroDivisionError):
        load(str(write("1 / 0")))
    assert "exit code 3" in load_error(write("raise SystemExit(3)"))


# -- the data -------------------------------------------------------------------------------------------

REGRESSION = """
import numpy as np
def model(x, n, y=None): pass
def data(): return {"y": np.ones(2), "n": 2, "x": np.zeros(2)}
"""


@pytest.fixture
def regression(write):
    return write(REGRESSION)


@pytest.fixture
def json_file(tmp_path):
    def write(values: object, name: str = "data.json"):
        path = tmp_path / name
        path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
        return path

    return write


def test_data_come_in_the_order_of_the_arguments(regression):
    assert list(load(str(regression)).data) == ["x", "n", "y"]


def test_json_replaces_entries(regression, json_file):
    data = load(str(regression), json_file({"x": [1, 2.5], "n": 7})).data
    np.testing.assert_array_equal(data["x"], [1, 2.5])
    assert data["n"] == 7
    assert type(data["n"]) is int
    np.testing.assert_array_equal(data["y"], [1, 1])


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        ([1, 2], np.int64, (2,)),
        ([[1.0], [2]], np.float64, (2, 1)),
        ([True], bool, (1,)),
        ([1, float("nan")], float, (2,)),
    ],
)
def test_lists_become_arrays(write, json_file, value, dtype, shape):
    data = load(str(write("def model(x): pass")), json_file({"x": value})).data
    assert (data["x"].dtype, data["x"].shape) == (np.dtype(dtype), shape)


@pytest.mark.parametrize("value", [3, 2.5, True, None, "text", ["a", "b"]])
def test_what_is_no_list_of_numbers_stays(write, json_file, value):
    assert load(str(write("def model(x): pass")), json_file({"x": value})).data["x"] == value


def test_objects_become_dicts_of_arrays(write, json_file):
    data = load(str(write("def model(x): pass")), json_file({"x": {"a": [1, 2]}})).data
    np.testing.assert_array_equal(data["x"]["a"], [1, 2])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ('{"x": [1,', "is not JSON"),
        ([1], "holds a JSON list: expected an object"),
        ("3", "holds a JSON number"),
        ({"x": [[1], [1, 2]]}, "'x' in data.json is not rectangular"),
        ({"x": [1, None]}, "'x' in data.json is no array of numbers"),
        ({"xx": [1]}, "model() has no argument 'xx'; did you mean 'x'? (its arguments: x, n, y)"),
    ],
)
def test_bad_data(regression, json_file, values, sentence, monkeypatch):
    path = json_file(values)
    monkeypatch.chdir(path.parent)
    assert sentence in load_error(regression, path.relative_to(path.parent))


def test_an_unreadable_data_file(regression, tmp_path):
    assert load_error(regression, tmp_path / "no.json").endswith("No such file or directory")


def test_missing_data(write):
    assert load_error(write("def model(x, n, y=None): pass")).startswith(
        "no data for arguments 'x', 'n' of model(): return it from data() in the file"
    )


def test_data_must_be_a_dict(write):
    assert "returned list: expected a dict" in load_error(write("def model(): pass\ndef data(): return [1]"))


def test_kinds_of_arguments(write):
    path = write("def model(a, /, b, *, c, **rest): pass\ndef data(): return dict(rest=1, c=2, b=3, a=4)")
    args, kwargs = load(str(path)).arguments()
    assert (args, kwargs) == ([4], {"b": 3, "c": 2, "rest": 1})
