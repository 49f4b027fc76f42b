"""What holds for every test."""

import os

# Nearly all of the suite's time is XLA compiling small kernels once; LLVM need not polish them. Set before jax starts.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
