"""What the tests share."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent


def environment():
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([*sys.path, str(HERE)])
    return env


def run_program(text, **options):
    """Runs a program from a file; (status, stdout, stderr)."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "program.py"
        path.write_text(text)
        done = subprocess.run([sys.executable, str(path)], env=environment(), text=True,
                              capture_output=True, **options)
    return done.returncode, done.stdout, done.stderr


class Case(unittest.TestCase):
    @contextlib.contextmanager
    def gate(self):
        """A path that workers wait for; there at the latest when the block ends.  The block of the
        pool is the outer one, which then can end."""
        path = pathlib.Path(self.folder()) / "gate"
        try:
            yield str(path)
        finally:
            path.touch()

    def folder(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return made.name

    def eventually(self, holds):
        """For what happens soon after, in another process; without a limit of its own."""
        while not holds():
            time.sleep(0.002)
