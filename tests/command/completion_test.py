"""Completion for bash, which asks the program itself for its options."""

import pathlib
import subprocess
import unittest

import harness
from harness import Case

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "command" / "completion.bash"


class Completion(Case):
    def complete(self, *words):
        """What bash offers for the last word."""
        text = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _auriga; printf "%s\\n" "${COMPREPLY[@]}"'
        out = subprocess.run(["bash", "-c", text, "bash", SCRIPT, harness.PROGRAM[-1], *words],
                             stdout=subprocess.PIPE, check=True).stdout.decode()
        return out.split()

    def test_verb(self):
        self.assertEqual(self.complete("m"), ["map"])

    def test_options(self):
        self.assertEqual(self.complete("map", "--ti"), ["--timeout"])
        self.assertEqual(self.complete("map", "-k", "-j", "4", "--res"), ["--resume", "--resume-failed"])
        self.assertEqual(self.complete("map", "--joblog", "log", "--keep"), ["--keep-order"])
        self.assertGreater(len(self.complete("map", "--")), 20)

    def test_values(self):
        self.assertEqual(self.complete("map", "--halt", "s"), ["soon"])
        self.assertEqual(self.complete("map", "--joblog", "x"), [])

    def test_command_and_then_files(self):
        self.assertIn("sleep", self.complete("map", "-k", "slee"))
        self.assertEqual(self.complete("map", "gzip", "--ti"), [])


harness.main()
