"""Radon in houses: levels and the effect of the floor vary by county, levels also with the uranium in its soil.

12,573 simulated houses in 386 counties of very different size; `main` prints the truth beside the posterior. The model
is that of Gelman and Hill (2007), Data Analysis Using Regression and Multilevel/Hierarchical Models, chapter 13.

Run `plait sample examples/radon.py`, or this file.
"""

import jax
import numpy as np
import numpyro.distributions as dist

import plait

TRUTH = {
    "level_mean": 1.5,
    "by_uranium": 0.7,
    "level_sd": 0.3,
    "floor_mean": -0.6,
    "floor_sd": 0.25,
    "sigma": 0.75,
}


def radon(county, floor, uranium, log_radon=None):
    level_mean = plait.sample("level_mean", dist.Normal(0, 2))
    by_uranium = plait.sample("by_uranium", dist.Normal(0, 1))
    level_sd = plait.sample("level_sd", dist.HalfNormal(1))
    floor_mean = plait.sample("floor_mean", dist.Normal(0, 1))
    floor_sd = plait.sample("floor_sd", dist.HalfNormal(1))
    with plait.plate("counties", len(uranium)):
        level = plait.sample("level", dist.Normal(level_mean + by_uranium * uranium, level_sd))
        # A county has few houses measured upstairs: standardized, the effects let NUTS move floor_sd freely.
        floor_raw = plait.sample("floor_raw", dist.Normal(0, 1))
        by_floor = plait.deterministic("by_floor", floor_mean + floor_sd * floor_raw)
    sigma = plait.sample("sigma", dist.HalfNormal(1))
    with plait.plate("houses", len(county)):
        plait.sample("log_radon", dist.Normal(level[county] + by_floor[county] * floor, sigma), obs=log_radon)


def data(houses=12_573, counties=386):
    rng = np.random.default_rng(0)
    size = rng.lognormal(0, 1, counties)
    county = rng.choice(counties, houses, p=size / size.sum())
    floor = rng.binomial(1, 0.2, houses).astype(float)
    uranium = rng.normal(0, 0.4, counties)
    level = rng.normal(TRUTH["level_mean"] + TRUTH["by_uranium"] * uranium, TRUTH["level_sd"])
    by_floor = rng.normal(TRUTH["floor_mean"], TRUTH["floor_sd"], counties)
    log_radon = rng.normal(level[county] + by_floor[county] * floor, TRUTH["sigma"])
    return {"county": county, "floor": floor, "uranium": uranium, "log_radon": log_radon}


def main():
    compiled = plait.compile(radon, **data())
    print(compiled.explain())
    # 15 to 63 gradients a draw; without the limit of 2**6 the first steps of the warm-up take most of the time.
    draws = plait.samplers.blackjax.sample(compiled, jax.random.key(0), warmup=500, draws=500, max_treedepth=6)
    summary = plait.summary(draws).round(3)
    print(summary.loc[list(TRUTH)].assign(truth=TRUTH).to_string())


if __name__ == "__main__":
    main()
