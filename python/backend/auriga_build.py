"""Builds the Python package: a PEP 517 backend that needs nothing but a C compiler.

    pip install .                               a wheel, with libauriga compiled into it
    python3 python/backend/auriga_build.py DIR  the package in DIR, for work on it

AURIGA_STATIC names a libauriga.a to link instead of compiling the library's sources; CC and CFLAGS
are honoured.
"""

import base64
import concurrent.futures
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "auriga"
CORE = sorted((ROOT / "python" / "src").glob("*.c"))
LIBRARY = sorted((ROOT / "src").glob("*/*.c"))
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wno-missing-field-initializers"]
FLAGS = ["-std=c11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-fexceptions", "-pthread",
         "-D_GNU_SOURCE"]
# Of the extension nobody but Python looks up a name, and the library in it is its own: another one
# that the program has loaded for all must not take its place.
EXPORTS = "{ global: PyInit__core; local: *; };"


def version():
    text = (ROOT / "include" / "auriga" / "base.h").read_text()
    parts = re.findall(r"^#define AUR_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", text, re.M)
    return ".".join(parts)


# ---- compiling ----------------------------------------------------------------------------------


def python_flags():
    include = sysconfig.get_path("include")
    if not os.path.exists(os.path.join(include, "Python.h")):
        sys.exit(f"{sys.executable} comes without Python.h; on Debian it is in python3-dev")
    return [f"-I{include}", f"-I{sysconfig.get_path('platinclude')}"]


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.stdout:
        print(done.stdout, file=sys.stderr)
    if done.returncode != 0:
        raise SystemExit(f"failed: {shlex.join(map(str, command))}")


def compile_all(folder):
    """Objects of the extension and, unless there is an archive of it, of the library."""
    cc = shlex.split(os.environ.get("CC", "cc"))
    common = [*cc, *FLAGS, f"-I{ROOT / 'include'}", *shlex.split(os.environ.get("CFLAGS", ""))]
    archive = os.environ.get("AURIGA_STATIC")
    jobs = [(source, [*WARNINGS, *python_flags()]) for source in CORE]
    if not archive:
        jobs += [(source, [f"-I{ROOT / 'src'}"]) for source in LIBRARY]
    objects = []
    commands = []
    for source, flags in jobs:
        target = folder / f"{source.parent.name}-{source.stem}.o"
        objects.append(target)
        commands.append([*common, *flags, "-c", str(source), "-o", str(target)])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, commands))
    return [*cc, "-shared", "-pthread"], [*map(str, objects), *([archive] if archive else [])]


def build_package(folder):
    """The package as it is imported, in folder/auriga."""
    target = folder / "auriga"
    shutil.copytree(PACKAGE, target, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    library = target / ("_core" + sysconfig.get_config_var("EXT_SUFFIX"))
    with tempfile.TemporaryDirectory() as objects:
        link, files = compile_all(pathlib.Path(objects))
        made = library.with_suffix(".new")
        exports = pathlib.Path(objects) / "exports"
        exports.write_text(EXPORTS)
        run([*link, *files, f"-Wl,--version-script={exports}", "-o", str(made)])
        made.replace(library)
    return target


# ---- metadata -----------------------------------------------------------------------------------


def tag():
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    abi = python + (getattr(sys, "abiflags", "") or "")
    return f"{python}-{abi}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def metadata():
    readme = (ROOT / "docs" / "python.md").read_text()
    return (
        "Metadata-Version: 2.1\n"
        "Name: auriga\n"
        f"Version: {version()}\n"
        "Summary: Pools of threads and processes that cannot hang and cannot lose work\n"
        "License: MIT\n"
        "Requires-Python: >=3.10\n"
        "Provides-Extra: lambdas\n"
        'Requires-Dist: cloudpickle; extra == "lambdas"\n'
        "Description-Content-Type: text/markdown\n\n" + readme
    )


def dist_info():
    return {
        "METADATA": metadata(),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: auriga_build\nRoot-Is-Purelib: false\n"
                 f"Tag: {tag()}\n",
        "LICENSE": (ROOT / "LICENSE").read_text(),
    }


def write_wheel(folder, files):
    """files: name in the wheel -> bytes."""
    info = f"auriga-{version()}.dist-info"
    for name, text in dist_info().items():
        files[f"{info}/{name}"] = text.encode()
    record = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}\n")
    record.append(f"{info}/RECORD,,\n")
    files[f"{info}/RECORD"] = "".join(record).encode()
    name = f"auriga-{version()}-{tag()}.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if path.endswith(".so") else 0o644) << 16
            wheel.writestr(entry, data)
    return name


# ---- what pip calls -----------------------------------------------------------------------------


def get_requires_for_build_wheel(config_settings=None):
    return []


get_requires_for_build_sdist = get_requires_for_build_editable = get_requires_for_build_wheel


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = pathlib.Path(metadata_directory) / f"auriga-{version()}.dist-info"
    folder.mkdir()
    for name, text in dist_info().items():
        (folder / name).write_text(text)
    return folder.name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        package = build_package(folder)
        files = {str(path.relative_to(folder)): path.read_bytes()
                 for path in sorted(package.rglob("*")) if path.is_file()}
    return write_wheel(wheel_directory, files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The package stays in build/python, where the next build replaces it."""
    folder = ROOT / "build" / "python" / tag()
    folder.mkdir(parents=True, exist_ok=True)
    build_package(folder)
    return write_wheel(wheel_directory, {"auriga.pth": f"{folder}\n".encode()})


def build_sdist(sdist_directory, config_settings=None):
    base = f"auriga-{version()}"
    name = f"{base}.tar.gz"
    parts = ["pyproject.toml", "LICENSE", "README.md", "docs/python.md", "include", "src", "python"]
    with tarfile.open(pathlib.Path(sdist_directory) / name, "w:gz",
                      format=tarfile.PAX_FORMAT) as sdist:
        for part in parts:
            sdist.add(ROOT / part, f"{base}/{part}",
                      filter=lambda entry: None if "__pycache__" in entry.name else entry)
        with tempfile.TemporaryDirectory() as folder:
            info = pathlib.Path(folder) / "PKG-INFO"
            info.write_text(metadata())
            sdist.add(info, f"{base}/PKG-INFO")
    return name


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: auriga_build.py DIR")
    made = pathlib.Path(sys.argv[1]).resolve()
    made.mkdir(parents=True, exist_ok=True)
    build_package(made)
