"""JAX caches jitted helpers and loop bodies: none may be reused under other plates or handlers.

Each model takes the way to call its helper: jitted, or as plain Python. Both must be one and the same model,
and NumPyro's, which runs the plain one.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.infer.util import compute_log_probs

import plait
from tests.helpers import refused

Y = np.float32(0.7)


def plain(function):
    return function


def make_helper(ppl, wrap):
    def helper(x, y):
        s = ppl.sample("s", dist.HalfNormal(1.0 + x * x))
        ppl.factor("f", -s * x)
        ppl.sample("y", dist.Normal(x, s), obs=y)
        return s + x

    return wrap(helper)


def under_scales(ppl, call, y):
    out = []
    for name, scale in (("a", 2.0), ("b", 0.5), ("c", 2.0)):
        with ppl.handlers.scope(prefix=name), ppl.handlers.scale(scale=scale):
            out.append(call(jnp.float32(0.3), y))
    return out


def under_masks(ppl, call, y):
    out = []
    for name, mask in (("a", True), ("b", False), ("c", jnp.asarray(True))):
        with ppl.handlers.scope(prefix=name), ppl.handlers.mask(mask=mask):
            out.append(call(jnp.float32(0.3), y))
    return out


def under_scopes(ppl, call, y):
    out = [call(jnp.float32(0.3), y)]
    for name in ("a", "b"):
        with ppl.handlers.scope(prefix=name):
            out.append(call(jnp.float32(0.3), y))
            with ppl.handlers.scope(prefix=name):
                out.append(call(jnp.float32(-0.3), y))
    return out


def under_plates(ppl, call, y):
    out = []
    for name, size, dim in (("a", 2, -1), ("b", 3, -1), ("c", 2, -2), ("d", 2, -1)):
        with ppl.handlers.scope(prefix=name), ppl.plate("rows", size, dim=dim):
            out.append(call(jnp.float32(0.3), y))
    with ppl.handlers.scope(prefix="e"), ppl.plate("rows", 2), ppl.plate("columns", 2):
        out.append(call(jnp.float32(0.3), y))
    return out


def under_conditions(ppl, call, y):
    out = []
    for name, value in (("a", 0.5), ("b", 1.5)):
        for handler in (ppl.handlers.condition, ppl.handlers.substitute):
            with ppl.handlers.scope(prefix=f"{name}{handler.__name__}"), handler(data={"s": jnp.float32(value)}):
                out.append(call(jnp.float32(0.3), y))
    return out


def under_all_at_once(ppl, call, y):
    out = []
    with ppl.plate("rows", 2):
        for name, scale, mask in (("a", 2.0, jnp.array([True, False])), ("b", 3.0, jnp.array([False, True]))):
            with ppl.handlers.scope(prefix=name), ppl.handlers.scale(scale=scale), ppl.handlers.mask(mask=mask):
                out.append(call(jnp.float32(0.3), y))
    return out


MODELS = [under_scales, under_masks, under_scopes, under_plates, under_conditions, under_all_at_once]


def model(ppl, body, wrap, y):
    total = sum(jnp.sum(s) for s in body(ppl, make_helper(ppl, wrap), y))
    ppl.sample("total", dist.Normal(total, 1.0), obs=0.0)


def point(shapes):
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.3, 2.0, shape).astype(np.float32) for name, shape in shapes.items()}


def compare(one, other):
    """Value, gradient and per-site terms of two compiled models."""
    assert one.shapes == other.shapes
    assert one.names == other.names
    values = point(one.shapes)
    ours, theirs = one.log_prob_terms(values), other.log_prob_terms(values)
    assert ours.keys() == theirs.keys()
    for name, term in theirs.items():
        assert_allclose(ours[name], term, rtol=1e-5, err_msg=name)
    z = np.linspace(-1, 1, one.dim).astype(np.float32)
    for a, b in zip(one.log_density_and_grad(z), other.log_density_and_grad(z), strict=True):
        assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@cache
def jitted(body):
    return plait.compile(partial(model, plait, body, jax.jit), Y)


@pytest.mark.parametrize("body", MODELS)
def test_a_jitted_helper_is_the_plain_one(body):
    compare(jitted(body), plait.compile(partial(model, plait, body, plain), Y))


@pytest.mark.parametrize("body", MODELS)
def test_a_jitted_helper_is_numpyros_plain_one(body):
    values = point(jitted(body).shapes)
    run = partial(model, numpyro, body, plain)
    terms = jax.jit(lambda v: compute_log_probs(run, (Y,), {}, v, sum_log_prob=False)[0])(values)
    ours = jitted(body).log_prob_terms(values)
    assert ours.keys() == terms.keys()
    for name, term in terms.items():
        assert_allclose(ours[name], np.broadcast_to(term, ours[name].shape), rtol=1e-4, atol=1e-5, err_msg=name)


def scans(ppl, body, y):
    """A loop body with sites, under scopes, scales, masks and plates; `body` makes the loop."""

    def step(carry, x):
        with ppl.plate("inner", 2):
            ppl.sample("y", dist.Normal(carry, 1.0), obs=x)
        return 0.5 * carry + x, carry

    def run():
        return body(step, jnp.float32(0.1), jnp.stack([y, 2 * y, -y]))

    results = []
    for name, scale in (("a", 2.0), ("b", 3.0)):
        with ppl.handlers.scope(prefix=name):
            with ppl.handlers.scale(scale=scale):
                results.append(run())
            with ppl.handlers.scope(prefix="masked"), ppl.handlers.mask(mask=name == "a"):
                results.append(run())
            with ppl.handlers.scope(prefix="in"), ppl.plate("outer", 3, dim=-2):
                results.append(run())
    return results


def python_loop(step, carry, xs):
    ys = []
    for x in xs:
        carry, y = step(carry, x)
        ys.append(y)
    return carry, jnp.stack(ys)


def scan_model(y):
    mu = plait.sample("mu", dist.Normal(0.0, 1.0))
    total = sum(jnp.sum(ys) + carry for carry, ys in scans(plait, jax.lax.scan, y + mu))
    plait.sample("total", dist.Normal(total, 1.0), obs=0.0)


def loop_model(y):
    mu = plait.sample("mu", dist.Normal(0.0, 1.0))
    results = []

    def numbered(step, carry, xs):
        def named(carry, x):
            with plait.handlers.scope(prefix=f"{len(results)}.{next(count)}"):
                return step(carry, x)

        count = iter(range(3))
        results.append(python_loop(named, carry, xs))
        return results[-1]

    total = sum(jnp.sum(ys) + carry for carry, ys in scans(plait, numbered, y + mu))
    plait.sample("total", dist.Normal(total, 1.0), obs=0.0)


def _by_loop(terms):
    """Terms of a loop's steps as one array for the whole loop."""
    grouped = {}
    for name, term in terms.items():
        parts = [p for p in name.split("/") if not p[0].isdigit()]
        grouped.setdefault("/".join(parts), []).append(term)
    return {n: ts[0] if len(ts) == 1 else np.stack(ts) for n, ts in grouped.items()}


def test_one_scan_body_function_is_the_python_loop():
    scanned, looped = plait.compile(scan_model, Y), plait.compile(loop_model, Y)
    values, z = {"mu": np.float32(0.4)}, np.array([0.4])
    ours, theirs = scanned.log_prob_terms(values), _by_loop(looped.log_prob_terms(values))
    assert ours.keys() == theirs.keys()
    for name, term in theirs.items():
        assert_allclose(ours[name], term, rtol=1e-5, err_msg=name)
    for a, b in zip(scanned.log_density_and_grad(z), looped.log_density_and_grad(z), strict=True):
        assert_allclose(a, b, rtol=1e-5)


def test_two_calls_of_a_jitted_helper_in_one_place_are_a_duplicate():
    @jax.jit
    def helper():
        return plait.sample("x", dist.Normal(0.0, 1.0))  # here

    def twice():
        return helper() + helper()

    with refused(plait.ModelError, "two sites are called 'x'", at=helper.__wrapped__):
        plait.compile(twice)


def test_a_jitted_helper_in_a_compiled_model_and_eagerly():
    helper = make_helper(plait, jax.jit)

    def run(y):
        with plait.handlers.substitute(data={"s": jnp.float32(0.8)}):
            return helper(jnp.float32(0.3), y)

    assert list(plait.compile(run, Y).log_prob_terms({})) == ["s", "f", "y"]
    # eagerly jax would cache what the handlers do on the first call, so that is refused, each time
    for _ in range(2):
        with pytest.raises(plait.ModelError, match="opened under a handler"):
            run(Y)


def test_a_jitted_helper_with_a_plate_inside():
    @jax.jit
    def helper(x):
        with plait.plate("rows", 3):
            return plait.sample("x", dist.Normal(x, 1.0))

    def run(y):
        with plait.handlers.scope(prefix="a"):
            a = helper(y)
        with plait.plate("outer", 2, dim=-2), plait.handlers.scope(prefix="b"):
            b = helper(y)
        plait.factor("tie", jnp.sum(a) * jnp.sum(b))

    assert plait.compile(run, Y).shapes == {"a/x": (3,), "b/x": (2, 3)}


def test_nested_jitted_helpers():
    inner = make_helper(plait, jax.jit)

    @jax.jit
    def outer(y):
        with plait.handlers.scope(prefix="in"):
            return inner(jnp.float32(0.3), y)

    def run(y):
        outer(y)
        with plait.handlers.scope(prefix="a"), plait.handlers.scale(scale=3.0):
            outer(y)
        inner(jnp.float32(0.3), y)

    s = np.float32(0.8)
    terms = plait.compile(run, Y).log_prob_terms({"in/s": s, "a/in/s": s, "s": s})
    for site in ("s", "f", "y"):
        assert_allclose(terms[f"a/in/{site}"], 3 * terms[site], rtol=1e-5)
        assert_allclose(terms[f"in/{site}"], terms[site], rtol=1e-6)


def _eight(y=None):
    mu = plait.sample("mu", dist.Normal(0.0, 5.0))
    with plait.plate("rows", 3):
        plait.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.mark.parametrize(
    ("handler", "check"),
    [("none", False), ("none", True), ("scale", False), ("seed", False), ("trace", False), ("block", False)],
)
def test_the_users_function_is_called_once(handler, check):
    calls = []

    def counted(y):
        calls.append(1)
        _eight(y)

    h = plait.handlers
    wrapped = {
        "none": counted,
        "scale": h.scale(counted, scale=2.0),
        "seed": h.seed(counted, 0),
        "trace": h.trace(counted),
        "block": h.block(counted, hide=["nothing"]),
    }[handler]
    compiled = plait.compile(wrapped, np.zeros(3, np.float32), check=check)
    # `check` compares with a second trace, in float64
    assert len(calls) == 1 + check
    compiled.log_density_and_grad(np.zeros(1))
    compiled.sample(jax.random.key(0))
    compiled.bind(y=np.ones(3, np.float32))
    compiled.explain()
    assert len(calls) == 1 + check


def test_a_scan_body_is_called_once():
    calls = []

    def step(carry, y):
        calls.append(1)
        plait.sample("y", dist.Normal(carry, 1.0), obs=y)
        return carry, None

    def run(y):
        jax.lax.scan(step, plait.sample("mu", dist.Normal(0.0, 1.0)), y)

    compiled = plait.compile(run, np.zeros(4, np.float32))
    compiled.log_density_and_grad(np.zeros(1))
    assert len(calls) == 1
