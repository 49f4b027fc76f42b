"""Python, numpy or pandas ask for a value that is only known when the density runs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.stats

import plait
from plait import ModelError
from tests.errors import Table

table = Table(__file__)


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


# -- latent values ------------------------------------------------------------------------------------------


@table.model(ModelError, says=("site 'x'", "jnp.where", "jax.lax.cond"))
def if_on_a_latent():
    x = plait.sample("x", N())
    if x > 0:  # here
        plait.sample("y", N(x))


@table.model(ModelError, says=("site 'x'", "jnp.where"))
def while_on_a_latent():
    x = plait.sample("x", N())
    while x > 0:  # here
        x = x - 1


@table.model(ModelError, says=("site 'x'", "`0 < x < 1`"))
def chained_comparison():
    x = plait.sample("x", N())
    plait.factor("f", 0.0 if 0 < x < 1 else -1.0)  # here


@table.model(ModelError, says=("site 'x'", "jnp.where"))
def max_of_a_latent():
    x = plait.sample("x", N())
    plait.sample("y", dist.Normal(0.0, max(x, 0.1)))  # here


@table.model(ModelError, np.ones(2, np.float32), says=("site 'a', site 'b', param 'p', data 'y'",))
def if_on_a_function_of_many(y):
    a, b, p = plait.sample("a", N()), plait.sample("b", N()), plait.param("p", 1.0)
    mu = plait.deterministic("mu", a * b + p)
    if jnp.any(mu * y > 0):  # here
        plait.sample("y", N(mu), obs=y)


@table.model(ModelError, says=("site 'x'", "`v > 0`"))
def if_in_a_helper():
    def positive(v):
        return v if v > 0 else -v  # here

    plait.sample("y", N(positive(plait.sample("x", N()))))


@table.model(ModelError, says=("site 'z'",))
def if_in_a_scan():
    def step(carry, _):
        z = plait.sample("z", N(carry))
        return (z if z > 0 else carry), None  # here

    jax.lax.scan(step, jnp.float32(0.0), None, length=3)


@table.model(ModelError, says=("`v > 0`", "jnp.where"))
def if_in_a_jitted_helper():
    positive = jax.jit(lambda v: v if v > 0 else -v)  # here
    plait.sample("y", N(positive(plait.sample("x", N()))))


@table.model(ModelError, says=("site 'x'", "`float(x)`"))
def float_of_a_latent():
    x = plait.sample("x", N())
    plait.sample("y", dist.Normal(float(x), 1.0))  # here


@table.model(ModelError, says=("site 'x'",))
def int_of_a_latent():
    x = plait.sample("x", N())
    plait.deterministic("d", int(x))  # here


@table.model(ModelError, says=("site 'x'",))
def item_of_a_latent():
    x = plait.sample("x", N())
    plait.deterministic("d", x.item())  # here


@table.model(ModelError, says=("site 'x'", "`np.asarray(x)`", "jax.numpy"))
def numpy_of_a_latent():
    x = plait.sample("x", N())
    plait.deterministic("d", np.exp(np.asarray(x)))  # here


@table.model(ModelError, says=("site 'x'", "jnp functions"))
def math_of_a_latent():
    x = plait.sample("x", N())
    plait.deterministic("d", math.exp(x))  # here


@table.model(ModelError, says=("site 'x'", "jax.scipy"))
def scipy_of_a_latent():
    x = plait.sample("x", N())
    plait.deterministic("d", scipy.stats.norm.cdf(x))  # here


@table.model(ModelError, says=("site 'k'", "jnp array"))
def list_index_that_is_latent():
    k = plait.sample("k", dist.Categorical(jnp.ones(3) / 3))
    plait.sample("y", N([-1.0, 0.0, 1.0][k]))  # here


@table.model(ModelError, says=("site 'k'",))
def range_of_a_latent():
    k = plait.sample("k", dist.Poisson(2.0))
    for i in range(k):  # here
        plait.sample(f"x{i}", N())


@table.model(ModelError, says=("site 'x'", "jnp.where"))
def boolean_index_of_a_latent():
    x = plait.sample("x", N().expand([3]))
    plait.deterministic("positive", x[x > 0])  # here


# -- data ---------------------------------------------------------------------------------------------------


@table.model(ModelError, np.array([0, 1, 1]), says=("data 'group'", "static="))
def unique_of_data(group):
    names = np.unique(group)  # here
    with plait.plate("groups", len(names)):
        plait.sample("x", N())


@table.model(ModelError, np.array(3), says=("data 'n'", "static="))
def range_of_data(n):
    for i in range(n):  # here
        plait.sample(f"x{i}", N())


@table.model(ModelError, np.array([True, False]), says=("data 'keep'", "static=", "mask"))
def boolean_index_of_data(keep):
    y = jnp.arange(2.0)[keep]  # here
    plait.sample("y", N(), obs=y)


@table.model(ModelError, np.array([0.0, np.nan], np.float32), says=("data 'y'", "mask"))
def missing_data_dropped_in_the_model(y):
    y = y[~jnp.isnan(y)]  # here
    plait.sample("y", N(), obs=y)


@table.model(ModelError, np.array([0, 1, 1]), says=("data 'group'", "static="))
def size_counted_from_data(group):
    with plait.plate("groups", int(group.max()) + 1):  # here
        plait.sample("x", N())


@table.model(ModelError, np.array([0, 1, 1]), says=("data 'group'", "static="))
def loop_over_data(group):
    for i, g in enumerate(group):
        if g == 1:  # here
            plait.sample(f"x{i}", N())


# -- what has no value yet in other clothes ----------------------------------------------------------------


@table.model(ModelError)
def shape_that_is_latent():
    k = plait.sample("k", dist.Poisson(2.0))
    plait.deterministic("d", jnp.zeros(k))  # here


@table.model(ModelError)
def slice_that_is_latent():
    k = plait.sample("k", dist.Poisson(2.0))
    plait.deterministic("d", jnp.arange(3)[:k])  # here


@table.model(ModelError, np.array([0, 1, 1]))
def set_of_data(group):
    with plait.plate("groups", len(set(group))):  # here
        plait.sample("x", N())


@table.model(ModelError)
def formatted_latent():
    x = plait.sample("x", N())
    print(f"{x:.2f}")  # here


KEPT = []


@table.call(ModelError, says=("another run",))
def value_kept_from_another_run():
    KEPT.clear()
    plait.compile(lambda: KEPT.append(plait.sample("x", dist.Normal(0.0, 1.0))))
    plait.compile(lambda: plait.sample("y", dist.Normal(KEPT[0], 1.0)))  # here


test_each_says_what_and_where, test_golden = table.tests()
