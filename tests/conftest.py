"""What holds for every test."""

import os
import sys
from importlib.metadata import version

from tests.browser import browser, mermaid, page

__all__ = ["browser", "mermaid", "page"]

# Nearly all of the suite's time is XLA compiling small kernels once. LLVM need not polish them, and the old emitters
# compile them in two thirds of the time of the new ones. XLA ends the process at a flag that it does not know.
QUICK = ["--xla_backend_optimization_level=0"]
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 12):
    QUICK.append("--xla_cpu_use_fusion_emitters=false")

# Set before jax starts.
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICK]).strip()

# NumPyro evaluates the CDFs of Beta and StudentT by TFP where it can import it. It is installed for the recipes of
# docs/samplers.md, which have processes of their own; everything else is tested as it is without.
sys.modules["tensorflow_probability"] = None
