"""log Σ exp against 50 digits: value, gradient and second derivatives."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from plait.compiler.logsumexp import log_sum_exp, log_sum_exp_along

RNG = np.random.default_rng(5)
INF = np.inf
ROWS = {  # components, rows
    1: np.array([[0.3, -800.0, 4.0]]),
    2: np.array(
        [
            [0.0, -800.0, 800.0, -INF, 2.0, 1e-9, -3.0, *RNG.normal(size=5)],
            [0.0, 0.0, 0.0, 1.5, -INF, -1e-9, 5.0, *RNG.normal(size=5)],
        ]
    ),
    4: np.concatenate(
        [RNG.normal(size=(4, 5)) * 30, np.array([[0, -INF, 800], [0, 2, 799], [0, 1, -INF], [0, -INF, -800.0]])], axis=1
    ),
}
FORMS = {
    "parts": lambda a: log_sum_exp(*a),
    "along": log_sum_exp_along,
}
each = pytest.mark.parametrize(("k", "form"), [(1, "along"), (2, "parts"), (2, "along"), (4, "parts"), (4, "along")])


def truth(column):
    """Value, shares and the matrix of second derivatives, of one row."""
    with mpmath.workdps(50):
        exps = [mpmath.exp(mpmath.mpf(float(x))) for x in column]
        total = mpmath.fsum(exps)
        shares = [e / total for e in exps]
        second = [[s * ((i == j) - t) for j, t in enumerate(shares)] for i, s in enumerate(shares)]
        return float(mpmath.log(total)), np.array(shares, float), np.array(second, float)


@each
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_derivatives(k, form, dtype):
    with jax.enable_x64(dtype == "float64"):
        a, f = jnp.asarray(ROWS[k], dtype), FORMS[form]
        eps = np.finfo(dtype).eps
        value, pull = jax.vjp(f, a)
        (slope,) = pull(jnp.ones_like(value))
        second = jax.jit(jax.vmap(jax.hessian(lambda column: f(column[:, None])[0]), 1, -1))(a)
        assert value.dtype == slope.dtype == a.dtype
        for i, column in enumerate(np.asarray(a, np.float64).T):
            wanted = truth(column)
            finite = np.abs(column[np.isfinite(column)]).max()
            assert abs(value[i] - wanted[0]) <= 4 * eps * (1 + finite)
            np.testing.assert_allclose(slope[:, i], wanted[1], rtol=4 * eps * (1 + finite), atol=np.finfo(dtype).tiny)
            np.testing.assert_allclose(second[..., i], wanted[2], rtol=4 * eps * (1 + finite), atol=4 * eps)


@each
def test_where_nothing_is_possible(k, form):
    """−inf, with derivatives 0; and what is not a number stays none."""
    f = FORMS[form]
    nothing = jnp.full((k, 1), -jnp.inf)
    assert f(nothing) == -jnp.inf
    np.testing.assert_array_equal(jax.grad(lambda a: f(a).sum())(nothing), jnp.zeros((k, 1)))
    _, tangent = jax.jvp(f, (nothing,), (jnp.ones((k, 1)),))
    np.testing.assert_array_equal(tangent, [0.0])
    assert np.isnan(f(nothing.at[0].set(jnp.nan))).all()
    assert np.isposinf(f(nothing.at[0].set(jnp.inf))).all()
