"""What a value and gradient costs where rows are not Gaussian: plait, NumPyro, and JAX written by hand.

    python benchmarks/fusion.py [--models wells irt] [--rounds 9] [--x64] [--json FILE]

Regressions of the generalized linear kind, with and without groups (wells, logistic, poisson, glmm, multilevel,
randhie, star98, anes96, fair, digits, diabetes, claims), item response, mixtures, LDA, annotators, an HMM, an
autoregression, Gaussian processes and a neural network. Data are drawn from the models, in the shape of the published
ones, or come with statsmodels and scikit-learn. Each model is written once, as a user would; `fusion_by_hand.py` is
what an expert would write instead. Where that would be NumPyro's own form, nothing is written by hand. All are
compared at the point where they start: value and gradient, or the script stops.

  in a jit  microseconds for a value and gradient in a jitted `fori_loop` of gradient steps, whose values are summed.
            Data and statistics are its arguments, not its constants, so that XLA folds nothing of them.
  Python    microseconds for a call from Python that waits for value and gradient.

Medians over rounds, in one process that runs them in turn. CPU microseconds add up over cores; the ratios are theirs.

Asynchronous dispatch: on a CPU jax runs a small computation in the thread that called it, and hands a larger one (of
more than about 1,000 operations, or with a loop or a library call in it) to another thread and returns at once; to
wait for that costs some 30 µs. So a step over that line shows in 'Python' and not 'in a jit'.
`jax.config.update("jax_cpu_enable_async_dispatch", False)` at the start of a program avoids it; here it is as jax
sets it.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import fusion_by_hand as hand
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from side_by_side import (
    Array,
    Data,
    Hand,
    Model,
    arguments,
    by_place,
    prepared,
    ratio,
    report,
    require_agreement,
)
from sklearn.datasets import load_diabetes, load_digits
from statsmodels.datasets import anes96, fair, randhie, star98

from plait.timing import PLACES, Prepared

ROUNDING = 3000  # units of the last place that value and gradient may differ by, relative to the largest entry


# -- models, as a user writes them ------------------------------------------------------------------------


def logistic(ppl: ModuleType, x: Array, y: Array) -> None:
    level = ppl.sample("level", dist.Normal(0, 5))
    beta = ppl.sample("beta", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Bernoulli(logits=level + x @ beta), obs=y)


def poisson(ppl: ModuleType, year: Array, y: Array) -> None:
    """Counts of birds over the years, a cubic in the exponent (Kéry & Schaub 2012, ch. 3)."""
    level = ppl.sample("level", dist.Normal(0, 5))
    by_year = ppl.sample("by_year", dist.Normal(0, 2))
    by_square = ppl.sample("by_square", dist.Normal(0, 2))
    by_cube = ppl.sample("by_cube", dist.Normal(0, 2))
    with ppl.plate("years", len(y)):
        rate = jnp.exp(level + by_year * year + by_square * year**2 + by_cube * year**3)
        ppl.sample("y", dist.Poisson(rate), obs=y)


def glmm(ppl: ModuleType, group: Array, x: Array, y: Array, groups: int) -> None:
    """Poisson regression with a random effect for each group."""
    level = ppl.sample("level", dist.Normal(0, 2))
    slope = ppl.sample("slope", dist.Normal(0, 1))
    group_sd = ppl.sample("group_sd", dist.HalfNormal(1))
    with ppl.plate("groups", groups):
        effect = ppl.sample("effect", dist.Normal(0, group_sd))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Poisson(jnp.exp(level + effect[group] + slope * x)), obs=y)


def multilevel(ppl: ModuleType, group: Array, x: Array, y: Array, groups: int) -> None:
    """Logistic regression with an intercept for each group."""
    level = ppl.sample("level", dist.Normal(0, 2))
    group_sd = ppl.sample("group_sd", dist.HalfNormal(1))
    slope = ppl.sample("slope", dist.Normal(0, 1))
    with ppl.plate("groups", groups):
        intercept = ppl.sample("intercept", dist.Normal(level, group_sd))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Bernoulli(logits=intercept[group] + slope * x), obs=y)


def irt(ppl: ModuleType, person: Array, item: Array, y: Array, persons: int, items: int) -> None:
    """Two parameters for each item: how well it discriminates, and how difficult it is."""
    with ppl.plate("persons", persons):
        ability = ppl.sample("ability", dist.Normal(0, 1))
    with ppl.plate("items", items):
        steepness = ppl.sample("steepness", dist.HalfNormal(2))
        difficulty = ppl.sample("difficulty", dist.Normal(0, 2))
    with ppl.plate("answers", len(y)):
        logits = steepness[item] * (ability[person] - difficulty[item])
        ppl.sample("y", dist.Bernoulli(logits=logits), obs=y)


def mixture(ppl: ModuleType, y: Array) -> None:
    """Two normal components."""
    weights = ppl.sample("weights", dist.Dirichlet(jnp.ones(2)))
    mu = ppl.sample("mu", dist.Normal(0, 5).expand([2]).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfNormal(3).expand([2]).to_event(1))
    with ppl.plate("rows", len(y)):
        components = dist.MixtureSameFamily(dist.Categorical(probs=weights), dist.Normal(mu, sigma))
        ppl.sample("y", components, obs=y)


def mixture_factor(ppl: ModuleType, y: Array) -> None:
    """`mixture` with its sum over components written out."""
    weights = ppl.sample("weights", dist.Dirichlet(jnp.ones(2)))
    mu = ppl.sample("mu", dist.Normal(0, 5).expand([2]).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfNormal(3).expand([2]).to_event(1))
    each = jnp.log(weights) + dist.Normal(mu, sigma).log_prob(y[:, None])
    ppl.factor("y", logsumexp(each, axis=-1).sum())


def ar5(ppl: ModuleType, y: Array) -> None:
    """An autoregression on five lags."""
    level = ppl.sample("level", dist.Normal(0, 2))
    beta = ppl.sample("beta", dist.Normal(0, 1).expand([5]).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfNormal(2))
    mean = level
    for lag in range(1, 6):
        mean = mean + beta[lag - 1] * y[5 - lag : -lag]
    with ppl.plate("times", len(y) - 5):
        ppl.sample("y", dist.Normal(mean, sigma), obs=y[5:])


def hmm(ppl: ModuleType, y: Array) -> None:
    """Two states, summed out by the forward recursion, from equal chances at the start."""
    with ppl.plate("states", 2):
        move = ppl.sample("move", dist.Dirichlet(jnp.ones(2)))
        mu = ppl.sample("mu", dist.Normal(0, 5))
        sigma = ppl.sample("sigma", dist.HalfNormal(3))

    def step(alpha: Array, y: Array) -> tuple[Array, None]:
        alpha = logsumexp(alpha[:, None] + jnp.log(move), axis=0)
        return alpha + dist.Normal(mu, sigma).log_prob(y), None

    first = jnp.log(0.5) + dist.Normal(mu, sigma).log_prob(y[0])
    last, _ = jax.lax.scan(step, first, y[1:])
    ppl.factor("y", logsumexp(last))


def lda(ppl: ModuleType, document: Array, word: Array, documents: int, words: int, topics: int) -> None:
    """Topics of words, summed out (Blei, Ng & Jordan 2003)."""
    with ppl.plate("topics", topics):
        phi = ppl.sample("phi", dist.Dirichlet(0.5 * jnp.ones(words)))
    with ppl.plate("documents", documents):
        theta = ppl.sample("theta", dist.Dirichlet(jnp.ones(topics)))
    with ppl.plate("tokens", len(word)):
        ppl.sample("word", dist.Categorical(probs=theta[document] @ phi), obs=word)


def gp(ppl: ModuleType, x: Array, y: Array) -> None:
    """A Gaussian process with a squared exponential kernel and normal noise."""
    height = ppl.sample("height", dist.HalfNormal(2))
    length = ppl.sample("length", dist.HalfNormal(2))
    noise = ppl.sample("noise", dist.HalfNormal(1))
    kernel = height**2 * jnp.exp(-0.5 * ((x[:, None] - x) / length) ** 2)
    covariance = kernel + (noise**2 + hand.JITTER) * jnp.eye(len(y))
    ppl.sample("y", dist.MultivariateNormal(jnp.zeros(len(y)), covariance_matrix=covariance), obs=y)


def network(ppl: ModuleType, x: Array, y: Array) -> None:
    """Two hidden layers of ten."""
    first = ppl.sample("first", dist.Normal(0, 1).expand([x.shape[1], 10]).to_event(2))
    second = ppl.sample("second", dist.Normal(0, 1).expand([10, 10]).to_event(2))
    third = ppl.sample("third", dist.Normal(0, 1).expand([10]).to_event(1))
    with ppl.plate("rows", len(y)):
        logits = jnp.tanh(jnp.tanh(x @ first) @ second) @ third
        ppl.sample("y", dist.Bernoulli(logits=logits), obs=y)


def negative_binomial(ppl: ModuleType, x: Array, y: Array) -> None:
    level = ppl.sample("level", dist.Normal(0, 2))
    beta = ppl.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    concentration = ppl.sample("concentration", dist.HalfNormal(2))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.NegativeBinomial2(jnp.exp(level + x @ beta), concentration), obs=y)


def binomial(ppl: ModuleType, x: Array, total: Array, y: Array) -> None:
    level = ppl.sample("level", dist.Normal(0, 5))
    beta = ppl.sample("beta", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Binomial(total, logits=level + x @ beta), obs=y)


def ordinal(ppl: ModuleType, x: Array, y: Array, classes: int) -> None:
    base = dist.Normal(0, 3).expand([classes - 1]).to_event(1)
    cuts = ppl.sample("cuts", dist.TransformedDistribution(base, dist.transforms.OrderedTransform()))
    beta = ppl.sample("beta", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.OrderedLogistic(x @ beta, cuts), obs=y)


def annotators(ppl: ModuleType, annotator: Array, truth: Array, label: Array, count: int, classes: int) -> None:
    """How each annotator confuses classes that are known (Dawid & Skene 1979)."""
    with ppl.plate("annotators", count, dim=-2), ppl.plate("classes", classes, dim=-1):
        confusion = ppl.sample("confusion", dist.Dirichlet(jnp.ones(classes)))
    with ppl.plate("labels", len(label)):
        ppl.sample("label", dist.Categorical(probs=confusion[annotator, truth]), obs=label)


def multinomial(ppl: ModuleType, x: Array, y: Array, classes: int) -> None:
    level = ppl.sample("level", dist.Normal(0, 1).expand([classes]).to_event(1))
    beta = ppl.sample("beta", dist.Normal(0, 1).expand([x.shape[1], classes]).to_event(2))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Categorical(logits=level + x @ beta), obs=y)


def student(ppl: ModuleType, x: Array, y: Array) -> None:
    """Linear regression with Student-t errors."""
    level = ppl.sample("level", dist.Normal(0, 2))
    beta = ppl.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    df = ppl.sample("df", dist.Gamma(2, 0.1))
    sigma = ppl.sample("sigma", dist.HalfNormal(2))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.StudentT(df, level + x @ beta, sigma), obs=y)


def gamma(ppl: ModuleType, x: Array, y: Array) -> None:
    level = ppl.sample("level", dist.Normal(0, 2))
    beta = ppl.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    shape = ppl.sample("shape", dist.HalfNormal(3))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Gamma(shape, shape / jnp.exp(level + x @ beta)), obs=y)


# -- data -------------------------------------------------------------------------------------------------


def chance(eta: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-eta))


def standardized(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def logistic_data(rng: np.random.Generator, n: int, columns: int) -> Data:
    x = rng.normal(size=(n, columns))
    return {"x": x, "y": rng.binomial(1, chance(0.3 + x @ rng.normal(0, 0.5, columns)))}


def poisson_data(rng: np.random.Generator, n: int = 40) -> Data:
    year = np.linspace(-1, 1, n)
    return {"year": year, "y": rng.poisson(np.exp(4.3 + 1.8 * year + 0.1 * year**2 - 1.2 * year**3))}


def glmm_data(rng: np.random.Generator, n: int = 400, groups: int = 40) -> Data:
    group, x = np.sort(rng.integers(groups, size=n)), rng.normal(size=n)
    return {"group": group, "x": x, "y": rng.poisson(np.exp(0.7 + rng.normal(0, 0.5, groups)[group] + 0.3 * x))}


def multilevel_data(rng: np.random.Generator, n: int = 3020, groups: int = 50) -> Data:
    group, x = np.sort(rng.integers(groups, size=n)), rng.normal(size=n)
    return {"group": group, "x": x, "y": rng.binomial(1, chance(rng.normal(0.3, 0.8, groups)[group] - 0.6 * x))}


def irt_data(rng: np.random.Generator, persons: int = 100, items: int = 20) -> Data:
    person, item = np.repeat(np.arange(persons), items), np.tile(np.arange(items), persons)
    steepness, difficulty = rng.lognormal(0, 0.3, items), rng.normal(size=items)
    logits = steepness[item] * (rng.normal(size=persons)[person] - difficulty[item])
    return {"person": person, "item": item, "y": rng.binomial(1, chance(logits))}


def mixture_data(rng: np.random.Generator, n: int = 1000) -> Data:
    return {"y": np.where(rng.uniform(size=n) < 0.3, rng.normal(-2, 1, n), rng.normal(2, 0.7, n))}


def ar5_data(rng: np.random.Generator, n: int = 200) -> Data:
    y = rng.normal(size=n)
    for t in range(5, n):
        y[t] += y[t - 5 : t] @ [0.05, -0.1, 0.1, 0.2, 0.4]
    return {"y": y}


def hmm_data(rng: np.random.Generator, n: int = 100) -> Data:
    state = np.cumsum(rng.uniform(size=n) < 0.1) % 2
    return {"y": rng.normal(3.0 * state, 1.0)}


def lda_data(rng: np.random.Generator, n: int = 500, documents: int = 20, words: int = 50, topics: int = 3) -> Data:
    phi, theta = rng.dirichlet(np.full(words, 0.2), topics), rng.dirichlet(np.full(topics, 0.5), documents)
    document = np.sort(rng.integers(documents, size=n))
    return {"document": document, "word": np.array([rng.choice(words, p=p) for p in theta[document] @ phi])}


def gp_data(rng: np.random.Generator, n: int) -> Data:
    x = np.linspace(-5, 5, n)
    return {"x": x, "y": np.sin(x) + rng.normal(0, 0.3, n)}


def network_data(rng: np.random.Generator, n: int = 200, columns: int = 3) -> Data:
    x = rng.normal(size=(n, columns))
    return {"x": x, "y": rng.binomial(1, chance(3 * np.sin(2 * x[:, 0]) * x[:, 1]))}


def randhie_data(_: np.random.Generator) -> Data:
    """Visits to a doctor, of every fourth person-year."""
    rows = randhie.load_pandas().data[::4]
    return {"x": standardized(rows.drop(columns="mdvis").to_numpy(float)), "y": rows["mdvis"].to_numpy()}


def star98_data(_: np.random.Generator) -> Data:
    """Pupils above the national median, of each Californian school district."""
    rows = star98.load_pandas().data
    above, below = (rows[name].to_numpy(float) for name in ("NABOVE", "NBELOW"))
    x = standardized(rows.drop(columns=["NABOVE", "NBELOW"]).to_numpy(float))
    return {"x": x, "total": above + below, "y": above}


def anes96_data(_: np.random.Generator) -> Data:
    """The party that voters identify with, on a scale of seven."""
    rows = anes96.load_pandas().data
    x = rows[["logpopul", "selfLR", "age", "educ", "income"]].to_numpy(float)
    return {"x": standardized(x), "y": rows["PID"].to_numpy(int)}


def fair_data(_: np.random.Generator) -> Data:
    """Who had an affair."""
    rows = fair.load_pandas().data
    return {"x": standardized(rows.drop(columns="affairs").to_numpy()), "y": (rows["affairs"] > 0).to_numpy(int)}


def annotators_data(rng: np.random.Generator, n: int = 1000, count: int = 5, classes: int = 4) -> Data:
    annotator, truth = rng.integers(count, size=n), rng.integers(classes, size=n)
    label = np.where(rng.uniform(size=n) < 0.7, truth, rng.integers(classes, size=n))
    return {"annotator": annotator, "truth": truth, "label": label}


def digits_data(_: np.random.Generator) -> Data:
    digits = load_digits()
    return {"x": digits.data / 16, "y": digits.target}


def diabetes_data(_: np.random.Generator) -> Data:
    diabetes = load_diabetes()
    return {"x": standardized(diabetes.data), "y": standardized(diabetes.target)}


def claims_data(rng: np.random.Generator, n: int = 2000) -> Data:
    """Sizes of insurance claims: logs of the car's value and of the mileage, the driver's age and its square."""
    value, mileage, age = rng.normal(size=n), rng.normal(size=n), standardized(rng.uniform(18, 80, n))
    x = np.column_stack([value, mileage, age, age**2 - 1])
    return {"x": x, "y": rng.gamma(2.0, np.exp(0.5 + x @ [0.3, 0.1, -0.2, 0.2]) / 2.0)}


# -- the cases --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model and where its data come from.

    Attributes:
        model: of the library and the data.
        data: of a generator.
        hand: what an expert would write, if there is anything better than NumPyro's form.
        static: arguments of model and statistics that are no data.
        inexact: an error of NumPyro's own that is larger than rounding, in float64.
    """

    model: Model
    data: Callable[[np.random.Generator], Data]
    hand: Hand | None = None
    static: Mapping[str, int] = field(default_factory=dict)
    inexact: float = 0.0


def gp_of(n: int) -> Case:
    return Case(gp, lambda rng: gp_data(rng, n), hand.gp)


CASES = {
    "wells": Case(logistic, lambda rng: logistic_data(rng, 3020, 2), hand.logistic),
    "logistic 20": Case(logistic, lambda rng: logistic_data(rng, 100_000, 20), hand.logistic),
    "poisson": Case(poisson, poisson_data, hand.poisson),
    "glmm": Case(glmm, glmm_data, hand.glmm, {"groups": 40}),
    "multilevel": Case(multilevel, multilevel_data, hand.multilevel, {"groups": 50}),
    "irt": Case(irt, irt_data, hand.irt, {"persons": 100, "items": 20}),
    "mixture": Case(mixture, mixture_data, hand.mixture),
    "mixture factor": Case(mixture_factor, mixture_data, hand.mixture),
    "ar5": Case(ar5, ar5_data, hand.ar5),
    "hmm": Case(hmm, hmm_data, hand.hmm),
    "lda": Case(lda, lda_data, hand.lda, {"documents": 20, "words": 50, "topics": 3}),
    "gp 11": gp_of(11),
    "gp 100": gp_of(100),
    "network": Case(network, network_data, hand.network),
    "randhie": Case(negative_binomial, randhie_data, hand.negative_binomial, inexact=1e-6),  # jax's betaln
    "star98": Case(binomial, star98_data, hand.binomial),
    "anes96": Case(ordinal, anes96_data, hand.ordinal, {"classes": 7}),
    "fair": Case(logistic, fair_data, hand.logistic_counts),
    "annotators": Case(annotators, annotators_data, hand.annotators, {"count": 5, "classes": 4}),
    "digits": Case(multinomial, digits_data, hand.multinomial, {"classes": 10}),
    "diabetes": Case(student, diabetes_data, hand.student),
    "claims": Case(gamma, claims_data, hand.gamma),
}


def densities(case: Case, drawn: Data) -> dict[str, Prepared]:
    """All of a case's on the same data, and in agreement."""
    found = prepared(case.model, drawn, case.static, case.hand)
    require_agreement(found, max(ROUNDING * float(np.finfo(jnp.zeros(0).dtype).eps), case.inexact))
    return found


def cases(models: Sequence[str]) -> Iterator[tuple[str, int, Callable[[], dict[str, Prepared]]]]:
    """Of these models: the name, the number of rows, and what prepares the densities."""
    for model in models:
        drawn = CASES[model].data(np.random.default_rng(0))
        yield model, len(next(iter(drawn.values()))), functools.partial(densities, CASES[model], drawn)


def summary(records: Sequence[Mapping[str, Any]]) -> str:
    """One line for each place and each of the two ratios."""
    lines = []
    for place in PLACES:
        here = {model: by for (model, _, p), by in by_place(records).items() if p == place}
        for over, under, worst in (("NumPyro", "plait", min), ("plait", "by hand", max)):
            ratios = {m: r for m, by in here.items() if (r := ratio(by, over, under)) is not None}
            if ratios:
                mean, least = statistics.geometric_mean(ratios.values()), worst(ratios, key=ratios.__getitem__)
                lines.append(
                    f"{place}: {over} / {under}"
                    f", {len(ratios)} models: geometric mean {mean:.2f}, worst {ratios[least]:.2f} ({least})"
                )
    return "\n".join(lines)


def main() -> None:
    """Prints the table and the summary."""
    options: Any = arguments(__doc__, CASES).parse_args()
    print(summary(report(options, cases(options.models))))


if __name__ == "__main__":
    main()
