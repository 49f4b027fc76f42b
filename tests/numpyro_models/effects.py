"""NumPyro's handlers inside and around models, subsampling, and distributions of a user's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes
from numpyro.handlers import condition, do, infer_config, mask, scale, scope, seed, substitute, trace

from .case import Case


def line(x, sigma=1.0):
    a = numpyro.sample("a", dist.Normal(0, sigma))
    b = numpyro.sample("b", dist.Normal(0, sigma))
    return numpyro.deterministic("line", a + b * x)


def scoped_submodels(x, y1, y2):
    with scope(prefix="first"):
        first = line(x)
    with scope(prefix="second", divider="."):
        second = line(x, sigma=2.0)
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    numpyro.sample("y1", dist.Normal(first, noise), obs=y1)
    numpyro.sample("y2", dist.Normal(first + second, noise), obs=y2)


def scaled_likelihood(y, temperature):
    with scale(scale=2.0):
        mu = numpyro.sample("mu", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.Gamma(2, 2))
    with scale(scale=temperature), numpyro.plate("N", len(y)):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def masked_parts(x, y, keep):
    with mask(mask=False):
        ignored = numpyro.sample("ignored", dist.Gamma(2, 2))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("N", len(y)), mask(mask=keep):
        offset = numpyro.sample("offset", dist.LogNormal(0, 1))
        numpyro.sample("y", dist.Normal(slope * x + offset, 1 + ignored), obs=y)


def configured_sites(y):
    def config(site):
        return {"note": site["name"]} if site["type"] == "sample" else {}

    with infer_config(config_fn=config):
        mu = numpyro.sample("mu", dist.Normal(0, 1), infer={"enumerate": "parallel"})
        with numpyro.plate("N", len(y)):
            numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def subsampled_regression(x, y, batch_size=4):
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("N", x.shape[0], subsample_size=batch_size):
        batch_x = numpyro.subsample(x, event_dim=1)
        batch_y = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(batch_x @ beta, sigma), obs=batch_y)


def subsampled_by_index(y, batch_size=3):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("N", len(y), subsample_size=batch_size) as index:
        numpyro.sample("y", dist.Normal(mu, 1), obs=y[index])


def reused_plates(x, y1, y2):
    rows = numpyro.plate("rows", len(x))
    with rows:
        level = numpyro.sample("level", dist.Normal(0, 1))
    slopes = [numpyro.sample(name, dist.Normal(0, 1)) for name in ("slope1", "slope2")]
    with rows:
        numpyro.sample("y1", dist.Normal(level + slopes[0] * x, 1), obs=y1)
    with numpyro.plate("rows", len(x)):
        numpyro.sample("y2", dist.Normal(level + slopes[1] * x, 1), obs=y2)


class Dose:
    """A model that is a method, with its data on the object."""

    def __init__(self, dose):
        self.dose = dose

    def respond(self, y=None):
        half, slope = (numpyro.sample(name, dist.LogNormal(0, 1)) for name in ("half", "slope"))
        curve = self.dose**slope / (half**slope + self.dose**slope)
        numpyro.sample("y", dist.Beta(10 * curve, 10 * (1 - curve)), obs=y)


def intervened(y):
    cause = numpyro.sample("cause", dist.Normal(0, 1))
    medium = numpyro.sample("medium", dist.Normal(2 * cause, 1))
    numpyro.sample("y", dist.Normal(medium + cause, 1), obs=y)


def traced_inside(x, y):
    with trace() as inner:
        mean = line(x)
    numpyro.deterministic("n_sites", jnp.array(len(inner)))
    penalty = sum(site["fn"].log_prob(site["value"]) for site in inner.values() if site["type"] == "sample")
    numpyro.factor("penalty", 0.1 * penalty)
    numpyro.sample("y", dist.Normal(mean, 1), obs=y)


def jitted_helper(x, y):
    curve = jax.jit(lambda x, a, b: a * jnp.tanh(b * x))
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.LogNormal(0, 1))
    numpyro.sample("y", dist.Normal(jax.vmap(curve, in_axes=(0, None, None))(x, a, b), 0.5), obs=y)


def per_group_loops(groups):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    for i in range(len(groups)):
        local = numpyro.sample(f"local_{i}", dist.Normal(mu, 1))
        with numpyro.plate(f"rows_{i}", len(groups[i])):
            numpyro.sample(f"y_{i}", dist.Normal(local, 0.5), obs=groups[i])


class PiecewiseExponential(dist.Distribution):
    """A survival time whose hazard is constant between knots; `knots` are no pytree data."""

    arg_constraints = {"hazards": constraints.independent(constraints.positive, 1)}  # noqa: RUF012
    support = constraints.positive
    pytree_data_fields = ("hazards",)

    def __init__(self, hazards, knots, *, validate_args=None):
        self.hazards = hazards
        self.knots = knots
        super().__init__(batch_shape=jnp.shape(hazards)[:-1], validate_args=validate_args)

    def sample(self, key, sample_shape=()):
        shape = sample_shape + self.batch_shape
        return jax.random.exponential(key, shape) / self.hazards[..., 0]

    def log_prob(self, value):
        upper = jnp.append(self.knots[1:], jnp.inf)
        spent = jnp.clip(value[..., None] - self.knots, 0.0, upper - self.knots)
        interval = jnp.searchsorted(self.knots, value, side="right") - 1
        return jnp.log(self.hazards[interval]) - (self.hazards * spent).sum(-1)


def custom_survival(days, knots):
    with numpyro.plate("intervals", knots.shape[0]):
        hazards = numpyro.sample("hazards", dist.Gamma(2.0, 2.0))
    with numpyro.plate("patients", days.shape[0]):
        numpyro.sample("days", PiecewiseExponential(hazards, knots), obs=days)


class Tilted(dist.Distribution):
    """A normal with a tilt; `tilt` is no pytree data, and here it is a latent."""

    arg_constraints = {"loc": constraints.real}  # noqa: RUF012
    support = constraints.real
    pytree_data_fields = ("loc",)

    def __init__(self, loc, tilt, *, validate_args=None):
        (self.loc,) = promote_shapes(loc, shape=jnp.shape(loc))
        self.tilt = tilt
        super().__init__(batch_shape=jnp.shape(loc), validate_args=validate_args)

    def sample(self, key, sample_shape=()):
        return self.loc + jax.random.normal(key, sample_shape + self.batch_shape)

    def log_prob(self, value):
        z = value - self.loc
        return dist.Normal(0, 1).log_prob(z) + jax.nn.log_sigmoid(self.tilt * z) + jnp.log(2.0)


def custom_latent(y):
    tilt = numpyro.sample("tilt", dist.Normal(0, 2))
    mu = numpyro.sample("mu", Tilted(jnp.zeros(()), tilt))
    with numpyro.plate("N", len(y)):
        numpyro.sample("y", Tilted(mu, tilt), obs=y)


def _cases():
    rng = np.random.default_rng(109)
    x, y = rng.normal(size=8), rng.normal(size=8)
    features = rng.normal(size=(8, 2))
    groups = [rng.normal(size=2), rng.normal(size=3), rng.normal(size=1)]
    knots = np.array([0.0, 0.5, 1.5])

    def on_rows(*rows):
        return lambda model: substitute(model, data={"N": jnp.array(rows)})

    at = {"medium": 0.4}
    one = (np.array(1.3),)
    return (
        Case(scoped_submodels, (x, y, y[::-1].copy())),
        Case(scaled_likelihood, (y, np.array(0.25))),
        Case(masked_parts, (x, y, np.arange(8) % 2 == 0)),
        Case(configured_sites, (y,)),
        Case(subsampled_regression, (features, y), around=on_rows(6, 1, 3, 0), label="subsample_substituted"),
        Case(subsampled_regression, (features, y), around=partial(seed, rng_seed=5), label="subsample_seeded"),
        Case(subsampled_by_index, (y,), around=on_rows(2, 7, 5)),
        Case(intervened, one, around=partial(condition, data=at), label="conditioned_from_outside"),
        Case(intervened, one, around=partial(do, data=at), label="intervention"),
        Case(intervened, one, around=partial(scope, prefix="part"), label="scope_from_outside"),
        Case(intervened, one, around=partial(scale, scale=0.5), label="scale_from_outside"),
        Case(reused_plates, (x, y, y[::-1].copy())),
        Case(Dose(np.array([0.5, 1.0, 2.0, 4.0])).respond, (np.array([0.2, 0.4, 0.7, 0.8]),), label="bound_method"),
        Case(traced_inside, (x, y)),
        Case(jitted_helper, (x, y)),
        Case(per_group_loops, (groups,)),
        Case(custom_survival, (rng.exponential(1.0, 7), knots)),
        Case(custom_latent, (y,)),
    )


CASES = _cases()
