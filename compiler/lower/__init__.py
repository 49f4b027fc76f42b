"""From graphs to JAX functions."""
