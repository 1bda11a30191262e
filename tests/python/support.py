"""What the tests share."""

import contextlib
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent

# Whether the address sanitizer watches this process, which reserves terabytes of addresses.
WATCHED = "libasan" in os.environ.get("LD_PRELOAD", "")


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
        """A path that workers wait for, open at the latest when the block ends.  The block of the
        pool is the outer one, which then can end."""
        path = os.path.join(self.folder(), "gate")
        for name in (path, path + ".begun"):
            os.mkfifo(name)
        self.hold_open(path + ".begun")
        try:
            yield path
        finally:
            self.open_gate(path)

    def hold_open(self, fifo):
        """Who opens a FIFO waits until its other end is open; here both are, until the test has ended."""
        self.addCleanup(os.close, os.open(fifo, os.O_RDWR))

    def open_gate(self, path):
        self.hold_open(path)

    def await_begun(self, path):
        """Until a task waits for the gate, for each call another one."""
        with open(path + ".begun", "rb", buffering=0) as begun:
            begun.read(1)

    def folder(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return made.name

    def await_end(self, pid):
        """Of a process that need not be a child."""
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        select.select([process], [], [])
        os.close(process)
