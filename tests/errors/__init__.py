"""What users read when a model, its data or a call are wrong: one table of cases and one golden file for each theme.

``PLAIT_UPDATE_GOLDEN=1 pytest tests/errors`` writes the golden files. An entry there is a case's name, the line to
blame and the message, so that a reader can judge them all at a glance. In them a line number reads as ``N``, because
the tests themselves compare it with the line marked ``# here``.
"""

import os
import re
from functools import cache, partial
from pathlib import Path

import pytest

import plait
from tests.helpers import line

UPDATE = os.environ.get("PLAIT_UPDATE_GOLDEN") == "1"
LONGEST = 330  # characters of a message
INTERNALS = ("Tracer", "jaxpr", "ShapedArray", "<function", "<class", "object at 0x", "\n")


class Table:
    """The cases of one test file, each a function whose error is looked at."""

    def __init__(self, file):
        self.golden = Path(file).with_suffix(".txt").with_stem(Path(file).stem.removeprefix("test_"))
        self.cases = {}

    def model(self, error, *args, says=(), **kwargs):
        """A model that does not compile on these arguments."""

        def register(model):
            return self._add(model, partial(plait.compile, model, *args, **kwargs), error, says)

        return register

    def call(self, error, says=()):
        """A function without arguments that fails."""
        return lambda function: self._add(function, function, error, says)

    def _add(self, function, run, error, says):
        assert function.__name__ not in self.cases, f"two cases are called {function.__name__}"
        self.cases[function.__name__] = (function, run, error, says)
        return function

    def tests(self):
        """Two tests: each error is as its case says, and the golden file holds its message."""
        outcome = cache(self._outcome)

        @pytest.mark.parametrize("name", self.cases)
        def each_says_what_and_where(name):
            function, _, expected, says = self.cases[name]
            error = outcome(name)
            message = str(error)
            assert type(error) is expected, f"{type(error).__name__}: {message}"
            assert len(message) <= LONGEST
            assert not [part for part in INTERNALS if part in message]
            assert not [part for part in says if part not in message], message
            if (where := to_blame(function)) is not None:
                assert message.endswith(where)
                assert str(error.loc) == where.strip("()")

        def golden():
            new = [entry(function, outcome(name)) for name, (function, *_) in self.cases.items()]
            if UPDATE:
                self.golden.write_text("\n".join(new))
            assert self.golden.read_text().split("\n\n") == "\n".join(new).split("\n\n")

        return each_says_what_and_where, golden

    def _outcome(self, name):
        try:
            self.cases[name][1]()
        except Exception as error:
            return error
        return None


def entry(function, error):
    """The lines of a case in the golden file; of an error that is not plait's, its first line."""
    message = re.sub(r"\.py:\d+", ".py:N", str(error).partition("\n")[0])
    source = "" if to_blame(function) is None else blamed_source(function)
    return f"{function.__name__}{source and ':  ' + source}\n    {type(error).__name__}: {message}\n"


def to_blame(function):
    """``(file.py:12)``, or None where no line of a model is to blame: an argument of plait's is wrong."""
    try:
        return line(function)
    except ValueError:
        return None


def blamed_source(function):
    """The text of the line to blame."""
    where = to_blame(function).strip("()")
    lines = Path(function.__code__.co_filename).read_text().splitlines()
    return lines[int(where.rpartition(":")[2]) - 1].removesuffix("# here").strip()
