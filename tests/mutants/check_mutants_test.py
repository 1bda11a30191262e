#!/usr/bin/env python3
"""usage: check_mutants_test.py

Goal:    each line of mutants.txt still fits its source, and what tools/check-mutants says of a mutant is
         true: a program that was only slow has not killed it.
Method:  the parts of the script are given small inputs, and programs that end as told.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import pathlib
import subprocess
import sys
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("check_mutants", str(ROOT / "tools/check-mutants"))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(tool)

HANGS = None


class Programs:
    """Stands in for subprocess.run: each call ends as the next of `ends` says, a status or HANGS."""

    def __init__(self, *ends, output=""):
        self.ends = list(ends)
        self.output = output
        self.limits = []

    def __call__(self, command, timeout, **_):
        self.limits.append(timeout)
        end = self.ends.pop(0)
        if end is HANGS:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, end, self.output)


def ended(*ends, **more):
    """What run_test() and run() then say, and the limits that they set."""
    said = []
    for call in (lambda: tool.run_test("exe", "unit/a_test"), lambda: tool.run("exe", False, "a/b")):
        programs = Programs(*ends, **more)
        with mock.patch.object(tool.subprocess, "run", programs):
            said.append(call())
    return said, programs.limits


class List(unittest.TestCase):
    def test_every_mutant_fits(self):
        mutants = tool.read_list()
        texts = {m.path: (ROOT / m.path).read_text() for m in mutants}

        self.assertGreater(len(mutants), 300)
        self.assertEqual([str(m) for m in mutants if m.apply(texts[m.path]) in (None, texts[m.path])], [])

    def test_a_mutant_changes_one_function_only(self):
        mutant = tool.Mutant("a.c", 1, "  [A1] second: f(x); => g(x); | deque")
        text = "int first(void)\n{\n    f(x);\n}\n\nint second(void)\n{\n    f(x); /* A */\n}\n"

        self.assertEqual(mutant.apply(text), text[:-len("f(x); /* A */\n}\n")] + "g(x); /* A */\n}\n")
        self.assertIsNone(mutant.apply(text.replace("second", "third")))
        self.assertIsNone(mutant.apply(text.replace("f(x); /*", "f(x); f(x); /*")))


class Verdict(unittest.TestCase):
    def test_a_program_that_ends_well_kills_nothing(self):
        self.assertEqual(ended(0), ([None, None], [tool.SECONDS_MAX]))

    def test_a_failure_kills(self):
        self.assertEqual(ended(1, output="a/b   FAILED\n")[0], ["unit/a_test", "a/b"])
        self.assertEqual(ended(-6)[0], ["unit/a_test", "status -6"])

    def test_what_did_not_end_is_run_again(self):
        self.assertEqual(ended(HANGS, 0)[0], [None, None])
        self.assertEqual(ended(HANGS, 1)[0], ["unit/a_test", "status 1"])

    def test_and_counts_if_it_has_more_time_and_does_not_end_again(self):
        said, limits = ended(HANGS, HANGS)

        self.assertEqual(said, ["unit/a_test: does not end", "does not end"])
        self.assertEqual(limits, [tool.SECONDS_MAX, 3 * tool.SECONDS_MAX])

    def test_the_deep_search_of_a_survivor_is_no_kill(self):
        with mock.patch.object(tool.subprocess, "run", Programs(HANGS, HANGS)):
            self.assertEqual(tool.run("exe", True, ""), tool.OUT_OF_TIME)


class Summary(unittest.TestCase):
    def summary(self, *fates, reasons=()):
        mutants = [tool.Mutant("a.c", n, "  [A1] f: x => y | deque") for n in range(len(fates))]
        for n, fate in enumerate(fates):
            mutants[n].fate = fate
            mutants[n].reason = dict(reasons).get(n, "")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = tool.report(mutants)
        return status, out.getvalue()

    def test_kills_by_failure_and_by_not_ending_are_told_apart(self):
        status, text = self.summary("killed by a/b", "killed by unit/a_test: does not end",
                                    "killed by does not end", "killed by status -6")

        self.assertEqual(status, 0)
        self.assertIn("mutants: 4, killed 4 (2 by a failure, 2 by not ending), "
                      "survived for a known reason 0, wrong 0", text)

    def test_what_is_wrong_fails(self):
        self.assertEqual(self.summary("survived", reasons=[(0, "equivalent: so")])[0], 0)
        for fates, reasons in [(["survived"], []), (["does not fit"], []), ([tool.OUT_OF_TIME], []),
                               (["killed by a/b"], [(0, "OPEN: so")]), ([], [])]:
            with self.subTest(fates):
                self.assertEqual(self.summary(*fates, reasons=reasons)[0], 1)


if __name__ == "__main__":
    unittest.main()
