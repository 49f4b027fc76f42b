"""Who sees a doctor, and how often: a two-part model of the RAND health insurance experiment.

20,190 person-years under randomly assigned insurance plans. Whether somebody goes at all has a rate for each cell of
plan and self-rated health, shrunk towards the plan's; how often those go who do is a regression on nine covariates.
Where care is free 78 % go, 56 % where the patient pays 95 %; the regression is least squares' to 0.002. Duan et al.
(1983), A comparison of alternative models for the demand for medical care; statsmodels ships the data. They do not say
which rows are the same person, so the intervals are too narrow.

Run `plait sample examples/doctor_visits.py --target-accept 0.9`, or this file.
"""

import jax
import numpy as np
import numpyro.distributions as dist
from statsmodels.datasets import randhie

import plait

COVARIATES = ["lncoins", "idp", "lpi", "fmde", "physlm", "disea", "hlthg", "hlthf", "hlthp"]
HEALTH = ["hlthg", "hlthf", "hlthp"]  # good, fair, poor; excellent if none


def doctor_visits(plan, health, n_plans, x, went=None, visits=None):
    overall = plait.sample("overall", dist.Normal(0, 1.5))
    plan_sd = plait.sample("plan_sd", dist.HalfNormal(0.5))
    cell_sd = plait.sample("cell_sd", dist.HalfNormal(0.5))
    with plait.plate("plans", n_plans, dim=-2):
        by_plan = plait.sample("by_plan", dist.Normal(overall, plan_sd))
        with plait.plate("healths", 1 + len(HEALTH), dim=-1):
            logit = plait.sample("logit", dist.Normal(by_plan, cell_sd))
    with plait.plate("people", len(plan)):
        plait.sample("went", dist.Bernoulli(logits=logit[plan, health]), obs=went)

    level = plait.sample("level", dist.Normal(0, 2))
    sigma = plait.sample("sigma", dist.HalfNormal(2))
    with plait.plate("covariates", x.shape[1]):
        beta = plait.sample("beta", dist.Normal(0, 1))
    with plait.plate("patients", x.shape[0]):
        plait.sample("visits", dist.LogNormal(level + x @ beta, sigma), obs=visits)


def data():
    table = randhie.load_pandas().data
    plans, plan = np.unique(table[["lncoins", "idp"]].to_numpy(), axis=0, return_inverse=True)
    went = table["mdvis"] > 0
    x = table.loc[went, COVARIATES]
    return {
        "plan": plan,
        "health": table[HEALTH].to_numpy() @ np.arange(1, 1 + len(HEALTH)),
        "n_plans": len(plans),
        "x": ((x - x.mean()) / x.std()).to_numpy(),
        "went": went.to_numpy(dtype=int),
        "visits": table.loc[went, "mdvis"].to_numpy(dtype=float),
    }


def main():
    compiled = plait.compile(doctor_visits, **data())
    print(compiled.explain())
    draws = plait.samplers.blackjax.sample(compiled, jax.random.key(0), target_accept=0.9)
    print(plait.summary(draws).round(3).to_string())


if __name__ == "__main__":
    main()
