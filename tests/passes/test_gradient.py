"""Sums of one length share a loop in the graph of value and gradient, whose numbers stay what they are."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.lower import gradient
from plait.compiler.lower.gradient import CHEAP, LEAST, MOST, imported, join_sums
from plait.ir.ops import Apply, Sums
from plait.ir.verify import verify
from tests.models import MODELS, some
from tests.models.numpyro_reference import init_params

N = 40
LONG = MOST[np.dtype("float32")]


def graph_of(function, *args):
    """The graph of a function of float32 arrays of these shapes, before the pass and after it."""
    before = imported(jax.make_jaxpr(function)(*(jnp.ones(shape, jnp.float32) for shape in args)))
    after = join_sums(before)
    verify(after)
    return before, after


def joined(function, *args):
    """How many sums each joint one has."""
    return [len(n.args) for n in graph_of(function, *args)[1].of(Sums)]


def total(x):
    return jnp.sum(x)


def test_sums_of_one_length_are_one():
    before, after = graph_of(lambda x, y: total(x) - total(y), (N,), (N,))
    assert str(before).splitlines() == [
        "0: f32[40] = body '0'",
        "1: f32[40] = body '1'",
        "%0: f32[] = reduce_sum{axes=(0,)} 0",
        "%1: f32[] = reduce_sum{axes=(0,)} 1",
        "%2: f32[] = sub %0, %1",
        "result 0 = %2",
    ]
    assert str(after).splitlines() == [
        "0: f32[40] = body '0'",
        "1: f32[40] = body '1'",
        "%0: (f32[], f32[]) = sums{axes=(0,)} 0, 1",
        "%1: f32[] = item %0[0]",
        "%2: f32[] = item %0[1]",
        "%3: f32[] = sub %1, %2",
        "result 0 = %3",
    ]


def test_sums_that_need_each_other_are_apart():
    def spread(x, y):
        centred = x - total(x) / N
        return total(centred * centred) + total(y) * total(centred)

    assert joined(spread, (N,), (N,)) == [2, 2]  # of x and y, then of what is centred


def test_columns_are_summed_together():
    assert joined(lambda x, y: jnp.sum(x, 0) * jnp.sum(y, 0), (N, 3), (N, 3)) == [2]


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x: total(x) + 1.0, [(N,)]),
        (lambda x, y: total(x) + total(y), [(N,), (N + 1,)]),
        (lambda x, y: jnp.sum(x, 0) * jnp.sum(y), [(N, 2), (N, 2)]),
        (lambda x, y: total(x) + total(y), [(LEAST - 1,), (LEAST - 1,)]),
        (lambda x, y: total(x) + total(y), [(LONG + 1,), (LONG + 1,)]),
        (lambda x, y: total(jnp.exp(x)) + total(y), [(N,), (N,)]),
        (lambda x, y: total(2.0 * jnp.log1p(x) + y) + total(y), [(N,), (N,)]),
        (lambda x, y: total(x > 0) + total(y > 0), [(N,), (N,)]),
    ],
    ids=["alone", "length", "axes", "short", "long", "exp", "behind_a_product", "integers"],
)
def test_what_stays_apart(function, shapes):
    assert not joined(function, *shapes)


def test_what_is_computed_of_scalars_is_cheap():
    assert "exp" not in CHEAP
    assert joined(lambda x, y, s: total(x * jnp.exp(s)) + total(y), (N,), (N,), ()) == [2]


def slopes(x, y):
    """Intercepts and slopes of groups: many scalars meet vectors of one length."""
    mean, spread = plait.sample("mean", dist.Normal(0, 1)), plait.sample("spread", dist.HalfNormal(1))
    sigma = plait.sample("sigma", dist.HalfNormal(1))
    with plait.plate("groups", N):
        a = plait.sample("a", dist.Normal(mean, spread))
        b = plait.sample("b", dist.Normal(mean, 2 * spread))
        plait.sample("y", dist.Normal(a + b * x, sigma), obs=y)


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_value_gradient_and_what_jax_makes_of_them(x64):
    with jax.enable_x64(x64):
        dtype = np.float64 if x64 else np.float32
        x, y = np.random.default_rng(0).normal(size=(2, N)).astype(dtype)
        compiled = plait.compile(slopes, x, y)
        fused, plain = compiled.log_density_and_grad, as_jax_has_it(compiled)
        z = jnp.linspace(-0.5, 0.5, compiled.dim, dtype=dtype)
        jaxpr = str(jax.make_jaxpr(fused)(z))
        assert "reduce[" in jaxpr
        assert "reduce[" not in str(jax.make_jaxpr(plain)(z))
        batch = jnp.stack([z, 2 * z, -z])
        both = jax.jit(lambda z, batch: [_derived(f, z, batch) for f in (fused, plain)])
        for got, wanted in zip(*map(jax.tree.leaves, both(z, batch)), strict=True):
            scale = float(jnp.max(jnp.abs(wanted)))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=(1e-13 if x64 else 2e-6) * scale)


def as_jax_has_it(compiled):
    """Value and gradient by jax's own rules alone."""
    density = compiled._program.density
    return jax.value_and_grad(lambda z: density(compiled._density_known, compiled._given(None), z))


def test_who_differentiates_the_density_gets_the_joined_sums():
    """By reverse mode, by forward mode, and with respect to params and traced data as well."""
    with jax.enable_x64(True):
        x, y = np.random.default_rng(0).normal(size=(2, N))
        compiled = plait.compile(slopes, x, y)
        z = jnp.linspace(-0.5, 0.5, compiled.dim)
        assert "reduce[" in str(jax.make_jaxpr(jax.grad(compiled.log_density))(z))
        value, gradient = as_jax_has_it(compiled)(z)
        np.testing.assert_allclose(jax.grad(compiled.log_density)(z), gradient, rtol=1e-12)
        forward = jax.jvp(compiled.log_density, (z,), (jnp.cos(z),))
        np.testing.assert_allclose(forward, (value, gradient @ jnp.cos(z)), rtol=1e-12)
        np.testing.assert_allclose(
            jax.hessian(compiled.log_density)(z), jax.jacfwd(jax.grad(lambda z: as_jax_has_it(compiled)(z)[0]))(z),
            rtol=1e-9, atol=1e-9,
        )  # fmt: skip

        def of_data(y, z):
            return compiled.bind(y=y).log_density(z)

        both = jax.jit(jax.grad(of_data, (0, 1)))(y, z)
        h = 1e-6
        by_difference = [(of_data(y + h * e, z) - of_data(y - h * e, z)) / (2 * h) for e in np.eye(N)[:3]]
        np.testing.assert_allclose(both[0][:3], by_difference, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(both[1], gradient, rtol=1e-9)


def test_forward_mode_goes_through_a_while_loop():
    def model(y):
        level = plait.sample("level", dist.Normal(0, 1))
        _, grown = jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, 1.1 * s[1]), (0, level))
        plait.sample("y", dist.Normal(grown, 1), obs=y)

    with jax.enable_x64(True):
        compiled = plait.compile(model, 1.0)
        z, factor = 0.3, 1.1**3
        _, slope = jax.jvp(compiled.log_density, (jnp.array([z]),), (jnp.ones(1),))
        np.testing.assert_allclose(slope, -z + factor * (1.0 - factor * z), rtol=1e-12)


def test_gradients_with_respect_to_params():
    def model(y):
        scale = plait.param("scale", 2.0)
        mean = plait.sample("mean", dist.Normal(0, scale))
        plait.sample("y", dist.Normal(mean, 1), obs=y)

    with jax.enable_x64(True):
        compiled = plait.compile(model, 0.3)
        z = jnp.array([0.7])
        got = jax.grad(lambda scale: compiled.log_density(z, {"scale": scale}))(1.5)
        np.testing.assert_allclose(got, -1 / 1.5 + 0.7**2 / 1.5**3, rtol=1e-12)


def _derived(value_and_grad, z, batch):
    """Value and gradient at a point and at many, and the Hessian three ways: of the value, and of the gradient."""

    def gradient(z):
        return value_and_grad(z)[1]

    hessians = jax.hessian(lambda z: value_and_grad(z)[0])(z), jax.jacfwd(gradient)(z), jax.jacrev(gradient)(z)
    return value_and_grad(z), jax.vmap(value_and_grad)(batch), hessians


@pytest.mark.parametrize("model", some(MODELS), ids=lambda model: model.name)
def test_every_model_with_all_its_sums_joined(monkeypatch, model):
    monkeypatch.setattr(gradient, "LEAST", 2)
    monkeypatch.setattr(gradient, "CHEAP", _Everything())
    with jax.enable_x64(True):
        data = model.args(np.float64)
        compiled = plait.compile(model.bind(plait), **data).with_params(init_params(model, data))
        z = np.random.default_rng(0).uniform(-1, 1, compiled.dim)
        (got, gradient_got), (wanted, gradient_wanted) = jax.jit(
            lambda z: (compiled.log_density_and_grad(z), as_jax_has_it(compiled)(z))
        )(z)
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
        scale = float(jnp.max(jnp.abs(gradient_wanted)))
        np.testing.assert_allclose(gradient_got, gradient_wanted, rtol=0, atol=1e-11 * scale)


class _Everything:
    """A set that has all."""

    def __contains__(self, item):
        return True


def test_the_names_are_jaxs():
    """A primitive that jax calls otherwise would be kept out without a word."""
    x, i = jnp.ones(N), jnp.arange(N)
    jaxprs = [
        jax.make_jaxpr(f)(x, i)
        for f in (
            lambda x, i: jnp.where(i == 3, -x, x[::-1]) + x[i] / 2 - x * jnp.abs(x) + x**2,
            lambda x, i: jnp.maximum(jnp.concatenate([x[:3], x[3:]]), jnp.pad(x[1:], (1, 0))) + jnp.square(x),
        )
    ]
    for jaxpr in jaxprs:
        names = {n.op.primitive.name for n in imported(jaxpr) if isinstance(n.op, Apply)}
        assert names <= CHEAP
