"""Data of the wrong kind: strings, dates, objects, pandas' tables, ragged lists, complex numbers, masked arrays."""

import numpy as np
import numpyro.distributions as dist
import pandas as pd

import plait
from plait import DataError, ModelError
from plait.ir.errors import SiteTypeError
from tests.errors import Table

table = Table(__file__)
X, Y = np.ones(3, np.float32), np.zeros(3, np.float32)
FRAME = pd.DataFrame({"x": X, "y": Y})


# -- observations -------------------------------------------------------------------------------------------


@table.model(SiteTypeError, np.array(["yes", "no"]), says=("'y'", "strings"))
def strings_as_observations(y):
    plait.sample("y", dist.Bernoulli(0.5), obs=y)  # here


@table.model(SiteTypeError, np.array([None, 1.0], object), says=("'y'", "objects"))
def objects_as_observations(y):
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)  # here


@table.model(SiteTypeError, pd.Series(["low", "high"]).astype("category"), says=("'y'",))
def pandas_category_as_observations(y):
    plait.sample("y", dist.Bernoulli(0.5), obs=y)  # here


@table.model(DataError, pd.Series([1, None, 3], dtype="Int64"), says=("'y'", "nan", "[1]", "missing"))
def pandas_missing_value(y):
    plait.sample("y", dist.Poisson(2.0), obs=y)  # here


@table.model(SiteTypeError, np.array(["2020-01-01"], "datetime64[D]"), says=("'y'", "dates"))
def dates_as_observations(y):
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)  # here


@table.model(SiteTypeError, np.array([1, 2], "timedelta64[s]"), says=("'y'",))
def durations_as_observations(y):
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)  # here


@table.model(SiteTypeError, [[1.0], [2.0, 3.0]], says=("'y'", "ragged"))
def ragged_list_as_observations(y):
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)  # here


@table.model(ModelError, FRAME[["y"]], says=("'y'", "(3, 1)"))
def table_as_observations(y):
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(0.0, 1.0), obs=y)  # here


@table.model(DataError, np.ma.masked_array([1.0, -99.0], [0, 1]), says=("'y'", "mask"))
def masked_array_as_observations(y):
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)


@table.model(ModelError, Y * 1j, says=("'y'", "complex"))
def complex_observations(y):
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)  # here


@table.model(ModelError, np.array([0.0, 1.0]), says=("'k'", "integer"))
def categories_as_floats(k):
    plait.sample("k", dist.Categorical(np.ones(3, np.float32) / 3), obs=k)  # here


# -- covariates ---------------------------------------------------------------------------------------------


@table.model(ModelError, np.array([1, 2, None], object), says=("'x'", "object"))
def objects_as_a_covariate(x):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(b * x, 1.0), obs=Y)  # here


@table.model(ModelError, np.array(["1", "2", "3"]), says=("'x'", "string"))
def strings_as_a_covariate(x):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(b * x, 1.0), obs=Y)  # here


@table.model(ModelError, np.array(["a", "b", "a"]), says=("'group'",))
def strings_as_groups(group):
    a = plait.sample("a", dist.Normal(0.0, 1.0).expand([2]))
    plait.sample("y", dist.Normal(a[group], 1.0), obs=Y)  # here


@table.model(ModelError, np.array([0.0, 1.0, 0.0]), says=("integer", "float32"))
def floats_as_groups(group):
    a = plait.sample("a", dist.Normal(0.0, 1.0).expand([2]))
    plait.sample("y", dist.Normal(a[group], 1.0), obs=Y)  # here


@table.model(ModelError, [0, 1, 0], says=("array",))
def list_as_groups(group):
    a = plait.sample("a", dist.Normal(0.0, 1.0).expand([2]))
    plait.sample("y", dist.Normal(a[group], 1.0), obs=Y)  # here


@table.model(ModelError, [1.0, 2.0, 3.0], says=("list",))
def list_as_a_covariate(x):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(b * x, 1.0), obs=Y)  # here


@table.model(ModelError, None, says=("None",))
def covariate_that_is_none(x):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(b * x, 1.0), obs=Y)  # here


@table.model(ModelError, FRAME, says=("site 'b'", "to_numpy()"))
def column_of_a_table(frame):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(b * frame["x"], 1.0), obs=Y)  # here


@table.model(ModelError, X * 1j, says=("'y'", "complex"))
def complex_covariate(x):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(b * x, 1.0), obs=Y)  # here


@table.model(
    DataError, np.array([np.inf] + [1.0] * 19, np.float32), says=("site 'y'", "data 'x'", "infinite", "1 of the rows")
)
def infinite_offset(x):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    with plait.plate("rows", 20):
        plait.sample("y", dist.Normal(b + x, 1.0), obs=np.zeros(20))  # here


# -- numbers that jax would change --------------------------------------------------------------------------


@table.model(DataError, np.array([1, 2**40]), says=("'y' holds 1099511627776,", "int32", "jax_enable_x64"))
def integers_beyond_32_bits(y):
    plait.sample("y", dist.Poisson(3.0).expand([2]), obs=y)


@table.model(DataError, np.array([1.0, 1e60]), says=("'y' holds 1e+60,", "float32", "jax_enable_x64"))
def floats_beyond_32_bits(y):
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)


test_each_says_what_and_where, test_golden = table.tests()
