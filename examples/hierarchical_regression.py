"""Grunfeld's investment data: intercepts and slopes that vary by firm.

Yearly investment of 11 firms in 1935-1954, explained by a firm's market value and its stock of capital, all
in logarithms, so the slopes are elasticities. The predictors are centered by firm, so an intercept is a firm's
own level. Grunfeld (1958), The determinants of corporate investment; statsmodels ships the data.

Run `plait sample examples/hierarchical_regression.py --target-accept 0.9`, or this file.
"""

import jax
import numpy as np
import numpyro.distributions as dist
from statsmodels.datasets import grunfeld

import plait


def investment(firm, value, capital, n_firms, invest=None):
    level_mean = plait.sample("level_mean", dist.Normal(0, 2))
    level_sd = plait.sample("level_sd", dist.HalfNormal(2))
    value_mean = plait.sample("value_mean", dist.Normal(0, 1))
    value_sd = plait.sample("value_sd", dist.HalfNormal(0.5))
    capital_mean = plait.sample("capital_mean", dist.Normal(0, 1))
    capital_sd = plait.sample("capital_sd", dist.HalfNormal(0.5))
    with plait.plate("firms", n_firms):
        level = plait.sample("level", dist.Normal(level_mean, level_sd))
        # The slopes by value differ little: standardized, they keep NUTS out of the funnel at value_sd = 0.
        value_raw = plait.sample("value_raw", dist.Normal(0, 1))
        by_value = plait.deterministic("by_value", value_mean + value_sd * value_raw)
        by_capital = plait.sample("by_capital", dist.Normal(capital_mean, capital_sd))
    sigma = plait.sample("sigma", dist.HalfNormal(1))
    with plait.plate("years", firm.shape[0]):
        mean = level[firm] + by_value[firm] * value + by_capital[firm] * capital
        plait.sample("invest", dist.Normal(mean, sigma), obs=invest)


def data():
    table = grunfeld.load_pandas().data
    logs = np.log(table[["value", "capital", "invest"]])
    centered = logs - logs.groupby(table["firm"]).transform("mean")
    names, firm = np.unique(table["firm"].to_numpy(dtype=str), return_inverse=True)
    return {
        "firm": firm,
        "n_firms": len(names),
        "value": centered["value"].to_numpy(),
        "capital": centered["capital"].to_numpy(),
        "invest": (logs["invest"] - logs["invest"].mean()).to_numpy(),
    }


def main():
    compiled = plait.compile(investment, **data())
    print(compiled.explain())
    draws = plait.samplers.blackjax.sample(compiled, jax.random.key(0), target_accept=0.9)
    print(plait.summary(draws).round(3).to_string())


if __name__ == "__main__":
    main()
