"""The model of the golden JSON, in a file of its own so that its lines stay."""

import numpy as np
import numpyro.distributions as dist

import plait

ARGS = (np.array([1.0, 2.0, 3.0], np.float32), np.zeros(3, np.float32))
OFFSET = np.array([0.5, 0.25, 0.125], np.float32)


def model(x, y):
    slope = plait.sample("slope", dist.Normal(0.0, 2.0))
    with plait.plate("rows", 3):
        mean = plait.deterministic("mean", slope * x + OFFSET)
        plait.sample("y", dist.Normal(mean, 1.0), obs=y)
    return mean
