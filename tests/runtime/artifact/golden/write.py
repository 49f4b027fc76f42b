"""Writes the files of this folder for the current format: ``python -m tests.runtime.artifact.golden.write``

A file is written once, when its format is new, and kept: later versions have to read it, with the same numbers.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import plait
from plait.runtime.artifact.container import VERSION, read, write
from tests.runtime.artifact import reader

FOLDER = Path(__file__).parent


def model(g, x, y):
    """Statistics of the host, a params tree, a bijector, code with a check, a scan, a deterministic."""
    loc = plait.param("loc", jnp.array(0.5))
    tau = plait.sample("tau", dist.HalfNormal(1))
    with plait.plate("groups", 3):
        a = plait.sample("a", dist.Normal(loc, tau))
    sigma = plait.sample("sigma", dist.LogNormal(0, 1))
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(a[g] + 0.5 * x, sigma), obs=y)
    decays = jax.lax.scan(lambda c, x: (0.5 * c + x, c), 0.0, a)[1]
    plait.factor("smooth", -jnp.sum(decays**2))
    plait.deterministic("spread", jnp.max(a) - jnp.min(a))


def data():
    """Twelve rows of three groups."""
    rng = np.random.default_rng(11)
    return {"g": np.arange(12) % 3, "x": rng.normal(size=12), "y": rng.normal(size=12)}


def main():
    jax.config.update("jax_enable_x64", True)
    compiled = plait.compile(model, **data())
    path = FOLDER / f"format_{VERSION}.plait"
    if path.exists():
        raise SystemExit(f"{path} is there: a file of a format is never replaced")
    compiled.save(path, platforms=("cpu",), rows=("g", "x", "y"))
    write(path, {name: anonymous(content) for name, content in read(path).items()})
    bound = compiled.bind(y=data()["y"] + 1)
    found = {f"{name}/{k}": v for name, m in (("saved", compiled), ("bound", bound)) for k, v in numbers(m).items()}
    np.savez_compressed(path.with_suffix(".npz"), **found)


def anonymous(content):
    """Without the place of this checkout, which the lines of sites and of code name; of the same length."""
    here = f"{FOLDER.parents[3]}/".encode()
    return content.replace(here, b"/" + b"x" * (len(here) - 2) + b"/")


def numbers(bound):
    """Of a compiled or loaded model."""
    return reader.found(bound, reader.point(bound))


if __name__ == "__main__":
    main()
