"""Logistic regression: is a tumour benign, given 30 measurements of its cells?

569 patients of the Wisconsin breast cancer study, features standardized; scikit-learn ships the data.

Run `plait sample examples/logistic_regression.py`, or this file.
"""

import jax
import numpyro.distributions as dist
from sklearn.datasets import load_breast_cancer

import plait


def benign(x, y=None):
    rows, features = x.shape
    intercept = plait.sample("intercept", dist.Normal(0, 2))
    with plait.plate("features", features):
        beta = plait.sample("beta", dist.Normal(0, 1))
    with plait.plate("patients", rows):
        plait.sample("y", dist.Bernoulli(logits=intercept + x @ beta), obs=y)


def data():
    x, y = load_breast_cancer(return_X_y=True)
    return {"x": (x - x.mean(axis=0)) / x.std(axis=0), "y": y}


def main():
    compiled = plait.compile(benign, **data())
    print(compiled.explain())
    draws = plait.samplers.blackjax.sample(compiled, jax.random.key(0))
    print(plait.summary(draws).round(3).to_string())


if __name__ == "__main__":
    main()
