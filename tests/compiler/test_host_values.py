"""Values on the host are jax's; what only moves entries takes no compilation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plait.compiler.host_values import host_values
from plait.compiler.importer import Builder
from plait.ir.graph import Graph
from plait.ir.ops import Input, from_aval

X = np.arange(12, dtype=np.float32).reshape(3, 1, 4)

MOVES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x,
    "reshape": lambda x: x.reshape(4, 3),
    "squeeze": lambda x: jnp.squeeze(x, 1),
    "new axes": lambda x: x[:, 0][:, None, :, None],
    "repeated": lambda x: jnp.broadcast_to(x, (3, 5, 4)),
    "in front": lambda x: jnp.broadcast_to(x, (2, 3, 1, 4)),
    "other axes": lambda x: jax.lax.broadcast_in_dim(x.reshape(4, 3), (4, 2, 3), (0, 2)),
    "one after another": lambda x: jnp.broadcast_to(jnp.squeeze(x.reshape(1, 12), 0), (2, 12)).reshape(-1, 1),
}


@pytest.mark.parametrize("case", [*MOVES, "computed", "moved, then computed"])
def test_values_are_jaxs(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = MOVES.get(case, {"computed": lambda x: 2 * x}.get(case, lambda x: 1 - jnp.squeeze(x, 1)))
    closed = jax.make_jaxpr(code)(X)
    builder = Builder()
    source = builder.add(Input("x", Input.DATA, from_aval(closed.jaxpr.invars[0].aval)))
    (node,) = builder.inline(closed, [source])
    expected = np.asarray(code(jnp.asarray(X)))
    if case in MOVES:
        monkeypatch.setattr(jax, "jit", None)
    found = host_values(Graph(tuple(builder.nodes)), {source: X}, [node])[node]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)
