"""What an expert would write in JAX for the models of `fusion.py`: statistics of the data, then a flat log density.

Statistics are NumPy's, in float64, once for a data set. Three things recur. A row's sign is multiplied into its
covariates, so that a logistic likelihood is one softplus of a product; designs are held transposed, (columns, rows), so
that the long axis is the fast one; and what the likelihood says about `y` times a linear predictor is a dot product
with `X'y`. Where the same row occurs more than once it is counted.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln, logsumexp
from numpyro.distributions.transforms import StickBreakingTransform
from scipy.special import gammaln as gammaln64
from side_by_side import (
    Array,
    Hand,
    Statistics,
    half_normal_prior,
    least_squares,
    normal_around,
    normal_prior,
    normal_rows,
    squares_around,
)

JITTER = 1e-4  # on the diagonal of a covariance matrix, for float32
TO_SIMPLEX = StickBreakingTransform()


# -- pieces -----------------------------------------------------------------------------------------------


@jax.custom_jvp
def softplus(x: Array) -> Array:
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Value and derivative from one exp."""
    x = primals[0]
    small = jnp.exp(-jnp.abs(x))
    slope = jnp.where(x >= 0, 1, small) / (1 + small)
    return jnp.maximum(x, 0) + jnp.log1p(small), slope * tangents[0]


def with_ones(x: np.ndarray) -> np.ndarray:
    """The design with an intercept, transposed."""
    return np.vstack([np.ones(len(x)), x.T])


def simplex(z: Array) -> tuple[Array, Array]:
    """Stick-breaking along the last axis, and the sum of the log Jacobians."""
    x = TO_SIMPLEX(z)
    return x, TO_SIMPLEX.log_abs_det_jacobian(z, x).sum()


def dirichlet_constant(concentration: float, size: int, count: int) -> float:
    """Of so many symmetric Dirichlets."""
    return count * (math.lgamma(size * concentration) - size * math.lgamma(concentration))


def padded(group: np.ndarray, groups: int, columns: np.ndarray) -> np.ndarray:
    """(columns, members, groups): the rows of each group below one another, and zeros."""
    place = np.zeros(len(group), int)
    for g in range(groups):
        place[group == g] = np.arange((group == g).sum())
    table = np.zeros((columns.shape[1], place.max() + 1, groups))
    table[:, place, group] = columns.T
    return table


# -- regressions ------------------------------------------------------------------------------------------


def regression_prior(z: Array) -> Array:
    """An intercept in the first place, then coefficients."""
    return normal_prior(z[0], 5) + normal_prior(z[1:], 2)


def logistic_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    return ((1 - 2 * y) * with_ones(x),)


def logistic_density(s: Statistics, z: Array) -> Array:
    return regression_prior(z) - softplus(z @ s[0]).sum()


def counts_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    """Distinct rows, how many there are of each, and X'y."""
    distinct, count = np.unique(x, axis=0, return_counts=True)
    return with_ones(distinct), count.astype(float), with_ones(x) @ y, np.float64(0)


def binomial_statistics(x: np.ndarray, total: np.ndarray, y: np.ndarray) -> Statistics:
    ways = gammaln64(total + 1.0) - gammaln64(y + 1.0) - gammaln64(total - y + 1.0)
    return with_ones(x), total.astype(float), with_ones(x) @ y, ways.sum()


def counts_density(s: Statistics, z: Array) -> Array:
    design, count, known, constant = s
    return regression_prior(z) + jnp.dot(known, z) - jnp.dot(count, softplus(z @ design)) + constant


def poisson_statistics(year: np.ndarray, y: np.ndarray) -> Statistics:
    design = year ** np.arange(4)[:, None]
    return design, design @ y, -gammaln64(y + 1.0).sum()


def poisson_density(s: Statistics, z: Array) -> Array:
    design, known, constant = s
    return regression_prior(z) + jnp.dot(known, z) - jnp.exp(z @ design).sum() + constant


def glmm_statistics(group: np.ndarray, x: np.ndarray, y: np.ndarray, groups: int) -> Statistics:
    """A table (members, groups) of covariates and of weights, and the sums of counts."""
    covariate, weight = padded(group, groups, np.column_stack([x, np.ones(len(x))]))
    return covariate, weight, np.bincount(group, y, groups), x @ y, -gammaln64(y + 1.0).sum()


def glmm_density(s: Statistics, z: Array) -> Array:
    covariate, weight, by_group, by_x, constant = s
    level, slope, log_sd, effect = z[0], z[1], z[2], z[3:]
    rates = jnp.exp(level + effect) * (weight * jnp.exp(slope * covariate)).sum(axis=0)
    rows = jnp.dot(by_group, level + effect) + by_x * slope - rates.sum() + constant
    priors = normal_prior(level, 2) + normal_prior(slope, 1) + half_normal_prior(log_sd, 1)
    return rows + priors + normal_around(effect, 0, log_sd)


def multilevel_statistics(group: np.ndarray, x: np.ndarray, y: np.ndarray, groups: int) -> Statistics:
    """A table (members, groups) of signs and of signed covariates."""
    sign = 1.0 - 2 * y
    signs, covariate = padded(group, groups, np.column_stack([sign, sign * x]))
    return signs, covariate, np.abs(signs)


def multilevel_density(s: Statistics, z: Array) -> Array:
    sign, covariate, weight = s
    level, log_sd, slope, intercept = z[0], z[1], z[2], z[3:]
    rows = -(weight * softplus(sign * intercept + slope * covariate)).sum()
    priors = normal_prior(level, 2) + half_normal_prior(log_sd, 1) + normal_prior(slope, 1)
    return rows + priors + normal_around(intercept, level, log_sd)


def negative_binomial_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    """Distinct rows with their number and sum of y; distinct y with theirs."""
    distinct, row, count = np.unique(x, axis=0, return_inverse=True, return_counts=True)
    values, times = np.unique(y, return_counts=True)
    known, constant = with_ones(x) @ y, -gammaln64(y + 1.0).sum()
    total = np.bincount(row.ravel(), y)
    return with_ones(distinct), count.astype(float), total, values.astype(float), times.astype(float), known, constant


def negative_binomial_density(s: Statistics, z: Array) -> Array:
    design, count, total, values, times, known, constant = s
    beta, log_k = z[:-1], z[-1]
    k = jnp.exp(log_k)
    # log(k + mu) = log k + softplus(eta - log k)
    spread = softplus(beta @ design - log_k)
    rows = jnp.dot(known, beta) - jnp.dot(total + k * count, spread) - log_k * total.sum()
    gammas = jnp.dot(times, gammaln(values + k) - gammaln(k)) + constant
    return rows + gammas + normal_prior(beta[0], 2) + normal_prior(beta[1:], 1) + half_normal_prior(log_k, 2)


def ordinal_statistics(x: np.ndarray, y: np.ndarray, classes: int) -> Statistics:
    """Of each row the cut above it and the one below, as columns of one design; and rows between cuts."""
    upper = np.eye(classes)[y][:, :-1]
    lower = np.eye(classes)[y][:, 1:]
    above = np.column_stack([-upper, x])[y < classes - 1]
    below = np.column_stack([lower, -x])[y > 0]
    between = np.bincount(y, minlength=classes)[1:-1]
    return np.vstack([above, below]).T, between.astype(float)


def ordinal_density(s: Statistics, z: Array) -> Array:
    """With sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), and cuts a cumulative sum of exp."""
    design, between = s
    cuts = between.shape[0] + 1
    gaps = jnp.exp(z[1:cuts])
    both = jnp.concatenate([z[0] + jnp.concatenate([jnp.zeros(1), jnp.cumsum(gaps)]), z[cuts:]])
    rows = jnp.dot(between, jnp.log(-jnp.expm1(-gaps))) - softplus(both @ design).sum()
    return rows + normal_prior(z[:cuts], 3) + normal_prior(z[cuts:], 2)


def multinomial_statistics(x: np.ndarray, y: np.ndarray, classes: int) -> Statistics:
    design = with_ones(x)
    return design, design @ np.eye(classes)[y]


def multinomial_density(s: Statistics, z: Array) -> Array:
    design, known = s
    coefficients = z.reshape(known.shape)
    logits = coefficients.T @ design
    return jnp.sum(known * coefficients) - logsumexp(logits, axis=0).sum() + normal_prior(z, 1)


def student_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    return with_ones(x), y


def student_density(s: Statistics, z: Array) -> Array:
    design, y = s
    beta, log_df, log_sigma = z[:-2], z[-2], z[-1]
    df, n = jnp.exp(log_df), y.shape[0]
    rows = -0.5 * (df + 1) * jnp.log1p((y - beta @ design) ** 2 * jnp.exp(-2 * log_sigma - log_df)).sum()
    each = gammaln(0.5 * (df + 1)) - gammaln(0.5 * df) - 0.5 * (log_df + math.log(math.pi)) - log_sigma
    gamma = 2 * math.log(0.1) + 2 * log_df - 0.1 * df
    coefficients = normal_prior(beta[0], 2) + normal_prior(beta[1:], 1)
    return rows + n * each + gamma + coefficients + half_normal_prior(log_sigma, 2)


def gamma_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    design = with_ones(x)
    return design, y, design.sum(axis=1), np.log(y).sum()


def gamma_density(s: Statistics, z: Array) -> Array:
    design, y, ones, log_y = s
    beta, log_shape = z[:-1], z[-1]
    shape, n = jnp.exp(log_shape), y.shape[0]
    rows = -shape * (jnp.dot(ones, beta) + jnp.dot(y, jnp.exp(-(beta @ design)))) + (shape - 1) * log_y
    constants = n * (shape * log_shape - gammaln(shape))
    return rows + constants + normal_prior(beta[0], 2) + normal_prior(beta[1:], 1) + half_normal_prior(log_shape, 3)


def ar5_statistics(y: np.ndarray) -> Statistics:
    lagged = np.column_stack([np.ones(len(y) - 5)] + [y[5 - lag : -lag] for lag in range(1, 6)])
    return least_squares(lagged, y[5:])


def ar5_density(s: Statistics, z: Array) -> Array:
    priors = normal_prior(z[0], 2) + normal_prior(z[1:6], 1) + half_normal_prior(z[6], 2)
    return normal_rows(squares_around(s, z[:6]), s[-1], z[6]) + priors


# -- the others -------------------------------------------------------------------------------------------


def irt_statistics(person: np.ndarray, item: np.ndarray, y: np.ndarray, persons: int, items: int) -> Statistics:
    """A table (items, persons) of signs."""
    sign = np.zeros((items, persons))
    sign[item, person] = 1 - 2 * y
    return (sign,)


def irt_density(s: Statistics, z: Array) -> Array:
    (sign,) = s
    items, persons = sign.shape
    ability, log_a, difficulty = z[:persons], z[persons : persons + items], z[persons + items :]
    logits = jnp.exp(log_a)[:, None] * (ability - difficulty[:, None])
    steepness = -0.125 * jnp.sum(jnp.exp(2 * log_a)) + items * math.log(math.sqrt(2 / math.pi) / 2) + log_a.sum()
    return normal_prior(ability, 1) + steepness + normal_prior(difficulty, 2) - softplus(sign * logits).sum()


def half_normal_priors(log_x: Array, scale: float) -> Array:
    """Of HalfNormal(scale), with the log Jacobian of exp, summed."""
    constant = log_x.size * math.log(math.sqrt(2 / math.pi) / scale)
    return -0.5 / scale**2 * jnp.exp(2 * log_x).sum() + log_x.sum() + constant


def mixture_statistics(y: np.ndarray) -> Statistics:
    return (y,)


def mixture_density(s: Statistics, z: Array) -> Array:
    """One logaddexp of two quadratics: the first, and a softplus of their difference."""
    (y,) = s
    log_w, log_v, mu, log_sigma = -softplus(-z[0]), -softplus(z[0]), z[1:3], z[3:5]
    level = jnp.stack([log_w, log_v]) - log_sigma
    one, two = (level[i] - 0.5 * ((y - mu[i]) * jnp.exp(-log_sigma[i])) ** 2 for i in (0, 1))
    rows = (one + softplus(two - one)).sum() - 0.5 * y.shape[0] * math.log(2 * math.pi)
    return rows + log_w + log_v + normal_prior(mu, 5) + half_normal_priors(log_sigma, 3)


def hmm_statistics(y: np.ndarray) -> Statistics:
    return (y,)


def hmm_density(s: Statistics, z: Array) -> Array:
    """Emissions at once; the recursion as a tree of products of 2 × 2 matrices, each scaled by its largest entry."""
    (y,) = s
    logits, mu, log_sigma = z[:2], z[2:4], z[4:6]
    one = jax.nn.sigmoid(logits)
    move = jnp.stack([one, 1 - one], axis=1)
    jacobian = -(softplus(logits) + softplus(-logits)).sum()
    emission = -0.5 * ((y - mu[:, None]) * jnp.exp(-log_sigma[:, None])) ** 2 - log_sigma[:, None]
    largest = emission.max(axis=0)
    weight = jnp.exp(emission - largest)
    chain = product_of(move[:, :, None] * weight[None, :, 1:])
    last = jnp.log((0.5 * weight[:, 0]) @ chain[0] @ jnp.ones(2)) + chain[1]
    constant = largest.sum() - 0.5 * y.shape[0] * math.log(2 * math.pi)
    return last + constant + jacobian + normal_prior(mu, 5) + half_normal_priors(log_sigma, 3)


def product_of(matrices: Array) -> tuple[Array, Array]:
    """Of (2, 2, n) in their order: (the product, the log of its scale)."""
    log_scale = jnp.zeros(())
    while (n := matrices.shape[-1]) > 1:
        left, right, odd = matrices[..., 0 : n - 1 : 2], matrices[..., 1::2], matrices[..., n - n % 2 :]
        paired = left[:, 0, None] * right[None, 0] + left[:, 1, None] * right[None, 1]
        scale = paired.max(axis=(0, 1))
        log_scale = log_scale + jnp.log(scale).sum()
        matrices = jnp.concatenate([paired / scale, odd], axis=-1)
    return matrices[..., 0], log_scale


def lda_statistics(document: np.ndarray, word: np.ndarray, documents: int, words: int, topics: int) -> Statistics:
    """The pairs that occur and how often; the last three have the sizes as their lengths."""
    pairs, count = np.unique(np.column_stack([document, word]), axis=0, return_counts=True)
    return *pairs.T, count.astype(float), np.zeros(documents), np.zeros(words), np.zeros(topics)


def lda_density(s: Statistics, z: Array) -> Array:
    document, word, count = s[:3]
    documents, words, topics = (x.shape[0] for x in s[3:])
    split = topics * (words - 1)
    phi, phi_jacobian = simplex(z[:split].reshape(topics, words - 1))
    theta, theta_jacobian = simplex(z[split:].reshape(documents, topics - 1))
    rows = jnp.dot(count, jnp.log((theta.T[:, document] * phi[:, word]).sum(axis=0)))
    constants = dirichlet_constant(0.5, words, topics) + dirichlet_constant(1, topics, documents)
    return rows - 0.5 * jnp.log(phi).sum() + constants + phi_jacobian + theta_jacobian


@jax.custom_vjp
def centred_normal(covariance: Array, y: Array) -> Array:
    """The log density of N(0, covariance) at y, without a derivative of the Cholesky factor."""
    return centred_normal_forward(covariance, y)[0]


def centred_normal_forward(covariance: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
    factor = jnp.linalg.cholesky(covariance)
    inverse = solve_triangular(factor, jnp.eye(y.shape[0]), lower=True)
    u = inverse @ y
    value = -0.5 * jnp.dot(u, u) - jnp.log(jnp.diag(factor)).sum() - 0.5 * y.shape[0] * math.log(2 * math.pi)
    return value, (inverse, u)


def centred_normal_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Half of a a' - K⁻¹ with a = K⁻¹ y (Rasmussen & Williams 2006, 5.9)."""
    inverse, u = kept
    a = inverse.T @ u
    return 0.5 * gradient * (jnp.outer(a, a) - inverse.T @ inverse), -gradient * a


centred_normal.defvjp(centred_normal_forward, centred_normal_backward)


def gp_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    return (x[:, None] - x) ** 2, y


def gp_density(s: Statistics, z: Array) -> Array:
    distance, y = s
    kernel = jnp.exp(2 * z[0] - 0.5 * distance * jnp.exp(-2 * z[1]))
    rows = centred_normal(kernel + (jnp.exp(2 * z[2]) + JITTER) * jnp.eye(y.shape[0]), y)
    return rows + half_normal_priors(z[:2], 2) + half_normal_prior(z[2], 1)


def network_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    return x.T, 1 - 2.0 * y


def network_density(s: Statistics, z: Array) -> Array:
    x, sign = s
    split = 10 * x.shape[0]
    first, second, third = z[:split].reshape(-1, 10), z[split : split + 100].reshape(10, 10), z[split + 100 :]
    logits = third @ jnp.tanh(second.T @ jnp.tanh(first.T @ x))
    return normal_prior(z, 1) - softplus(sign * logits).sum()


def annotators_statistics(
    annotator: np.ndarray, truth: np.ndarray, label: np.ndarray, count: int, classes: int
) -> Statistics:
    """How often each annotator gave each label to each class."""
    counts = np.zeros((count, classes, classes))
    np.add.at(counts, (annotator, truth, label), 1)
    return (counts,)


def annotators_density(s: Statistics, z: Array) -> Array:
    (counts,) = s
    count, classes, _ = counts.shape
    confusion, jacobian = simplex(z.reshape(count, classes, classes - 1))
    return jnp.sum(counts * jnp.log(confusion)) + jacobian + dirichlet_constant(1, classes, count * classes)


logistic = Hand(logistic_statistics, logistic_density)
logistic_counts = Hand(counts_statistics, counts_density)
binomial = Hand(binomial_statistics, counts_density)
poisson = Hand(poisson_statistics, poisson_density)
glmm = Hand(glmm_statistics, glmm_density)
multilevel = Hand(multilevel_statistics, multilevel_density)
negative_binomial = Hand(negative_binomial_statistics, negative_binomial_density)
ordinal = Hand(ordinal_statistics, ordinal_density)
multinomial = Hand(multinomial_statistics, multinomial_density)
student = Hand(student_statistics, student_density)
gamma = Hand(gamma_statistics, gamma_density)
ar5 = Hand(ar5_statistics, ar5_density)
irt = Hand(irt_statistics, irt_density)
mixture = Hand(mixture_statistics, mixture_density)
hmm = Hand(hmm_statistics, hmm_density)
lda = Hand(lda_statistics, lda_density)
gp = Hand(gp_statistics, gp_density)
network = Hand(network_statistics, network_density)
annotators = Hand(annotators_statistics, annotators_density)
