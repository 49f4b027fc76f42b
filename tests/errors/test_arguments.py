"""Arguments of `plait.compile` and `bind`."""

from functools import cache

import numpy as np
import numpyro.distributions as dist
import pandas as pd

import plait
from plait import BindError, DataError, ValueNamesError
from plait.ir.errors import PassError
from tests.errors import Table

table = Table(__file__)
X, Y, GROUP = np.ones(3, np.float32), np.zeros(3, np.float32), np.array([0, 1, 1])


def grouped(x, group, n_groups, y):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    with plait.plate("groups", n_groups):
        a = plait.sample("a", dist.Normal(0.0, 1.0))
    with plait.plate("rows", 3):
        plait.sample("y", dist.Normal(a[group] + b * x, 1.0), obs=y)


@cache
def compiled():
    return plait.compile(grouped, X, GROUP, 2, Y)


# -- compile ------------------------------------------------------------------------------------------------


@table.call(BindError, says=("grouped(x, group, n_groups, y)", "'y'"))
def missing_argument():
    plait.compile(grouped, X, GROUP, 2)


@table.call(BindError, says=("grouped(x, group, n_groups, y)",))
def too_many_arguments():
    plait.compile(grouped, X, GROUP, 2, Y, 1.0)


@table.call(BindError, says=("static=", "'z'", "'group'"))
def static_names_no_argument():
    plait.compile(grouped, X, GROUP, 2, Y, static=("z",))


@table.call(PassError, says=("'expnd'", "did you mean 'expand'?"))
def unknown_pass():
    plait.compile(grouped, X, GROUP, 2, Y, passes={"expnd": False})


@table.call(PassError, says=("passes=", "dict"))
def passes_that_are_a_name():
    plait.compile(grouped, X, GROUP, 2, Y, passes="expand")


@table.call(PassError, says=("check=", "-1"))
def negative_number_of_points():
    plait.compile(grouped, X, GROUP, 2, Y, check=-1)


@table.call(BindError, says=("function", "3"))
def model_that_is_no_function():
    plait.compile(3)


@table.call(BindError, says=("generator",))
def model_that_yields():
    def model():
        yield plait.sample("x", dist.Normal(0.0, 1.0))

    plait.compile(model)


# -- bind ---------------------------------------------------------------------------------------------------


@table.call(ValueNamesError, says=("'yy'", "did you mean 'y'?"))
def bind_of_an_unknown_argument():
    compiled().bind(yy=Y)


@table.call(ValueNamesError, says=("'b'", "'group'"))
def bind_of_a_site():
    compiled().bind(b=0.0)


@table.call(BindError, says=("'y'", "f32[4]", "f32[3]", "plait.compile"))
def bind_of_more_rows():
    compiled().bind(y=np.zeros(4, np.float32))


@table.call(BindError, says=("'y'", "f32[3, 1]", "f32[3]"))
def bind_of_a_table():
    compiled().bind(y=pd.DataFrame({"y": Y}))


@table.call(BindError, says=("'group'", "f32[3]", "i32[3]", "cast it"))
def bind_of_floats_for_integers():
    compiled().bind(group=np.array([0.0, 1.0, 1.0]))


@table.call(BindError, says=("'y'", "complex64[3]"))
def bind_of_complex_numbers():
    compiled().bind(y=1j * Y)


@table.call(BindError, says=("'y'", "strings"))
def bind_of_strings():
    compiled().bind(y=np.array(["a", "b", "c"]))


@table.call(BindError, says=("'y'", "None"))
def bind_of_none():
    compiled().bind(y=None)


@table.call(BindError, says=("'y'", "ragged"))
def bind_of_a_ragged_list():
    compiled().bind(y=[[1.0], [2.0, 3.0]])


@table.call(BindError, says=("'y'", "parts"))
def bind_of_a_dict():
    compiled().bind(y={"a": Y})


@table.call(DataError, says=("'y'", "masked"))
def bind_of_a_masked_array():
    compiled().bind(y=np.ma.masked_array(Y, [0, 1, 0]))


@table.call(BindError, says=("'n_groups'", "2", "3", "plait.compile"))
def bind_of_another_static_value():
    compiled().bind(n_groups=3)


@table.call(DataError, says=("'y'", "nan", "[1]", "missing", "test_arguments.py"))
def bind_of_missing_observations():
    compiled().bind(y=np.array([0.0, np.nan, 1.0], np.float32))


@table.call(DataError, says=("'group'", "size 2", "got 2", "test_arguments.py"))
def bind_of_groups_from_one():
    compiled().bind(group=GROUP + 1)


@table.call(DataError, says=("'y'", "1e+300", "float32"))
def bind_of_a_number_beyond_32_bits():
    compiled().bind(y=np.array([1e300, 0.0, 0.0]))


test_each_says_what_and_where, test_golden = table.tests()
