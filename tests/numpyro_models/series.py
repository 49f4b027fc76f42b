"""Time series, most of them by NumPyro's own scan; hidden Markov models; a branch of the control flow."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from numpyro.contrib.control_flow import cond, scan
from numpyro.handlers import condition, mask, reparam, scale
from numpyro.infer.reparam import LocScaleReparam

from .case import Case


def ar1(y):
    alpha = numpyro.sample("alpha", dist.Normal(0, 1))
    beta = numpyro.sample("beta", dist.Uniform(-1, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))

    def step(previous, current):
        numpyro.sample("y", dist.Normal(alpha + beta * previous, sigma), obs=current)
        return current, None

    scan(step, y[0], y[1:])


def ar2(y):
    phi = numpyro.sample("phi", dist.Normal(0, 0.5).expand([2]).to_event(1))
    const = numpyro.sample("const", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))

    def transition(carry, _):
        two_ago, one_ago = carry
        mean = numpyro.deterministic("mean", const + phi[0] * one_ago + phi[1] * two_ago)
        now = numpyro.sample("y", dist.Normal(mean, sigma))
        return (one_ago, now), now

    with condition(data={"y": jnp.asarray(y[2:])}):
        _, fitted = scan(transition, (y[0], y[1]), jnp.arange(y.shape[0] - 2))
    numpyro.deterministic("fitted", fitted)


def random_walk(length):
    drift = numpyro.sample("drift", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.LogNormal(0, 1))

    def step(level, _):
        level = numpyro.sample("level", dist.Normal(level + drift, sigma))
        y = numpyro.sample("y", dist.StudentT(4.0, level, 0.5))
        return level, y

    start = numpyro.sample("start", dist.Normal(0, 2))
    scan(step, start, None, length=length)


def local_level(y):
    s_level = numpyro.sample("s_level", dist.HalfNormal(1))
    s_obs = numpyro.sample("s_obs", dist.HalfNormal(1))

    def step(level, y_t):
        level = numpyro.sample("level", dist.Normal(level, s_level))
        numpyro.sample("y", dist.Normal(level, s_obs), obs=y_t)
        return level, level

    start = numpyro.sample("start", dist.Normal(y[0], 1))
    _, levels = scan(step, start, y)
    numpyro.deterministic("last_change", levels[-1] - levels[-2])


def noncentered_level(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1))

    def step(level, y_t):
        with reparam(config={"level": LocScaleReparam(0)}):
            level = numpyro.sample("level", dist.Normal(level, scale))
        numpyro.sample("y", dist.Normal(level, 0.5), obs=y_t)
        return level, None

    scan(step, 0.0, y)


def trend_and_season(y, season_length=4):
    sigma = numpyro.sample("sigma", dist.HalfNormal(0.5).expand([3]))
    season = numpyro.sample("season", dist.ZeroSumNormal(1.0, event_shape=(season_length,)))

    def step(state, inputs):
        t, y_t = inputs
        level, slope = state
        slope = numpyro.sample("slope", dist.Normal(slope, sigma[0]))
        level = numpyro.sample("level", dist.Normal(level + slope, sigma[1]))
        numpyro.sample("y", dist.Normal(level + season[t % season_length], sigma[2]), obs=y_t)
        return (level, slope), None

    scan(step, (y[0], jnp.zeros(())), (jnp.arange(len(y)), y))


def stochastic_volatility(returns):
    mu = numpyro.sample("mu", dist.Normal(0, 2))
    phi = numpyro.sample(
        "phi", dist.TransformedDistribution(dist.Beta(20, 1.5), dist.transforms.AffineTransform(-1, 2))
    )
    sigma = numpyro.sample("sigma", dist.HalfCauchy(1))

    def step(h, r):
        h = numpyro.sample("h", dist.Normal(mu + phi * (h - mu), sigma))
        numpyro.sample("returns", dist.Normal(0, jnp.exp(h / 2)), obs=r)
        return h, h

    h0 = numpyro.sample("h0", dist.Normal(mu, sigma / jnp.sqrt(1 - phi**2)))
    scan(step, h0, returns)


def volatility_walk(returns):
    step_size = numpyro.sample("step_size", dist.Exponential(50.0))
    s = numpyro.sample("s", dist.GaussianRandomWalk(scale=step_size, num_steps=jnp.shape(returns)[0]))
    nu = numpyro.sample("nu", dist.Exponential(0.1))
    numpyro.sample("r", dist.StudentT(df=nu, loc=0.0, scale=jnp.exp(s)), obs=returns)


def weighted_scan(y):
    decay = numpyro.sample("decay", dist.Beta(5, 2))

    def step(previous, y_t):
        now = numpyro.sample("state", dist.Normal(decay * previous, 0.5))
        numpyro.sample("y", dist.Normal(now, 0.3), obs=y_t["value"])
        return now, None

    with scale(scale=0.5):
        scan(step, 0.0, {"value": y})


def diffusion(times, y):
    pull = numpyro.sample("pull", dist.HalfNormal(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    x = numpyro.sample("x", dist.EulerMaruyama(times, lambda x, t: (-pull * x, noise), dist.Normal(0, 1)))
    numpyro.sample("y", dist.Normal(x, 0.3).to_event(1), obs=y)


def state_space_distribution(y):
    turn = numpyro.sample("turn", dist.Uniform(-0.9, 0.9).expand([2]))
    matrix = jnp.array([[1.0, 0.0], [0.0, 0.0]]) * turn[0] + jnp.array([[0.0, 1.0], [-1.0, 0.0]]) * turn[1]
    states = dist.GaussianStateSpace(y.shape[0], matrix, scale_tril=0.5 * jnp.eye(2))
    z = numpyro.sample("z", states)
    numpyro.sample("y", dist.Normal(z[:, 0], 0.2).to_event(1), obs=y)


def panel(sales):
    n_stores = sales.shape[1]
    trend = numpyro.sample("trend", dist.Normal(0, 0.3))
    with numpyro.plate("stores", n_stores):
        spread = numpyro.sample("spread", dist.HalfNormal(1))

    def step(level, sales_t):
        with numpyro.plate("stores", n_stores):
            level = numpyro.sample("level", dist.Normal(level + trend, spread))
            numpyro.sample("sales", dist.Normal(level, 0.4), obs=sales_t)
        return level, level

    _, levels = scan(step, jnp.zeros(n_stores), sales)
    numpyro.deterministic("growth", levels[-1] - levels[0])


def vector_autoregression(y):
    n_series = y.shape[1]
    weights = numpyro.sample("weights", dist.Normal(0, 0.5).expand([n_series, n_series]).to_event(2))
    scales = numpyro.sample("scales", dist.HalfNormal(1).expand([n_series]).to_event(1))
    tril = scales[:, None] * numpyro.sample("corr", dist.LKJCholesky(n_series, 2.0))

    def step(previous, current):
        numpyro.sample("y", dist.MultivariateNormal(weights @ previous, scale_tril=tril), obs=current)
        return current, None

    scan(step, y[0], y[1:])


def positive_states(counts):
    shape = numpyro.sample("shape", dist.Gamma(5.0, 1.0))

    def step(rate, count):
        rate = numpyro.sample("rate", dist.Gamma(shape, shape / rate))
        numpyro.sample("counts", dist.Poisson(rate), obs=count)
        return rate, rate

    scan(step, jnp.ones(()), counts)


def gaps_in_series(y, seen):
    rho = numpyro.sample("rho", dist.Uniform(-1, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))

    def step(x, inputs):
        y_t, seen_t = inputs
        x = numpyro.sample("x", dist.Normal(rho * x, sigma))
        with mask(mask=seen_t):
            numpyro.sample("y", dist.Normal(x, 0.3), obs=y_t)
        return x, None

    scan(step, 0.0, (jnp.where(seen, y, 0.0), seen))


def history_and_forecast(y, horizon=3):
    rho = numpyro.sample("rho", dist.Uniform(-1, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))

    def step(site, x, y_t):
        x = numpyro.sample(site, dist.Normal(rho * x, sigma), obs=y_t)
        return x, x

    last, _ = scan(lambda x, y_t: step("past", x, y_t), y[0], y[1:])
    _, future = scan(lambda x, _: step("future", x, None), last, None, length=horizon)
    numpyro.deterministic("total", future.sum())


def markov_switching(y, n_states=2):
    transition = numpyro.sample("transition", dist.Dirichlet(jnp.ones((n_states, n_states))).to_event(1))
    means = numpyro.sample("means", dist.Normal(jnp.arange(n_states) * 2.0, 1.0).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))

    def forward(log_alpha, y_t):
        emitted = dist.Normal(means, sigma).log_prob(y_t)
        log_alpha = logsumexp(log_alpha[:, None] + jnp.log(transition), axis=0) + emitted
        return log_alpha, log_alpha

    start = dist.Normal(means, sigma).log_prob(y[0]) - jnp.log(n_states)
    last, _ = scan(forward, start, y[1:])
    numpyro.factor("forward", logsumexp(last))


def supervised_tagger(states, words, n_states, n_words):
    with numpyro.plate("states", n_states):
        transition = numpyro.sample("transition", dist.Dirichlet(jnp.ones(n_states)))
        emission = numpyro.sample("emission", dist.Dirichlet(jnp.full(n_words, 0.1)))
    with numpyro.plate("moves", len(states) - 1):
        numpyro.sample("z", dist.Categorical(probs=transition[states[:-1]]), obs=states[1:])
    with numpyro.plate("tokens", len(words)):
        numpyro.sample("w", dist.Categorical(probs=emission[states]), obs=words)


def hidden_chain(y):
    stay = numpyro.sample("stay", dist.Beta(8, 2))
    means = numpyro.sample("means", dist.Normal(0, 2).expand([2]).to_event(1))

    def step(state, y_t):
        p = jnp.where(state == 1, stay, 1 - stay)
        state = numpyro.sample("state", dist.Bernoulli(p))
        numpyro.sample("y", dist.Normal(means[state], 1), obs=y_t)
        return state, None

    first = numpyro.sample("first", dist.Bernoulli(0.5))
    scan(step, first, y)


def seasonal_switch(is_summer, y):
    base = numpyro.sample("base", dist.Normal(0, 1))

    def summer(scale):
        return numpyro.sample("effect", dist.Normal(2.0, scale))

    def winter(scale):
        return numpyro.sample("effect", dist.Normal(-2.0, 2 * scale))

    effect = cond(is_summer, summer, winter, 0.5)
    numpyro.sample("y", dist.Normal(base + effect, 1), obs=y)


def latent_branch(y):
    cluster = numpyro.sample("cluster", dist.Normal(0, 1))
    x = cond(
        cluster > 0,
        lambda _: numpyro.sample("x", dist.Normal(3.0, 1.0)),
        lambda _: numpyro.sample("x", dist.Normal(-3.0, 0.5)),
        None,
    )
    with numpyro.plate("N", len(y)):
        numpyro.sample("y", dist.Normal(x, 1.0), obs=y)


def garch(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    a0 = numpyro.sample("a0", dist.HalfNormal(1))
    a1 = numpyro.sample("a1", dist.Uniform(0, 1))
    b1 = numpyro.sample("b1", dist.Uniform(0, 1 - a1))

    def variance(previous, y_t):
        return a0 + a1 * (y_t - mu) ** 2 + b1 * previous, previous

    _, variances = jax.lax.scan(variance, jnp.var(y), y)
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variances)).to_event(1), obs=y)


def _cases():
    rng = np.random.default_rng(104)
    walk = np.cumsum(rng.normal(size=14)) * 0.5
    returns = 0.3 * rng.normal(size=12)

    def on_series(model):
        return condition(model, data={"y": jnp.asarray(walk[:8])})

    def on_series_and_start(model):
        return condition(model, data={"y": jnp.asarray(walk[:6]), "start": 0.2})

    return (
        Case(ar1, (walk,)),
        Case(ar2, (walk,)),
        Case(random_walk, (8,), around=on_series, label="scan_conditioned_from_outside"),
        Case(random_walk, (6,), around=on_series_and_start, label="scan_and_start_conditioned"),
        Case(local_level, (walk,)),
        Case(noncentered_level, (walk,)),
        Case(trend_and_season, (walk[:9],)),
        Case(stochastic_volatility, (returns,)),
        Case(volatility_walk, (returns,)),
        Case(weighted_scan, (walk[:8],)),
        Case(diffusion, (np.linspace(0, 2, 7), walk[:7])),
        Case(state_space_distribution, (walk[:6],)),
        Case(panel, (rng.normal(size=(6, 3)),)),
        Case(vector_autoregression, (rng.normal(size=(7, 2)),)),
        Case(positive_states, (rng.poisson(3, 7),)),
        Case(gaps_in_series, (np.where(np.arange(9) % 3 == 1, np.nan, walk[:9]), np.arange(9) % 3 != 1)),
        Case(history_and_forecast, (walk[:7],)),
        Case(markov_switching, (walk,)),
        Case(supervised_tagger, (rng.integers(0, 3, 12), rng.integers(0, 5, 12), 3, 5)),
        Case(hidden_chain, (walk[:8],), discrete=True),
        Case(seasonal_switch, (True, np.array(1.4)), label="cond_on_python_value"),
        Case(seasonal_switch, (np.array(False), np.array(1.4)), label="cond_on_data"),
        Case(latent_branch, (walk[:5],)),
        Case(garch, (returns,)),
    )


CASES = _cases()
