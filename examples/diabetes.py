"""Linear regression: how far has diabetes progressed a year later, given 10 measurements?

442 patients, everything standardized; scikit-learn ships the data. Efron, Hastie, Johnstone and Tibshirani (2004),
Least angle regression. The coefficients agree with scikit-learn's `BayesianRidge` to 0.04.

Run `plait sample examples/diabetes.py`, or this file.
"""

import jax
import numpyro.distributions as dist
from sklearn.datasets import load_diabetes

import plait


def progression(x, y=None):
    rows, features = x.shape
    intercept = plait.sample("intercept", dist.Normal(0, 1))
    # Some of the blood values are nearly collinear: least squares gives them -0.49, 0.29 and 0.46, this prior less.
    spread = plait.sample("spread", dist.HalfNormal(1))
    with plait.plate("features", features):
        beta = plait.sample("beta", dist.Normal(0, spread))
    sigma = plait.sample("sigma", dist.HalfNormal(1))
    with plait.plate("patients", rows):
        plait.sample("y", dist.Normal(intercept + x @ beta, sigma), obs=y)


def data():
    x, y = load_diabetes(return_X_y=True)
    return {"x": (x - x.mean(axis=0)) / x.std(axis=0), "y": (y - y.mean()) / y.std()}


def main():
    compiled = plait.compile(progression, **data())
    print(compiled.explain())
    draws = plait.samplers.blackjax.sample(compiled, jax.random.key(0))
    print(plait.summary(draws).round(3).to_string())


if __name__ == "__main__":
    main()
