"""What pip makes of this tree: a wheel that works by itself, and a source distribution."""

import base64
import hashlib
import os
import pathlib
import subprocess
import sys
import tarfile
import unittest
import zipfile

from support import Case

BACKEND = pathlib.Path(__file__).resolve().parents[2] / "python" / "backend"


@unittest.skipUnless("AURIGA_STATIC" in os.environ, "would compile the whole library")
class Build(Case):
    def build(self, what):
        folder = self.folder()
        program = f"import auriga_build; print(auriga_build.{what}({folder!r}))"
        env = dict(os.environ, PYTHONPATH=str(BACKEND))
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return pathlib.Path(folder) / done.stdout.strip()

    def test_wheel(self):
        path = self.build("build_wheel")
        self.assertRegex(path.name, r"^auriga-[0-9.]+-cp3\d+-cp3\d+-linux_\w+\.whl$")
        target = self.folder()
        with zipfile.ZipFile(path) as wheel:
            names = set(wheel.namelist())
            record = next(name for name in names if name.endswith(".dist-info/RECORD"))
            for line in wheel.read(record).decode().splitlines():
                name, digest, _ = line.split(",")
                names.remove(name)
                if digest:
                    want = hashlib.sha256(wheel.read(name)).digest()
                    want = base64.urlsafe_b64encode(want).rstrip(b"=").decode()
                    self.assertEqual(digest, f"sha256={want}")
            self.assertEqual(names, set())
            wheel.extractall(target)
        (core,) = pathlib.Path(target).rglob("_core*.so")
        symbols = subprocess.check_output(["nm", "-D", "--defined-only", core], text=True)
        self.assertEqual([line.split()[-1] for line in symbols.splitlines()], ["PyInit__core"])
        program = "import auriga; print(auriga.Pool(1).apply(pow, (5, 2)), auriga.__file__)"
        done = subprocess.run(
            [sys.executable, "-c", program], env=dict(os.environ, PYTHONPATH=target),
            capture_output=True, text=True,
        )
        self.assertEqual(done.stdout.split()[0], "25", done.stderr)
        self.assertIn(target, done.stdout)

    def test_sdist(self):
        with tarfile.open(self.build("build_sdist")) as sdist:
            names = sdist.getnames()
        base = names[0].split("/")[0]
        for part in ("pyproject.toml", "PKG-INFO", "include/auriga.h", "python/src/core.h"):
            self.assertIn(f"{base}/{part}", names)
        self.assertFalse([name for name in names if "__pycache__" in name])

    def test_version(self):
        sys.path.insert(0, str(BACKEND))
        self.addCleanup(sys.path.remove, str(BACKEND))
        import auriga_build

        import auriga

        self.assertEqual(auriga_build.version(), auriga.__version__)
        self.assertIn(f'version = "{auriga.__version__}"',
                      (BACKEND.parents[1] / "pyproject.toml").read_text())


if __name__ == "__main__":
    unittest.main()
