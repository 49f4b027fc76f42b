"""The runner: requires, switches, verification after every pass, and the certificate that names a wrong one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler import evaluated, passes
from plait.compiler.lower.evaluate import RULES
from plait.compiler.passes import PIPELINE, Pass, run_passes
from plait.ir.graph import Graph, Node, make, rewrite
from plait.ir.ops import Apply, Input, LogProb
from plait.runtime import program as driver

Y = np.array([1.0, 2.0, 4.0])


def model(y):
    mu = plait.sample("mu", dist.Normal(0, 2))
    sigma = plait.sample("sigma", dist.HalfNormal(1))
    with plait.plate("rows", 3):
        plait.sample("y", dist.Normal(mu, sigma), obs=y)


def with_pass_after(monkeypatch, name: str, added: Pass) -> None:
    """The pipeline with one more pass."""
    place = 1 + [p.name for p in PIPELINE].index(name)
    monkeypatch.setattr(driver, "PIPELINE", (*PIPELINE[:place], added, *PIPELINE[place:]))


def swap_first_sub(graph: Graph) -> Graph:
    """A wrong rewrite: the first subtraction has its operands swapped, which no type can see."""
    done: list[Node] = []

    def rule(node, args):
        same = len(args) == 2 and args[0].type == args[1].type
        if isinstance(node.op, Apply) and node.op.primitive.name == "div" and same and not done:
            done.append(node)
            return make(node.op, args[::-1], node.loc)
        return None

    return rewrite(graph, rule)


def drop_scale(graph: Graph) -> Graph:
    """Another one: the log_prob of a prior is evaluated with scale and location exchanged."""

    def rule(node, args):
        if isinstance(node.op, LogProb) and node.op.site == "mu":
            return make(node.op, (args[0], args[2], args[1]), node.loc)
        return None

    return rewrite(graph, rule)


@pytest.mark.parametrize("long", [0, 10**6], ids=["op_by_op", "compiled"])
@pytest.mark.parametrize(("after", "wrong"), [("simplify_terms", swap_first_sub), ("check_data", drop_scale)])
def test_check_names_the_pass_that_broke(monkeypatch, after, wrong, long) -> None:
    monkeypatch.setattr(evaluated, "LONG", long)
    with_pass_after(monkeypatch, after, Pass("wrong_pass", wrong))
    with pytest.raises(plait.CertificateError, match="pass 'wrong_pass' changes the density"):
        plait.compile(model, Y, check=True)
    assert plait.compile(model, Y, check=True, passes={"wrong_pass": False}).certificate.worst < 1e-4


def test_a_graph_that_does_not_verify_is_refused(monkeypatch) -> None:
    def lie(graph: Graph) -> Graph:
        last = graph.nodes[-1]
        forged = Node(last.op, last.args, replace(last.type, shape=(7,)), last.loc)
        return Graph((*graph.nodes[:-1], forged), ())

    with_pass_after(monkeypatch, "simplify", Pass("lie", lie))
    with pytest.raises(plait.InternalError, match=r"does not have the type"):
        plait.compile(model, Y)


def test_unknown_and_needed_switches() -> None:
    with pytest.raises(plait.PassError, match="did you mean 'expand'"):
        plait.compile(model, Y, passes={"expnd": False})
    with pytest.raises(plait.PassError, match="'unconstrain' can't be switched off"):
        plait.compile(model, Y, passes={"unconstrain": False})
    with pytest.raises(plait.PassError, match=r"'simplify_terms' needs \['expand'\]"):
        plait.compile(model, Y, passes={"expand": False})


def test_every_pass_says_before_and_after() -> None:
    for p in PIPELINE:
        assert "⇒" in p.run.__doc__.split("\n")[0]
    assert passes.PIPELINE is PIPELINE


def test_history_and_callback_see_the_same_graphs() -> None:
    seen = []
    compiled = plait.compile(model, Y, on_graph=lambda name, graph: seen.append((name, graph)))
    assert tuple(seen) == compiled.history
    assert [name for name, _ in seen] == ["trace", *(p.name for p in PIPELINE)]


def test_run_passes_is_pure() -> None:
    compiled = plait.compile(model, Y)
    before = str(compiled.graph)
    again = run_passes(compiled.graph, PIPELINE, {}, lambda name, graph: None, compiled._data)
    assert str(compiled.graph) == before
    assert str(again) == str(compiled.density_graph)


def test_inputs_stay_although_nobody_reads_them() -> None:
    def ignores(x, y):
        del x
        plait.sample("y", dist.Normal(plait.sample("mu", dist.Normal(0, 1)), 1), obs=y)

    compiled = plait.compile(ignores, np.ones(4), Y)
    assert [op.name for op in compiled.density_graph.ops(Input)] == ["z", "x", "y"]
    assert jnp.isfinite(compiled.bind(x=np.zeros(4)).log_density(jnp.zeros(1)))


class Wrong(LogProb):
    """A log_prob that computes something else."""


def replaced(site: str) -> Pass:
    """A pass that evaluates one site's log_prob as `Wrong`."""

    def rule(node, args):
        if not isinstance(node.op, LogProb) or node.op.site != site:
            return None
        return make(Wrong(node.op.ins, node.op.out, site, node.op.dist, False, False), args, node.loc)

    return Pass("wrong", lambda graph: rewrite(graph, rule))


UNEXPANDED = {"expand": False, "simplify_terms": False}


def test_a_wrong_gradient_alone_is_caught(monkeypatch) -> None:
    """The value is right at every point; only the gradient shows it."""
    rule = RULES[LogProb]
    monkeypatch.setitem(RULES, Wrong, lambda op, args: rule(op, (jax.lax.stop_gradient(args[0]), *args[1:])))
    with_pass_after(monkeypatch, "unconstrain", replaced("mu"))
    with jax.enable_x64(True), pytest.raises(plait.CertificateError, match="pass 'wrong'"):
        plait.compile(model, Y, check=True, passes=UNEXPANDED)


def switches(y):
    p = plait.sample("p", dist.Beta(2.0, 2.0))
    with plait.plate("rows", 3):
        k = plait.sample("k", dist.Bernoulli(p))
        plait.sample("y", dist.Normal(2.0 * k, 1.0), obs=y)


def test_a_model_with_a_discrete_latent_is_certified_by_its_log_joint(monkeypatch) -> None:
    with jax.enable_x64(True):
        rows = plait.compile(switches, Y, check=True).certificate.rows
        assert not any(row.unconstrained for row in rows)
        assert max(row.value_error for row in rows) < 1e-12
        assert {row.stage for row in rows} >= {"trace", "density", "split_stages"}

        rule = RULES[LogProb]
        monkeypatch.setitem(RULES, Wrong, lambda op, args: rule(op, args) / 2)
        with_pass_after(monkeypatch, "check_data", replaced("k"))
        with pytest.raises(plait.CertificateError, match="pass 'wrong'"):
            plait.compile(switches, Y, check=True, passes=UNEXPANDED)
