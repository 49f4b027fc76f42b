"""What Python, jax or NumPyro refuse while the model runs, as errors about the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from plait.compiler.arguments import Arguments
from plait.compiler.array_like import holds_numbers, kind_in_words
from plait.compiler.asked_value import asked_value
from plait.compiler.given import KEPT_VALUE
from plait.compiler.source import exception_loc, in_one_sentence, is_about_arrays
from plait.ir.errors import ModelError, PlaitError


@contextmanager
def about_the_model(arguments: Arguments) -> Iterator[None]:
    """Raises ModelError with the user's line for what a library refuses inside; the user's own errors pass."""
    try:
        yield
    except _NEEDS_A_VALUE as e:
        raise _concretization_error(e, arguments) from e
    except jax.errors.UnexpectedTracerError as e:
        raise ModelError(KEPT_VALUE, exception_loc(e)) from e
    except (TypeError, ValueError, IndexError, AttributeError) as e:
        if isinstance(e, PlaitError) or not is_about_arrays(e):
            raise
        raise ModelError(f"{in_one_sentence(e)}{_no_numbers(arguments)}", exception_loc(e)) from e


def _no_numbers(arguments: Arguments) -> str:
    """`` (argument 'x' holds strings)``: what among the arguments jax can't take."""
    arrays = {name: x for name, x in arguments.static.items() if isinstance(x, np.ndarray)}
    found = [f"argument {name!r} holds {kind_in_words(x)}" for name, x in arrays.items() if not holds_numbers(x)]
    return f" ({', '.join(found)})" if found else ""


_NEEDS_A_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


def _concretization_error(error: Exception, arguments: Arguments) -> ModelError:
    asked = asked_value(error, arguments.names)
    what = "a value" if asked.text is None else f"the value of `{asked.text}`"
    origin = ", ".join([*asked.sites, *(f"data {name!r}" for name in asked.data)])
    use = _INSTEAD_IN.get(asked.library or "") or _INSTEAD_OF.get(type(error), _ARRAYS)
    if asked.sites:
        why = f"which depends on {origin} and is known only when the density runs; {use}"
    elif asked.data:
        names = ", ".join(map(repr, asked.data))
        why = f"which depends on {origin} that bind may replace; name {names} in static=, or {use}"
    else:
        why = f"which is known only when the density runs; {use}"
        if arguments.names:
            why += f", or name data that shape the model in static= (data: {', '.join(arguments.names)})"
    return ModelError(f"Python needs {what}, {why}", asked.loc)


_ARRAYS = "use jnp functions, and shapes that do not depend on it"
_INSTEAD_OF: dict[type[Exception], str] = {
    jax.errors.TracerBoolConversionError: "use jnp.where or jax.lax.cond",
    jax.errors.TracerIntegerConversionError: "index a jnp array, and loop a fixed number of times",
    jax.errors.TracerArrayConversionError: "use jax.numpy in place of numpy",
    jax.errors.NonConcreteBooleanIndexError: "use jnp.where or handlers.mask, which keep the shape",
}
_INSTEAD_IN = {
    "pandas": "take pandas columns out as arrays, with to_numpy()",
    "scipy": "use jax.scipy in place of scipy",
}


__all__ = ["about_the_model"]
