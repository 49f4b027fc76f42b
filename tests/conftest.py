"""What holds for every test."""

import importlib.util
import mmap
import os
from pathlib import Path

# Nearly all of the suite's time is XLA compiling small kernels once. LLVM need not polish them, and the old emitters
# compile them in two thirds of the time of the new ones.
QUICK = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": "false"}


def known(flag: str) -> bool:
    """Whether this jaxlib has a flag: XLA ends the process at one that it does not know."""
    spec = importlib.util.find_spec("jaxlib")
    assert spec is not None
    assert spec.origin is not None
    library = max(Path(spec.origin).parent.glob("*.so"), key=lambda path: path.stat().st_size)
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(flag.encode()) >= 0


# Set before jax starts.
flags = [f"--{flag}={value}" for flag, value in QUICK.items() if known(flag)]
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()
