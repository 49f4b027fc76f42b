"""What the primitives do beyond the rows of the acceptance cases, which are in tests/semantics."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.distributions import constraints

import plait
from plait.ir.errors import SiteTypeError
from tests.helpers import both, log_joint, refused

LP0 = -0.9189385332046727


def N():  # noqa: N802
    return dist.Normal(0.0, 1.0)


def test_a_plate_gives_its_indices():
    def model(out):
        with plait.plate("rows", 3) as index:
            out.append(index)
            plait.sample("x", dist.Normal(index, 1), obs=jnp.arange(3.0))

    eager = []
    plait.handlers.seed(model, 0)(eager)
    assert_allclose(eager[0], np.arange(3))
    compiled = plait.compile(lambda: model([]))
    assert_allclose(compiled.log_joint({}), 3 * LP0, rtol=1e-6)


def test_an_exception_in_a_plate_closes_it():
    def model():
        try:
            with plait.plate("rows", 3):
                raise KeyError
        except KeyError:
            plait.sample("x", N())

    assert plait.compile(model).shapes == {"x": ()}
    with plait.plate("rows", 2):
        pass
    plait.plate("rows", 2, dim=-1)


def test_factor_eagerly_returns_none_and_is_recorded():
    with plait.handlers.trace() as found:
        assert plait.factor("f", 2.0) is None
    assert found["f"].is_factor
    assert found["f"].fn.log_prob(found["f"].value) == 2.0


@both
def test_a_scale_of_the_plates_shape(ppl):
    def model(ppl):
        with ppl.plate("rows", 3), ppl.handlers.scale(scale=jnp.array([1.0, 2.0, 3.0])):
            ppl.sample("x", N(), obs=0.0)

    assert_allclose(log_joint(ppl, model, {}), 6 * LP0, rtol=1e-6)


def test_param_names_what_it_takes():
    def model():
        plait.param("p", 1.0, konstraint=constraints.positive)  # here

    with refused(SiteTypeError, "'p'", "konstraint", at=model):
        plait.compile(model)


def test_deterministic_returns_its_value_and_has_no_term():
    def model():
        x = plait.sample("x", N())
        plait.deterministic("twice", 2 * x)

    compiled = plait.compile(model)
    assert list(compiled.log_prob_terms({"x": 0.0})) == ["x"]
    assert plait.deterministic("d", 3.0) == 3.0
    assert compiled.sample(jax.random.key(0), given={"x": 1.5})["twice"] == 3.0


def test_a_density_without_draws_compiles():
    """NumPyro draws a truncated Student-t with a package that need not be there."""
    half_t = dist.LeftTruncatedDistribution(dist.StudentT(3.0, 0.0, 2.5), low=0.0)
    compiled = plait.compile(lambda: plait.sample("t", half_t))
    assert float(compiled.log_joint({"t": 1.0})) == pytest.approx(float(half_t.log_prob(1.0)))
    with pytest.raises(plait.ModelError, match=r"site 't'.*has no draws"):
        compiled.sample(jax.random.key(0))


def test_indices_of_a_subsample_are_integers():
    def model():
        with plait.plate("rows", 6, 3):
            plait.sample("x", dist.Normal(0.0, 1.0))

    given = plait.handlers.substitute(model, data={"rows": jnp.arange(3) + 0.5})
    with pytest.raises(plait.ModelError, match="'rows' must be integers"):
        plait.compile(given)


def test_a_condition_does_not_widen_a_latent():
    model = plait.handlers.condition(lambda: plait.sample("x", dist.Normal(0.0, 1.0)), data={"x": jnp.zeros(3)})
    with pytest.raises(plait.ModelError, match=r"'x'.*beyond its shape"):
        plait.compile(model)
