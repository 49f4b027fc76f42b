"""Categorical rows of mixtures: the likelihood in 50 digits, and what is not a product of tables."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.kernels.cells import bucket
from plait.compiler.rules.term import Fusion
from tests.rules.normal_models import answer, exact

RNG = np.random.default_rng(0)
D, K, W = 6, 3, 40  # documents, topics, words
FEW = {"doc": RNG.choice([0, 1, 3, 5], 50), "y": RNG.integers(0, W - 1, 50)}
MANY = {"doc": RNG.integers(0, D, 900), "y": RNG.integers(0, W, 900)}
MASKED = {"mask": RNG.uniform(size=50) < 0.7}


def model(doc, y, mask=True, scale=1.0):
    theta = plait.sample("theta", dist.Dirichlet(jnp.ones((D, K))).to_event(1))
    phi = plait.sample("phi", dist.Dirichlet(jnp.ones((K, W))).to_event(1))
    with plait.plate("words", len(y)), plait.handlers.scale(scale=scale), plait.handlers.mask(mask=mask):
        plait.sample("y", dist.Categorical(theta[doc] @ phi), obs=y)


def values(smallest=0.0):
    theta, phi = RNG.dirichlet(np.ones(K), D), RNG.dirichlet(np.full(W, 0.3), K)
    return {"theta": theta, "phi": np.maximum(phi, smallest)}


def truth(v, doc, y, mask=True, scale=1.0):
    """Of the likelihood, and of its derivatives."""
    theta, phi = exact(v["theta"]), exact(v["phi"])
    weight = np.where(np.broadcast_to(mask, len(y)), scale, 0.0)
    total, slopes = mpmath.mpf(0), {k: np.zeros(x.shape, object) for k, x in v.items()}
    for d, w, n in zip(doc, y, weight, strict=True):
        if n > 0:
            p = (theta[d] * phi[:, w]).sum()
            total += n * mpmath.log(p)
            slopes["theta"][d] += n * phi[:, w] / p
            slopes["phi"][:, w] += n * theta[d] / p
    return float(total), {k: x.astype(float) for k, x in slopes.items()}


def only_priors():
    plait.sample("theta", dist.Dirichlet(jnp.ones((D, K))).to_event(1))
    plait.sample("phi", dist.Dirichlet(jnp.ones((K, W))).to_event(1))


def check(compiled, v, data):
    priors = plait.compile(only_priors)
    value, slopes = jax.jit(jax.value_and_grad(lambda v: compiled.log_joint(v) - priors.log_joint(v)))(v)
    wanted, wanted_slopes = truth(v, **data)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    for k, slope in slopes.items():
        np.testing.assert_allclose(slope, wanted_slopes[k], rtol=1e-9, atol=1e-10)


CASES = {
    "pairs that occur": FEW,
    "a table": MANY,
    "masked": FEW | MASKED | {"y": np.where(MASKED["mask"], FEW["y"], 10**6)},
    "weighted": FEW | {"scale": RNG.uniform(0.5, 2, 50)},
    "masked, in a table": MANY | {"mask": MANY["doc"] != 2},
}


@pytest.mark.parametrize("name", CASES)
def test_mixtures(name):
    data = CASES[name]
    with jax.enable_x64(True):
        compiled = plait.compile(model, **data)
        pairs = len(np.unique(data["doc"] * W + data["y"]))
        if name != "masked":  # a guess, where masked rows may hold anything
            assert answer(compiled).cells == (D * W if "table" in name else bucket(pairs))
        check(compiled, values(1e-12), data)


def test_other_data():
    with jax.enable_x64(True):
        compiled, v = plait.compile(model, **FEW | MASKED), values(1e-12)
        assert isinstance(answer(compiled), Fusion)
        for new, same in (
            ({"doc": FEW["doc"][::-1]}, True),
            ({"y": 0 * FEW["y"]}, True),
            ({"doc": np.arange(50) % D, "y": np.arange(50) % W, "mask": MASKED["mask"] | True}, None),
            ({"mask": ~MASKED["mask"]}, True),
            ({"mask": MASKED["mask"] & False}, True),
        ):
            other = compiled.bind(**new)
            check(other, v, FEW | MASKED | new)
            assert same is None or (other._program is compiled._program) == same
        ys = np.stack([FEW["y"], FEW["y"][::-1]])
        found = jax.vmap(lambda y: compiled.bind(y=y).log_joint(v))(ys)
        np.testing.assert_allclose(found, [compiled.bind(y=y).log_joint(v) for y in ys], rtol=1e-12)


def flipped(theta, phi, doc):
    return (theta @ phi)[doc]


def columns(theta, phi, doc):
    return theta[doc][:, ::-1] @ phi


def mixed(theta, phi, doc):
    return (0.5 * theta[doc] + 0.5 * theta[0]) @ phi


def shifted(theta, phi, doc):
    return 0.5 * theta[doc] @ phi + 0.5 / W


def of_latents(theta, phi, doc):
    return theta[(doc + (theta[0, 0] > 0.9)) % D] @ phi


def filled(theta, phi, doc):
    return theta.at[jnp.where(doc == 3, 99, doc)].get(mode="fill", fill_value=1 / K) @ phi


NEAR = {
    flipped: "Refused",
    columns: "Refused",
    mixed: "Fusion",
    shifted: "Refused",
    of_latents: "Fusion",
    filled: "Refused",
}


@pytest.mark.parametrize("probs", NEAR, ids=lambda f: f.__name__)
def test_near_misses(probs):
    """A table of all rows, or one that is computed first, is a table too."""

    def near(doc, y):
        theta = plait.sample("theta", dist.Dirichlet(jnp.ones((D, K))).to_event(1))
        phi = plait.sample("phi", dist.Dirichlet(jnp.ones((K, W))).to_event(1))
        plait.sample("y", dist.Categorical(probs(theta, phi, doc)), obs=y)

    v = values(1e-12)
    with jax.enable_x64(True):
        compiled = plait.compile(near, **FEW, passes={"check_data": False})
        assert type(answer(compiled)).__name__ == NEAR[probs]
        p = np.asarray(probs(jnp.asarray(v["theta"]), jnp.asarray(v["phi"]), FEW["doc"]))
        wanted = np.sum(np.log(p[np.arange(50), FEW["y"]]))
        found = compiled.log_joint(v) - plait.compile(only_priors).log_joint(v)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
