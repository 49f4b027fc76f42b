"""Models of how things get measured: items, raters, captures, dynamics."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.experimental.ode import odeint
from jax.scipy.special import logsumexp

from .case import Case


def two_parameter_irt(person, item, correct=None, n_people=5, n_items=4):
    mean_difficulty = numpyro.sample("mean_difficulty", dist.Normal(0, 1))
    with numpyro.plate("people", n_people):
        ability = numpyro.sample("ability", dist.Normal(0, 1))
    with numpyro.plate("items", n_items):
        difficulty = numpyro.sample("difficulty", dist.Normal(mean_difficulty, 1))
        discrimination = numpyro.sample("discrimination", dist.LogNormal(0, 0.5))
    logits = discrimination[item] * (ability[person] - difficulty[item])
    with numpyro.plate("answers", len(item)):
        numpyro.sample("correct", dist.Bernoulli(logits=logits), obs=correct)


def bradley_terry(winner, loser, n_players):
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("players", n_players):
        skill = numpyro.sample("skill", dist.Normal(0, spread))
    numpyro.sample("won", dist.Bernoulli(logits=skill[winner] - skill[loser]), obs=jnp.ones(len(winner)))


def dawid_skene(labels, n_classes=3):
    n_items, n_raters = labels.shape
    prevalence = numpyro.sample("prevalence", dist.Dirichlet(jnp.ones(n_classes)))
    towards_truth = jnp.ones((n_classes, n_classes)) + 3 * jnp.eye(n_classes)
    with numpyro.plate("raters", n_raters, dim=-2), numpyro.plate("classes", n_classes, dim=-1):
        confusion = numpyro.sample("confusion", dist.Dirichlet(towards_truth))
    said = jnp.log(confusion)[jnp.arange(n_raters), :, labels]  # items, raters, classes
    by_class = jnp.log(prevalence) + said.sum(1)
    with numpyro.plate("items", n_items):
        numpyro.factor("labels", logsumexp(by_class, axis=-1))


def capture_recapture(seen):
    n_animals, n_occasions = seen.shape
    first = np.argmax(seen, axis=1)
    survival = numpyro.sample("survival", dist.Beta(4, 2).expand([n_occasions - 1]).to_event(1))
    detection = numpyro.sample("detection", dist.Beta(2, 2))
    log_alive = jnp.zeros(n_animals)
    log_dead = jnp.full(n_animals, -jnp.inf)
    for t in range(1, n_occasions):
        after_first = t > first
        log_p = dist.Bernoulli(detection).log_prob(seen[:, t])
        died = jnp.logaddexp(log_dead, log_alive + jnp.log1p(-survival[t - 1]))
        log_dead = jnp.where(after_first, jnp.where(seen[:, t] == 1, -jnp.inf, died), log_dead)
        log_alive = jnp.where(after_first, log_alive + jnp.log(survival[t - 1]) + log_p, log_alive)
    numpyro.factor("histories", jnp.logaddexp(log_alive, log_dead).sum())


def jolly_seber_sums(seen, first):
    """The same survival model, with the forward sums as a scan over occasions."""
    phi = numpyro.sample("phi", dist.Uniform(0, 1))
    p = numpyro.sample("p", dist.Uniform(0, 1))

    def forward(alpha, inputs):
        t, seen_t = inputs
        moved = jnp.stack([alpha[0] * phi, alpha[0] * (1 - phi) + alpha[1]])
        emitted = jnp.stack([jnp.where(seen_t, p, 1 - p), jnp.where(seen_t, 0.0, 1.0)])
        return jnp.where(t > first, moved * emitted, alpha), None

    n_animals, n_occasions = seen.shape
    start = jnp.stack([jnp.ones(n_animals), jnp.zeros(n_animals)])
    alpha, _ = jax.lax.scan(forward, start, (jnp.arange(n_occasions), seen.T))
    numpyro.factor("seen", jnp.log(alpha.sum(0)).sum())


def occupancy(visits, detections, elevation):
    b = numpyro.sample("b", dist.Normal(0, 1.5).expand([2]))
    p = numpyro.sample("p", dist.Uniform(0, 1))
    psi = jax.nn.sigmoid(b[0] + b[1] * elevation)
    found = jnp.log(psi) + dist.Binomial(visits, p).log_prob(detections)
    likelihood = jnp.where(detections > 0, found, jnp.logaddexp(found, jnp.log1p(-psi)))
    numpyro.factor("detections", jnp.sum(likelihood))


def predator_prey(years, pelts):
    z_init = numpyro.sample("z_init", dist.LogNormal(jnp.log(10.0), 1.0).expand([2]))
    low = jnp.array([0.0, 0.0, 0.0, 0.0])
    middle = jnp.array([1.0, 0.05, 1.0, 0.05])
    theta = numpyro.sample("theta", dist.TruncatedNormal(middle, 0.5 * middle, low=low))
    sigma = numpyro.sample("sigma", dist.LogNormal(-1, 1).expand([2]))

    def dz_dt(z, t, theta):
        prey, predator = z
        a, b, c, d = theta
        return jnp.stack([(a - b * predator) * prey, (d * prey - c) * predator])

    z = odeint(dz_dt, z_init, years, theta, rtol=1e-6, atol=1e-5, mxstep=500)
    numpyro.sample("pelts", dist.LogNormal(jnp.log(z), sigma), obs=pelts)


def _cases():
    rng = np.random.default_rng(106)
    person, item = np.divmod(np.arange(20), 4)
    seen = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]])
    pelts = np.array([[30.0, 4.0], [47.2, 6.1], [70.2, 9.8], [77.4, 35.2], [36.3, 59.4]])
    return (
        Case(two_parameter_irt, (person, item, rng.integers(0, 2, 20))),
        Case(bradley_terry, (np.array([0, 1, 2, 0, 3]), np.array([1, 2, 0, 3, 1]), 4)),
        Case(dawid_skene, (rng.integers(0, 3, (6, 4)),)),
        Case(capture_recapture, (seen,), static=("seen",)),
        Case(jolly_seber_sums, (seen == 1, np.argmax(seen, axis=1))),
        Case(occupancy, (np.full(7, 5), np.array([0, 2, 0, 1, 3, 0, 0]), rng.normal(size=7))),
        Case(predator_prey, (np.linspace(0, 2, 5), pelts)),
    )


CASES = _cases()
