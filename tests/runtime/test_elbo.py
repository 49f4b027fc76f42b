"""The ELBO against closed forms: evidence, Kullback-Leibler divergences, minibatches; nothing compiles twice."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from jax.example_libraries import optimizers, stax
from numpy.testing import assert_allclose
from numpyro.distributions import constraints, kl_divergence
from scipy import stats
from scipy.special import betaln, gammaln

import plait
from tests.helpers import counting, refused

POSITIVE = constraints.positive


pytestmark = pytest.mark.usefixtures("float64")


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def estimates(elbo, params, n, seed=0):
    """Values and gradients of the loss for n keys."""
    return jax.device_get(jax.jit(jax.vmap(partial(elbo.loss_and_grad, params)))(keys(n, seed)))


def assert_mean(draws, expected):
    """The mean over the first axis is as expected, within 4 standard errors of it."""
    error = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(np.mean(draws, axis=0) - expected) <= 4 * error + 1e-10), (np.mean(draws, 0), expected, error)


# -- conjugate models -----------------------------------------------------------------------------------

Y = np.array([1.2, 0.3, 2.0, 0.7, -0.4])
COUNTS = np.array([3, 0, 2, 4])
WINS, GAMES = 7, 11


def normal(y):
    mu = plait.sample("mu", dist.Normal(0.5, 2.0))
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(mu, 1.5), obs=y)


def normal_guide(y):
    loc = plait.param("loc", 0.0)
    scale = plait.param("scale", 1.0, constraint=POSITIVE)
    plait.sample("mu", dist.Normal(loc, scale))


def poisson(counts):
    rate = plait.sample("rate", dist.Gamma(2.0, 0.5))
    with plait.plate("rows", len(counts)):
        plait.sample("counts", dist.Poisson(rate), obs=counts)


def poisson_guide(counts):
    a = plait.param("a", 1.0, constraint=POSITIVE)
    b = plait.param("b", 1.0, constraint=POSITIVE)
    plait.sample("rate", dist.Gamma(a, b))


def binomial(wins):
    p = plait.sample("p", dist.Beta(1.5, 2.5))
    plait.sample("wins", dist.Binomial(GAMES, p), obs=wins)


def binomial_guide(wins):
    a = plait.param("a", 1.0, constraint=POSITIVE)
    b = plait.param("b", 1.0, constraint=POSITIVE)
    plait.sample("p", dist.Beta(a, b))


PRECISION = 1 / 2.0**2 + len(Y) / 1.5**2
MEAN = (0.5 / 2.0**2 + Y.sum() / 1.5**2) / PRECISION
A, B = 2.0 + COUNTS.sum(), 0.5 + len(COUNTS)
# model, guide, data, family, the posterior's parameters, others, log evidence
CONJUGATE = {
    "normal": (
        normal, normal_guide, Y, dist.Normal, {"loc": MEAN, "scale": PRECISION**-0.5}, {"loc": -0.3, "scale": 0.4},
        stats.multivariate_normal(np.full(5, 0.5), 1.5**2 * np.eye(5) + 2.0**2).logpdf(Y),
    ),
    "gamma": (
        poisson, poisson_guide, COUNTS, dist.Gamma, {"a": A, "b": B}, {"a": 0.8, "b": 1.7},
        2.0 * np.log(0.5) - gammaln(2.0) + gammaln(A) - A * np.log(B) - gammaln(COUNTS + 1.0).sum(),
    ),
    "beta": (
        binomial, binomial_guide, np.array(WINS), dist.Beta, {"a": 1.5 + WINS, "b": 2.5 + GAMES - WINS},
        {"a": 3.0, "b": 0.9}, stats.betabinom(GAMES, 1.5, 2.5).logpmf(WINS),
    ),
}  # fmt: skip
conjugate = pytest.mark.parametrize("name", CONJUGATE)


def test_the_closed_forms_of_the_evidence_agree_with_quadrature():
    rates = np.linspace(1e-9, 40, 400_001)
    joint = stats.gamma(2.0, scale=2.0).pdf(rates) * np.prod([stats.poisson(rates).pmf(k) for k in COUNTS], axis=0)
    assert_allclose(np.log(np.trapezoid(joint, rates)), CONJUGATE["gamma"][-1], rtol=1e-8)
    assert_allclose(CONJUGATE["beta"][-1], np.log(stats.binom(GAMES, 0.5).pmf(WINS) * 2.0**GAMES)
                    + betaln(1.5 + WINS, 2.5 + GAMES - WINS) - betaln(1.5, 2.5))  # fmt: skip


@conjugate
def test_the_posterior_as_guide_gives_the_evidence_with_every_key(name):
    model, guide, data, _, posterior, _, evidence = CONJUGATE[name]
    elbo = plait.elbo(model, guide, data)
    loss, gradient = estimates(elbo, elbo.unconstrain(posterior), 20)
    assert_allclose(loss, -evidence, rtol=0, atol=1e-10)
    assert_mean(np.stack(list(gradient.values()), -1), 0.0)


@conjugate
def test_any_guide_gives_the_evidence_less_its_divergence_in_mean(name):
    model, guide, data, family, posterior, other, evidence = CONJUGATE[name]
    elbo = plait.elbo(model, guide, data)
    params = elbo.unconstrain(other)

    def closed_form(params):
        q = elbo.constrain(params)
        return kl_divergence(family(*q.values()), family(*posterior.values())) - evidence

    value, slope = jax.value_and_grad(closed_form)(params)
    assert value > -evidence + 0.1
    loss, gradient = estimates(elbo, params, 20_000)
    assert_mean(loss, value)
    for param in params:
        assert_mean(gradient[param], slope[param])


@pytest.mark.parametrize("name", ["normal", "gamma"])
def test_float32_agrees(name):
    model, guide, data, _, posterior, _, evidence = CONJUGATE[name]
    with jax.enable_x64(False):
        elbo = plait.elbo(model, guide, data)
        loss, gradient = estimates(elbo, elbo.unconstrain(posterior), 20)
    assert loss.dtype == np.float32
    assert all(x.dtype == np.float32 for x in gradient.values())
    assert_allclose(loss, -evidence, rtol=1e-5)


def test_several_particles_are_the_mean_of_single_ones():
    one, five = (plait.elbo(normal, normal_guide, Y, num_particles=n) for n in (1, 5))
    params, key = one.init(jax.random.key(0)), jax.random.key(3)
    values, gradients = jax.vmap(partial(one.loss_and_grad, params))(jax.random.split(key, 5))
    value, gradient = five.loss_and_grad(params, key)
    assert_allclose(value, values.mean(), rtol=1e-12)
    assert_allclose(gradient["loc"], gradients["loc"].mean(), rtol=1e-12)
    assert five.num_particles == 5
    assert "particles: 5" in repr(five)


def test_the_gradient_is_that_of_the_loss():
    elbo = plait.elbo(normal, normal_guide, Y, num_particles=3)
    params, key, h = {"loc": jnp.array(0.3), "scale": jnp.array(-0.2)}, jax.random.key(0), 1e-6
    _, gradient = elbo.loss_and_grad(params, key)
    for name, by_jax in jax.grad(elbo.loss)(params, key).items():
        above, below = (elbo.loss({**params, name: params[name] + d}, key) for d in (h, -h))
        assert_allclose(gradient[name], (above - below) / (2 * h), rtol=1e-6)
        assert_allclose(gradient[name], by_jax, rtol=1e-12)


# -- minibatches ----------------------------------------------------------------------------------------


def rows_in_batches(size):
    def model(y):
        mu = plait.sample("mu", dist.Normal(0.5, 2.0))
        with plait.plate("rows", len(y), size) as i:
            plait.sample("y", dist.Normal(mu, 1.5), obs=y[i])

    return model


def point(y):
    """So that the minibatch is all that varies."""
    plait.sample("mu", dist.Delta(plait.param("loc", 0.3)))


def test_minibatches_are_unbiased_and_do_not_repeat_within_a_batch():
    whole, part = (plait.elbo(rows_in_batches(n), point, Y) for n in (5, 2))
    params = whole.init(jax.random.key(0))
    value, slope = whole.loss_and_grad(params, jax.random.key(0))
    loss, gradient = estimates(part, params, 4000)
    assert len(np.unique(loss.round(9))) == 10, "pairs of 5 rows"
    assert_mean(loss, value)
    assert_mean(gradient["loc"], slope["loc"])
    indices = part.sample(params, jax.random.key(1), (4000,))["rows"]
    assert (indices[:, 0] != indices[:, 1]).all()
    assert_allclose(np.bincount(indices.ravel(), minlength=5) / 8000, 0.2, atol=0.02)


def test_each_particle_has_a_minibatch_of_its_own():
    one, many = (plait.elbo(rows_in_batches(2), point, Y, num_particles=n) for n in (1, 16))
    params = one.init(jax.random.key(0))
    (single, _), (mean, _) = (estimates(elbo, params, 2000) for elbo in (one, many))
    assert_allclose(np.var(mean), np.var(single) / 16, rtol=0.2)


X = np.array([0.5, -1.0, 2.0, 3.5, -2.5, 1.0])


def locals_in_batches(ppl, x):
    with ppl.plate("rows", len(x), 2) as i:
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        ppl.sample("x", dist.Normal(z, 0.5), obs=x[i])


def guide_in_batches(ppl, x):
    with ppl.plate("rows", len(x), 2) as i:
        loc = ppl.param("loc", 0.1 * x, event_dim=0)
        ppl.sample("z", dist.Normal(loc + 0.2 * x[i], 0.3))


def test_guide_and_model_have_the_same_minibatch():
    """The exact posteriors of the rows as guide: their evidence for each minibatch, whichever it is."""

    def exact(x):
        with plait.plate("rows", len(x), 2) as i:
            plait.sample("z", dist.Normal(x[i] * 0.8, np.sqrt(0.2)))

    elbo = plait.elbo(partial(locals_in_batches, plait), exact, X)
    evidence = stats.norm(0, np.sqrt(1.25)).logpdf(X)
    pairs = np.array([-3 * (evidence[i] + evidence[j]) for i in range(6) for j in range(i)])
    for key in keys(5):
        assert np.min(np.abs(elbo.loss({}, key) - pairs)) < 1e-10


def test_indices_that_the_guide_gives_are_the_models_too():
    def guide(x):
        plait.handlers.substitute(partial(guide_in_batches, plait), data={"rows": jnp.array([4, 1])})(x)

    elbo = plait.elbo(partial(locals_in_batches, plait), guide, X)
    drawn = elbo.predict(elbo.init(jax.random.key(0)), jax.random.key(1), (3,))
    assert np.all(drawn["rows"] == np.array([4, 1]))
    z = 0.3 * X[[4, 1]]
    assert_allclose(drawn["z"], np.broadcast_to(z, (3, 2)), atol=1.5)
    assert_allclose(drawn["x"], drawn["z"], atol=2.5)


def test_data_of_every_minibatch_are_checked():
    y = Y.copy()
    y[4] = np.nan
    with refused(plait.DataError, "'y'", "nan"):
        plait.elbo(rows_in_batches(2), normal_guide, y)
    elbo = plait.elbo(rows_in_batches(2), normal_guide, Y)
    with refused(plait.DataError, "'y'", "nan"):
        elbo.bind(y=y)


# -- data -----------------------------------------------------------------------------------------------


def regression(x, y):
    slope = plait.sample("slope", dist.Normal(0.0, 1.0))
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(slope * x, 0.5), obs=y)


def regression_guide(x, y):
    loc = plait.param("loc", 0.0)
    plait.sample("slope", dist.Normal(loc, plait.param("scale", 0.1, constraint=POSITIVE)))


def batch(seed):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=6), "y": rng.normal(size=6)}


def test_other_data_by_bind_and_as_arguments():
    elbo = plait.elbo(regression, regression_guide, **batch(0))
    params, key = elbo.init(jax.random.key(0)), jax.random.key(1)
    expected = plait.elbo(regression, regression_guide, **batch(1)).loss_and_grad(params, key)
    for found in (
        elbo.bind(**batch(1)).loss_and_grad(params, key),
        elbo.loss_and_grad(params, key, **batch(1)),
        jax.jit(lambda data: elbo.bind(**data).loss_and_grad(params, key))(batch(1)),
    ):
        jax.tree.map(partial(assert_allclose, rtol=1e-10), found, expected)
    assert elbo.loss(params, key) != expected[0]


def test_the_guide_gets_the_models_arguments_by_their_place():
    def guide(covariate, outcome):
        loc = plait.param("loc", 0.0)
        plait.sample("slope", dist.Normal(loc + outcome[0], 0.1))

    data = batch(0)
    elbo = plait.elbo(regression, guide, data["x"], data["y"])
    bound = elbo.bind(y=data["y"] + 100.0)
    params = elbo.init(jax.random.key(0))
    moved = bound.sample(params, jax.random.key(1))["slope"] - elbo.sample(params, jax.random.key(1))["slope"]
    assert_allclose(moved, 100.0)


@pytest.mark.parametrize("size", [5, 2], ids=["whole", "minibatches"])
def test_steps_and_bind_neither_trace_nor_compile(size):
    calls = []

    def model(y):
        calls.append("model")
        rows_in_batches(size)(y)

    def guide(y):
        calls.append("guide")
        normal_guide(y)

    elbo = plait.elbo(model, guide, Y, num_particles=2)
    params = elbo.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    batches = [jnp.asarray(rng.normal(size=5)) for _ in range(4)]
    steps = list(keys(4))
    for _ in range(2):  # the second time with what is compiled
        with counting() as count:
            for y, key in zip(batches, steps, strict=True):
                _, gradient = elbo.loss_and_grad(params, key)
                params = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient)
                elbo.bind(y=y).loss_and_grad(params, key)
                elbo.loss_and_grad(params, key, y=y)
    assert count.compiles == count.traces == 0
    assert sorted(calls) == ["guide", "model"]


def test_data_with_more_cells_than_the_statistics_have_room_for():
    def model(x, y):
        level = plait.sample("level", dist.Normal(jnp.zeros(40), 1.0).to_event(1))
        with plait.plate("rows", len(y)):
            plait.sample("y", dist.Bernoulli(logits=level[x]), obs=y)

    def guide(x, y):
        plait.sample("level", dist.Normal(plait.param("loc", jnp.zeros(40)), 0.1).to_event(1))

    y = np.arange(40) % 2
    few, many = np.zeros(40, int), np.arange(40)
    elbo = plait.elbo(model, guide, few, y)
    params, key = elbo.init(jax.random.key(0)), jax.random.key(1)
    assert "40 → 8" in str(elbo.explain())
    assert "40 → 8" not in str(elbo.bind(x=many).explain())
    assert_allclose(elbo.bind(x=many).loss(params, key), plait.elbo(model, guide, many, y).loss(params, key))


# -- in the user's own loop -------------------------------------------------------------------------------


def test_optax_finds_the_posterior():
    elbo = plait.elbo(normal, normal_guide, Y, num_particles=8)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 600))

    def step(state, key):
        params, moments = state
        loss, gradient = jax.value_and_grad(elbo.loss)(params, key)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), loss

    params = elbo.init(jax.random.key(0))
    (params, _), losses = jax.jit(partial(jax.lax.scan, step))((params, optimizer.init(params)), keys(600))
    found = elbo.constrain(params)
    assert_allclose(found["loc"], MEAN, atol=0.02)
    assert_allclose(found["scale"], PRECISION**-0.5, rtol=0.02)
    assert_allclose(losses[-50:].mean(), -CONJUGATE["normal"][-1], atol=0.01)


def test_the_optimizers_of_jax_train_on_minibatches_by_hand():
    data = batch(0)
    x, y = np.tile(data["x"], 20), np.tile(0.7 * data["x"], 20)
    elbo = plait.elbo(regression, regression_guide, x[:6], y[:6])
    start, update, params_of = optimizers.adam(0.02)

    def step(state, xs):
        i, key, x, y = xs
        _, gradient = elbo.loss_and_grad(params_of(state), key, x=x, y=y)
        return update(i, gradient, state), None

    batches = jnp.arange(400), keys(400), np.tile(x.reshape(20, 6), (20, 1)), np.tile(y.reshape(20, 6), (20, 1))
    state, _ = jax.jit(partial(jax.lax.scan, step))(start(elbo.init(jax.random.key(0))), batches)
    posterior = (0.7 * (data["x"] ** 2).sum() / 0.25) / (1 + (data["x"] ** 2).sum() / 0.25)
    assert_allclose(params_of(state)["loc"], posterior, atol=0.02)


# -- what models and guides are made of -------------------------------------------------------------------


def test_loops_in_both_are_families_or_not():
    sigma = jnp.array([1.0, 2.0, 0.5, 1.5])

    def looped():
        for i in range(4):
            plait.sample(f"theta_{i}", dist.Normal(0.5, sigma[i]))

    def planned():
        for i in plait.plate("thetas", 4):
            plait.sample(f"theta_{i}", dist.Normal(0.5, sigma[i]))

    def apart():
        plait.sample("theta_1", dist.Normal(0.5, 2.0))
        for i in (3, 2, 0):
            plait.sample(f"theta_{i}", dist.Normal(0.5, sigma[i]))

    for model, guide in ((looped, planned), (planned, apart), (apart, looped)):
        elbo = plait.elbo(model, guide)
        assert_allclose(elbo.loss({}, jax.random.key(0)), 0.0, atol=1e-12)
    assert elbo.sample({}, jax.random.key(0), (3,)).keys() == {f"theta_{i}" for i in range(4)}


def test_scans_and_branches_and_masks_in_both():
    def chain(flag):
        def step(x, _):
            x = plait.sample("x", dist.Normal(0.9 * x, 0.5))
            return x, x

        last, _ = jax.lax.scan(step, 0.3, None, length=4)

        def branch(loc, scale):
            return lambda: plait.sample("b", dist.LogNormal(loc, scale))

        b = jax.lax.cond(flag[0] > 0, branch(0.0, 1.0), branch(1.0, 0.2))
        with plait.handlers.mask(mask=flag > 0), plait.handlers.scale(scale=2.5), plait.plate("p", 2):
            plait.sample("m", dist.Gamma(1.0 + b, 1.0 + last**2))

    elbo = plait.elbo(chain, chain, np.array([1, -1]))
    for key in keys(3):
        assert_allclose(elbo.loss({}, key), 0.0, atol=1e-9)


def test_values_at_the_edge_of_a_support_are_scored_by_what_they_were_made_of():
    """1 − sigmoid(12) has two digits in float32, of which the way back to 12 would make nonsense."""

    def model():
        plait.sample("p", dist.Uniform(0.0, 1.0))

    def guide():
        latent = dist.Normal(plait.param("loc", 12.0), 1e-3)
        plait.sample("p", dist.TransformedDistribution(latent, dist.transforms.SigmoidTransform()))

    with jax.enable_x64(False):
        elbo = plait.elbo(model, guide)
        loss, gradient = estimates(elbo, elbo.init(jax.random.key(0)), 200)
    entropy = 0.5 * np.log(2 * np.pi * np.e * 1e-6)
    assert_mean(loss, 12.0 - entropy)  # log(1 − sigmoid(u)) is −u here, to 1e-5
    assert_allclose(gradient["loc"], 1.0, rtol=1e-3)


def test_auxiliary_sites_count_in_the_guide_alone():
    def model():
        plait.sample("x", dist.Normal(0.0, 1.0))

    def guide():
        u = plait.sample("u", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        for i in plait.plate("more", 2):
            plait.sample(f"v_{i}", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        plait.sample("x", dist.Delta(u, log_density=-dist.Normal(0.0, 1.0).log_prob(u)))

    elbo = plait.elbo(model, guide)
    loss, _ = estimates(elbo, {}, 4000)
    # log q of u, v_0, v_1 and x, less log p of x: two entropies of a standard normal, and one expected log p
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    assert_mean(loss, -2 * entropy + entropy)
    assert list(elbo.sample({}, jax.random.key(0))) == ["x"]


def test_params_of_a_model_alone_are_fitted_by_maximum_likelihood():
    def model(y):
        loc = plait.param("loc", 0.0)
        plait.sample("y", dist.Normal(loc, 1.0), obs=y)

    elbo = plait.elbo(model, lambda y: None, Y)
    value, gradient = elbo.loss_and_grad(elbo.init(jax.random.key(0)), jax.random.key(1))
    assert_allclose(value, -stats.norm(0, 1).logpdf(Y).sum())
    assert_allclose(gradient["loc"], -Y.sum())


def test_a_param_of_both_has_one_entry():
    def model():
        scale = plait.param("scale", 2.0, constraint=POSITIVE)
        plait.sample("x", dist.Normal(0.0, scale))

    def guide():
        scale = plait.param("scale", 2.0, constraint=POSITIVE)
        plait.sample("x", dist.Normal(0.0, scale))

    elbo = plait.elbo(model, guide)
    params = elbo.init(jax.random.key(0))
    assert_allclose(elbo.constrain(params)["scale"], 2.0)
    assert_allclose(elbo.loss(params, jax.random.key(1)), 0.0, atol=1e-12)


def test_modules_in_model_and_guide():
    def model(x):
        decoder = plait.module("decoder", stax.Dense(3), (2,))
        with plait.plate("rows", len(x), 4) as i:
            z = plait.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
            plait.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x[i])

    def guide(x):
        encoder = plait.module("encoder", stax.Dense(2), (3,))
        with plait.plate("rows", len(x), 4) as i:
            plait.sample("z", dist.Normal(encoder(x[i]), 0.5).to_event(1))

    x = np.random.default_rng(0).normal(size=(12, 3))
    elbo = plait.elbo(model, guide, x)
    params, others = (elbo.init(jax.random.key(i)) for i in (0, 1))
    assert jax.tree.map(jnp.shape, params) == {"encoder$params": ((3, 2), (2,)), "decoder$params": ((2, 3), (3,))}
    assert not np.allclose(params["decoder$params"][0], others["decoder$params"][0])
    (w, b), (v, c) = (jax.device_get(params[f"{name}$params"]) for name in ("encoder", "decoder"))
    drawn = elbo.predict(params, jax.random.key(2), (2000,))
    assert drawn["x"].shape == (2000, 4, 3)
    assert_mean(drawn["z"] - (x[drawn["rows"]] @ w + b), 0.0)
    assert_mean(drawn["x"] - (drawn["z"] @ v + c), 0.0)


def test_draws_are_the_posterior_and_what_it_predicts():
    elbo = plait.elbo(normal, normal_guide, Y)
    params = elbo.unconstrain(CONJUGATE["normal"][4])
    drawn = elbo.predict(params, jax.random.key(0), (300, 20))
    assert list(drawn) == ["mu", "y"]
    assert drawn["y"].shape == (300, 20, 5)
    assert_mean(drawn["mu"].ravel(), MEAN)
    assert_allclose(np.std(drawn["mu"]), PRECISION**-0.5, rtol=0.03)
    assert_allclose(np.std(drawn["y"]), np.sqrt(1 / PRECISION + 1.5**2), rtol=0.03)
    posterior = elbo.sample(params, jax.random.key(1), 7)
    compiled = plait.compile(normal, Y)
    assert compiled.sample(jax.random.key(2), given=posterior)["y"].shape == (7, 5)
