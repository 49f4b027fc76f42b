"""Sites in loops and branches: values given from outside, equal and unequal branches, what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.drawing.site_graph import site_graph
from plait.ir.ops import Cond, Steps
from tests.helpers import refused

h = plait.handlers
N = dist.Normal


def nested():
    def step(level, _):
        level = plait.sample("x", N(level, 1))

        def inner(low, _):
            return plait.sample("w", N(low, 2)), None  # here

        return jax.lax.scan(inner, level, None, length=2)[0], None

    jax.lax.scan(step, 0.0, None, length=3)


def written_out(x, w):
    """The log joint of `nested`, step by step."""
    total, level = 0.0, 0.0
    for t in range(3):
        total += N(level, 1).log_prob(x[t])
        level = x[t]
        for s in range(2):
            total += N(level, 2).log_prob(w[t][s])
            level = w[t][s]
    return total


X, W = jnp.array([0.5, -1.0, 2.0]), jnp.arange(6.0).reshape(3, 2) / 3


@pytest.mark.parametrize("wrap", [h.condition, h.substitute])
@pytest.mark.parametrize("given", [{"x": X}, {"w": W}, {"x": X, "w": W}], ids=["outer", "inner", "both"])
def test_values_from_outside_are_stepped_through(wrap, given):
    compiled = plait.compile(wrap(nested, data=given), check=1)
    free = {name: value for name, value in {"x": X, "w": W}.items() if name not in given}
    assert list(compiled.shapes) == list(free)
    np.testing.assert_allclose(compiled.log_joint(free), written_out(X, W), rtol=1e-6)
    assert not compiled.graph.of(Steps)


def test_a_handler_inside_the_outer_body_gives_the_inner_steps():
    def model():
        def step(level, w_t):
            with h.condition(data={"w": w_t}):
                level, _ = jax.lax.scan(lambda low, _: (plait.sample("w", N(low, 2)), None), level, None, length=2)
            return level, None

        jax.lax.scan(step, 0.0, W)

    expected = written_out(jnp.array([0.0, W[0, 1], W[1, 1]]), W) - N(0, 1).log_prob(0.0) * 3
    assert float(plait.compile(model).log_joint({})) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (jnp.zeros(2), ("scan of 3 steps", "(2,)", "(3, 2)")),
        (jnp.zeros((2, 2)), ("scan of 3 steps", "(2, 2)", "2 steps")),
        (jnp.zeros((3, 5)), ("scan of 2 steps", "(3, 5)", "5 steps")),
        (jnp.zeros((7, 3, 2)), ("(7, 3, 2)", "steps of no scan")),
        (1.0, ("scan of 2 steps", "()", "(2,)")),
    ],
)
def test_values_of_another_length_are_refused(value, says):
    with refused(plait.ModelError, "'w'", *says, at=nested):
        plait.compile(h.condition(nested, data={"w": value}))


def test_a_value_for_a_reversed_scan_stands_where_its_result_does():
    def model():
        def step(c, x_t):
            y = plait.sample("y", N(c + x_t, 1))
            return y, y

        jax.lax.scan(step, 0.0, X, reverse=True)

    free, given = plait.compile(model), plait.compile(h.condition(model, data={"y": W[:, 0]}))
    np.testing.assert_allclose(given.log_joint({}), free.log_joint({"y": W[:, 0]}), rtol=1e-6)


def test_a_function_of_the_site_gives_the_value_of_each_step():
    given = h.substitute(nested, substitute_fn=lambda site: 1.5 if site.name == "w" else None)
    np.testing.assert_allclose(
        plait.compile(given).log_joint({"x": X}), written_out(X, jnp.full((3, 2), 1.5)), rtol=1e-6
    )


def test_two_posteriors_agree_when_one_data_set_comes_from_outside():
    data_in_xs = plait.compile(lambda y: jax.lax.scan(_observing, 0.0, y) and None, X)
    outside = plait.compile(lambda y: h.condition(_free, data={"y": y})(), X)
    values = {"x": jnp.array([0.1, 0.2, 0.3])}
    np.testing.assert_allclose(data_in_xs.log_joint(values), outside.log_joint(values), rtol=1e-6)
    np.testing.assert_allclose(
        data_in_xs.bind(y=2 * X).log_joint(values), outside.bind(y=2 * X).log_joint(values), rtol=1e-6
    )


def _observing(x, y_t):
    x = plait.sample("x", N(x, 1))
    plait.sample("y", N(x, 1), obs=y_t)
    return x, None


def _free():
    jax.lax.scan(lambda x, _: _observing(x, None), 0.0, None, length=3)


def test_missing_data_in_a_chain():
    """The mask changes from step to step, which a latent without a Jacobian does not mind."""

    def model(y, seen):
        def step(x, now):
            x = plait.sample("x", N(x, 1))
            plait.sample("y", N(x, 1), obs=now[0], obs_mask=now[1])
            return x, None

        jax.lax.scan(step, 0.0, (y, seen))

    compiled = plait.compile(model, X, np.array([True, False, True]), check=1)
    values = {"x": jnp.zeros(3), "y_unobserved": jnp.full(3, 0.5)}
    expected = N(0, 1).log_prob(jnp.zeros(3)).sum() + N(0, 1).log_prob(jnp.array([0.5, 0.5, 2.0])).sum()
    np.testing.assert_allclose(compiled.log_joint(values), expected, rtol=1e-6)
    np.testing.assert_allclose(compiled.log_density(compiled.unconstrain(values)), expected, rtol=1e-6)


# -- branches -------------------------------------------------------------------------------------------


def test_a_cond_in_the_sampler_draws_from_the_branch_it_takes():
    def model(k):
        jax.lax.switch(k, [lambda i=i: plait.sample("x", N(i, 0.01)) for i in (-5.0, 0.0, 5.0)])

    compiled = plait.compile(model, jnp.array(2))
    assert len(compiled.graph.of(Cond)) == 1
    draws = compiled.sample(jax.random.key(0), (50,))["x"]
    assert np.unique(draws).size == 50
    np.testing.assert_allclose(draws, 5.0, atol=0.1)
    np.testing.assert_allclose(compiled.bind(k=np.array(0)).sample(jax.random.key(0), (50,))["x"], -5.0, atol=0.1)
    assert float(compiled.log_joint({"x": 5.0})) == pytest.approx(float(N(5, 0.01).log_prob(5.0)))


def test_a_given_value_goes_into_every_branch_and_step():
    def model(on):
        def step(c, on_t):
            return jax.lax.cond(on_t, lambda: plait.sample("y", N(c, 1)), lambda: plait.sample("y", N(c + 1, 2))), None

        jax.lax.scan(step, 0.0, on)

    on = np.array([True, False, True])
    compiled = plait.compile(h.condition(model, data={"y": X}), on)
    expected = N(0, 1).log_prob(X[0]) + N(X[0] + 1, 2).log_prob(X[1]) + N(X[1], 1).log_prob(X[2])
    assert float(compiled.log_joint({})) == pytest.approx(float(expected), rel=1e-6)


def different_supports():
    a = plait.sample("a", N(0, 1))
    jax.lax.cond(a > 0, lambda: plait.sample("b", N(0, 1)), lambda: plait.sample("b", dist.LogNormal(0, 1)))  # here


def test_branches_of_different_supports_have_a_constrained_density_only():
    compiled = plait.compile(different_supports)
    assert float(compiled.log_joint({"a": -1.0, "b": -2.0})) == -np.inf
    assert np.isfinite(compiled.log_joint({"a": 1.0, "b": -2.0}))
    with refused(plait.ModelError, "'b'", "branch to branch", at=different_supports):
        compiled.log_density(jnp.zeros(2))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: plait.sample("c", N(0, 1)), ("absent",)),
        (lambda: plait.sample("b", N(jnp.zeros(2), 1)).sum(), ("[2]",)),
        (lambda: plait.sample("b", N(0, 1), obs=1.0), ("observe",)),
        (lambda: plait.deterministic("b", jnp.zeros(())), ("deterministic",)),
        (lambda: jnp.zeros(()), ("absent",)),
    ],
    ids=["name", "shape", "observed", "kind", "none"],
)
def test_unequal_branches_are_refused(other, says):
    def model():
        a = plait.sample("a", N(0, 1))
        jax.lax.cond(a > 0, lambda: plait.sample("b", N(0, 1)), other)  # here

    with refused(plait.ModelError, "branches", "jnp.where", *says, at=model):
        plait.compile(model)


def test_a_param_in_a_branch_is_refused():
    def model(on):
        jax.lax.cond(on, lambda: plait.param("p", 1.0), lambda: plait.param("p", 1.0))

    with pytest.raises(plait.ModelError, match="param 'p' is inside a loop or branch"):
        plait.compile(model, np.array(True))


def test_a_cond_is_drawn_once_with_the_edges_of_both_branches():
    def model():
        a, b = plait.sample("a", N(0, 1)), plait.sample("b", N(0, 1))
        y = jax.lax.cond(a > 0, lambda: plait.sample("x", N(a, 1)), lambda: plait.sample("x", N(b, 1)))
        plait.sample("z", N(y, 1), obs=0.0)

    graph = site_graph(plait.compile(model).graph.to_json())
    assert set(graph.edges) == {("a", "x"), ("b", "x"), ("x", "z"), ("a", "z")}
