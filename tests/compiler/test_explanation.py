"""A saved explanation: equal to the one that was saved, printed alike without jax, and refused where it is damaged.

Every model's: `tests/passes/test_json.py`.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait import ArtifactError
from plait.compiler.certificate import Certificate, Row
from plait.compiler.cost_analysis import CostAnalysis
from plait.compiler.explanation import Explanation, Term
from plait.ir.records import ADDED

COST = CostAnalysis("log_density_and_grad", "cpu", 1234567, 8, 90, 7, 6, 0, 41, 0, 0)
ROOT = Path(__file__).resolve().parents[2]
NAME = "<script> \"quoted\" 'é 模型'"


def model(group, y):
    scale = plait.sample("scale", dist.HalfNormal(1.0))
    a = plait.sample(NAME, dist.Normal(jnp.zeros(2), 1.0).to_event(1))
    plait.sample("y", dist.Normal(a[group], scale), obs=y)
    plait.sample("kept", dist.StudentT(3.0, jnp.cumsum(a)[group], scale), obs=y)


@pytest.fixture(scope="module")
def explained():
    group, y = np.array([0, 1, 1, 0]), np.array([0.5, 1.0, 2.0, -1.0], np.float32)
    found = plait.compile(model, group, y).explain()
    assert any(t.evaluated for t in found.terms)
    certificate = plait.compile(lambda: plait.sample("x", dist.HalfNormal(1.0)), check=1).certificate
    notes = ("kept apart: …", *(str(i) for i in range(12)))
    return replace(found, certificate=certificate, notes=notes, cost_analysis=COST)


@pytest.fixture
def data(explained):
    return json.loads(json.dumps(explained.to_json(), allow_nan=False))


def test_a_certificate_goes_with_it(explained, data):
    back = Explanation.from_json(data)
    assert back == explained
    assert str(back) == str(explained)
    assert f"{NAME} ~ Normal(0, 1)" in str(back)
    certificate = explained.certificate
    alone = Certificate.from_json(json.loads(json.dumps(certificate.to_json(), allow_nan=False)))
    assert alone == back.certificate == certificate
    assert str(alone) == str(certificate)


def test_the_last_line_is_what_xla_says(explained, data):
    words = " ".join(str(explained).splitlines()[-2:])
    assert words == (
        "XLA on cpu, log_density_and_grad: 1,234,567 flops, 8 transcendentals, 90 bytes accessed, "
        "7 bytes of arguments, 6 of results, 0 of temporaries, 41 instructions"
    )
    assert Explanation.from_json(data).cost_analysis == COST


def test_what_xla_does_not_say_is_null_and_not_printed():
    unknown = CostAnalysis("log_joint", "tpu", None, None, None, 7, None, None, None, None, None)
    nothing = replace(unknown, argument_bytes=None)
    assert str(unknown) == "XLA on tpu, log_joint: 7 bytes of arguments"
    assert str(nothing) == "XLA on tpu, log_joint: no figures"
    data = json.loads(json.dumps(Explanation((), (), cost_analysis=unknown).to_json(), allow_nan=False))
    assert data["cost_analysis"]["flops"] is None
    assert Explanation.from_json(data).cost_analysis == unknown


def test_operations_that_xla_does_not_count_are_said():
    looping = replace(COST, loops=2, library_calls=1)
    assert str(looping).endswith(
        "instructions; bodies of loops (2) count once; the work of library calls (1) may not count"
    )


def test_a_broken_certificate_has_infinite_errors():
    row = Row("fuse", 0, True, np.inf, -np.inf, np.float64(np.inf), np.nan, np.float32(0.5), 0.5, True, np.bool_(False))
    certificate = Certificate((row,), ("x",), ("y",), 3)
    back = Certificate.from_json(json.loads(json.dumps(certificate.to_json(), allow_nan=False)))
    assert str(back) == str(certificate)
    assert back.broken is not None
    assert (back.whole, back.large, back.skipped) == (("x",), ("y",), 3)


READER = """
import json, sys
from plait.compiler.explanation import Explanation

print(Explanation.from_json(json.load(sys.stdin)))
print(*(name for name in ("jax", "jaxlib", "numpyro", "scipy", "networkx") if name in sys.modules), file=sys.stderr)
"""


def test_it_is_read_and_printed_without_jax_and_numpyro(explained, data):
    command = [sys.executable, "-X", "utf8", "-c", READER]
    done = subprocess.run(command, input=json.dumps(data), capture_output=True, check=True, encoding="utf-8", cwd=ROOT)
    assert done.stdout == f"{explained}\n"
    assert done.stderr.split() == []


def without(data, *path):
    *way, last = path
    for key in way:
        data = data[key]
    del data[last]


def put(data, value, *path):
    *way, last = path
    for key in way:
        data = data[key]
    data[last] = value


DAMAGED = [
    (lambda d: without(d, "terms"), "the explanation has no field 'terms'"),
    (lambda d: without(d, "notes"), "the explanation has no field 'notes'"),
    (lambda d: without(d, "schema"), "the explanation has no schema"),
    (lambda d: put(d, "plait.explanation/2", "schema"), "the explanation has the schema 'plait.explanation/2'"),
    (lambda d: put(d, "plait.graph/1", "schema"), "the explanation has the schema 'plait.graph/1'"),
    (
        lambda d: put(d, 1, "colour"),
        "the explanation has the field 'colour', which this version of plait",
    ),
    (lambda d: put(d, {}, "terms"), "the explanation.terms is {}, where a list should stand"),
    (lambda d: put(d, None, "terms", 1), "the explanation.terms[1] is None, where an object should stand"),
    (
        lambda d: put(d, "7", "terms", 0, "flops"),
        "the explanation.terms[0].flops is '7', where an integer should stand",
    ),
    (lambda d: put(d, [1], "terms", 0, "rows"), "the explanation.terms[0].rows has 1 items instead of 2"),
    (lambda d: put(d, True, "terms", 0, "bytes"), "the explanation.terms[0].bytes is True"),
    (lambda d: without(d, "terms", 0, "loc", "line"), "the explanation.terms[0].loc has no field 'line'"),
    (lambda d: put(d, ["a", 1], "passes", 2), "the explanation.passes[2] has 2 items instead of 3"),
    (lambda d: put(d, 0, "certificate"), "the explanation.certificate is 0, where an object should stand"),
    (lambda d: put(d, "no", "certificate", "rows", 0, "holds"), "the explanation.certificate.rows[0].holds is 'no'"),
    (lambda d: put(d, "big", "certificate", "rows", 0, "value"), "rows[0].value is 'big', where a number should stand"),
    (lambda d: put(d, [1], "notes"), "the explanation.notes[0] is 1, where a string should stand"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGED, ids=[says for _, says in DAMAGED])
def test_a_damaged_explanation_is_refused_by_the_name_of_the_field(data, damage, says):
    damaged = copy.deepcopy(data)
    damage(damaged)
    with pytest.raises(ArtifactError, match=re.escape(says)) as caught:
        Explanation.from_json(damaged)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damaged", [None, [], "plait.explanation/1", 3.0])
def test_what_is_no_explanation_is_refused(damaged):
    with pytest.raises(ArtifactError, match=r"the explanation is .*, where an object should stand"):
        Explanation.from_json(damaged)


def test_every_lost_field_and_every_null_is_noticed(data):
    """Each place of the JSON, one after the other: nothing is read as if it were not there.

    But what files of earlier versions have not.
    """
    places = list(places_of(data))
    assert len(places) > 75
    added = {f.name for f in fields(Term) if f.metadata == ADDED}
    assert added == {"rule", "refusals"}
    for path in places:
        if isinstance(path[-1], str) and path[-1] not in added:
            damaged = copy.deepcopy(data)
            without(damaged, *path)
            with pytest.raises(ArtifactError):
                Explanation.from_json(damaged)
        if not may_be_null(path):
            damaged = copy.deepcopy(data)
            put(damaged, None, *path)
            with pytest.raises(ArtifactError):
                Explanation.from_json(damaged)


def test_an_explanation_of_an_earlier_version_is_read(data):
    old = copy.deepcopy(data)
    for term in old["terms"]:
        del term["rule"], term["refusals"]
    read = Explanation.from_json(old)
    assert {(term.rule, term.refusals) for term in read.terms} == {("", ())}
    assert [t.name for t in read.terms] == [t["name"] for t in data["terms"]]


def may_be_null(path):
    if path[:-1] == ("cost_analysis",):
        return path[-1] not in ("function", "platform")
    return path[-1] in ("loc", "certificate", "cost_analysis")


def places_of(data, path=()):
    entries = data.items() if isinstance(data, dict) else enumerate(data[:2]) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from places_of(value, (*path, key))
