"""What traces at a few lengths say of any length; and what is no line is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from plait.runtime.artifact.lengths import DiffersError, Line, evaluated, on_line
from plait.runtime.artifact.manifest import ArrayRecord, Known

N = 5


def at_any_length(function, *others):
    """The function of (array of m, others) as exported for any m, traced at four."""
    (m,) = export.symbolic_shape("m", constraints=["m >= 2"])
    traced = [jax.make_jaxpr(function)(jnp.zeros(n), *others) for n in (N, N + 1, 3, 17)]
    types = [jax.ShapeDtypeStruct((m,), jnp.zeros(0).dtype), *(jax.ShapeDtypeStruct(o.shape, o.dtype) for o in others)]
    return export.export(jax.jit(lambda *args: evaluated(traced, Line((0, 1, 3 - N, 17 - N), m - N), args)))(
        *types
    ).call


def softplus_of_sums(x, a):
    return jnp.sum(jax.nn.softplus(x * a)) / x.shape[0] + jax.scipy.special.logsumexp(x)


def walk(x, a):
    return jax.lax.scan(lambda c, y: (a * c + jnp.tanh(y), c), 0.0, x)[1]


def places(x, a):
    return jnp.where(jnp.arange(len(x)) % 2 == 0, x, a), jnp.full((len(x), 2), 3.0), jnp.concatenate([x, x[:1]])


def until(x, a):
    return jax.lax.while_loop(lambda s: s[0] < len(x), lambda s: (s[0] + 1, s[1] + x[s[0]] * a), (0, 0.0))


def branch(x, a):
    return jax.lax.cond(a > 0, lambda: jnp.sort(x), lambda: x[::-1])


def folded(x, a):
    return jnp.reshape(jnp.stack([x, x * a], 1), (2 * len(x),)) @ jnp.ones(2 * len(x))


def constants(x, a):
    return x + 0.1 * len(x), -0.5 * len(x) * np.log(2 * np.pi) + a, x / len(x)


@pytest.mark.parametrize("function", [softplus_of_sums, walk, places, until, branch, folded, constants])
@pytest.mark.parametrize("n", [2, N, 1100])
def test_a_function_is_its_own_at_every_length(function, n, float64):
    x, a = np.random.default_rng(n).normal(size=n), jnp.asarray(0.7)
    found, wanted = at_any_length(function, a)(x, a), jax.tree.leaves(function(jnp.asarray(x), a))
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-12)


def test_derivatives_of_their_own_are_kept(float64):
    """Where a softplus overflows as it is written, the derivative of jax's own does not."""
    gradient = jax.grad(lambda x, a: jnp.sum(jnp.logaddexp(x, a)))
    x, a = np.array([800.0, -800.0, 0.0]), jnp.asarray(0.0)
    np.testing.assert_allclose(at_any_length(gradient, a)(x, a)[0], [1, 0, 0.5], rtol=1e-12)


def within(x):
    weights = np.linspace(0, 1, 4) * len(x) ** 2
    return x + jax.lax.scan(lambda c, _: (jax.jit(lambda c: c + jnp.sum(weights))(c), None), 0.0, None, length=3)[0]


def test_constants_of_code_within_code_are_compared_which_its_text_has_not(float64):
    with pytest.raises(DiffersError, match="constants"):
        at_any_length(within)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: jnp.sum(x) * len(x) ** 2, "the numbers 25, 36, 9, 289"),
        (lambda x: jnp.sum(x * np.cos(np.arange(len(x)))), r"constants of shape \(5,\) and \(6,\)"),
        (lambda x: sum(x[i] for i in range(len(x))), r"\d+, \d+, \d+, \d+ operations"),
        (lambda x: jnp.sin(x) if len(x) == N else jnp.cos(x), "the operations sin, cos, cos, cos"),
        (lambda x: x - 1 if len(x) == 17 else x - 2, "the numbers"),
        (lambda x: x * min(len(x), 10), "the numbers 5, 6, 3, 10"),
        (lambda x: x * max(len(x), 4), "the numbers 5, 6, 4, 17"),
        (lambda x: jnp.interp(x + 0.1, x, x), "the numbers 3, 3, 2, 5"),  # steps of a bisection: the bits of a length
        (lambda x: x * (len(x) // 10), "the numbers 0, 0, 0, 1"),
        (lambda x: x + np.sqrt(len(x)), "the numbers 2.23607, 2.44949, 1.73205, 4.12311"),
        (lambda x: x + 0.1 * len(x) + 1e-6 * len(x) ** 2, "the numbers 2.5e-05, 3.6e-05"),
        (lambda x: x[:2] * (len(x) % 2), "the numbers"),
    ],
    ids=[
        "square",
        "constants",
        "loop",
        "other code",
        "third",
        "few",
        "many",
        "bits",
        "blocks",
        "root",
        "nearly",
        "parity",
    ],
)
def test_what_is_no_line_is_refused(function, says):
    with pytest.raises(DiffersError, match=says):
        at_any_length(function)


def test_records_are_on_a_line():
    first, second = ArrayRecord(np.dtype("float64"), (4, 7)), ArrayRecord(np.dtype("float64"), (4, 8))
    assert on_line([first, second], Line((0, 1), 5)) == ArrayRecord(np.dtype("float64"), (4, 12))
    assert on_line([{"n": (1, "x", None)}, {"n": (3, "x", None)}], Line((0, 1), -2)) == {"n": (-3, "x", None)}
    for other in (ArrayRecord(np.dtype("float32"), (4, 8)), ArrayRecord(np.dtype("float64"), (4,)), Known((), False)):
        with pytest.raises(DiffersError):
            on_line([first, other], Line((0, 1), 1))
