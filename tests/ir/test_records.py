"""Dataclasses as JSON: what is written is read back, and what does not fit is refused by the name of its field."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
import pytest

from plait.ir.errors import ArtifactError, InternalError
from plait.ir.records import from_data, to_data, without_schema


@dataclass(frozen=True)
class Inner:
    name: str
    pair: tuple[int, float]


@dataclass(frozen=True)
class Record:
    flag: bool
    count: int
    value: float
    text: str
    nothing: None
    maybe: Inner | None
    older: Optional[int]  # noqa: UP045  both ways of writing it are read
    row: tuple[Inner, ...]
    numbers: list[float]
    named: dict[str, tuple[int, ...]]
    dtype: np.dtype[Any]
    last: tuple[()] = ()


INNER = Inner('</script> "quoted" ü \x00\n', (2**70, -0.0))
RECORD = Record(
    flag=True,
    count=-3,
    value=math.inf,
    text="",
    nothing=None,
    maybe=INNER,
    older=None,
    row=(INNER, Inner("b", (0, 5e-324))),
    numbers=[1.0, -math.inf, 0.1],
    named={"": (), "π": (1, 2)},
    dtype=np.dtype("float32"),
)


def through_json(data: Any) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, maybe=None, older=3, row=(), value=1.5)])
def test_what_is_written_is_read_back(record):
    back = from_data(Record, through_json(to_data(record)), "a record")
    assert back == record
    assert math.copysign(1, from_data(Inner, to_data(INNER), "it").pair[1]) == -1
    assert isinstance(back.row, tuple)
    assert isinstance(back.numbers, list)


def test_nan_is_a_string():
    data = through_json(to_data(replace(RECORD, value=math.nan)))
    assert data["value"] == "nan"
    assert math.isnan(from_data(Record, data, "it").value)


def test_numpys_numbers_are_pythons():
    record = replace(RECORD, count=np.int64(4), value=np.float32(0.1), flag=np.bool_(False))
    back = from_data(Record, through_json(to_data(record)), "it")
    assert (back.count, back.value, back.flag) == (4, float(np.float32(0.1)), False)
    assert type(back.count) is int
    assert type(back.value) is float
    assert type(back.flag) is bool


def test_a_whole_number_is_a_float_where_one_is_wanted():
    """JavaScript writes 1.0 as 1."""
    back = from_data(Inner, {"name": "a", "pair": [1, 2]}, "it")
    assert type(back.pair[1]) is float


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64", "complex64"])
def test_dtypes(dtype):
    record = replace(RECORD, dtype=np.dtype(dtype))
    assert from_data(Record, through_json(to_data(record)), "it").dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"flag": 1}, "it.flag is 1, where a bool should stand"),
        ({"count": True}, "it.count is True, where an integer should stand"),
        ({"count": 1.0}, "it.count is 1.0, where an integer should stand"),
        ({"value": "1.5"}, "it.value is '1.5', where a number should stand"),
        ({"value": "Infinity"}, "it.value is 'Infinity', where a number should stand"),
        ({"value": 10**400}, "where a float64 should stand"),
        ({"value": None}, "it.value is None, where a number should stand"),
        ({"text": 3}, "it.text is 3, where a string should stand"),
        ({"nothing": 0}, "it.nothing is 0, where a null should stand"),
        ({"maybe": []}, "it.maybe is [], where an object should stand"),
        ({"maybe": {"name": "a"}}, "it.maybe has no field 'pair'"),
        ({"older": "3"}, "it.older is '3', where an integer should stand"),
        ({"row": {}}, "it.row is {}, where a list should stand"),
        ({"row": [None]}, "it.row[0] is None, where an object should stand"),
        ({"row": [{"name": 1, "pair": [1, 2]}]}, "it.row[0].name is 1, where a string should stand"),
        ({"row": [{"name": "a", "pair": [1]}]}, "it.row[0].pair has 1 items instead of 2"),
        ({"numbers": "12"}, "it.numbers is '12', where a list should stand"),
        ({"numbers": [[]]}, "it.numbers[0] is [], where a number should stand"),
        ({"named": [1]}, "it.named is [1], where an object should stand"),
        ({"named": {"a": [0.5]}}, "it.named['a'][0] is 0.5, where an integer should stand"),
        ({"dtype": "float99"}, "it.dtype is 'float99', where a dtype of plain numbers should stand"),
        ({"dtype": 4}, "it.dtype is 4, where a dtype of plain numbers should stand"),
        ({"last": [1]}, "it.last has 1 items instead of 0"),
        ({"more": 1}, "it has the field 'more', which this version of plait does not know"),
        ({"text\n": 1}, r"it has the field 'text\n', which"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, says):
    data = {**to_data(RECORD), **change}
    with pytest.raises(ArtifactError, match=re.escape(says)) as caught:
        from_data(Record, data, "it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*to_data(RECORD)])
def test_a_missing_field_is_refused_whether_or_not_it_has_a_default(name):
    data = to_data(RECORD)
    del data[name]
    with pytest.raises(ArtifactError, match=f"it has no field '{name}'"):
        from_data(Record, data, "it")


@pytest.mark.parametrize("data", [None, [], "record", 3])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(ArtifactError, match="where an object should stand"):
        from_data(Record, data, "it")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": 1.5}, "Record.count is 1.5, where an integer should stand"),
        ({"value": np.zeros(2)}, "Record.value is array([0., 0.]), where a number should stand"),
        ({"maybe": RECORD}, "where an Inner should stand"),
        ({"row": [INNER]}, "where a tuple should stand"),
        ({"named": {1: ()}}, "Record.named is 1, where a string as a key should stand"),
        ({"dtype": np.dtype("i4,f8")}, "where a dtype of plain numbers should stand"),
        ({"dtype": np.dtype(">f8")}, "where a dtype of plain numbers should stand"),
    ],
)
def test_values_that_do_not_fit_their_annotation_are_not_written(change, says):
    with pytest.raises(ArtifactError, match=re.escape(says)):
        to_data(replace(RECORD, **change))


@dataclass(frozen=True)
class Either:
    one: int | str


@dataclass(frozen=True)
class Opaque:
    one: Any


@dataclass(frozen=True)
class Keyed:
    one: dict[int, int]


@pytest.mark.parametrize("record", [Either(1), Opaque(1), Keyed({1: 1})])
def test_an_annotation_without_a_json_form_is_a_defect_of_ours(record):
    with pytest.raises(InternalError, match=r"one is annotated with"):
        to_data(record)


def test_another_schema_is_refused():
    assert without_schema({"schema": "a/1", "x": 2}, "a/1", "it") == {"x": 2}
    for data, says in (
        ({"schema": "a/2"}, "it has the schema 'a/2'; this version of plait reads 'a/1'"),
        ({"x": 2}, "it has no schema; this version of plait reads 'a/1'"),
        ([], "it is [], where an object should stand"),
    ):
        with pytest.raises(ArtifactError, match=re.escape(says)):
            without_schema(data, "a/1", "it")
