"""What the tests of the command share.  usage: NAME_test.py PROGRAM...

PROGRAM may be several words (Valgrind and its options come first).  Nothing here sleeps or has a time
limit: processes meet at FIFOs, and a test that hangs is ended by ctest.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv[1:]
VALGRIND = "valgrind" in pathlib.Path(PROGRAM[0]).name if PROGRAM else False
SLOW = VALGRIND or os.environ.get("AURT_SANITIZED", "") != ""


def words(arguments):
    return [*PROGRAM, "map", *[os.fsencode(a) for a in arguments]]


def start(*arguments, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(words(arguments), **options)


class Case(unittest.TestCase):
    """A folder of its own, which is the current one."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="auriga-command-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        os.chdir(self.folder)
        self.addCleanup(os.chdir, "/")

    def run_map(self, *arguments, stdin=b"", code=0, **options):
        """Runs it to its end: (standard output, standard error) as bytes."""
        done = subprocess.run(words(arguments), input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **options)
        self.assertEqual(done.returncode, code, (arguments, done.stdout[-500:], done.stderr[-2000:]))
        return done.stdout, done.stderr

    def out(self, *arguments, **options):
        stdout, stderr = self.run_map(*arguments, **options)
        self.assertEqual(stderr, b"")
        return stdout

    def run_map_to(self, file, *arguments):
        done = subprocess.run(words(arguments), stdout=file, stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def fifo(self, name):
        os.mkfifo(name)
        return name

    def lifeline(self):
        """A pipe: its first end reads as ended once nobody is left who got the second one."""
        reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        return reader, writer


def main():
    sys.argv[1:] = []
    signal.signal(signal.SIGINT, signal.default_int_handler)
    unittest.main(verbosity=1)
