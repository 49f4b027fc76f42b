"""What tests of this folder ask for by name."""

import jax
import pytest


@pytest.fixture
def float64():
    """Precision of the test."""
    with jax.enable_x64(True):
        yield
