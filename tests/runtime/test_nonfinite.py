"""`CompiledModel.find_nonfinite`: site, element, parameters, reason and line of what is infinite or NaN."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.special import logsumexp

import plait
from tests.helpers import line


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def found(model, at, *args):
    """What is found, which every case has."""
    compiled = plait.compile(model, *args)
    report = compiled.find_nonfinite(at)
    assert report is not None
    assert is_nonfinite(compiled, at), "the compiled density says so, too"
    assert "\n" in str(report) or not report.site
    return report


def is_nonfinite(compiled, at):
    if not isinstance(at, dict):
        value, gradient = compiled.log_density_and_grad(at)
        return not (np.isfinite(value) and np.isfinite(gradient).all())
    floats = {name: jnp.asarray(x) for name, x in at.items() if np.asarray(x).dtype.kind == "f"}
    rest = {name: x for name, x in at.items() if name not in floats}
    value, gradient = jax.value_and_grad(lambda x: compiled.log_joint({**rest, **x}))(floats)
    return not (np.isfinite(value) and all(np.isfinite(g).all() for g in gradient.values()))


ROWS = np.arange(5.0)


# -- values and parameters ------------------------------------------------------------------------------


def test_a_scale_of_zero():
    def model():
        tau = plait.sample("tau", dist.Normal(0, 1))
        plait.sample("x", dist.Normal(0, tau), obs=1.0)  # here

    report = found(model, {"tau": 0.0})
    assert (report.site, report.what, report.family) == ("x", "log probability", "Normal")
    assert "scale is 0.0, allowed are positive numbers: it is the value of 'tau'" in report.why
    assert f"({report.loc})" == line(model)
    assert (report.parameters["scale"], report.value) == (0.0, 1.0)


def test_a_negative_scale_is_computed_on_a_line():
    def model(x):
        slope = plait.sample("slope", dist.Normal(0, 1))
        scale = slope * x  # here
        with plait.plate("rows", 5):
            plait.sample("y", dist.Normal(0, scale), obs=x)

    report = found(model, {"slope": -2.0}, 1 + ROWS)
    assert (report.site, report.place) == ("y", "rows[0]")
    assert report.why.startswith("scale is -2.0, allowed are positive numbers: it is ")
    assert f"({report.origin})" == line(model)


def test_a_value_outside_its_support():
    def model():
        with plait.plate("items", 4):
            plait.sample("p", dist.Beta(2, 2))

    report = found(model, {"p": np.array([0.2, 0.5, 1.5, 0.1])})
    assert (report.place, report.number) == ("items[2]", -np.inf)
    assert report.why == "its value 1.5 is outside the support (numbers from 0 to 1)"


def test_an_observed_value_outside_a_support_that_a_latent_bounds():
    def model(y):
        top = plait.sample("top", dist.LogNormal(0, 1))
        with plait.plate("rows", 5):
            plait.sample("y", dist.Uniform(0, top), obs=y)

    for at in ({"top": 2.5}, np.log([2.5])):
        report = found(model, at, ROWS)
        assert (report.site, report.place) == ("y", "rows[3]")
        assert "its value 3.0 is outside the support (numbers from 0 to 2.5" in report.why


def test_a_log_of_a_negative_number():
    def model(x):
        a = plait.sample("a", dist.Normal(0, 1))
        rate = jnp.log(a)  # here
        with plait.plate("rows", 5):
            plait.sample("y", dist.Normal(rate * x, 1), obs=x)

    for at in ({"a": -0.25}, np.array([-0.25])):
        report = found(model, at, ROWS)
        assert (report.site, report.place) == ("y", "rows[0]")
        assert report.why == f"loc is nan: log of -0.25 {line(model)}"


def test_infinity_minus_infinity_and_where_the_infinity_began():
    def model():
        a = plait.sample("a", dist.Normal(0, 1))
        plait.factor("f", jnp.exp(a) - jnp.exp(a + 1))

    report = found(model, {"a": 800.0})
    assert (report.site, report.family, report.value) == ("f", "Unit", None)
    assert "inf − inf" in report.why
    assert "exp of 800.0 is inf" in report.why


def test_zero_times_infinity():
    def model(x):
        a = plait.sample("a", dist.Normal(0, 1))
        with plait.plate("rows", 5):
            plait.sample("y", dist.Normal(x * jnp.exp(a), 1), obs=x)

    report = found(model, {"a": 1000.0}, ROWS)
    assert report.place == "rows[0]"
    assert "0.0 · inf" in report.why
    assert "exp of 1000.0 is inf" in report.why


def test_an_overflowing_bijection():
    def model():
        s = plait.sample("s", dist.HalfNormal(1))
        plait.sample("x", dist.Normal(0, s), obs=1.0)

    report = found(model, np.array([800.0]))
    assert (report.site, report.value) == ("s", np.inf)
    assert "its value is inf: the bijection from the reals at 800.0" in report.why


def test_logits_that_are_all_minus_infinity():
    def model():
        w = plait.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
        plait.sample("k", dist.Categorical(logits=jnp.log(w)), obs=1)

    report = found(model, {"w": np.zeros(3)})
    assert report.family == "CategoricalLogits"
    assert "logits is -inf: log of 0.0" in report.why


def test_a_matrix_that_is_not_positive_definite():
    def model(y):
        r = plait.sample("r", dist.Normal(0, 1))
        cov = jnp.array([[1.0, 0.0], [0.0, 1.0]]) + r * jnp.array([[0.0, 1.0], [1.0, 0.0]])
        plait.sample("y", dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=cov), obs=y)

    report = found(model, {"r": 2.0}, np.ones(2))
    assert report.value.shape == (2,)
    assert "scale_tril is nan: Cholesky factor of" in report.why
    assert "not positive definite" in report.why


def test_nan_data_in_a_branch_where_they_are_not_checked():
    def model(flag, x, y):
        a = plait.sample("a", dist.Normal(0, 1))

        def branch(sign):
            def run(a, x, y):
                with plait.plate("rows", 5):
                    plait.sample("y", dist.Normal(sign * a * x, 1), obs=y)

            return run

        jax.lax.cond(flag[0] > 0, branch(1.0), branch(-1.0), a, x, y)

    report = found(model, {"a": 1.0}, np.ones(1), np.array([0, 1, 2, np.nan, 4]), ROWS)
    assert (report.site, report.place) == ("y", "rows[3]")
    assert report.why == "loc is nan: data 'x' holds nan at [3]"


def test_masked_nan_is_not_blamed():
    def model(x, y):
        a = plait.sample("a", dist.Normal(0, 1))
        seen = ~jnp.isnan(y)
        with plait.plate("rows", 5), plait.handlers.mask(mask=seen):
            plait.sample("y", dist.Normal(jnp.log(a * x), 1), obs=jnp.where(seen, y, 0.0))

    compiled = plait.compile(model, np.array([1.0, 1, 1, 1, -1]), np.array([0, 0, np.nan, 0, 0]))
    report = compiled.find_nonfinite({"a": 1.0})
    assert report.place == "rows[4]"
    assert "log of -1.0" in report.why


# -- where in a model -----------------------------------------------------------------------------------


def test_one_row_of_a_thousand():
    group = np.arange(1000) % 7
    x = np.ones(1000)
    x[617] = -1.0

    def model(group, x, y):
        with plait.plate("groups", 7):
            a = plait.sample("a", dist.HalfNormal(1))
        with plait.plate("rows", 1000):
            plait.sample("y", dist.Normal(0, jnp.sqrt(a[group] * x)), obs=y)  # here

    report = found(model, {"a": 1.0 + np.arange(7)}, group, x, np.zeros(1000))
    assert report.place == "rows[617]"
    assert report.why == f"scale is nan: square root of {-1.0 - 617 % 7} {line(model)}"


def test_the_plates_of_an_element():
    def model(y):
        a = plait.sample("a", dist.Normal(0, 1).expand([3]).to_event(1))
        with plait.plate("classes", 3, dim=-2), plait.plate("pupils", 4, dim=-1):
            plait.sample("y", dist.Poisson(a[:, None] * jnp.ones(4)), obs=y)

    report = found(model, {"a": np.array([1.0, 2.0, -1.0])}, np.ones((3, 4), int))
    assert report.index == (("classes", 2), ("pupils", 0))
    assert report.place == "classes[2], pupils[0]"
    assert "rate is -1.0" in report.why


@pytest.mark.parametrize("vectorized", [True, False])
def test_a_step_of_a_scan_whose_carry_is_given(vectorized):
    def model(y):
        def step(before, y_t):
            h = plait.sample("h", dist.Normal(jnp.sqrt(before), 1))  # here
            plait.sample("y", dist.Normal(h, 1), obs=y_t)
            return h, None

        jax.lax.scan(step, 1.0, y)

    h = np.ones(10)
    h[6] = -4.0
    compiled = plait.compile(model, np.zeros(10), passes={"vectorize_scans": vectorized})
    report = compiled.find_nonfinite({"h": h})
    assert (report.site, report.index) == ("h", (("step", 7),))
    assert report.why == f"loc is nan: square root of -4.0 {line(model)}"


@pytest.mark.parametrize("reverse", [False, True])
def test_a_step_of_a_scan_that_has_to_run(reverse):
    def model(y):
        def step(level, y_t):
            h = plait.sample("h", dist.Normal(0, 1))
            level = jnp.sqrt(level) + h
            plait.sample("y", dist.Normal(level, 1), obs=y_t)
            return level, None

        jax.lax.scan(step, 1.0, y, reverse=reverse)

    h = np.full(10, 1.0)
    h[3 if reverse else 6] = -100.0
    report = found(model, {"h": h}, np.zeros(10))
    assert (report.site, report.index) == ("y", (("step", 2 if reverse else 7),))
    assert report.why.startswith("loc is nan: square root of -9")


@pytest.mark.parametrize("vectorized", [True, False])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_nan_is_followed_to_the_step_where_it_began(reverse, vectorized):
    """The sites of the first half are masked, so the first bad term comes steps after that."""

    def model(x, seen):
        a = plait.sample("a", dist.Normal(0, 1))

        def step(level, t):
            level = level + jnp.log(a * level * t[0])  # here
            with plait.handlers.mask(mask=t[1]):
                plait.sample("y", dist.Normal(level, 1), obs=0.0)
            return level, None

        jax.lax.scan(step, 3.0, (x, seen), reverse=reverse)

    x = np.ones(8)
    x[[2, 4]] = -1.0, -10.0
    seen = np.arange(8) >= 5
    if reverse:
        x, seen = x[::-1], seen[::-1]
    report = plait.compile(model, x, seen, passes={"vectorize_scans": vectorized}).find_nonfinite({"a": 1.0})
    assert (report.site, report.place) == ("y", f"step {2 if reverse else 5}")
    level = 3 + np.log(3)
    level += np.log(level)
    assert float(report.why.partition("log of ")[2].partition(" ")[0]) == pytest.approx(-level)
    assert line(model) in report.why


def test_numbers_that_are_moved_are_followed_exactly():
    """Through a gather, a concatenation and a selection, to the entry that this row reads."""

    def model(group, y):
        a = plait.sample("a", dist.Normal(0, 1).expand([4]).to_event(1))
        effect = jnp.concatenate([jnp.zeros(2), jnp.log(a)[::-1]])
        with plait.plate("rows", 4):
            plait.sample("y", dist.Normal(jnp.where(y > 0, effect[group], 0.0), 1), obs=y)

    a = np.array([-4.0, -3.0, -2.0, 1.0])
    report = found(model, {"a": a}, np.array([5, 1, 4, 3]), np.array([0.0, 1, 1, 1]))
    assert report.place == "rows[2]"
    assert report.why.startswith("loc is nan: log of -3.0 ")


def test_two_sites_of_a_scan_are_told_in_the_order_of_its_steps():
    def model(a, b):
        def step(c, x):
            plait.sample("a", dist.Normal(jnp.log(x[0]), 1), obs=c)
            plait.sample("b", dist.Normal(jnp.log(x[1]), 1), obs=c)
            return c, None

        z = plait.sample("z", dist.Normal(0, 1))
        jax.lax.scan(step, 0.0, (a * jnp.exp(z), b * jnp.exp(z)))

    a, b = np.ones(8), np.ones(8)
    a[6], b[4] = -1, -1
    report = plait.compile(model, a, b).find_nonfinite({"z": 0.0})
    assert (report.site, report.place) == ("b", "step 4")


def test_one_member_of_a_python_loop_in_the_order_of_the_program():
    def model(y):
        a = plait.sample("a", dist.Normal(0, 1))
        for i in range(20):
            t = plait.sample(f"t_{i}", dist.Normal(a, 1))
            plait.sample(f"y_{i}", dist.Normal(0, jnp.sqrt(t)), obs=y[i])

    t = {f"t_{i}": 1.0 for i in range(20)}
    t |= {"t_13": -2.0, "t_15": np.inf}
    report = found(model, {"a": 0.0, **t}, np.zeros(20))
    assert (report.site, report.index) == ("y_13", ())
    assert "scale is nan: square root of -2.0" in report.why


def test_a_step_of_a_loop_over_a_plate():
    def model(x, y):
        a = plait.sample("a", dist.Normal(0, 1))
        for i in plait.plate("rows", 6):
            plait.sample(f"y_{i}", dist.Normal(jnp.log(a * x[i]), 1), obs=y[i])

    x = np.ones(6)
    x[4] = -3.0
    report = found(model, {"a": 1.0}, x, np.zeros(6))
    assert report.site == "y_4"
    assert "log of -3.0" in report.why


def test_the_branch_that_is_taken():
    def model(flag):
        a = plait.sample("a", dist.Normal(0, 1))
        jax.lax.cond(
            flag[0] > 0,
            lambda a: plait.sample("x", dist.Normal(jnp.log(a), 1), obs=0.0),
            lambda a: plait.sample("x", dist.Normal(a, 1), obs=0.0),
            a,
        )

    report = plait.compile(model, np.ones(1)).find_nonfinite({"a": -1.0})
    assert report.site == "x"
    assert "log of -1.0" in report.why
    assert plait.compile(model, np.zeros(1)).find_nonfinite({"a": -1.0}) is None


def test_a_part_of_a_mixture_is_named():
    def model(y):
        s = plait.sample("s", dist.Normal(0, 1).expand([2]).to_event(1))
        mixture = dist.MixtureSameFamily(dist.Categorical(probs=jnp.ones(2) / 2), dist.Normal(jnp.zeros(2), s))
        with plait.plate("rows", 5):
            plait.sample("y", mixture, obs=y)

    report = found(model, {"s": np.array([1.0, jnp.nan])}, ROWS)
    assert report.site == "s"
    report = plait.compile(model, ROWS).find_nonfinite({"s": np.array([1.0, -1.0])})
    assert "component_distribution.scale" in str(report)


# -- Jacobians and gradients ----------------------------------------------------------------------------


def test_a_log_jacobian():
    class Steep(dist.transforms.ParameterFreeTransform):
        """x of infinite slope."""

        domain = dist.constraints.real
        codomain = dist.constraints.real

        def __call__(self, u):
            return u

        def _inverse(self, x):
            return x

        def log_abs_det_jacobian(self, x, y, intermediates=None):
            return -jnp.log(x) * jnp.where(x > 0, 1.0, jnp.inf)

    class Line(dist.constraints._Real):
        pass

    steep = Line()
    dist.biject_to.register(Line, lambda c: Steep())

    class Flat(dist.ImproperUniform):
        pass

    def model():
        plait.sample("x", dist.ImproperUniform(steep, (), ()))

    compiled = plait.compile(model)
    assert compiled.find_nonfinite(np.array([0.5])) is None
    report = compiled.find_nonfinite(np.array([-0.5]))
    assert (report.site, report.what) == ("x", "log Jacobian")
    assert "at -0.5" in report.why


@pytest.mark.parametrize("at", [{"a": 0.0}, np.zeros(1)], ids=["values", "flat"])
def test_a_gradient_alone(at):
    def model(x):
        a = plait.sample("a", dist.Normal(0, 1))
        plait.sample("b", dist.Normal(a, 1), obs=0.5)
        mean = jnp.sqrt(a)  # here
        with plait.plate("rows", 5):
            plait.sample("y", dist.Normal(mean * x, 1), obs=x)

    report = found(model, at, ROWS)
    assert (report.site, report.what) == ("y", "gradient of the log probability")
    assert report.why == f"with respect to a: the derivative of square root of 0.0 is {report.number} {line(model)}"


def test_a_gradient_alone_of_one_row():
    def model(x, y):
        a = plait.sample("a", dist.Normal(0, 1))
        with plait.plate("rows", 5):
            plait.sample("y", dist.Normal(jnp.abs(a - x) ** 0.5, 1), obs=y)

    report = found(model, {"a": 3.0}, ROWS, ROWS)
    assert (report.site, report.place) == ("y", "rows[3]")


def test_a_log_sum_exp_of_nothing_but_minus_infinity():
    def model():
        w = plait.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
        plait.factor("f", logsumexp(jnp.log(w)))

    report = found(model, {"w": np.zeros(3)})
    assert (report.site, report.number) == ("f", -np.inf)
    assert "log of 0.0" in report.why


def test_a_gradient_inside_a_log_prob():
    class Root(dist.Normal):
        def log_prob(self, value):
            return -jnp.sqrt(jnp.abs(value - self.loc)) - jnp.log(self.scale)

    def model():
        m = plait.sample("m", dist.Normal(0, 1))
        plait.sample("x", Root(m, 1.0), obs=0.0)

    report = found(model, {"m": 0.0})
    assert (report.site, report.what) == ("x", "gradient of the log probability")
    assert "by loc" in report.why


# -- what is finite, and what can't be asked ------------------------------------------------------------


def test_nothing_is_found_where_all_is_finite():
    def model(y):
        mu = plait.sample("mu", dist.Normal(0, 1))
        tau = plait.sample("tau", dist.HalfCauchy(1))
        with plait.plate("rows", 5):
            plait.sample("y", dist.Normal(mu, tau), obs=y)

    compiled = plait.compile(model, ROWS)
    assert compiled.find_nonfinite({"mu": 0.0, "tau": 1.0}) is None
    assert compiled.find_nonfinite(np.zeros(2)) is None
    with pytest.raises(plait.ValueNamesError, match="tau"):
        compiled.find_nonfinite({"mu": 0.0})


def test_a_discrete_latent():
    def model():
        k = plait.sample("k", dist.Poisson(3.0))
        plait.sample("x", dist.Normal(jnp.log(k - 1.0), 1), obs=0.0)

    compiled = plait.compile(model)
    assert not compiled.has_log_density
    assert "log of -1.0" in compiled.find_nonfinite({"k": 0}).why
    assert compiled.find_nonfinite({"k": -1}).why.startswith("its value -1 is outside the support")


def test_a_value_given_for_an_observed_site():
    def model():
        a = plait.sample("a", dist.Normal(0, 1))
        plait.sample("y", dist.Exponential(jnp.exp(a)), obs=1.0)

    report = plait.compile(model).find_nonfinite({"a": 0.0, "y": -1.0})
    assert (report.site, report.value) == ("y", -1.0)


def test_a_sum_that_overflows_though_no_term_does():
    def model():
        a = plait.sample("a", dist.Normal(0, 1))
        plait.factor("f", 1e308 * a)
        plait.factor("g", 1e308 * a)

    report = plait.compile(model).find_nonfinite({"a": 1.0})
    assert (report.site, report.what, report.number) == ("", "log density", np.inf)


@pytest.mark.parametrize("obs", [2.0, np.float64(2.0), np.array(2.0)])
def test_an_observation_that_the_model_closes_over(obs):
    def model():
        s = plait.sample("s", dist.Gamma(2.0, 2.0))
        plait.sample("top", dist.Uniform(0.0, s), obs=obs)

    for at in ({"s": 1.0}, np.array([0.0])):
        report = found(model, at)
        assert (report.site, report.number) == ("top", -np.inf)
        assert "outside" in report.why
