"""Eight schools: the effect of coaching on test scores, with shrinkage that the data decide.

Each school's estimate `y` comes with its standard error `sigma`. Rubin (1981), Estimation in parallel
randomized experiments; the priors are those of NumPyro's and BlackJAX's examples.

Run `plait sample examples/eight_schools.py --target-accept 0.9`, or this file.
"""

import jax
import numpy as np
import numpyro.distributions as dist

import plait


def eight_schools(sigma, y=None):
    mu = plait.sample("mu", dist.Normal(0, 5))
    tau = plait.sample("tau", dist.HalfCauchy(5))
    with plait.plate("schools", sigma.shape[0]):
        # The standardized effects keep NUTS out of the funnel between tau and theta.
        raw = plait.sample("raw", dist.Normal(0, 1))
        theta = plait.deterministic("theta", mu + tau * raw)
        plait.sample("obs", dist.Normal(theta, sigma), obs=y)


def data():
    return {
        "sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
        "y": np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    }


def main():
    compiled = plait.compile(eight_schools, **data())
    print(compiled.explain())
    draws = plait.samplers.blackjax.sample(compiled, jax.random.key(0), target_accept=0.9)
    print(plait.summary(draws).round(3).to_string())


if __name__ == "__main__":
    main()
