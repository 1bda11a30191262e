"""The stubs say what the classes have, and mypy is content with both."""

import concurrent.futures
import importlib.util
import inspect
import multiprocessing.pool
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import auriga
import auriga.stdlib
from support import HERE, Case

# Each line that calls something has a mistake.
BAD = """
import auriga

def f(x: int) -> str:
    return str(x)

auriga.ThreadPoolExecutor().submit(f, "text")
auriga.Pool().map(f, ["text"])
auriga.Pool().map(f, [1], kwds=[2])
auriga.Pool().imap(f, [1], timout=3)
auriga.Pool().apply_async(f, (1,)).get().real
auriga.ThreadPool(maxtasksperchild=1)
auriga.AutoPool().starmap(f, [1])
auriga.wait(auriga.ProcessPoolExecutor().submit(f, 1))
"""

# What stubtest may find: a private module's own names, what only pools call, queues, which are classes to
# typeshed and functions of multiprocessing, and what joblib's classes are, which have no types.
ALLOWED = r"""
auriga\._.*
auriga\.(stdlib\.)?(MapResult|IMapIterator|IMapUnorderedIterator)\.__init__
auriga\.(stdlib\.)?(Queue|JoinableQueue|SimpleQueue)
auriga\.joblib\.AurigaBackend(\.__init__)?
"""

CONFIG = """
[mypy]
ignore_missing_imports = True
[mypy-auriga.*]
ignore_errors = True
"""

PACKAGE = pathlib.Path(auriga.__file__).parent


class Types(Case):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.cache = folder.name

    def mypy(self, *files):
        program = shutil.which("mypy")
        if program is None:
            self.skipTest("mypy is not installed")
        done = subprocess.run(
            [program, "--strict", "--python-version", "3.10", "--cache-dir", self.cache, *files],
            env={"PATH": "/usr/bin:/bin", "MYPYPATH": str(PACKAGE.parent)},
            cwd=PACKAGE.parent, capture_output=True, text=True,
        )
        return done.returncode, done.stdout

    def test_the_stubs(self):
        stubs = sorted(str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob("*.pyi"))
        status, out = self.mypy(*stubs)
        self.assertEqual(status, 0, out)

    def test_a_good_program(self):
        status, out = self.mypy(str(HERE / "typed.py"))
        self.assertEqual(status, 0, out)

    def test_a_bad_program(self):
        path = pathlib.Path(self.folder()) / "bad.py"
        path.write_text(BAD)
        _, out = self.mypy(str(path))
        wanted = [n for n, line in enumerate(BAD.splitlines(), 1) if line.startswith("auriga.")]
        found = {int(n) for n in re.findall(r"bad\.py:(\d+): error", out)}
        self.assertEqual(sorted(found), wanted, out)

    def test_the_stubs_are_true(self):
        if importlib.util.find_spec("mypy") is None:
            self.skipTest("mypy is not there for this interpreter")
        folder = pathlib.Path(self.folder())
        (folder / "allowed").write_text(ALLOWED)
        (folder / "mypy.ini").write_text(CONFIG)
        command = [sys.executable, "-m", "mypy.stubtest", "auriga", "--concise"]
        command += ["--mypy-config-file", "mypy.ini", "--allowlist", "allowed"]
        done = subprocess.run([*command, "--ignore-unused-allowlist"],
                              env=dict(os.environ, MYPYPATH=str(PACKAGE.parent)), cwd=folder,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_name_has_a_type(self):
        for name, module in (("__init__.pyi", auriga), ("stdlib/__init__.pyi", auriga.stdlib)):
            stub = (PACKAGE / name).read_text()
            for public in module.__all__:
                with self.subTest(name=f"{module.__name__}.{public}"):
                    self.assertRegex(stub, rf"(as|def|class) {public}\b")

    def test_signatures(self):
        stub = (PACKAGE / "_pool.pyi").read_text()
        for cls in (auriga.Pool, auriga.AsyncResult):
            for name, method in inspect.getmembers(cls, inspect.isroutine):
                if not name.startswith("_"):
                    with self.subTest(method=f"{cls.__name__}.{name}"):
                        self.assertIn(f"def {name}(", stub)
                        for parameter in inspect.signature(method).parameters:
                            self.assertIn(f"{parameter}", stub)

    def test_arguments_are_those_of_the_standard_library(self):
        pairs = [
            (auriga.Future, concurrent.futures.Future),
            (auriga.ThreadPoolExecutor, concurrent.futures.ThreadPoolExecutor),
            (auriga.ProcessPoolExecutor, concurrent.futures.ProcessPoolExecutor),
            (auriga.Pool, multiprocessing.pool.Pool),
            (auriga.ThreadPool, multiprocessing.pool.ThreadPool),
            (auriga.AsyncResult, multiprocessing.pool.AsyncResult),
        ]
        for ours, theirs in pairs:
            for name, method in inspect.getmembers(theirs, inspect.isroutine):
                if name.startswith("_") and name not in ("__enter__", "__exit__"):
                    continue
                with self.subTest(method=f"{ours.__name__}.{name}"):
                    wanted = list(inspect.signature(method).parameters)
                    got = list(inspect.signature(getattr(ours, name)).parameters)
                    self.assertEqual(got[: len(wanted)], wanted)
        for made in ("ThreadPoolExecutor", "ProcessPoolExecutor"):
            wanted = inspect.signature(getattr(concurrent.futures, made)).parameters
            got = inspect.signature(getattr(auriga, made)).parameters
            self.assertEqual(list(got)[: len(wanted)], list(wanted))


if __name__ == "__main__":
    unittest.main()
