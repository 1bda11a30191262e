"""The stubs say what the classes have, and mypy is content with both."""

import concurrent.futures
import inspect
import multiprocessing.pool
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import auriga
from support import Case

GOOD = """
import auriga
from auriga.stdlib import ProcessPoolExecutor, as_completed

def f(x: int, y: int = 2) -> str:
    return str(x + y)

with auriga.Pool(2, retries=1) as pool:
    many: list[str] = pool.map(f, [1, 2], timeout=3, progress=True)
    many = pool.map(f, [1, 2], progress=print)
    one: str = pool.apply_async(f, (1,)).get()
    for text in pool.istarmap(f, [(1, 2)]):
        one += text
with auriga.AutoPool() as auto:
    many = auto.map(f, [1, 2])
    one += auto.explain()
with ProcessPoolExecutor() as executor:
    future = executor.submit(f, 1)
    for done in as_completed([future]):
        one = done.result()
"""

BAD = """
import auriga

def f(x: int) -> str:
    return str(x)

auriga.ThreadPoolExecutor().submit(f, "text")
"""


class Types(Case):
    def mypy(self, text):
        program = shutil.which("mypy")
        if program is None:
            self.skipTest("mypy is not installed")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "program.py"
            path.write_text(text)
            package = pathlib.Path(auriga.__file__).parents[1]
            done = subprocess.run(
                [program, "--strict", "--cache-dir", folder, str(path)],
                env={"MYPYPATH": str(package), "PATH": "/usr/bin:/bin"},
                capture_output=True, text=True,
            )
        return done.returncode, done.stdout

    def test_a_good_program(self):
        status, out = self.mypy(GOOD)
        self.assertEqual(status, 0, out)

    def test_a_bad_program(self):
        status, out = self.mypy(BAD)
        self.assertEqual(status, 1, out)
        self.assertIn("arg-type", out)

    def test_signatures(self):
        stub = (pathlib.Path(auriga.__file__).parent / "_pool.pyi").read_text()
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
