"""What says the same safely, one algebraic fact a row.

Each row has the expression as users write it and a function of the same variables. Every fact is exact for all real
variables, and where the written form is accurate, in value and derivative, so is the other. That rules out facts that
look as good: ``1 − sigmoid(x) = sigmoid(−x)`` by itself loses the derivative below x = −37 (jax's is s·(1 − s)), so a
complement counts only inside a logarithm or as the parameter of a distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import erf, erfc
from jax.scipy.special import ndtr

from plait.compiler.stable.functions import (
    expm1,
    log1mexp,
    log_add_exp,
    log_half_erfc,
    log_ndtr,
    log_product,
    log_quotient,
    softplus,
)

Function = Callable[..., Any]


_ANY: frozenset[str] = frozenset()
_ERF = frozenset({"erf", "erfc"})


@dataclass(frozen=True)
class Fact:
    """An expression of scalars, what is wanted of it, and what says the same.

    Attributes:
        name: for users.
        expression: as they write it.
        becomes: of the same variables.
        needs: primitives of which the expression has one: in a graph without them it need not be traced, which for
            some costs more than a model. Empty: whatever.
    """

    name: str
    expression: Function
    becomes: Function
    needs: frozenset[str] = _ANY


# -- the ways to write a probability ---------------------------------------------------------------------

_SIGMOID: tuple[Function, ...] = (
    jax.nn.sigmoid,
    lambda x: 1 / (1 + jnp.exp(-x)),
    lambda x: jnp.exp(x) / (1 + jnp.exp(x)),
)
_SIGMOID_OF_MINUS: tuple[Function, ...] = (lambda x: 1 / (1 + jnp.exp(x)),)
_HALF_ERFC: tuple[Function, ...] = (
    lambda z: 0.5 * erfc(z),
    lambda z: erfc(z) / 2,
    lambda z: 0.5 * (1 - erf(z)),
    lambda z: (1 - erf(z)) / 2,
    lambda z: 0.5 - 0.5 * erf(z),
)
_HALF_ERFC_OF_MINUS: tuple[Function, ...] = (
    lambda z: 0.5 * (1 + erf(z)),
    lambda z: (1 + erf(z)) / 2,
    lambda z: 0.5 + 0.5 * erf(z),
)


@dataclass(frozen=True)
class Probability:
    """A probability p(x), the ways to write it, and what is known of it in closed form."""

    text: str
    forms: tuple[Function, ...]
    log: Function  # log p
    log_complement: Function  # log(1 − p)
    log_texts: tuple[str, str]
    logit: Function
    needs: frozenset[str] = _ANY  # as of a fact


PROBABILITIES: tuple[Probability, ...] = (
    Probability(
        "sigmoid(x)",
        _SIGMOID,
        lambda x: -softplus(-x),
        lambda x: -softplus(x),
        ("−softplus(−x)", "−softplus(x)"),
        lambda x: x,
    ),
    Probability(
        "1/(1 + exp(x))",
        _SIGMOID_OF_MINUS,
        lambda x: -softplus(x),
        lambda x: -softplus(-x),
        ("−softplus(x)", "−softplus(−x)"),
        lambda x: -x,
    ),
    Probability(
        "Φ(x)",
        (ndtr,),
        log_ndtr,
        lambda x: log_ndtr(-x),
        ("log_ndtr(x)", "log_ndtr(−x)"),
        lambda x: log_ndtr(x) - log_ndtr(-x),
        _ERF,
    ),
    Probability(
        "½·erfc(x)",
        _HALF_ERFC,
        log_half_erfc,
        lambda z: log_half_erfc(-z),
        ("log_ndtr(−√2·x)", "log_ndtr(√2·x)"),
        lambda z: log_half_erfc(z) - log_half_erfc(-z),
        _ERF,
    ),
    Probability(
        "½·(1 + erf(x))",
        _HALF_ERFC_OF_MINUS,
        lambda z: log_half_erfc(-z),
        log_half_erfc,
        ("log_ndtr(√2·x)", "log_ndtr(−√2·x)"),
        lambda z: log_half_erfc(-z) - log_half_erfc(z),
        _ERF,
    ),
)


def _complement(form: Function) -> Function:
    return lambda x: 1 - form(x)


def _negative(form: Function) -> Function:
    return lambda x: -form(x)


# -- logarithms --------------------------------------------------------------------------------------------

# Where `log` is taken of the expression. The first row that fits counts.
LOG: tuple[Fact, ...] = (
    *(Fact(f"log({p.text}) → {p.log_texts[0]}", form, p.log, p.needs) for p in PROBABILITIES for form in p.forms),
    *(
        Fact(f"log(1 − {p.text}) → {p.log_texts[1]}", _complement(form), p.log_complement, p.needs)
        for p in PROBABILITIES
        for form in p.forms
    ),
    Fact("log(erfc(x)) → log_ndtr(−√2·x) + log 2", erfc, lambda z: log_half_erfc(z) + math.log(2), _ERF),
    Fact("log(exp(x)) → x", jnp.exp, lambda x: x),
    Fact("log(1 + exp(x)) → softplus(x)", lambda x: 1 + jnp.exp(x), softplus),
    Fact("log(1 − exp(x)) → log1mexp(x)", lambda x: 1 - jnp.exp(x), log1mexp),
    Fact("log(exp(x) + exp(y)) → logaddexp(x, y)", lambda x, y: jnp.exp(x) + jnp.exp(y), log_add_exp),
)
# Products with one exponential.
LOG_OF_PRODUCT: tuple[Fact, ...] = (
    Fact("log(y·exp(x)) → log(y) + x", lambda x, y: y * jnp.exp(x), log_product),
    Fact("log(exp(x) / y) → x − log(y)", lambda x, y: jnp.exp(x) / y, log_quotient),
    Fact("log(y / exp(x)) → log(y) − x", lambda x, y: y / jnp.exp(x), lambda x, y: log_product(-x, y)),
)
# The same where log(y) has a better form, as y may be no ordinary number either.
SUM_OF_LOGS: dict[str, Function] = {
    "log(y·exp(x)) → log(y) + x": lambda x, log_y: log_y + x,
    "log(exp(x) / y) → x − log(y)": lambda x, log_y: x - log_y,
    "log(y / exp(x)) → log(y) − x": lambda x, log_y: log_y - x,
}
# Last, where nothing is known of the variable.
LOG_NEAR_ONE: tuple[Fact, ...] = (
    Fact("log(1 + x) → log1p(x)", lambda x: 1 + x, jnp.log1p),
    Fact("log(1 − x) → log1p(−x)", lambda x: 1 - x, lambda x: jnp.log1p(-x)),
)
# Where `log1p` is taken of the expression.
LOG1P: tuple[Fact, ...] = (
    *(
        Fact(f"log1p(−{p.text}) → {p.log_texts[1]}", _negative(form), p.log_complement, p.needs)
        for p in PROBABILITIES
        for form in p.forms
    ),
    Fact("log1p(exp(x)) → softplus(x)", jnp.exp, softplus),
    Fact("log1p(−exp(x)) → log1mexp(x)", lambda x: -jnp.exp(x), log1mexp),
)

# -- differences -------------------------------------------------------------------------------------------

DIFFERENCE: tuple[Fact, ...] = (
    Fact("1 − Φ(x) → Φ(−x)", lambda x: 1 - ndtr(x), lambda x: ndtr(-x), _ERF),
    Fact("exp(x) − 1 → expm1(x)", lambda x: jnp.exp(x) - 1, expm1),
    Fact("1 − exp(x) → −expm1(x)", lambda x: 1 - jnp.exp(x), lambda x: -expm1(x)),
)

# -- sums --------------------------------------------------------------------------------------------------

# Stable, but for its derivative at 0: that of max is ½ there, which is right, and jax's of |x| is 1.
SUM: tuple[Fact, ...] = (
    Fact(
        "max(x, 0) + log1p(exp(−|x|)) → softplus(x)",
        lambda x: jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))),
        softplus,
    ),
)

# -- logits ------------------------------------------------------------------------------------------------

LOGIT: tuple[Fact, ...] = (
    *(Fact(p.text, form, p.logit, p.needs) for p in PROBABILITIES for form in p.forms),
    *(
        Fact(f"1 − {p.text}", _complement(form), _negative(p.logit), p.needs)
        for p in PROBABILITIES
        for form in p.forms
    ),
)  # fmt: skip

# What η is where logits are those of Φ(η), as the rows above write them.
PROBIT: tuple[Fact, ...] = (
    Fact("logit Φ(x)", lambda x: log_ndtr(x) - log_ndtr(-x), lambda x: x, _ERF),
    Fact("−logit Φ(x)", lambda x: -(log_ndtr(x) - log_ndtr(-x)), lambda x: -x, _ERF),
    Fact("logit ½·erfc(x)", lambda z: log_half_erfc(z) - log_half_erfc(-z), lambda z: -math.sqrt(2) * z, _ERF),
    Fact("logit ½·erfc(−x)", lambda z: log_half_erfc(-z) - log_half_erfc(z), lambda z: math.sqrt(2) * z, _ERF),
)

__all__ = [
    "DIFFERENCE",
    "LOG",
    "LOG1P",
    "LOGIT",
    "LOG_NEAR_ONE",
    "LOG_OF_PRODUCT",
    "PROBIT",
    "SUM",
    "SUM_OF_LOGS",
    "Fact",
]
