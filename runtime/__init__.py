"""From compiled functions to the object that users hold: jit, data, names, samplers."""
