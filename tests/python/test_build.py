"""What pip makes of this tree: a wheel that works by itself, and a source distribution."""

import base64
import email
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
    def start(self, what, folder, backend=BACKEND, **env):
        program = f"import auriga_build; print(auriga_build.{what}({folder!r}))"
        return subprocess.run(
            [sys.executable, "-c", program], env=dict(os.environ, PYTHONPATH=str(backend), **env),
            capture_output=True, text=True,
        )

    def build(self, what, backend=BACKEND):
        folder = self.folder()
        done = self.start(what, folder, backend)
        self.assertEqual(done.returncode, 0, done.stderr)
        return pathlib.Path(folder) / done.stdout.strip()

    def tree(self):
        """A copy of the sources, as they come out of a source distribution, in a place of another name."""
        folder = pathlib.Path(self.folder()) / "a tr\u00e9e"
        with tarfile.open(self.build("build_sdist")) as sdist:
            sdist.extractall(folder)
        (tree,) = folder.iterdir()
        return tree

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

    def test_metadata(self):
        tree = self.tree()
        fields = email.message_from_bytes((tree / "PKG-INFO").read_bytes())
        self.assertEqual(fields["License"], "MIT")
        self.assertEqual(fields["Requires-Python"], ">=3.10")
        self.assertEqual(fields["Requires-Dist"], 'cloudpickle; extra == "lambdas"')
        self.assertIn("Typing :: Typed", fields.get_all("Classifier"))
        self.assertEqual(fields.get_payload(decode=True), (tree / "docs" / "python.md").read_bytes())

    def test_the_same_bytes_from_another_place(self):
        tree = self.tree()
        for path in tree.rglob("*"):
            os.utime(path)
        backend = tree / "python" / "backend"
        for what in "build_sdist", "build_wheel":
            with self.subTest(what=what):
                ours, theirs = self.build(what), self.build(what, backend)
                self.assertEqual(ours.name, theirs.name)
                self.assertTrue(ours.read_bytes() == theirs.read_bytes())

    def test_editable(self):
        tree = self.tree()
        target = self.folder()
        with zipfile.ZipFile(self.build("build_editable", tree / "python" / "backend")) as wheel:
            wheel.extractall(target)
        with open(tree / "python" / "auriga" / "_remote.py", "a") as source:
            source.write("EDITED = True\n")
        # An interpreter that cannot read the path in its locale would not even start.  (That of 3.13 loads no
        # extension from there.)
        programs = {
            "C.UTF-8": "import auriga, auriga._remote\n"
                       "print(auriga.Pool(1).apply(pow, (5, 2)), auriga._remote.EDITED)",
            "C": "import auriga; print(25, 'Pool' in dir(auriga))",
        }
        for locale, program in programs.items():
            env = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": locale, "PATH": os.environ["PATH"]}
            if "LD_PRELOAD" in os.environ:
                env = {**os.environ, **env}
                del env["PYTHONPATH"]
            program = f"import site; site.addsitedir({target!r})\n{program}"
            done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
            self.assertEqual(done.stdout, "25 True\n", (locale, done.stderr))

    def test_a_tree_that_is_read_only(self):
        package = self.tree() / "python" / "auriga"
        package.chmod(0o555)
        self.addCleanup(package.chmod, 0o755)
        target = pathlib.Path(self.folder()) / "auriga"
        program = f"import auriga_build, pathlib; auriga_build.copy_sources(pathlib.Path({str(target)!r}))"
        env = dict(os.environ, PYTHONPATH=str(package.parent / "backend"))
        subprocess.run([sys.executable, "-c", program], env=env, check=True)
        self.assertTrue(target.stat().st_mode & 0o200)  # the extension is to come there
        self.assertTrue((target / "stdlib" / "__init__.pyi").is_file())

    def test_no_compiler(self):
        done = self.start("build_wheel", self.folder(), CC="no-such-compiler -m64")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^the C compiler 'no-such-compiler' cannot be run .*\n$")

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
