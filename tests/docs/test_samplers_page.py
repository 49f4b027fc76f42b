"""The code of docs/samplers.md runs, and its recipes find the posterior of eight schools.

Each recipe runs in a process of its own: JAXNS switches to float64 and sets up logging for the whole process, zeus
removes the root logger's handlers, and two draw from numpy's global state.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait
from tests.models import some
from tests.runtime.posteriors import eight_schools_log_evidence, eight_schools_means

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "samplers.md").read_text()

# What each recipe needs, by its heading; and messages of its package that are no error of ours.
PACKAGES = {
    "UltraNest": "ultranest",
    "JAXNS": "jaxns",
    "TensorFlow Probability": "tfp-nightly",
    "zeus": "zeus-mcmc",
    "mici": "mici",
}
_OLD_JAX = [
    # TFP reads, when it is imported, a table of jax's that jax is about to remove.
    ("jax.core.pytype_aval_mappings is deprecated", "DeprecationWarning"),
    # TFP asks numpy for the shape of None.
    ("shape requires ndarray or scalar arguments, got <class 'NoneType'>", "DeprecationWarning"),
]
IGNORED = {"JAXNS": _OLD_JAX, "TensorFlow Probability": _OLD_JAX}

# Five Monte Carlo errors of 800 independent draws, whose standard deviations are 3.3 and 3.2.
NEAR = 0.6


def sections(text: str, level: int) -> dict[str, str]:
    """By heading of a level, what stands below it."""
    mark = "#" * level + " "
    parts = re.split(rf"^{mark}(.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def code(text: str) -> str:
    """The Python blocks, one after the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


CHAPTERS = sections(PAGE, 2)
MODEL = code(CHAPTERS["The model of this page"])
RECIPES = {name: code(text) for name, text in sections(CHAPTERS["Recipes"], 3).items()}


def is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def printed(blocks: str, wanted: dict[str, str], folder: Path, ignored: Any = ()) -> dict[str, Any]:
    """Runs the page's model and some blocks in a new process, warnings being errors; gives the wanted expressions."""
    filters = "".join(
        f"warnings.filterwarnings('ignore', {re.escape(message)!r}, {category})\n" for message, category in ignored
    )
    found = ", ".join(f"{name!r}: np.asarray({expression}).tolist()" for name, expression in wanted.items())
    script = folder / "page.py"
    script.write_text(
        f"import warnings\nwarnings.simplefilter('error')\n{filters}\n{MODEL}\n{blocks}\n"
        f"import json\nprint('found:', json.dumps({{{found}}}))\n"
    )
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.rpartition("found:")[2])


def data() -> dict[str, np.ndarray]:
    """The page's y and sigma."""
    names: dict[str, Any] = {}
    exec("\n".join(line for line in MODEL.splitlines() if re.match("(y|sigma) = ", line)), {"np": np}, names)
    return names


def test_a_recipe_is_what_the_extra_installs():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {re.split("[<>=]", line)[0] for line in extras["recipes"]} == set(PACKAGES.values())
    assert set(RECIPES) == set(PACKAGES)


def test_the_posterior_on_the_page_is_the_models():
    mu, tau = eight_schools_means(**data(), tau_prior="HalfCauchy").values()
    evidence = eight_schools_log_evidence(**data(), tau_prior="HalfCauchy")
    assert f"means of mu and tau are {mu:.3f} and {tau:.3f}, and the log evidence is −{-evidence:.3f} nats" in PAGE


@pytest.mark.parametrize("name", some(list(PACKAGES)))
def test_a_recipe_finds_the_posterior(name, tmp_path):
    """Where its package is installed, as in `.ci/run`; elsewhere the recipe is Python at least."""
    compile(RECIPES[name], name, "exec")
    if is_installed(PACKAGES[name]):
        finds_the_posterior(name, tmp_path)


def finds_the_posterior(name, tmp_path):
    wanted = {"mu": "mean_mu", "tau": "mean_tau", "theta": "np.shape(values['theta'])"}
    if "log_evidence" in RECIPES[name]:
        wanted |= {"log_evidence": "log_evidence", "error": "log_evidence_error"}
    found = printed(RECIPES[name], wanted, tmp_path, IGNORED.get(name, ()))
    *draws, schools = found["theta"]
    assert schools == 8
    assert np.prod(draws) >= 800
    for site, mean in eight_schools_means(**data(), tau_prior="HalfCauchy").items():
        assert abs(found[site] - mean) < NEAR, (site, found[site], mean)
    if "log_evidence" in found:
        assert found["error"] < 0.15
        exact = eight_schools_log_evidence(**data(), tau_prior="HalfCauchy")
        assert abs(found["log_evidence"] - exact) < 5 * found["error"]


def test_loops_of_your_own_run(tmp_path):
    wanted = {name: name for name in ("rungs", "in_threads", "at_once", "z")}
    wanted |= {"hmc": "np.shape(hmc_values['theta'])", "best": "best.x", "start": "fun(np.zeros(compiled.dim))[0]"}
    wanted |= {"theta": "np.shape(values['theta'])", "replicates": "replicates.shape", "pointwise": "pointwise.shape"}
    wanted |= {
        "lowest": "float(best.fun)",
        "prior": "compiled.log_prior(compiled.init_params(jax.random.key(0), (5,))[0])",
    }
    found = printed(code(CHAPTERS["Your own loop"]), wanted, tmp_path)
    assert found["hmc"] == [200, 8]
    assert found["theta"] == found["replicates"] == found["pointwise"] == [1, 200, 8]
    assert np.shape(found["z"]) == (200, 10)
    assert np.isfinite(found["z"]).all()
    np.testing.assert_allclose(found["in_threads"], found["at_once"], rtol=1e-6)
    np.testing.assert_allclose(found["rungs"][0], found["prior"], rtol=1e-5)
    assert len(found["rungs"]) == 5
    assert found["lowest"] < found["start"]


def test_the_tables_name_what_there_is():
    """Every call of the two tables is a member of `plait.samplers` or of a compiled model, and none is left out."""
    rows = [row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| `")]
    named = {name.removesuffix("(compiled)") for row in rows for name in re.findall("`([^`]+)`", row)}
    for name in named:
        owner, path = (plait.CompiledModel, name[9:]) if name.startswith("compiled.") else (plait.samplers, name)
        assert callable(attrgetter(path)(owner)), name
    modules = [(m, getattr(plait.samplers, m)) for m in plait.samplers.__all__]
    modules += [(f"blackjax.{m}", getattr(plait.samplers.blackjax, m)) for m in plait.samplers.blackjax.__all__]
    assert {f"{m}.sample" for m, module in modules if hasattr(module, "sample")} <= named | {"blackjax.nuts.sample"}
