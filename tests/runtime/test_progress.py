"""What `reporting` makes of the keyword `progress`, and what the live bar shows of a `Progress`."""

from __future__ import annotations

import io
import sys

import pytest

from plait.runtime import Progress, reporting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch, *reports: Progress) -> str:
    """What a terminal gets."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with reporting(True) as report:
        for progress in reports:
            report(progress)
    return terminal.getvalue()


def test_a_function_gets_every_report():
    seen = []
    with reporting(seen.append) as report:
        report(Progress("draws", 1, 2))
    assert seen == [Progress("draws", 1, 2)]


def test_a_terminal_gets_a_bar_for_each_phase(monkeypatch):
    text = shown(
        monkeypatch,
        Progress("compile", 0, 1),
        Progress("compile", 1, 1),
        Progress("warmup", 3, 10, 1, 0.25),
        Progress("draws", 7, 20, details={"acceptance": 0.5}),
    )
    for part in ("warm-up", "3/10", "step size 0.25", "divergences 1", "7/20", "acceptance 0.5"):
        assert part in text
    assert text.count("step size") == text.count("divergences 1")  # a sampler without says nothing of them


def test_a_phase_of_unknown_length_shows_what_is_done(monkeypatch):
    text = shown(monkeypatch, Progress("nested", 42, None))
    assert "nested" in text
    assert "42" in text
    assert "/" not in text.split("nested")[1].split("\x1b")[0]
    # ... and its length, once that is known.
    assert "43/43" in shown(monkeypatch, Progress("nested", 42, None), Progress("nested", 43, 43))


def test_names_of_phases_are_taken_literally(monkeypatch):
    assert "[red]" in shown(monkeypatch, Progress("[red]", 1, 2, details={"[bold]": 1.0}))


@pytest.mark.parametrize("progress", [True, False])
def test_nothing_is_written_where_no_terminal_is(monkeypatch, progress):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    with reporting(progress) as report:
        report(Progress("draws", 1, 2))
    assert stream.getvalue() == ""


def test_false_is_silent_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with reporting(False) as report:
        report(Progress("draws", 1, 2))
    assert terminal.getvalue() == ""


def test_something_else_is_refused():
    with pytest.raises(TypeError, match="progress is True, False or a function of a Progress, got 1"), reporting(1):
        pass
