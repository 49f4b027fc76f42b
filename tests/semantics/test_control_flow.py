"""Rows 84 to 94: control flow and JAX."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.contrib.control_flow import cond as numpyro_cond
from numpyro.contrib.control_flow import scan as numpyro_scan

import plait
from plait import ModelError, ValueNamesError
from tests.helpers import both, compiled, log_joint, refused

STEPS = np.array([0.3, -0.2, 0.8, 1.0, -1.0], np.float32)
LENGTHS = pytest.mark.parametrize("length", [3, 7])
HANDLERS = pytest.mark.parametrize("handler", ["substitute", "condition"])


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


# -- scan -------------------------------------------------------------------------------------------------


def walk(ppl):
    """x_t ~ N(x_{t-1}, 1), five steps; plain `lax.scan`, NumPyro's own for NumPyro."""

    def step(x, _):
        x = ppl.sample("x", N(x))  # here
        return x, x

    scan = numpyro_scan if ppl is numpyro else jax.lax.scan
    return scan(step, jnp.float32(0.0), None, length=5)


def panel(ppl):
    """The same with a plate of 3 in the body."""

    def step(x, _):
        with ppl.plate("units", 3):
            x = ppl.sample("x", N(x))
        return x, x

    scan = numpyro_scan if ppl is numpyro else jax.lax.scan
    return scan(step, jnp.zeros(3), None, length=5)


def test_row_84_a_site_in_a_scan():
    model = compiled(walk)
    assert model.shapes == {"x": (5,)}
    assert model.sample(jax.random.key(0))["x"].shape == (5,)


def test_row_84_a_plate_in_a_scan():
    model = compiled(panel)
    assert model.shapes == {"x": (5, 3)}
    assert model.sample(jax.random.key(0))["x"].shape == (5, 3)


@both
def test_row_84_the_density(ppl):
    before = np.concatenate([[0], STEPS[:-1]])
    assert_allclose(log_joint(ppl, walk, {"x": STEPS}), N(before).log_prob(STEPS).sum(), rtol=1e-6)


@both
def test_row_84_the_density_with_a_plate(ppl):
    x = np.outer(STEPS, [1.0, 2.0, -1.0]).astype(np.float32)
    before = np.concatenate([np.zeros((1, 3)), x[:-1]])
    assert_allclose(log_joint(ppl, panel, {"x": x}), N(before).log_prob(x).sum(), rtol=1e-6)


def test_row_84_an_eager_run_has_no_scan():
    with refused(ModelError, "'x'", "scan", at=walk):
        plait.handlers.seed(partial(walk, plait), 0)()


def with_values(ppl, handler, values):
    """`walk` at given values of its steps."""
    wrapped = getattr(ppl.handlers, handler)(partial(walk, ppl), data={"x": values})
    return ppl.handlers.seed(wrapped, 0)()[1]


@HANDLERS
def test_row_84_values_of_all_steps(handler):
    model = compiled(with_values, handler, jnp.asarray(STEPS))
    assert model.shapes == {}
    assert_allclose(model.log_joint({}), log_joint(numpyro, walk, {"x": STEPS}), rtol=1e-6)


@both
@HANDLERS
def test_row_84_values_of_all_steps_are_what_the_scan_returns(ppl, handler):
    def model(ppl):
        ppl.deterministic("seen", with_values(ppl, handler, jnp.asarray(STEPS)))

    if ppl is numpyro:
        seen = numpyro.handlers.trace(partial(model, numpyro)).get_trace()["seen"]["value"]
    else:
        seen = compiled(model).constrain(np.zeros(0), deterministic=True)["seen"]
    assert_allclose(seen, STEPS)


@LENGTHS
def test_row_86_values_of_another_length(length):
    with refused(ValueNamesError, "'x'", "(5,)", f"({length},)"):
        compiled(walk).log_joint({"x": np.zeros(length)})


@HANDLERS
@LENGTHS
def test_row_86_values_of_another_length_by_a_handler(handler, length):
    with refused(ModelError, "'x'", "5", f"{length}", at=walk):
        compiled(with_values, handler, jnp.zeros(length))


@HANDLERS
def test_row_86_in_numpyro(handler):
    with pytest.raises(RuntimeError, match="Expected length <= 5, but got 7"):
        with_values(numpyro, handler, jnp.zeros(7))


# -- cond -------------------------------------------------------------------------------------------------


def branches(ppl):
    """x ~ N(2, 1) where b is positive, else N(-2, 1)."""
    b = ppl.sample("b", N())
    cond = numpyro_cond if ppl is numpyro else jax.lax.cond
    x = cond(b > 0, lambda _: ppl.sample("x", N(2.0)), lambda _: ppl.sample("x", N(-2.0)), None)
    ppl.sample("y", N(x), obs=0.0)


@both
@pytest.mark.parametrize(("b", "loc"), [(1.0, 2.0), (-1.0, -2.0)])
def test_row_87_branches_of_equal_sites(ppl, b, loc):
    expected = N().log_prob(b) + N(loc).log_prob(0.5) + N().log_prob(0.5)
    assert_allclose(log_joint(ppl, branches, {"b": b, "x": 0.5}), expected, rtol=1e-6)


def test_row_87_branches_of_equal_sites_are_one_latent():
    assert compiled(branches).shapes == {"b": (), "x": ()}


@pytest.mark.parametrize("k", [0, 1, 2])
def test_row_87_a_switch_of_equal_sites(k):
    def model(k):
        return jax.lax.switch(k, [lambda m=m: plait.sample("x", N(m)) for m in (-1.0, 0.0, 4.0)])

    found = plait.compile(model, np.array(k)).log_joint({"x": 0.5})
    assert_allclose(found, N([-1.0, 0.0, 4.0][k]).log_prob(0.5), rtol=1e-6)


def test_row_87_branches_of_different_sites():
    def model():
        b = plait.sample("b", N())
        jax.lax.cond(b > 0, lambda: plait.sample("x", N()), lambda: plait.sample("z", N()))  # here

    with refused(ModelError, "'z'", "branches of jax.lax.cond", at=model):
        plait.compile(model)


def test_row_87_a_branch_without_the_site():
    def model():
        b = plait.sample("b", N())
        jax.lax.cond(b > 0, lambda: plait.sample("x", N()), lambda: 0.0)  # here

    with refused(ModelError, "'x'", "jax.lax.cond", at=model):
        plait.compile(model)


def test_row_87_branches_of_different_sites_in_numpyro():
    def model():
        b = numpyro.sample("b", N())
        numpyro_cond(b > 0, lambda _: numpyro.sample("x", N()), lambda _: numpyro.sample("z", N()), None)

    with pytest.raises(TypeError, match="same pytree structure"):
        numpyro.handlers.seed(model, 0)()


# -- vmap -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loc", [lambda m: m, lambda m: 0.0], ids=["a lane", "no lane"])
def test_row_92_a_site_in_vmap(loc):
    def model():
        return jax.vmap(lambda m: plait.sample("x", N(loc(m))))(jnp.arange(3.0))  # here

    with refused(ModelError, "'x'", "jax.vmap", "use a plate", at=model):
        plait.compile(model)


@pytest.mark.parametrize("loc", [lambda m: m, lambda m: 0.0], ids=["a lane", "no lane"])
def test_row_92_a_site_in_vmap_eagerly(loc):
    def model():
        return jax.vmap(lambda m: plait.sample("x", N(loc(m))))(jnp.arange(3.0))  # here

    with refused(ModelError, "'x'", "vmap", "plate", at=model):
        plait.handlers.seed(model, 0)()


# -- jit --------------------------------------------------------------------------------------------------

h = plait.handlers
AROUND = {
    "scopes": (partial(h.scope, prefix="one"), partial(h.scope, prefix="two")),
    "scales": (partial(h.scale, scale=2.0), partial(h.scale, scale=3.0)),
    "masks": (partial(h.mask, mask=False), partial(h.mask, mask=jnp.array(True))),
    "plates": (partial(plait.plate, "rows", 2), partial(plait.plate, "rows", 3)),
}
around = pytest.mark.parametrize("settings", AROUND.values(), ids=AROUND.keys())


def helper(x):
    s = plait.sample("s", dist.HalfNormal(1.0))
    plait.factor("f", -s * x)
    plait.sample("y", dist.Normal(x, s), obs=0.7)
    return s


def step(x, _):
    x = plait.sample("x", N(x))
    plait.factor("f", -(x**2))
    return jnp.sum(x), None


def loop(x):
    """A scan over the one body function."""
    return jax.lax.scan(step, x, None, length=2)[0]


def fresh_loop(x):
    """A scan over a body that jax has not seen."""

    def fresh(x, _):
        return step(x, _)

    return jax.lax.scan(fresh, x, None, length=2)[0]


def called_under(settings, call):
    """One function called under two settings; what they return is observed, so that it counts too."""

    def model():
        for name, setting in zip("ab", settings, strict=True):
            with h.scope(prefix=name), setting():
                returned = call(jnp.float32(0.3))
            plait.sample(f"seen {name}", N(jnp.sum(returned)), obs=0.0)

    return plait.compile(model)


def terms(model):
    rng = np.random.default_rng(0)
    return model.log_prob_terms({name: rng.uniform(0.3, 2.0, shape) for name, shape in model.shapes.items()})


def assert_equal_terms(ours, theirs):
    assert ours.keys() == theirs.keys()
    jax.tree.map(partial(assert_allclose, rtol=1e-5), ours, theirs)


@around
def test_row_93_a_jitted_helper_is_as_if_there_were_no_jit(settings):
    jitted, plain = (called_under(settings, call) for call in (jax.jit(helper), helper))
    assert jitted.shapes == plain.shapes
    assert_equal_terms(terms(jitted), terms(plain))


@around
def test_row_93_one_scan_body_is_as_if_it_were_two(settings):
    shared, fresh = (called_under(settings, call) for call in (loop, fresh_loop))
    assert shared.shapes == fresh.shapes
    assert_equal_terms(terms(shared), terms(fresh))


def test_row_93_both_traces_of_a_jitted_helper_see_its_sites():
    jitted = jax.jit(helper)

    def model():
        jitted(jnp.float32(0.3))

    def scaled():
        with h.scale(scale=2.0):
            jitted(jnp.float32(0.3))

    first, again, other = (plait.compile(m).log_joint({"s": 0.8}) for m in (model, model, scaled))
    assert first == again
    assert_allclose(other, 2 * first, rtol=1e-6)


# -- Python -----------------------------------------------------------------------------------------------


def test_row_94_python_if_on_a_latent():
    def model():
        x = plait.sample("slope", N())
        if x > 0:  # here
            plait.sample("y", N(x))

    with refused(ModelError, "'slope'", "Python", "jnp.where", "lax.cond", at=model):
        plait.compile(model)
