"""NumPyro's primitives and handlers under plait's: alone, mixed, and what can't be mixed."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib import control_flow
from numpyro.distributions import constraints
from numpyro.infer.util import log_density

import plait
from tests.helpers import refused

N = dist.Normal


def joint(model, values, *args):
    return float(log_density(model, args, {}, values)[0])


def agrees(model, values, *args):
    """The compiled model, after its log joint was compared with NumPyro's."""
    compiled = plait.compile(model, *args)
    assert float(compiled.log_joint(values)) == pytest.approx(joint(model, values, *args), rel=2e-6)
    return compiled


# -- mixed with plait's ---------------------------------------------------------------------------------


def test_numpyro_sites_count_in_a_plait_model():
    def mixed(y):
        mu = plait.sample("mu", N(0, 1))
        with plait.plate("rows", 3), plait.handlers.scale(scale=2.0):
            numpyro.sample("y", N(mu, 1), obs=y)
        numpyro.factor("f", 3.0 * mu)
        numpyro.deterministic("d", 2 * mu)

    y = np.array([0.5, 1.0, -1.0], np.float32)
    compiled = plait.compile(mixed, y)
    expected = N(0, 1).log_prob(0.5) + 2 * N(0.5, 1).log_prob(y).sum() + 1.5
    assert float(compiled.log_joint({"mu": 0.5})) == pytest.approx(float(expected), rel=1e-6)
    assert [op.name for op in compiled.graph.ops(plait.ir.ops.Deterministic)] == ["d"]


def handler_around():
    with numpyro.handlers.mask(mask=False):
        plait.sample("x", N(0, 1))  # here


def plate_around():
    with numpyro.plate("rows", 3):
        plait.sample("x", N(0, 1))  # here


@pytest.mark.parametrize(("model", "what"), [(handler_around, "handlers.mask"), (plate_around, "numpyro.plate")])
def test_a_plait_site_does_not_see_numpyros_handlers(model, what):
    with refused(plait.ModelError, "'x'", what, at=model):
        plait.compile(model)


def test_plates_of_both_at_one_dim_are_refused():
    def model():
        with plait.plate("mine", 3), numpyro.plate("theirs", 3):
            numpyro.sample("x", N(0, 1))  # here

    with refused(plait.ModelError, "'x'", "'mine'", "'theirs'", "dim", at=model):
        plait.compile(model)


@pytest.mark.parametrize("wrap", [plait.handlers.condition, plait.handlers.substitute])
def test_plaits_handlers_act_on_a_numpyro_model(wrap):
    def model():
        mu = numpyro.sample("mu", N(0, 1))
        numpyro.sample("x", N(mu, 1))

    compiled = plait.compile(wrap(model, data={"mu": 2.0}))
    assert list(compiled.shapes) == ["x"]
    assert float(compiled.log_joint({"x": 0.0})) == pytest.approx(float(N(0, 1).log_prob(2.0) * 2), rel=1e-6)


def test_a_plait_handler_seeds_and_traces_a_numpyro_model_eagerly():
    def model():
        with numpyro.plate("rows", 3):
            numpyro.sample("x", N(0, 1))
        return numpyro.param("p", jax.random.normal)

    ours = plait.handlers.trace(plait.handlers.seed(model, 0)).get_trace()
    theirs = numpyro.handlers.trace(numpyro.handlers.seed(model, 0)).get_trace()
    assert list(ours) == list(theirs)
    np.testing.assert_array_equal(ours["x"]["value"], theirs["x"]["value"])
    np.testing.assert_array_equal(ours["p"]["value"], theirs["p"]["value"])


def test_several_threads_compile_at_once():
    def model(y):
        mu = numpyro.sample("mu", N(0, 1))
        with numpyro.plate("rows", 3), numpyro.handlers.scale(scale=2.0):
            numpyro.sample("y", N(mu, 1), obs=y)

    data = [np.full(3, float(i), np.float32) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda y: float(plait.compile(model, y).log_joint({"mu": 0.0})), data))
    np.testing.assert_allclose(values, [float(plait.compile(model, y).log_joint({"mu": 0.0})) for y in data], rtol=1e-6)


# -- NumPyro's own handlers inside ----------------------------------------------------------------------


def masked_and_scaled(y):
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("rows", 3), numpyro.handlers.scale(scale=0.5), numpyro.handlers.mask(mask=y > 0):
        z = numpyro.sample("z", dist.LogNormal(0.0, tau))
        numpyro.sample("y", N(z, 1), obs=y)


def test_masks_and_scales_count_for_the_jacobian_too():
    y = jnp.array([1.0, -1.0, 2.0])
    compiled = agrees(masked_and_scaled, {"tau": jnp.array(0.7), "z": jnp.array([0.5, 1.0, 2.0])}, y)
    u = {"tau": jnp.array(0.3), "z": jnp.array([0.1, -0.4, 0.9])}
    expected = -numpyro.infer.util.potential_energy(masked_and_scaled, (y,), {}, u)
    z = jnp.concatenate([jnp.ravel(u[name]) for name in ("tau", "z")])
    np.testing.assert_allclose(compiled.log_density(z), expected, rtol=1e-6)


def test_a_mask_of_the_distribution_is_no_mask_of_the_jacobian():
    def model():
        numpyro.sample("z", dist.LogNormal(0.0, 1.0).mask(False))

    expected = -numpyro.infer.util.potential_energy(model, (), {}, {"z": jnp.array(0.4)})
    np.testing.assert_allclose(plait.compile(model).log_density(jnp.array([0.4])), expected, rtol=1e-6)


def test_a_seed_inside_does_not_freeze_the_draws():
    model = numpyro.handlers.seed(lambda: numpyro.sample("x", N(0, 1)), 0)
    draws = plait.compile(model).sample(jax.random.key(1), (100,))["x"]
    assert jnp.unique(draws).size == 100


def test_uncondition_and_do_and_lift():
    def model():
        p = numpyro.param("p", 0.5, constraint=constraints.positive)
        x = numpyro.sample("x", N(p, 1), obs=1.0)
        numpyro.sample("y", N(x, 1))

    lifted = numpyro.handlers.lift(numpyro.handlers.uncondition(model), prior={"p": dist.HalfNormal(1.0)})
    seeded = numpyro.handlers.seed(lifted, 0)
    values = {"p": 0.5, "x": 0.1, "y": 0.2}
    compiled = plait.compile(seeded)
    assert list(compiled.shapes) == ["p", "x", "y"]
    np.testing.assert_allclose(compiled.log_joint(values), joint(seeded, values), rtol=1e-6)
    done = numpyro.handlers.do(seeded, data={"x": 3.0})
    np.testing.assert_allclose(plait.compile(done).log_joint(values), joint(done, values), rtol=1e-6)


def test_prng_key_in_a_density_is_refused():
    def model():
        noise = jax.random.normal(numpyro.prng_key())
        numpyro.sample("x", N(noise, 1))  # here

    with refused(plait.ModelError, "'x'", "prng_key", "argument", at=model):
        plait.compile(model)


@pytest.mark.parametrize("init", [0.5, jnp.array(0.5), jnp.full(3, 0.5), np.full(3, 0.5)])
def test_a_param_that_the_model_does_not_go_on_with_is_refused(init):
    def model():
        w = numpyro.param("w")
        if w is None:
            w = init
            numpyro.param("w", w)  # here
        numpyro.sample("x", N(w, 1).to_event())

    with refused(plait.ModelError, "'w'", "constant", "returns", at=model):
        plait.compile(model)


def test_prng_key_in_a_loop_with_sites_is_refused():
    def model():
        noise = jax.random.normal(numpyro.prng_key())
        jax.lax.scan(lambda c, _: (plait.sample("x", N(c + noise, 1)), None), 0.0, None, length=2)  # here

    with refused(plait.ModelError, "'x'", "prng_key", at=model):
        plait.compile(model)


# -- control flow ---------------------------------------------------------------------------------------


def walk(y=None):
    def step(x, y_t):
        x = numpyro.sample("x", N(x, 1))
        numpyro.sample("y", N(x, 0.5), obs=y_t)
        return x, x

    scale = numpyro.sample("s", dist.HalfNormal(1.0))
    with numpyro.handlers.scale(scale=2.0):
        _, xs = control_flow.scan(step, scale, y, length=3)
    numpyro.deterministic("last", xs[-1])


def test_numpyros_scan():
    y = jnp.array([1.0, 2.0, 3.0])
    agrees(walk, {"s": jnp.array(0.7), "x": jnp.array([0.5, 1.0, 2.0])}, y)


def test_numpyros_scan_conditioned_from_outside():
    given = numpyro.handlers.condition(walk, data={"x": jnp.array([0.5, 1.0, 2.0])})
    values = {"s": jnp.array(0.7), "y": jnp.array([1.0, 2.0, 3.0])}
    compiled = plait.compile(given)
    assert list(compiled.shapes) == ["s", "y"]
    np.testing.assert_allclose(compiled.log_joint(values), joint(given, values), rtol=1e-6)


def test_numpyros_cond():
    def model():
        a = numpyro.sample("a", N(0, 1))
        control_flow.cond(a > 0, lambda m: numpyro.sample("b", N(m, 1)), lambda m: numpyro.sample("b", N(-m, 3)), a)

    agrees(model, {"a": jnp.array(0.5), "b": jnp.array(1.0)})
    agrees(model, {"a": jnp.array(-0.5), "b": jnp.array(1.0)})
