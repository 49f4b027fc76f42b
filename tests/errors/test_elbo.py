"""`plait.elbo`: guides that are none of their model, gradients that would be biased, params and data."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.infer.autoguide import AutoNormal

import plait
from plait import BindError, DataError, ModelError, ValueNamesError
from plait.ir.errors import SiteTypeError
from tests.errors import Table

table = Table(__file__)
POSITIVE = dist.constraints.positive
Y = np.array([0.5, 1.0, 2.0])


def model(y):
    scale = plait.sample("scale", dist.HalfNormal(1.0))
    with plait.plate("rows", len(y), 2) as i:
        z = plait.sample("z", dist.Normal(0.0, scale))
        plait.sample("y", dist.Normal(z, 1.0), obs=y[i])


def guided(error, says):
    """A guide of `model` that is refused."""
    return lambda guide: table._add(guide, lambda: plait.elbo(model, guide, Y), error, says)


def scale():
    return plait.sample("scale", dist.LogNormal(plait.param("loc", 0.0), 0.5))


def rows(y, name="z", **settings):
    with plait.plate("rows", len(y), 2):
        plait.sample(name, dist.Normal(0.0, 1.0), **settings)


# -- not the same latents ---------------------------------------------------------------------------------


@table.call(ModelError, says=("'z'", "not in the guide", "scale"))
def latent_without_a_draw():
    plait.elbo(model, lambda y: scale(), Y)


@guided(ModelError, says=("'zz'", "not in the model", "is_auxiliary"))
def site_that_the_model_has_not(y):
    scale()
    rows(y)
    plait.sample("zz", dist.Normal(0.0, 1.0))  # here


@guided(ModelError, says=("'y'", "observed in the model"))
def site_that_the_model_observes(y):
    scale()
    rows(y)
    with plait.plate("rows_", 2):
        plait.sample("y", dist.Normal(0.0, 1.0))  # here


@guided(ModelError, says=("'z'", "(3,)", "(2,)"))
def site_of_another_shape(y):
    scale()
    with plait.plate("all", len(y)):
        plait.sample("z", dist.Normal(0.0, 1.0))  # here


@guided(ModelError, says=("'y'", "leave out its obs"))
def observed_site_in_the_guide(y):
    scale()
    rows(y)
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)  # here


@guided(ModelError, says=("'penalty'", "normalized"))
def factor_in_the_guide(y):
    plait.factor("penalty", scale())  # here
    rows(y)


# -- draws that have no gradient, or the wrong support ----------------------------------------------------


@guided(ModelError, says=("'z'", "VonMises", "has_rsample"))
def draws_without_a_gradient(y):
    scale()
    with plait.plate("rows", len(y), 2):
        plait.sample("z", dist.VonMises(0.0, plait.param("k", 1.0)))  # here


@table.call(ModelError, says=("'z'", "Bernoulli", "sum discrete"))
def discrete_latent():
    def discrete():
        plait.sample("z", dist.Bernoulli(0.5))

    plait.elbo(discrete, discrete)


@table.call(ModelError, says=("'x'", "ImproperUniform", "has_rsample"))
def improper_guide():
    def improper():
        plait.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))

    plait.elbo(improper, improper)


@guided(ModelError, says=("'z'", "same value", "rng_key"))
def key_of_a_sites_own(y):
    scale()
    rows(y, rng_key=jax.random.key(0))  # the line of `rows` is to blame


@guided(ModelError, says=("'scale'", "Normal", "finite numbers", "positive numbers"))
def real_draws_for_a_positive_site(y):
    plait.sample("scale", dist.Normal(plait.param("loc", 5.0), 0.1))  # here
    rows(y)


@table.call(ModelError, says=("'p'", "Gamma", "numbers from 0 to 1"))
def positive_draws_for_a_probability():
    plait.elbo(lambda: plait.sample("p", dist.Beta(1.0, 1.0)), lambda: plait.sample("p", dist.Gamma(1.0, 1.0)))


@table.call(ModelError, says=("'p'", "numbers from 0 to 2", "numbers from 0 to 1"))
def wider_interval_than_the_models():
    plait.elbo(lambda: plait.sample("p", dist.Uniform(0.0, 1.0)), lambda: plait.sample("p", dist.Uniform(0.0, 2.0)))


# -- minibatches ------------------------------------------------------------------------------------------


@table.call(ModelError, says=("'rows'", "2 of 3", "all of its 3"))
def minibatch_in_the_model_alone():
    def guide(y):
        scale()
        with plait.plate("rows", len(y)):
            plait.sample("z", dist.Normal(0.0, 1.0))

    plait.elbo(model, guide, Y)


@table.call(ModelError, says=("'rows'", "2 of 3", "2 of 4"))
def minibatch_of_other_elements():
    def guide(y):
        scale()
        with plait.plate("rows", 4, 2):
            plait.sample("z", dist.Normal(0.0, 1.0))

    plait.elbo(model, guide, Y)


@guided(ModelError, says=("'rows'", "two plates"))
def two_minibatches_of_one_plate(y):
    scale()
    rows(y)
    with plait.plate("rows", len(y), 2):  # here
        pass


@guided(ModelError, says=("'batch'", "inside a loop"))
def minibatch_in_a_loop(y):
    scale()

    def step(x, _):
        with plait.plate("batch", len(y), 2) as i:  # here
            return x + y[i].sum(), None

    jax.lax.scan(step, 0.0, None, length=2)
    rows(y)


# -- params -----------------------------------------------------------------------------------------------


def other_params(init, **settings):
    def with_param():
        plait.sample("x", dist.Normal(0.0, plait.param("s", 1.0, constraint=POSITIVE)))

    def guide():
        plait.sample("x", dist.Normal(plait.param("s", init, **settings), 1.0))

    return plait.elbo(with_param, guide)


@table.call(ModelError, says=("'s'", "constraint", "rename"))
def param_with_another_constraint():
    other_params(1.0)


@table.call(ModelError, says=("'s'", "starts at 1.0", "2.0"))
def param_that_starts_elsewhere():
    other_params(2.0, constraint=POSITIVE).init(jax.random.key(0))


@table.call(ModelError, says=("'n'", "int32", "float"))
def param_of_integers():
    def guide():
        plait.sample("x", dist.Normal(plait.param("n", 1), 1.0))

    plait.elbo(lambda: plait.sample("x", dist.Normal(0.0, 1.0)), guide)


def fitted():
    def guide(y):
        scale()
        rows(y)

    return plait.elbo(model, guide, Y)


@table.call(ValueNamesError, says=("'lock'", "did you mean 'loc'?"))
def misspelt_param():
    fitted().loss({"lock": 1.0}, jax.random.key(0))


@table.call(ValueNamesError, says=("'loc'", "none"))
def missing_param():
    fitted().loss({}, jax.random.key(0))


@table.call(ValueNamesError, says=("'loc'", "(3,)"))
def param_of_another_shape():
    fitted().loss({"loc": jnp.zeros(3)}, jax.random.key(0))


# -- the call ---------------------------------------------------------------------------------------------


@table.call(SiteTypeError, says=("key", "0"))
def seed_in_place_of_a_key():
    fitted().loss({"loc": 1.0}, 0)


@table.call(SiteTypeError, says=("num_particles", "0"))
def no_particles():
    plait.elbo(model, rows, Y, num_particles=0)


@table.call(BindError, says=("guide", "arguments do not fit"))
def guide_with_other_arguments():
    def guide(x, more):
        scale()

    plait.elbo(model, guide, Y)


@table.call(BindError, says=("'y'", "[4]", "[3]"))
def minibatch_of_another_length():
    fitted().loss({"loc": 1.0}, jax.random.key(0), y=np.zeros(4))


@table.call(BindError, says=("'args'", "several arguments"))
def arguments_that_can_not_be_told_apart():
    def guide(x, y):
        plait.sample("m", dist.Normal(plait.param("loc", 0.0), 1.0))

    def several(*args):
        m = plait.sample("m", dist.Normal(0.0, 1.0))
        plait.sample("y", dist.Normal(m + args[0], 1.0), obs=args[1])

    plait.elbo(several, guide, Y, Y).bind(args=(Y, Y))


@table.call(DataError, says=("'y'", "nan", "element 2 of plate 'rows'"))
def missing_data_in_a_later_minibatch():
    fitted().bind(y=np.array([0.5, 1.0, np.nan]))


@table.call(ModelError, says=("AutoNormal", "plait's"))
def autoguide_of_a_model_of_plaits():
    plait.elbo(model, AutoNormal(model), Y)


test_each_says_what_and_where, test_golden = table.tests()
