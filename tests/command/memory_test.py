"""Each part of the command once, in few runs: what Valgrind has the time for.  It ends with 99 if it finds anything."""

import os
import unittest

import harness
from harness import Case


class Memory(Case):
    def test_lines_tags_and_order(self):
        out = self.out("-kj3", "--tag", "-n2", "--timeout=1h", "--delay=0.001", "printf", "%s\\n", "{2}{/.}{#}",
                       stdin=b"a/b.c\nd\n" + b"x" * 5000 + b"\n\nlast")
        self.assertEqual(len(out.splitlines()), 3)
        self.assertTrue(out.startswith(b"a/b.c d\tdb d1\n"), out)

    def test_combinations_for_a_shell(self):
        out, err = self.run_map("-cj2", "--lb", "--retries=1", "--halt=now,fail=50%", "echo {1}; echo {2} >&2; [ {1} = a ]",
                                ":::", "a", "it's", ":::", "1", "2", code=2)
        self.assertEqual(sorted(out.split(b"\n")), [b""] + [b"a"] * 2 + [b"it's"] * 4)
        self.assertEqual(err.count(b"it is run again"), 2)

    def test_log_and_resume(self):
        for code, options in (1, ["--joblog=log"]), (1, ["--joblog=log", "--resume-failed"]):
            out, err = self.run_map("-j1", *options, "sh", "-c", "exit $1", "x", stdin=b"0\n3\n0", code=code)
            self.assertIn(b"job 2 (3) failed: exit code 3", err)
        with open("log") as log:
            self.assertEqual(len(log.readlines()), 5)

    def test_what_cannot_be_run(self):
        out, err = self.run_map("-0", "echo", stdin=b"x" * 200000 + b"\0y", code=1)
        self.assertEqual(out, b"y\n")
        self.assertIn(b"too long", err)
        self.run_map("no-such-command", ":::", "a", code=127)
        self.run_map("--timeout=x", "true", code=255)

    def test_large_output_and_no_reader(self):
        with open("big", "wb") as file:
            file.write(b"0123456789abcde\n" * 40000)
        self.assertEqual(len(self.out("-u", "cat", ":::", "big")), 640000)
        self.assertEqual(len(self.out("-j2", "cat", ":::", "big", "big")), 1280000)
        process = harness.start("--progress", "cat", ":::", *["big"] * 5)
        process.stdout.read(1)
        process.stdout.close()
        self.assertEqual((process.wait(), process.stderr.read()), (-13, b""))
        process.stderr.close()

    def test_timeout(self):
        out, err = self.run_map("--timeout=0.1", "sleep", ":::", "1000", code=1)
        self.assertIn(b"took longer than 0.1 s", err)

    def test_dry_run(self):
        self.assertEqual(self.out("-k", "--dry-run", "-a", os.devnull, "echo"), b"")
        self.assertEqual(self.out("-k", "--dry-run", "echo", ":::", "a b", "\n"), b"echo 'a b'\necho $'\\n'\n")


harness.main()
