"""Sites inside transformations of jax in which a draw has no meaning, or that plait does not compile."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import plait
from plait import ModelError
from tests.errors import Table

table = Table(__file__)


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


@table.model(ModelError, says=("'x'", "jax.vmap", "plate"))
def site_in_vmap():
    jax.vmap(lambda m: plait.sample("x", N(m)))(jnp.arange(3.0))  # here


@table.model(ModelError, says=("'x'", "jax.vmap", "plate"))
def site_in_vmap_that_reads_no_lane():
    jax.vmap(lambda m: plait.sample("x", N()))(jnp.arange(3.0))  # here


@table.model(ModelError, says=("'y'", "jax.vmap"))
def observed_site_in_vmap():
    jax.vmap(lambda m: plait.sample("y", N(), obs=m))(jnp.arange(3.0))  # here


@table.model(ModelError, says=("'f'", "jax.vmap"))
def factor_in_vmap():
    jax.vmap(lambda m: plait.factor("f", m))(jnp.arange(3.0))  # here


@table.model(ModelError, says=("'p'", "jax.vmap"))
def param_in_vmap():
    jax.vmap(lambda m: plait.param("p", m))(jnp.arange(3.0))  # here


@table.model(ModelError, says=("'x'", "grad"))
def site_under_grad():
    jax.grad(lambda m: plait.sample("x", N(m)))(1.0)  # here


@table.model(ModelError, says=("'x'", "jax.lax.cond"))
def site_in_one_branch_of_a_cond():
    b = plait.sample("b", N())
    jax.lax.cond(b > 0, lambda: plait.sample("x", N()), lambda: 0.0)  # here


@table.model(ModelError, says=("'x'", "switch"))
def site_in_one_branch_of_a_switch():
    k = plait.sample("k", dist.Categorical(jnp.ones(2) / 2))
    jax.lax.switch(k, [lambda: 0.0, lambda: plait.sample("x", N())])  # here


@table.model(ModelError, says=("'x'", "jax.lax.while_loop", "jax.lax.scan"))
def site_in_while_loop():
    def body(carry):
        return plait.sample("x", N(carry))

    jax.lax.while_loop(lambda c: c > 0, body, 1.0)  # here


@table.model(ModelError, says=("'x'", "jax.lax.while_loop", "jax.lax.scan"))
def site_in_fori_loop_with_a_traced_bound():
    n = plait.sample("n", dist.Poisson(3.0))
    jax.lax.fori_loop(0, n, lambda i, c: plait.sample("x", N(c)), 1.0)  # here


@table.model(ModelError, says=("'x'", "jax.custom_jvp"))
def site_in_custom_jvp():
    f = jax.custom_jvp(lambda m: plait.sample("x", N(m)))
    f.defjvp(lambda primals, tangents: (primals[0], tangents[0]))
    f(jnp.float32(1.0))  # here


@table.model(ModelError, says=("'x'", "jax.custom_vjp"))
def site_in_custom_vjp():
    f = jax.custom_vjp(lambda m: plait.sample("x", N(m)))
    f.defvjp(lambda m: (m, None), lambda _, g: (g,))
    f(jnp.float32(1.0))  # here


@table.model(ModelError, says=("'x'", "jax.eval_shape"))
def site_in_eval_shape():
    jax.eval_shape(lambda: plait.sample("x", N()))  # here


@table.model(ModelError, says=("'p'",))
def param_in_a_scan():
    def step(carry, _):
        return carry + plait.param("p", 1.0), None  # here

    jax.lax.scan(step, jnp.float32(0.0), None, length=3)


@table.model(ModelError, np.zeros(7, np.float32), says=("'x'", "5 steps", "(7,)"))
def values_of_another_length_than_the_scan(given):
    def step(carry, _):
        return plait.sample("x", N(carry)), None  # here

    with plait.handlers.substitute(data={"x": given}):
        jax.lax.scan(step, jnp.float32(0.0), None, length=5)


@table.model(ModelError)
def scan_whose_carry_changes_its_shape():
    def step(carry, _):
        return plait.sample("x", N(carry).expand([2])), None

    jax.lax.scan(step, jnp.float32(0.0), None, length=3)  # here


@table.call(ModelError, says=("'x'", "jit"))
def jitted_helper_in_an_eager_run():
    def model():
        return jax.jit(lambda: plait.sample("x", N()))()  # here

    plait.handlers.seed(model, 0)()


test_each_says_what_and_where, test_golden = table.tests()
