"""One model for each kind of constrained support; the Cholesky factor is in `hierarchical.py`."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints, transforms

from .model import Array


def simplex(
    ppl: ModuleType,
    document: Array,
    word: Array | None = None,
    counts: Array | None = None,
) -> None:
    """counts_d ~ Multinomial(6, p ~ Dirichlet(a)), word_i ~ Categorical(theta_{d(i)} ~ Dirichlet(1))."""
    p = ppl.sample("p", dist.Dirichlet(jnp.array([2.0, 3.0, 1.5])))
    with ppl.plate("documents", 2):
        theta = ppl.sample("theta", dist.Dirichlet(jnp.ones(3)))
        ppl.sample("counts", dist.Multinomial(6, p), obs=counts)
    with ppl.plate("words", document.shape[0]):
        ppl.sample("word", dist.Categorical(theta[document]), obs=word)


def simplex_data() -> dict[str, np.ndarray]:
    return {
        "document": np.array([0, 0, 1, 1, 1]),
        "word": np.array([2, 0, 1, 1, 2]),
        "counts": np.array([[3, 1, 2], [0, 4, 2]]),
    }


def ordered(ppl: ModuleType, x: Array, grade: Array | None = None) -> None:
    """c ~ Normal(0, 1/2)^3 pushed through the ordered transform, grade_i ~ OrderedLogistic(b x_i, c)."""
    b = ppl.sample("b", dist.Normal(0, 1))
    base = dist.Normal(0, 0.5).expand([3]).to_event(1)
    cutpoints = ppl.sample("cutpoints", dist.TransformedDistribution(base, transforms.OrderedTransform()))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("grade", dist.OrderedLogistic(b * x, cutpoints), obs=grade)


def improper_ordered(ppl: ModuleType, x: Array, grade: Array | None = None) -> None:
    """The same under flat priors: cutpoints on the ordered vectors, b on the real line."""
    b = ppl.sample("b", dist.ImproperUniform(constraints.real, (), ()))
    cutpoints = ppl.sample("cutpoints", dist.ImproperUniform(constraints.ordered_vector, (), (3,)))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("grade", dist.OrderedLogistic(b * x, cutpoints), obs=grade)


def ordered_data() -> dict[str, np.ndarray]:
    return {"x": np.array([-1.0, -0.2, 0.3, 0.9, 1.4, 2.0]), "grade": np.array([0, 1, 1, 2, 3, 3])}


def dynamic_support(ppl: ModuleType, y: Array) -> None:
    """a ~ Uniform(0, 1), b ~ Uniform(a, 2), c_i ~ TruncatedNormal(b, 1; low = a), y_i ~ N(c_i, 1/2)."""
    a = ppl.sample("a", dist.Uniform(0, 1))
    b = ppl.sample("b", dist.Uniform(a, 2))
    with ppl.plate("rows", y.shape[0]):
        c = ppl.sample("c", dist.TruncatedNormal(b, 1, low=a))
        ppl.sample("y", dist.Normal(c, 0.5), obs=y)


def dynamic_support_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.7, 1.4, 1.1])}


def zero_sum(ppl: ModuleType, group: Array, y: Array | None = None) -> None:
    """effect ~ ZeroSumNormal(tau), four entries of which three are free; y_i ~ N(mu + effect_{g(i)}, 1)."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    tau = ppl.sample("tau", dist.HalfNormal(1))
    effect = ppl.sample("effect", dist.ZeroSumNormal(tau, event_shape=(4,)))
    with ppl.plate("rows", group.shape[0]):
        ppl.sample("y", dist.Normal(mu + effect[group], 1), obs=y)


def zero_sum_data() -> dict[str, np.ndarray]:
    return {"group": np.array([0, 1, 1, 3, 2]), "y": np.array([0.4, -0.2, 1.3, 0.1, -0.9])}


def many_families(ppl: ModuleType, y: Array) -> None:
    """One latent of each family that priors use, all of them with finite fourth moments."""
    priors = {
        "log_normal": dist.LogNormal(0, 0.5),
        "half_normal": dist.HalfNormal(2),
        "beta": dist.Beta(2, 3),
        "gamma": dist.Gamma(3, 2),
        "student_t": dist.StudentT(8, 0.5, 1.5),
        "inverse_gamma": dist.InverseGamma(7, 4),
        "exponential": dist.Exponential(1.5),
        "laplace": dist.Laplace(0, 1),
        "gumbel": dist.Gumbel(0, 1),
        "logistic": dist.Logistic(0, 1),
        "uniform": dist.Uniform(-1, 2),
        "truncated_normal": dist.TruncatedNormal(0.5, 1, low=-1, high=2),
        "chi2": dist.Chi2(3),
        "weibull": dist.Weibull(1.5, 2),
    }
    values = [ppl.sample(name, prior) for name, prior in priors.items()]
    with ppl.plate("rows", y.shape[0]):
        ppl.sample("y", dist.Normal(sum(values), 3), obs=y)


def many_families_data() -> dict[str, np.ndarray]:
    return {"y": np.array([8.0, 11.5])}
