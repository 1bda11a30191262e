"""Builds the Python package: a PEP 517 backend that needs nothing but a C compiler.

    pip install .                               a wheel, with libauriga compiled into it
    python3 python/backend/auriga_build.py DIR  the package in DIR, for work on it

AURIGA_STATIC names a libauriga.a to link instead of compiling the library's sources; CC and CFLAGS
are honoured.
"""

import ast
import base64
import concurrent.futures
import gzip
import hashlib
import io
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
# The same bytes wherever the tree is: what is compiled knows its sources as auriga/...
FLAGS = ["-std=c11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-fexceptions", "-pthread",
         "-D_GNU_SOURCE", f"-ffile-prefix-map={ROOT}=auriga"]
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
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
    except OSError as error:
        raise SystemExit(f"the C compiler {command[0]!r} cannot be run ({error.strerror}): on Debian "
                         "it is in gcc; CC may name another one")
    if done.stdout:
        print(done.stdout, file=sys.stderr)
    if done.returncode != 0:
        raise SystemExit(f"failed: {shlex.join(map(str, command))}")


def compile_all(folder):
    """Objects of the extension and, unless there is an archive of it, of the library."""
    cc = shlex.split(os.environ.get("CC", "cc"))
    common = [*cc, *FLAGS, f"-I{ROOT / 'include'}", *shlex.split(os.environ.get("CFLAGS", ""))]
    archive = os.environ.get("AURIGA_STATIC")
    archive = archive and os.path.abspath(archive)
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


def copy_sources(target, put=shutil.copyfile):
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and path.suffix != ".so" and path.parent.name != "__pycache__":
            to = target / path.relative_to(PACKAGE)
            to.parent.mkdir(parents=True, exist_ok=True)  # not as it is in a tree that is read-only
            put(path, to)


def link_sources(target):
    """As copies, but what is edited in the tree is what is imported."""
    shutil.rmtree(target, ignore_errors=True)
    copy_sources(target, os.symlink)


def build_package(folder, place=copy_sources):
    """The package as it is imported, in folder/auriga."""
    target = folder / "auriga"
    library = target / ("_core" + sysconfig.get_config_var("EXT_SUFFIX"))
    with tempfile.TemporaryDirectory() as objects:
        objects = pathlib.Path(objects)
        link, files = compile_all(objects)
        exports = objects / "exports"
        exports.write_text(EXPORTS)
        run([*link, *files, f"-Wl,--version-script={exports}", "-o", str(objects / "core.so")])
        place(target)
        made = library.with_suffix(".new")  # a program that has loaded the last one keeps it
        shutil.copy(objects / "core.so", made)
        made.replace(library)
    return target


# ---- metadata -----------------------------------------------------------------------------------


def tag():
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    abi = python + (getattr(sys, "abiflags", "") or "")
    return f"{python}-{abi}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def project(section="project"):
    """A section of pyproject.toml; what it has there are strings and lists of them."""
    text = (ROOT / "pyproject.toml").read_text()
    body = re.search(rf"^\[{re.escape(section)}\]\n(.*?)(?=^\[|\Z)", text, re.M | re.S)[1]
    fields = re.findall(r"^([\w-]+) = (\[\n.*?^\]|[^\n]+)$", body, re.M | re.S)
    return {name: ast.literal_eval(value) for name, value in fields}


def metadata():
    fields = project()
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {fields['name']}",
        f"Version: {version()}",
        f"Summary: {fields['description']}",
        *(f"Classifier: {name}" for name in fields["classifiers"]),
        f"License: {fields['license']}",
        *(f"License-File: {name}" for name in fields["license-files"]),
        f"Requires-Python: {fields['requires-python']}",
    ]
    for extra, wanted in project("project.optional-dependencies").items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {name}; extra == "{extra}"' for name in wanted]
    readme = (ROOT / fields["readme"]).read_text(encoding="utf-8")
    return "\n".join([*lines, "Description-Content-Type: text/markdown", "", readme])


def dist_info():
    return {
        "METADATA": metadata(),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: auriga_build\nRoot-Is-Purelib: false\n"
                 f"Tag: {tag()}\n",
        **{name: (ROOT / name).read_text() for name in project()["license-files"]},
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
    """The package stays in build/python, as links to its sources; the extension is compiled again by the
    next build only."""
    folder = ROOT / "build" / "python" / tag()
    folder.mkdir(parents=True, exist_ok=True)
    build_package(folder, link_sources)
    line = str(folder)
    if not line.isascii():  # else no interpreter would start in another locale
        line = f"import os, sys; sys.path.append(os.fsdecode({os.fsencode(folder)!r}))"
    return write_wheel(wheel_directory, {"auriga.pth": f"{line}\n".encode()})


def build_sdist(sdist_directory, config_settings=None):
    base = f"auriga-{version()}"
    name = f"{base}.tar.gz"
    parts = ["pyproject.toml", *project()["license-files"], "README.md", project()["readme"],
             "include", "src", "python"]
    packed = io.BytesIO()
    with tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as sdist:
        for part in parts:
            sdist.add(ROOT / part, f"{base}/{part}", filter=plain)
        info = metadata().encode()
        entry = tarfile.TarInfo(f"{base}/PKG-INFO")
        entry.size = len(info)
        sdist.addfile(plain(entry), io.BytesIO(info))
    (pathlib.Path(sdist_directory) / name).write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return name


def plain(entry):
    """An entry of a tar file without what only this machine knows; None for what is no source."""
    if "__pycache__" in entry.name or entry.name.endswith(".so"):
        return None
    entry.mtime = 1577836800  # 2020-01-01, as in wheels
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: auriga_build.py DIR")
    made = pathlib.Path(sys.argv[1]).resolve()
    made.mkdir(parents=True, exist_ok=True)
    build_package(made)
