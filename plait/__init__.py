"""plait: a compiler for probabilistic models.

Write a model with five primitives (NumPyro's, with `numpyro.distributions`), compile it once, and use its
log density, gradient and sampler: see `plait.compile`.
"""

import lazy_loader

# The names stand in __init__.pyi. NumPyro takes seconds to import, and a loaded model needs none of it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
