"""`CompiledModel`: spaces, densities under jax's transformations, new data, params and draws."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.example_libraries import stax
from numpy.testing import assert_allclose
from numpyro.distributions import biject_to, constraints

import plait
from plait import BindError, DataError, ModelError, ValueNamesError
from tests.helpers import counting, refused

KEY = jax.random.key(0)
DATA = {
    "group": np.array([0, 1, 1, 2]),
    "x": np.array([0.5, -1.0, 2.0, 0.0], np.float32),
    "y": np.array([0.3, 1.2, -0.4, 0.8], np.float32),
}


def regression(group, x, y=None, link="identity"):
    """Reals, a positive site, a simplex, a plate; a deterministic and a static argument."""
    mu = plait.sample("mu", dist.Normal(0.0, 2.0))
    tau = plait.sample("tau", dist.HalfNormal(1.0))
    w = plait.sample("w", dist.Dirichlet(jnp.ones(3)))
    with plait.plate("groups", 3):
        theta = plait.sample("theta", dist.Normal(mu, tau))
    eta = theta[group] + w[0] * x
    mean = plait.deterministic("mean", jnp.exp(eta) if link == "log" else eta)
    with plait.plate("rows", x.shape[0]):
        plait.sample("y", dist.Normal(mean, 0.5), obs=y)


@pytest.fixture(scope="module")
def compiled():
    return plait.compile(regression, **DATA)


VALUES = {
    "mu": np.float32(0.3),
    "tau": np.float32(1.7),
    "w": np.array([0.2, 0.5, 0.3], np.float32),
    "theta": np.array([-0.4, 0.1, 0.9], np.float32),
}
Z = np.array([0.3, -0.2, 0.5, -0.7, 0.1, 0.9, -1.1], np.float32)


def by_hand(values, data=DATA):
    mean = values["theta"][data["group"]] + values["w"][0] * data["x"]
    return (
        dist.Normal(0.0, 2.0).log_prob(values["mu"])
        + dist.HalfNormal(1.0).log_prob(values["tau"])
        + dist.Dirichlet(jnp.ones(3)).log_prob(values["w"])
        + dist.Normal(values["mu"], values["tau"]).log_prob(values["theta"]).sum()
        + dist.Normal(mean, 0.5).log_prob(data["y"]).sum()
    )


def density_by_hand(z, data=DATA):
    to_simplex = biject_to(constraints.simplex)
    w = to_simplex(z[2:4])
    values = {"mu": z[0], "tau": jnp.exp(z[1]), "w": w, "theta": z[4:]}
    return by_hand(values, data) + z[1] + to_simplex.log_abs_det_jacobian(z[2:4], w)


# -- spaces -----------------------------------------------------------------------------------------------


def test_names_of_a_matrix():
    def model():
        with plait.plate("columns", 2, dim=-1), plait.plate("rows", 3, dim=-2):
            plait.sample("a", dist.Normal(0.0, 1.0))

    assert plait.compile(model).names == ("a[0,0]", "a[0,1]", "a[1,0]", "a[1,1]", "a[2,0]", "a[2,1]")


def test_constrain_puts_values_on_their_supports(compiled):
    values = compiled.constrain(Z)
    assert list(values) == ["mu", "tau", "w", "theta"]
    assert_allclose(values["mu"], Z[0])
    assert_allclose(values["tau"], np.exp(Z[1]), rtol=1e-6)
    assert_allclose(values["w"], biject_to(constraints.simplex)(Z[2:4]), rtol=1e-6)
    assert_allclose(values["theta"], Z[4:])


def test_constrain_with_deterministics(compiled):
    values = compiled.constrain(Z, deterministic=True)
    assert list(values) == ["mu", "tau", "w", "theta", "mean"]
    expected = values["theta"][DATA["group"]] + values["w"][0] * DATA["x"]
    assert_allclose(values["mean"], expected, rtol=1e-5)


def test_unconstrain_is_the_inverse(compiled):
    assert_allclose(compiled.unconstrain(compiled.constrain(Z)), Z, atol=1e-5)
    back = compiled.constrain(compiled.unconstrain(VALUES))
    for name, value in VALUES.items():
        assert_allclose(back[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [(2,), (2, 3), (0,)])
def test_constrain_and_unconstrain_keep_leading_axes(compiled, batch):
    z = np.random.default_rng(1).normal(size=(*batch, 7)).astype(np.float32)
    values = compiled.constrain(z, deterministic=True)
    assert {n: v.shape for n, v in values.items()} == {
        "mu": batch, "tau": batch, "w": (*batch, 3), "theta": (*batch, 3), "mean": (*batch, 4),
    }  # fmt: skip
    for index in np.ndindex(*batch):
        one = compiled.constrain(z[index], deterministic=True)
        for name, value in values.items():
            assert_allclose(value[index], one[name], rtol=1e-5)
    del values["mean"]
    assert_allclose(compiled.unconstrain(values), z, atol=1e-5)


def test_unconstrain_refuses_leading_axes_that_differ(compiled):
    with refused(ValueNamesError, "'tau'", "(2,)", "()"):
        compiled.unconstrain({**VALUES, "mu": np.zeros(2)})


def test_values_on_the_edge_of_a_support_are_infinite(compiled):
    assert compiled.unconstrain({**VALUES, "tau": 0.0})[1] == -np.inf


# -- densities --------------------------------------------------------------------------------------------


def test_log_joint_and_terms(compiled):
    assert_allclose(compiled.log_joint(VALUES), by_hand(VALUES), rtol=1e-5)
    terms = compiled.log_prob_terms(VALUES)
    assert {n: t.shape for n, t in terms.items()} == {"mu": (), "tau": (), "w": (), "theta": (3,), "y": (4,)}
    assert_allclose(sum(t.sum() for t in terms.values()), by_hand(VALUES), rtol=1e-5)


def test_log_density_and_gradient(compiled):
    value, grad = jax.jit(jax.value_and_grad(density_by_hand))(Z)
    assert_allclose(compiled.log_density(Z), value, rtol=1e-5)
    ours = compiled.log_density_and_grad(Z)
    assert_allclose(ours[0], value, rtol=1e-5)
    assert_allclose(ours[1], grad, rtol=1e-4, atol=1e-5)
    assert ours[1].shape == (7,)


def test_densities_take_lists_numbers_and_any_order(compiled):
    values = {"theta": [-0.4, 0.1, 0.9], "w": (0.2, 0.5, 0.3), "tau": 1.7, "mu": 0.3}
    assert_allclose(compiled.log_joint(values), by_hand(VALUES), rtol=1e-5)
    assert_allclose(compiled.log_density(list(map(float, Z))), compiled.log_density(Z), rtol=1e-6)
    assert_allclose(compiled.log_density(Z.astype(np.float64)), compiled.log_density(Z), rtol=1e-6)


def test_densities_inside_jit_vmap_grad_and_scan(compiled):
    value, grad = compiled.log_density_and_grad(Z)
    assert_allclose(jax.jit(compiled.log_density)(Z), value, rtol=1e-6)
    assert_allclose(jax.grad(compiled.log_density)(Z), grad, rtol=1e-5, atol=1e-5)
    batch = jnp.stack([Z, 2 * Z, -Z])
    each = np.array([compiled.log_density(z) for z in batch])
    values, grads = jax.vmap(compiled.log_density_and_grad)(batch)
    assert_allclose(values, each, rtol=1e-5)
    assert_allclose(grads[0], grad, rtol=1e-4, atol=1e-5)
    _, scanned = jax.lax.scan(lambda c, z: (c, compiled.log_density(z)), 0.0, batch)
    assert_allclose(scanned, each, rtol=1e-5)


def test_log_joint_inside_jit_vmap_and_grad(compiled):
    def joint(mu):
        return compiled.log_joint({**VALUES, "mu": mu})

    grid = jnp.linspace(-1.0, 1.0, 3)
    values = jax.jit(jax.vmap(jax.value_and_grad(joint)))(grid)
    for i, mu in enumerate(grid):
        assert_allclose(values[0][i], by_hand({**VALUES, "mu": mu}), rtol=1e-5)
        slope = -mu / 4 + np.sum(VALUES["theta"] - mu) / VALUES["tau"] ** 2
        assert_allclose(values[1][i], slope, rtol=1e-4, atol=1e-5)


def test_terms_constrain_and_unconstrain_inside_jit_and_vmap(compiled):
    batch = jnp.stack([Z, -Z])
    assert_allclose(jax.jit(jax.vmap(lambda z: compiled.unconstrain(compiled.constrain(z))))(batch), batch, atol=1e-5)
    terms = jax.jit(compiled.log_prob_terms)(VALUES)
    assert_allclose(terms["y"], compiled.log_prob_terms(VALUES)["y"], rtol=1e-6)


def test_the_hessian_by_jax(compiled):
    ours = jax.jit(jax.hessian(compiled.log_density))(Z)
    theirs = jax.jit(jax.hessian(density_by_hand))(Z)
    assert ours.shape == (7, 7)
    assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert_allclose(ours, ours.T, atol=1e-5)


def test_densities_in_float64():
    with jax.enable_x64(True):
        wide = plait.compile(regression, **{k: v.astype(np.float64) if k != "group" else v for k, v in DATA.items()})
        value, grad = wide.log_density_and_grad(Z.astype(np.float64))
        assert value.dtype == grad.dtype == np.float64
        assert_allclose(value, density_by_hand(jnp.asarray(Z, np.float64)), rtol=1e-6)


@pytest.mark.parametrize("first", [False, True], ids=["float32 first", "float64 first"])
def test_one_model_in_both_precisions(first):
    """Traces that were kept from one precision are no traces of the other."""

    def counts(rate):
        k = plait.sample("k", dist.Poisson(rate))
        plait.sample("free", dist.ImproperUniform(constraints.real, (), ()))
        plait.sample("x", dist.Normal(k, 1.0))

    rate = jnp.float32(3.0)
    for wide in (first, not first):
        with jax.enable_x64(wide):
            model = plait.compile(counts, rate)
            sites = {n.op.label: n.type.dtype for n in model.graph if n.op.label in ("k", "free")}
            assert sites == {"k": np.dtype("int64" if wide else "int32"), "free": np.dtype(f"float{32 + 32 * wide}")}
            drawn = model.sample(KEY, given={"free": 0.0})
            assert drawn["k"].dtype == sites["k"]


def test_a_discrete_latent_has_a_joint_and_no_density():
    def model():
        k = plait.sample("k", dist.Bernoulli(0.3))  # here
        plait.sample("y", dist.Normal(k, 1.0), obs=0.5)

    discrete = plait.compile(model)
    expected = np.log(0.3) + dist.Normal(1.0, 1.0).log_prob(0.5)
    assert_allclose(discrete.log_joint({"k": 1}), expected, rtol=1e-6)
    for ask in (lambda: discrete.dim, lambda: discrete.names, lambda: discrete.log_density(np.zeros(1))):
        with refused(ModelError, "'k'", "discrete", at=model):
            ask()
    with refused(ModelError, "'k'", "discrete", at=model):
        discrete.constrain(np.zeros(1))


# -- names of values ----------------------------------------------------------------------------------------


def test_a_missing_name(compiled):
    with refused(ValueNamesError, "'w'", "'theta'", "expected: 'mu', 'tau', 'w', 'theta'"):
        compiled.log_joint({"mu": 0.0, "tau": 1.0})


@pytest.mark.parametrize(("name", "value"), [("theta", np.zeros(4)), ("theta", 0.0), ("mu", np.zeros((1,)))])
def test_a_misshaped_value(compiled, name, value):
    with refused(ValueNamesError, f"'{name}'", str(VALUES[name].shape), str(np.shape(value))):
        compiled.log_joint({**VALUES, name: value})


def test_values_are_a_dict(compiled):
    with refused(ValueNamesError, "dict", "list"):
        compiled.log_joint([0.0, 1.0])


def test_value_errors_read_as_sentences_and_are_key_errors(compiled):
    with pytest.raises(KeyError) as caught:
        compiled.log_joint({})
    assert str(caught.value).startswith("no value for latent 'mu'")


@pytest.mark.parametrize("shape", [(6,), (8,), (2, 7), ()])
def test_a_flat_vector_of_another_shape(compiled, shape):
    with refused(ValueNamesError, "(7,)", str(shape)):
        compiled.log_density(np.zeros(shape))


def test_a_flat_vector_of_another_length_to_constrain(compiled):
    with refused(ValueNamesError, "7", "(2, 6)"):
        compiled.constrain(np.zeros((2, 6)))


# -- bind ---------------------------------------------------------------------------------------------------


def use_everything(compiled):
    compiled.log_joint(VALUES)
    compiled.log_prob_terms(VALUES)
    compiled.log_density(Z)
    compiled.log_density_and_grad(Z)
    compiled.constrain(Z)
    compiled.sample(KEY, (2,))


def test_the_counter_counts():
    with counting() as count:
        jax.jit(lambda x: 3 * x + 1.5)(np.ones(5))
    assert count.traces > 0
    assert count.compiles > 0


def test_bind_traces_and_compiles_nothing(compiled):
    use_everything(compiled.bind(y=DATA["y"] + 1))  # whatever converts arguments is compiled once
    new = {"group": DATA["group"][::-1].copy(), "x": DATA["x"] - 1, "y": DATA["y"] * 2}
    with counting() as count:
        bound = compiled.bind(**new)
        use_everything(bound)
    assert (count.traces, count.compiles) == (0, 0)
    assert_allclose(bound.log_joint(VALUES), by_hand(VALUES, new), rtol=1e-5)
    assert not np.allclose(bound.log_joint(VALUES), compiled.log_joint(VALUES))


def test_bind_keeps_what_is_not_named_and_leaves_the_old_model(compiled):
    y = DATA["y"] * 2
    before = compiled.log_joint(VALUES)
    bound = compiled.bind(y=y)
    assert_allclose(bound.log_joint(VALUES), by_hand(VALUES, {**DATA, "y": y}), rtol=1e-5)
    assert compiled.log_joint(VALUES) == before
    assert bound.names == compiled.names
    assert_allclose(bound.bind(y=DATA["y"]).log_joint(VALUES), before, rtol=1e-6)


def test_bind_does_the_work_of_prepare_again():
    """What data alone decide is computed by prepare: it must be new after a bind."""

    def model(y):
        rate = plait.sample("rate", dist.Gamma(2.0, 1.0))
        plait.sample("y", dist.Poisson(rate), obs=y)

    a, b = np.array([1, 2, 3]), np.array([4, 0, 2])
    bound = plait.compile(model, a).bind(y=b)
    expected = dist.Gamma(2.0, 1.0).log_prob(1.5) + dist.Poisson(1.5).log_prob(b).sum()
    assert_allclose(bound.log_joint({"rate": 1.5}), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ({"y": np.zeros(5, np.float32)}, ["'y'", "f32[5]", "f32[4]"]),
        ({"y": np.zeros((4, 1), np.float32)}, ["'y'", "f32[4, 1]", "f32[4]"]),
        ({"y": 0.0}, ["'y'", "f32[]", "f32[4]"]),
        ({"group": np.zeros(4)}, ["'group'", "f32[4]", "i32[4]"]),
        ({"y": np.zeros(4, np.complex64)}, ["'y'", "complex64"]),
        ({"y": None}, ["'y'"]),
        ({"y": {"a": np.zeros(4, np.float32)}}, ["'y'", "y['a']"]),
        ({"y": np.array(["a"] * 4)}, ["'y'"]),
        ({"link": "log"}, ["'link'", "'identity'", "'log'", "compile"]),
    ],
    ids=["length", "rank", "number", "dtype", "complex", "none", "structure", "strings", "static"],
)
def test_bind_refuses_what_the_program_does_not_fit(new, says):
    given = plait.compile(regression, **DATA, link="identity")
    with refused(BindError, *says):
        given.bind(**new)


def test_bind_refuses_another_value_of_a_default_that_was_used(compiled):
    assert compiled.bind(link="identity").dim == 7
    with refused(BindError, "'link'", "'identity'", "'log'"):
        compiled.bind(link="log")


def test_bind_refuses_data_where_there_was_none():
    with refused(BindError, "'y'", "compile"):
        plait.compile(regression, DATA["group"], DATA["x"]).bind(y=DATA["y"])


def test_bind_names_unknown_arguments(compiled):
    with refused(ValueNamesError, "'yy'", "did you mean 'y'?"):
        compiled.bind(yy=DATA["y"])


def test_bind_takes_equal_static_values_and_narrower_data(compiled):
    static = plait.compile(regression, **DATA, link="identity", static=("group",))
    assert static.bind(link="identity", group=DATA["group"].copy()).dim == 7
    with refused(BindError, "'group'"):
        static.bind(group=DATA["group"][::-1])
    wide = compiled.bind(y=DATA["y"].astype(np.float64), group=DATA["group"].astype(np.int64))
    assert_allclose(wide.log_joint(VALUES), compiled.log_joint(VALUES), rtol=1e-6)


def test_numpy_arrays_of_jaxs_own_dtypes_are_data():
    y = np.array([0.5, 1.0, -2.0], jnp.bfloat16)

    def model(y):
        plait.sample("y", dist.Normal(plait.sample("mu", dist.Normal(0.0, 1.0)), 1.0), obs=y)

    for bound, given in ((plait.compile(model, y), y), (plait.compile(model, y).bind(y=y + 1), y + 1)):
        expected = dist.Normal(0.0, 1.0).log_prob(0.3) + dist.Normal(0.3, 1.0).log_prob(given).sum()
        assert_allclose(bound.log_joint({"mu": 0.3}), expected, rtol=1e-5)


def test_bind_checks_the_data(compiled):
    with refused(DataError, "'y'", "nan", "[2]"):
        compiled.bind(y=np.array([0.0, 1.0, np.nan, 2.0], np.float32))
    with refused(DataError, "index", "size 3", "[3]"):
        compiled.bind(group=np.array([0, 1, 2, 5]))


def test_bind_checks_integers_for_overflow(compiled):
    with refused(DataError, "'group'", "int32"):
        compiled.bind(group=np.array([0, 1, 2, 2**40]))


def test_bind_of_nested_arguments():
    def model(batch):
        m = plait.sample("m", dist.Normal(0.0, 1.0))
        for name in ("a", "b"):
            plait.sample(name, dist.Normal(m, 1.0), obs=batch[name])

    batch = {"a": np.zeros(2, np.float32), "b": np.ones(3, np.float32)}
    nested = plait.compile(model, batch)
    bound = nested.bind(batch={"a": np.full(2, 0.5, np.float32), "b": np.zeros(3, np.float32)})
    lp = dist.Normal(0.0, 1.0).log_prob
    assert_allclose(bound.log_joint({"m": 0.0}), 4 * lp(0.0) + 2 * lp(0.5), rtol=1e-5)
    with refused(BindError, "batch['b']", "f32[2]", "f32[3]"):
        nested.bind(batch={"a": batch["a"], "b": np.zeros(2, np.float32)})
    with refused(BindError, "'batch'", "batch['a']"):
        nested.bind(batch={"a": batch["a"]})


def test_bind_under_jit_and_vmap_over_data_sets(compiled):
    sets = np.stack([DATA["y"], DATA["y"] + 1, -DATA["y"]])

    def density(y):
        return compiled.bind(y=y).log_density_and_grad(Z)

    values, grads = jax.jit(jax.vmap(density))(sets)
    for i, y in enumerate(sets):
        value, grad = compiled.bind(y=y).log_density_and_grad(Z)
        assert_allclose(values[i], value, rtol=1e-5)
        assert_allclose(grads[i], grad, rtol=1e-4, atol=1e-5)


def test_the_gradient_with_respect_to_data(compiled):
    slope = jax.grad(lambda y: compiled.bind(y=y).log_joint(VALUES))(DATA["y"])
    mean = VALUES["theta"][DATA["group"]] + VALUES["w"][0] * DATA["x"]
    assert_allclose(slope, -(DATA["y"] - mean) / 0.25, rtol=1e-4, atol=1e-5)


# -- params -------------------------------------------------------------------------------------------------


def with_params():
    p = plait.param("p", jnp.array([1.0, 2.0]))
    s = plait.param("s", 0.5, constraint=constraints.positive)
    with plait.plate("rows", 2):
        plait.sample("x", dist.Normal(p, s))


@pytest.fixture(scope="module")
def parametric():
    return plait.compile(with_params)


X = {"x": np.array([1.5, 1.5], np.float32)}


def test_params_are_an_argument(parametric):
    lp = lambda p, s: dist.Normal(np.array(p), s).log_prob(X["x"]).sum()  # noqa: E731
    assert_allclose(parametric.log_joint(X), lp([1.0, 2.0], 0.5), rtol=1e-5)
    given = {"p": np.zeros(2), "s": 2.0}
    assert_allclose(parametric.log_joint(X, given), lp([0.0, 0.0], 2.0), rtol=1e-5)
    assert_allclose(parametric.log_joint(X, {"s": 2.0}), lp([1.0, 2.0], 2.0), rtol=1e-5)
    assert_allclose(parametric.log_density(X["x"], given), lp([0.0, 0.0], 2.0), rtol=1e-5)
    assert_allclose(parametric.log_prob_terms(X, given)["x"].sum(), lp([0.0, 0.0], 2.0), rtol=1e-5)
    _, grad = parametric.log_density_and_grad(X["x"], given)
    assert_allclose(grad, -X["x"] / 4, rtol=1e-5)
    other = parametric.with_params({"s": 2.0})
    assert_allclose(other.log_joint(X), lp([1.0, 2.0], 2.0), rtol=1e-5)
    assert_allclose(parametric.log_joint(X), lp([1.0, 2.0], 0.5), rtol=1e-5)


def test_params_have_gradients(parametric):
    slope = jax.grad(lambda s: parametric.log_joint(X, {"s": s}))(0.5)
    assert_allclose(slope, 2 * (-1 / 0.5 + 0.25 / 0.125), atol=1e-5)


@pytest.mark.parametrize(
    ("params", "says"),
    [({"q": 1.0}, ["'q'", "'p', 's'"]), ({"p": np.zeros(3)}, ["'p'", "(2,)", "(3,)"])],
)
def test_params_that_there_are_not(parametric, params, says):
    with refused(ValueNamesError, *says):
        parametric.log_joint(X, params)
    with refused(ValueNamesError, *says):
        parametric.with_params(params)


def random_params(x):
    net = plait.module("net", stax.serial(stax.Dense(2), stax.Relu, stax.Dense(1)), input_shape=(3,))
    scale = plait.param("scale", lambda key: jnp.exp(jax.random.normal(key)))
    plait.sample("y", dist.Normal(net(x)[0], scale))


@pytest.fixture(scope="module")
def network():
    return plait.compile(random_params, np.ones(3, np.float32))


def test_random_initial_values_need_a_key(network):
    for ask in (lambda: network.params, lambda: network.log_joint({"y": 0.0})):
        with refused(ModelError, "init_param_values", "with_params"):
            ask()


def test_init_param_values(network):
    params = network.init_param_values(KEY)
    assert list(params) == ["net$params", "scale"]
    (w1, b1), nothing, (w2, b2) = params["net$params"]
    assert nothing == ()
    assert [a.shape for a in (w1, b1, w2, b2)] == [(3, 2), (2,), (2, 1), (1,)]
    again, other = network.init_param_values(KEY), network.init_param_values(jax.random.key(1))
    assert params["scale"] == again["scale"] != other["scale"]
    mean = (np.maximum(np.ones(3) @ w1 + b1, 0) @ w2 + b2)[0]
    expected = dist.Normal(mean, params["scale"]).log_prob(0.3)
    assert_allclose(network.log_joint({"y": 0.3}, params), expected, rtol=1e-4)
    fixed = network.with_params(params)
    assert_allclose(fixed.log_joint({"y": 0.3}), expected, rtol=1e-4)
    assert_allclose(fixed.params["scale"], params["scale"])


def test_bind_keeps_given_params():
    """New data do not bring the initial values back."""

    def model(y):
        plait.sample("y", dist.Normal(plait.param("p", 0.0), 1.0), obs=y)

    fitted = plait.compile(model, np.zeros(2, np.float32)).with_params({"p": 3.0})
    assert_allclose(fitted.bind(y=np.ones(2, np.float32)).params["p"], 3.0)


# -- draws ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (6,), (2, 3)])
def test_prior_draws(compiled, shape):
    drawn = compiled.sample(KEY, shape)
    assert {n: v.shape for n, v in drawn.items()} == {
        "mu": shape, "tau": shape, "w": (*shape, 3), "theta": (*shape, 3), "mean": (*shape, 4), "y": (*shape, 4),
    }  # fmt: skip
    assert np.all(drawn["tau"] > 0)
    assert_allclose(drawn["w"].sum(-1), 1.0, rtol=1e-5)
    assert not np.any(np.isclose(drawn["y"], DATA["y"]))
    assert len(np.unique(drawn["theta"])) == drawn["theta"].size


def test_draws_repeat_with_their_key(compiled):
    one, again, other = (compiled.sample(key, (2,)) for key in (KEY, KEY, jax.random.key(1)))
    assert_allclose(one["y"], again["y"], rtol=0)
    assert not np.allclose(one["y"], other["y"])


def test_prior_draws_have_the_priors_moments(compiled):
    drawn = compiled.sample(KEY, (4000,))
    assert_allclose(drawn["mu"].mean(), 0.0, atol=0.15)
    assert_allclose(drawn["mu"].std(), 2.0, rtol=0.05)
    assert_allclose((drawn["tau"] ** 2).mean(), 1.0, rtol=0.1)
    assert_allclose(drawn["w"].mean(0), 1 / 3, atol=0.02)
    # theta - mu is tau times a standard normal, and y - mean a normal of scale 0.5: both independent of the rest
    assert_allclose(((drawn["theta"] - drawn["mu"][:, None]) / drawn["tau"][:, None]).std(0), 1.0, rtol=0.06)
    assert_allclose((drawn["y"] - drawn["mean"]).std(0), 0.5, rtol=0.06)
    assert abs(np.corrcoef((drawn["y"] - drawn["mean"]).T)[0, 1]) < 0.06


@pytest.mark.parametrize(("batch", "shape"), [((), ()), ((4,), ()), ((2, 2), (2,)), ((2, 4), ())])
def test_predictive_draws(compiled, batch, shape):
    posterior = compiled.constrain(np.random.default_rng(2).normal(size=(*batch, 7)).astype(np.float32))
    drawn = compiled.sample(KEY, shape, given=posterior)
    for name, value in posterior.items():
        assert_allclose(drawn[name], np.broadcast_to(value, shape + value.shape), rtol=1e-6)
    assert drawn["y"].shape == (*shape, *batch, 4)
    mean = drawn["theta"][..., DATA["group"]] + drawn["w"][..., :1] * DATA["x"]
    assert_allclose(drawn["mean"], mean, rtol=1e-5, atol=1e-6)
    assert len(np.unique(drawn["y"])) == drawn["y"].size


def test_given_some_sites_the_others_are_drawn(compiled):
    drawn = compiled.sample(KEY, (3,), given={"theta": np.zeros(3, np.float32), "y": DATA["y"]})
    assert_allclose(drawn["y"], np.broadcast_to(DATA["y"], (3, 4)))
    assert_allclose(drawn["theta"], 0.0)
    assert len(np.unique(drawn["mu"])) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"thet": 0.0}, ["'thet'", "did you mean 'theta'?"]),
        ({"theta": np.zeros(4)}, ["'theta'", "(3,)", "(4,)"]),
        ({"mu": np.zeros(5), "theta": np.zeros((6, 3))}, ["'theta'", "(5, 3)", "(6, 3)"]),
    ],
    ids=["unknown", "misshaped", "other leading axes"],
)
def test_given_values_are_checked(compiled, given, says):
    with refused(ValueNamesError, *says):
        compiled.sample(KEY, given=given)


def test_a_given_deterministic_is_used_as_substitute_does():
    def model():
        x = plait.sample("x", dist.Normal(0.0, 1.0))
        d = plait.deterministic("d", 2 * x)
        plait.sample("y", dist.Normal(d, 1e-4))

    drawn = plait.compile(model).sample(KEY, given={"d": 5.0})
    assert_allclose(drawn["d"], 5.0)
    assert_allclose(drawn["y"], 5.0, atol=0.01)


def test_draws_without_the_observed_data():
    prior = plait.compile(regression, DATA["group"], DATA["x"])
    assert prior.shapes["y"] == (4,)
    shapes = jax.eval_shape(lambda key: prior.sample(key, (2,)), KEY)
    assert shapes["y"].shape == (2, 4)


def test_draws_in_a_scan_are_new_at_each_step():
    def model():
        def step(x, _):
            new = plait.sample("x", dist.Normal(0.9 * x, 1.0))
            plait.sample("y", dist.Normal(new, 1e-4), obs=0.0)
            return new, None

        jax.lax.scan(step, jnp.float32(0.0), None, length=4)

    walk = plait.compile(model)
    drawn = walk.sample(KEY, (3,))
    assert drawn["x"].shape == drawn["y"].shape == (3, 4)
    assert len(np.unique(drawn["x"])) == 12
    assert_allclose(drawn["y"], drawn["x"], atol=1e-2)
    given = walk.sample(KEY, given={"x": np.arange(4.0)})
    assert_allclose(given["y"], np.arange(4.0), atol=1e-2)


def test_a_scalar_observation_in_a_plate_is_replicated_for_each_element():
    def model():
        with plait.plate("rows", 3):
            plait.sample("y", dist.Normal(0.0, 1.0), obs=0.0)

    y = plait.compile(model).sample(KEY, (2,))["y"]
    assert y.shape == (2, 3)
    assert len(np.unique(y)) == 6


def test_sample_inside_jit(compiled):
    drawn = jax.jit(lambda key: compiled.sample(key, (6,)))(KEY)
    assert_allclose(drawn["y"], compiled.sample(KEY, (6,))["y"], rtol=1e-5, atol=1e-6)


# -- starting points ----------------------------------------------------------------------------------------


def test_init_params_are_uniform_with_finite_density(compiled):
    z = compiled.init_params(KEY, (50,))
    assert z.shape == (50, 7)
    assert np.all(np.abs(z) < 2)
    assert z.min() < -1.5
    assert z.max() > 1.5
    assert len(np.unique(z)) == z.size
    value, grad = jax.vmap(compiled.log_density_and_grad)(z)
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(grad))
    assert compiled.init_params(KEY, (5, 10)).shape == (5, 10, 7)


def test_init_params_search_for_a_finite_density():
    def model():
        x = plait.sample("x", dist.Normal(0.0, 1.0))
        plait.factor("f", jnp.where(x > 1.0, 0.0, -jnp.inf))

    assert np.all(plait.compile(model).init_params(KEY, (10,)) > 1.0)


def test_init_params_say_when_there_is_none():
    def model():
        x = plait.sample("x", dist.Normal(0.0, 1.0))
        plait.factor("f", jnp.where(x > 5.0, 0.0, -jnp.inf))

    with refused(ModelError, "100", "finite", "find_nonfinite"):
        plait.compile(model).init_params(KEY)


# -- the rest -------------------------------------------------------------------------------------------------


def test_switches_of_passes(compiled):
    plain = plait.compile(regression, **DATA, passes={"simplify": False, "expand": False, "simplify_terms": False})
    assert [name for name, _ in plain.history] == [
        name for name, _ in compiled.history if name not in ("simplify", "expand", "simplify_terms")
    ]
    assert_allclose(plain.log_density(Z), compiled.log_density(Z), rtol=1e-5)


@pytest.mark.parametrize(
    ("passes", "says"),
    [
        ({"simplfy": False}, ["'simplfy'", "did you mean 'simplify'?"]),
        ({"density": False}, ["'density'", "defines the density"]),
        ({"expand": False}, ["'simplify_terms'", "'expand'"]),
    ],
)
def test_switches_that_can_not_be(passes, says):
    with refused(plait.PassError, *says):
        plait.compile(regression, **DATA, passes=passes)


def test_on_graph_sees_every_graph():
    seen = []
    given = plait.compile(regression, **DATA, on_graph=lambda name, graph: seen.append((name, graph)))
    assert tuple(seen) == given.history
    assert given.graph is seen[0][1]
    assert given.density_graph is seen[-1][1]


def test_repr_names_the_sites(compiled):
    assert repr(compiled) == "CompiledModel(latents: mu, tau, w[3], theta[3]; observed: y)"


def test_arguments_by_position_and_by_name_are_one():
    positional = plait.compile(regression, *DATA.values())
    assert_allclose(positional.bind(y=DATA["y"]).log_joint(VALUES), by_hand(VALUES), rtol=1e-5)


def test_explain_lists_every_term(compiled):
    explained = compiled.explain()
    assert [t.name for t in explained.terms] == ["mu", "tau", "w", "theta", "y", "log|J| tau", "log|J| w"]
    assert {t.stage for t in explained.terms} <= {"prepare", "call"}
    assert next(t for t in explained.terms if t.name == "w").stage == "call"
    assert all(str(t.loc).startswith("test_compiled.py:") for t in explained.terms)
    assert "theta ~ Normal(mu, tau)" in next(t.text for t in explained.terms if t.name == "theta")
    assert "test_compiled.py" in str(explained)


def test_a_term_that_data_decide_is_prepared():
    def model(y):
        plait.sample("m", dist.Normal(0.0, 1.0))
        plait.sample("y", dist.Normal(0.0, 1.0), obs=y)

    stages = {t.name: (t.stage, t.flops) for t in plait.compile(model, DATA["y"]).explain().terms}
    assert stages["y"] == ("prepare", 0)
    assert stages["m"][0] == "call"


def test_dicts_among_the_arguments_keep_their_order():
    """jax sorts their keys; a model that goes over them would be another one."""

    def model(X, **more):
        for i, name in enumerate(X):
            plait.sample(f"{name}_{i}", dist.Normal(X[name], 1.0))
        for i, (name, (x,)) in enumerate(more["rest"].items()):
            plait.sample(f"{name}_{i}_rest", dist.Normal(x, 1.0))

    rest = {"y": (1.0,), "b": (jnp.ones(2),)}
    compiled = plait.compile(model, {"z": jnp.zeros(2), "a": 1.0}, rest=rest, check=1)
    assert set(compiled.shapes) == {"z_0", "a_1", "y_0_rest", "b_1_rest"}
    assert set(compiled.bind(X={"a": 1.0, "z": jnp.ones(2)}).shapes) == set(compiled.shapes)


@dataclass(frozen=True)
class Weights:
    w: np.ndarray


def test_an_object_with_arrays_is_another_one_unless_it_is_the_same():
    def model(weights, y):
        plait.sample("y", dist.Normal(0.0, weights.w[0]), obs=y)

    weights = Weights(np.ones(3))
    compiled = plait.compile(model, weights, np.zeros(2))
    assert compiled.bind(weights=weights, y=np.ones(2))
    with pytest.raises(BindError, match="'weights' is part of the program"):
        compiled.bind(weights=Weights(np.ones(3)))
