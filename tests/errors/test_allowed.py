"""What users read when a model or its data are wrong: `errors.txt` holds every message, to be judged at a glance.

Each message is one sentence or two on one line, ends with the line of this file that is to blame, and has the
type that the table says. ``PLAIT_UPDATE_GOLDEN=1 pytest tests/compiler/test_errors.py`` writes the file anew;
there a line number reads as ``N``, because the test itself compares it with the line marked ``# here``.
"""

import os
import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait import BindError, DataError, ModelError, PlaitError
from tests.helpers import line

GOLDEN = Path(__file__).with_name("errors.txt")
UPDATE = os.environ.get("PLAIT_UPDATE_GOLDEN") == "1"
CASES = {}


def case(error, *args, says=(), **kwargs):
    """A model that does not compile on these arguments, and what its error is."""

    def register(model):
        CASES[model.__name__] = (error, model, args, kwargs, says)
        return model

    return register


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


# -- Python needs a value ---------------------------------------------------------------------------------


@case(ModelError, says=("jnp.where", "jax.lax.cond"))
def python_if_on_a_latent():
    x = plait.sample("x", N())
    if x > 0:  # here
        plait.sample("y", N(x))


@case(ModelError, says=("jnp.where",))
def python_while_on_a_latent():
    x = plait.sample("x", N())
    while x > 0:  # here
        x = x - 1


@case(ModelError)
def float_of_a_latent():
    x = plait.sample("x", N())
    plait.sample("y", dist.Normal(float(x), 1.0))  # here


@case(ModelError)
def int_of_a_latent():
    x = plait.sample("x", N())
    plait.deterministic("d", int(x))  # here


@case(ModelError)
def numpy_of_a_latent():
    x = plait.sample("x", N())
    plait.deterministic("d", np.exp(np.asarray(x)))  # here


@case(ModelError)
def item_of_a_latent():
    x = plait.sample("x", N())
    plait.deterministic("d", x.item())  # here


@case(ModelError, np.array([0, 1, 1]), says=("static=", "group"))
def unique_of_data(group):
    names = np.unique(group)  # here
    with plait.plate("groups", len(names)):
        plait.sample("x", N())


@case(ModelError, np.array(3), says=("'rows'", "static="))
def traced_plate_size(n):
    with plait.plate("rows", n):  # here
        plait.sample("x", N())


@case(ModelError, np.array(3), says=("static=", "n"))
def traced_range(n):
    for i in range(n):  # here
        plait.sample(f"x{i}", N())


@case(ModelError, np.array([True, False]), says=("static=", "keep"))
def boolean_index_of_data(keep):
    y = jnp.arange(2.0)[keep]  # here
    plait.sample("y", N(), obs=y)


# -- jax transformations ------------------------------------------------------------------------------------


@case(ModelError, says=("'x'", "jax.vmap", "plate"))
def site_in_vmap():
    jax.vmap(lambda m: plait.sample("x", N(m)))(jnp.arange(3.0))  # here


@case(ModelError, says=("'x'", "jax.vmap", "plate"))
def site_in_vmap_that_reads_no_lane():
    jax.vmap(lambda m: plait.sample("x", N()))(jnp.arange(3.0))  # here


@case(ModelError, says=("'y'", "jax.vmap"))
def observed_site_in_vmap():
    jax.vmap(lambda m: plait.sample("y", N(), obs=m))(jnp.arange(3.0))  # here


@case(ModelError, says=("'f'", "jax.vmap"))
def factor_in_vmap():
    jax.vmap(lambda m: plait.factor("f", m))(jnp.arange(3.0))  # here


@case(ModelError, says=("'x'", "grad"))
def site_under_grad():
    jax.grad(lambda m: plait.sample("x", N(m)))(1.0)  # here


@case(ModelError, says=("'x'", "jax.lax.cond"))
def site_in_cond():
    b = plait.sample("b", N())
    jax.lax.cond(b > 0, lambda: plait.sample("x", N()), lambda: 0.0)  # here


@case(ModelError, says=("'x'", "jax.lax.while_loop", "jax.lax.scan"))
def site_in_while_loop():
    def body(carry):
        return plait.sample("x", N(carry))

    jax.lax.while_loop(lambda c: c > 0, body, 1.0)  # here


@case(ModelError, says=("'x'", "jax.lax.while_loop", "jax.lax.scan"))
def site_in_fori_loop_with_a_traced_bound():
    n = plait.sample("n", dist.Poisson(3.0))
    jax.lax.fori_loop(0, n, lambda i, c: plait.sample("x", N(c)), 1.0)  # here


@case(ModelError, says=("'x'", "jax.custom_jvp"))
def site_in_custom_jvp():
    f = jax.custom_jvp(lambda m: plait.sample("x", N(m)))
    f.defjvp(lambda primals, tangents: (primals[0], tangents[0]))
    f(jnp.float32(1.0))  # here


@case(ModelError, says=("'x'", "jax.custom_vjp"))
def site_in_custom_vjp():
    f = jax.custom_vjp(lambda m: plait.sample("x", N(m)))
    f.defvjp(lambda m: (m, None), lambda _, g: (g,))
    f(jnp.float32(1.0))  # here


@case(ModelError, says=("'p'", "scan"))
def param_in_a_scan():
    def step(carry, _):
        return carry + plait.param("p", 1.0), None  # here

    jax.lax.scan(step, jnp.float32(0.0), None, length=3)


# -- distributions ----------------------------------------------------------------------------------------


@case(PlaitError, says=("scale",))
def scale_of_a_python_number():
    plait.sample("x", dist.Normal(0.0, -1.0))  # here


@case(DataError, says=("'x'", "scale", "positive", "-1.0"))
def scale_of_a_constant_array():
    plait.sample("x", dist.Normal(0.0, jnp.float32(-1.0)))  # here


@case(DataError, np.array(-1.0, np.float32), says=("'x'", "scale", "positive", "-1.0"))
def scale_of_data(s):
    plait.sample("x", dist.Normal(0.0, s))  # here


@case(DataError, np.array([0.5, 1.5, -1.0], np.float32), says=("'y'", "probs", "1.5", "[1]"))
def probability_of_data(p):
    with plait.plate("rows", 3):
        plait.sample("y", dist.Bernoulli(p), obs=1)  # here


@case(DataError, np.eye(2, dtype=np.float32) - 2, says=("'x'", "scale_tril"))
def covariance_of_data(c):
    plait.sample("x", dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=c))  # here


@case(ModelError, says=("closes over",))
def a_distribution_that_hides_a_latent():
    class Hidden(dist.Normal):
        def __init__(self, f):
            self.f = f
            super().__init__(0.0, 1.0)

    x = plait.sample("x", N())
    plait.sample("y", Hidden(lambda v: v + x))  # here


@case(ModelError, says=("'p'", "constraint"))
def a_constraint_of_a_latent():
    x = plait.sample("x", N())
    plait.param("p", 1.0, constraint=dist.constraints.greater_than(x))  # here


# -- data -------------------------------------------------------------------------------------------------


@case(DataError, np.array([1, 2**40]), says=("'y' holds 1099511627776,", "int32", "jax_enable_x64"))
def integers_beyond_32_bits(y):
    plait.sample("y", dist.Poisson(3.0).expand([2]), obs=y)


@case(DataError, np.array([1.0, 1e60]), says=("'y' holds 1e+60,", "float32", "jax_enable_x64"))
def floats_beyond_32_bits(y):
    plait.sample("y", N(), obs=y)


@case(DataError, np.array([0, 3, 1]), says=("index", "size 3", "3", "[1]"))
def group_index_out_of_range(group):
    with plait.plate("groups", 3):
        a = plait.sample("a", N())
    with plait.plate("rows", 3):
        plait.sample("y", N(a[group]), obs=0.0)  # here


@case(DataError, np.array([0.0, np.nan, np.nan], np.float32), says=("'y'", "real", "nan", "[1]", "2 such"))
def nan_in_observed_data(y):
    m = plait.sample("m", N())
    with plait.plate("rows", 3):
        plait.sample("y", N(m), obs=y)  # here


@case(DataError, np.array([0.0, np.nan], np.float32), says=("'x'", "NaN"))
def nan_in_a_covariate(x):
    b = plait.sample("b", N())
    with plait.plate("rows", 2):
        plait.sample("y", N(b * x), obs=jnp.zeros(2))  # here


@case(DataError, np.array([1.0, -2.0], np.float32), says=("'y'", "positive", "-2.0", "[1]"))
def observed_outside_its_support(y):
    plait.sample("y", dist.Gamma(2.0, 1.0), obs=y)  # here


@case(DataError, np.array([1.0, 2.0], np.float32), says=("'y'",))
def observed_outside_a_support_of_data(high):
    plait.sample("y", dist.Uniform(0.0, high), obs=jnp.array([0.5, 2.5]))  # here


@case(DataError, np.array([0.5, 1.0, 2.0], np.float32), says=("'y'", "nonnegative_integer", "0.5"))
def counts_that_are_no_integers(y):
    plait.sample("y", dist.Poisson(2.0), obs=y)  # here


@case(DataError, np.array([[0.5, 0.6], [0.5, 0.5]], np.float32), says=("'y'", "simplex"))
def rows_off_the_simplex(y):
    plait.sample("y", dist.Dirichlet(jnp.ones(2)), obs=y)  # here


@case(DataError, says=("'y'", "-1"))
def a_constant_outside_its_support():
    plait.sample("y", dist.Exponential(1.0), obs=-1.0)  # here


@case(PlaitError, np.array(["a", "b"]), says=("string",))
def strings_as_data(y):
    plait.sample("y", N(), obs=y)  # here


@case(PlaitError, np.array([None, 1.0], object), says=("object",))
def objects_as_data(y):
    plait.sample("y", N(), obs=y)  # here


# -- arguments --------------------------------------------------------------------------------------------


@case(BindError, 1.0, 2.0, says=("too_many_arguments", "(y)"))
def too_many_arguments(y): ...


@case(BindError, 1.0, static=("z",), says=("static=", "'z'", "['y']"))
def static_names_no_argument(y): ...


# -- the table --------------------------------------------------------------------------------------------


@cache
def outcome(name):
    """What compiling a case raises."""
    _, model, args, kwargs, _ = CASES[name]
    try:
        plait.compile(model, *args, **kwargs)
    except Exception as error:
        return error
    return None


def entry(name):
    """The lines of a case in the golden file; of an error that is not plait's, its first line."""
    error = outcome(name)
    message = re.sub(r"\.py:\d+", ".py:N", str(error).partition("\n")[0])
    return f"{name}\n    {type(error).__name__}: {message}\n"


def to_blame(model):
    try:
        return line(model)
    except ValueError:  # an argument is wrong, before any line of the model runs
        return None


@pytest.mark.parametrize("name", CASES)
def test_each_error_says_what_and_where(name):
    expected, model, _, _, says = CASES[name]
    error = outcome(name)
    message = str(error)
    assert isinstance(error, expected), f"{type(error).__name__}: {message}"
    assert "\n" not in message
    for part in says:
        assert part in message
    if (where := to_blame(model)) is not None:
        assert message.endswith(where)
        assert str(error.loc) == where.strip("()")


def test_the_messages_are_the_golden_ones():
    if UPDATE:
        GOLDEN.write_text("\n".join(map(entry, CASES)))
    assert GOLDEN.read_text().split("\n\n") == "\n".join(map(entry, CASES)).split("\n\n")


# -- what is no error ---------------------------------------------------------------------------------------


def test_nan_under_a_mask_is_allowed():
    def model(y, seen):
        m = plait.sample("m", N())
        with plait.plate("rows", 2), plait.handlers.mask(mask=seen):
            plait.sample("y", N(m), obs=y)

    y = np.array([1.0, np.nan], np.float32)
    compiled = plait.compile(model, y, np.array([True, False]))
    value, grad = compiled.log_density_and_grad(np.zeros(1))
    np.testing.assert_allclose(value, 2 * N().log_prob(0.0) - 0.5, rtol=1e-6)
    np.testing.assert_allclose(grad, [1.0])
    with pytest.raises(DataError, match="'y'"):
        plait.compile(model, y, np.array([True, True]))
    with pytest.raises(DataError, match="'y'"):
        compiled.bind(seen=np.array([True, True]))


def test_nan_under_a_mask_of_the_distribution_is_allowed():
    def model(y, seen):
        m = plait.sample("m", N())
        plait.sample("y", dist.Normal(m, 1.0).expand([2]).mask(seen), obs=y)

    compiled = plait.compile(model, np.array([1.0, np.nan], np.float32), np.array([True, False]))
    _, grad = compiled.log_density_and_grad(np.zeros(1))
    np.testing.assert_allclose(grad, [1.0])


def test_nan_that_jnp_where_replaces_is_allowed():
    def model(x):
        b = plait.sample("b", N())
        with plait.plate("rows", 2):
            plait.sample("y", N(b * jnp.where(jnp.isnan(x), 0.0, x)), obs=jnp.ones(2))

    compiled = plait.compile(model, np.array([1.0, np.nan], np.float32))
    _, grad = compiled.log_density_and_grad(np.zeros(1))
    np.testing.assert_allclose(grad, [1.0])


def test_a_support_violation_under_a_mask_is_allowed():
    def model(y, seen):
        with plait.plate("rows", 2), plait.handlers.mask(mask=seen):
            plait.sample("y", dist.Exponential(1.0), obs=y)

    compiled = plait.compile(model, np.array([1.0, -5.0], np.float32), np.array([True, False]))
    np.testing.assert_allclose(compiled.log_joint({}), -1.0, rtol=1e-6)


def test_an_index_from_the_end_is_allowed_where_the_model_says_so():
    """In data -1 is refused (it codes what is missing); the model's own constants count from the end."""

    def model():
        group = jnp.array([0, -1])
        with plait.plate("groups", 3):
            a = plait.sample("a", N())
        with plait.plate("rows", 2):
            plait.sample("y", N(a[group]), obs=0.0)

    compiled = plait.compile(model)
    values = {"a": np.array([1.0, 0.0, 2.0], np.float32)}
    np.testing.assert_allclose(compiled.log_prob_terms(values)["y"], N().log_prob(np.array([1.0, 2.0])), rtol=1e-6)


def test_int64_data_that_fit_are_cast():
    def model(y):
        plait.sample("y", dist.Poisson(3.0), obs=y)

    compiled = plait.compile(model, np.array([1, 2], np.int64))
    expected = dist.Poisson(3.0).log_prob(np.array([1, 2])).sum()
    np.testing.assert_allclose(compiled.log_joint({}), expected, rtol=1e-6)


def test_wide_integers_fit_under_x64():
    def model(y):
        plait.sample("y", N(), obs=y / 2**40)

    with jax.enable_x64(True):
        compiled = plait.compile(model, np.array([2**40]))
        np.testing.assert_allclose(compiled.log_joint({}), N().log_prob(1.0), rtol=1e-6)


def test_static_arguments_are_python_values():
    def model(group, y):
        with plait.plate("groups", len(np.unique(group))):
            plait.sample("a", N())
        plait.sample("y", N(), obs=y)

    compiled = plait.compile(model, np.array([0, 1, 1]), 0.5, static=("group",))
    assert compiled.shapes == {"a": (2,)}


def test_strings_that_no_site_reads_are_static():
    def model(labels, y):
        with plait.plate("rows", len(labels)):
            plait.sample("y", N(), obs=y)

    assert plait.compile(model, np.array(["a", "b"]), np.zeros(2, np.float32)).shapes == {}


def test_an_error_of_the_users_own_passes_through():
    def model():
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        plait.compile(model)


def test_an_error_leaves_nothing_open():
    with pytest.raises(ModelError):
        plait.compile(python_if_on_a_latent)
    assert plait.compile(lambda: plait.sample("x", N())).shapes == {"x": ()}
