"""The text form: golden files for each pass, equal in every process, with a hash that tells programs apart.

``PLAIT_UPDATE_GOLDEN=1 pytest tests/ir/test_text.py`` writes the files anew.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import plait
from plait.compiler.passes import PIPELINE
from plait.ir.hash import structural_hash
from plait.ir.text import node_names, to_text
from tests.ir import small_model

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden")
STAGES = ["trace", *(p.name for p in PIPELINE)]


@pytest.fixture(scope="module")
def history():
    return dict(small_model.compiled().history)


@pytest.fixture(scope="module")
def dumps():
    """What processes with the hash seeds 0, 1 and 2 print."""
    command = [sys.executable, "-c", "from tests.ir.small_model import dump; dump()"]
    environments = [{**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)} for seed in range(3)]
    processes = [subprocess.Popen(command, cwd=ROOT, env=e, stdout=subprocess.PIPE) for e in environments]
    texts = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes)
    return [json.loads(text) for text in texts]


def test_the_history_is_the_pipeline(history):
    assert list(history) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_golden_text(history, stage):
    path, text = GOLDEN / f"{STAGES.index(stage)}_{stage}.txt", str(history[stage])
    if os.environ.get("PLAIT_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()


def test_there_is_no_other_golden_file():
    names = {f"{i}_{stage}.txt" for i, stage in enumerate(STAGES)}
    if os.environ.get("PLAIT_UPDATE_GOLDEN") == "1":
        for path in GOLDEN.glob("*.txt"):
            if path.name not in names:
                path.unlink()
    assert {path.name for path in GOLDEN.iterdir()} == names


def test_texts_and_hashes_do_not_depend_on_the_process(history, dumps):
    for dumped in dumps:
        assert dumped == dumps[0]
    texts = dumps[0]["texts"]
    assert [(name, text) for name, text, _ in texts] == [(name, str(g)) for name, g in history.items()]
    assert [h for _, _, h in texts] == [structural_hash(g) for g in history.values()]


def test_the_json_of_graphs_does_not_depend_on_the_process(dumps):
    assert dumps[0]["json"] == dumps[1]["json"] == dumps[2]["json"] == small_model.jsons()


def test_a_site_called_like_code():
    """Names of code give way."""

    def model():
        x = plait.sample("%0", dist.Normal(0.0, 1.0))
        plait.deterministic("%2", x + 1.0)
        plait.factor("f", -jnp.abs(x))

    names = list(node_names(plait.compile(model).graph).values())
    assert [n for n in names if n[0] == "%"] == ["%0", "%1", "%2", "%3", "%4"]


def test_lines_are_the_users(history):
    text = to_text(history["trace"], lines=True)
    (mu,) = [row for row in text.splitlines() if row.startswith("mu:")]
    assert mu.partition("  # ")[2] == f"small_model.py:{small_model.model.__code__.co_firstlineno + 1}"
    assert "#" not in to_text(history["trace"])


def test_names_are_unique_and_every_argument_is_named_before_its_use(history):
    for graph in history.values():
        names = node_names(graph)
        shown = [names[n] for n in graph if n.op.literal is None]
        assert len(shown) == len(set(shown))


def test_a_scan_prints_its_body_indented():
    def model():
        jax.lax.scan(lambda c, _: (plait.sample("x", dist.Normal(c, 1.0)), None), jnp.float32(0), None, length=3)

    text = str(plait.compile(model).graph)
    assert "scan length=3" in text
    assert "\n    x: f32[] = sample Normal(carry0, 1.0)\n" in text


# -- the structural hash ------------------------------------------------------------------------------------------


def hash_of(model, *args):
    return structural_hash(plait.compile(model, *args).graph)


def _normal(loc=0.0, scale=1.0, name="x"):
    return lambda: plait.sample(name, dist.Normal(loc, scale))


def test_equal_programs_have_equal_hashes():
    assert hash_of(_normal()) == hash_of(_normal())
    a, b = (lambda c=c: plait.factor("f", jnp.sum(c)) for c in (np.arange(3.0), np.arange(3.0)))
    assert hash_of(a) == hash_of(b)


def test_comments_and_lines_do_not_count():
    def one():
        plait.sample("x", dist.Normal(0.0, 1.0))

    def two():
        # a line further down
        plait.sample("x", dist.Normal(0.0, 1.0))

    assert hash_of(one) == hash_of(two)


def _scaled(s):
    def model():
        with plait.handlers.scale(scale=s):
            plait.sample("x", dist.Normal(0.0, 1.0))

    return model


def _in_plate(name, size):
    def model():
        with plait.plate(name, size):
            plait.sample("x", dist.Normal(0.0, 1.0))

    return model


def _array(values):
    return lambda: plait.factor("f", jnp.sum(jnp.asarray(values)))


def _code(f):
    return lambda: plait.factor("f", f(plait.sample("x", dist.Normal(0.0, 1.0))))


def _param(constraint):
    return lambda: plait.param("p", 1.0, constraint=constraint)


def _given(handler):
    return getattr(plait.handlers, handler)(_normal(), data={"x": 1.0})


def _looped(factor):
    def model():
        def step(carry, _):
            return factor * plait.sample("x", dist.Normal(carry, 1.0)), None

        jax.lax.scan(step, jnp.float32(0.0), None, length=3)

    return model


DIFFERENT = {
    "number": (_normal(0.0), _normal(0.5)),
    "name": (_normal(), _normal(name="z")),
    "distribution": (_normal(), lambda: plait.sample("x", dist.Cauchy(0.0, 1.0))),
    "dtype": (_normal(), _normal(np.float16(0.0))),
    "array constant": (_array(np.zeros(3)), _array(np.array([0.0, 0.0, 1.0]))),
    "shape of a constant": (_array(np.zeros((2, 3))), _array(np.zeros((3, 2)))),
    "scale": (_scaled(2.0), _scaled(3.0)),
    "plate": (_in_plate("a", 3), _in_plate("b", 3)),
    "plate size": (_in_plate("a", 3), _in_plate("a", 4)),
    "code": (_code(jnp.sin), _code(jnp.cos)),
    "branch of cond": tuple(
        _code(lambda x, k=k: jax.lax.cond(x > 0, lambda v: v * k, lambda v: v, x)) for k in (2.0, 3.0)
    ),
    "jitted code with a derivative rule": (_code(jax.nn.relu), _code(jax.nn.relu6)),
    "loop": (_looped(0.5), _looped(0.25)),
    "observed or substituted": (_given("condition"), _given("substitute")),
    "constraint of a param": (_param(constraints.real), _param(constraints.positive)),
    "support": tuple(
        lambda c=c: plait.sample("x", dist.ImproperUniform(c, (), ())) for c in (constraints.real, constraints.positive)
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_different_programs_have_different_hashes(what):
    one, other = DIFFERENT[what]
    assert hash_of(one) != hash_of(other)
