#!/usr/bin/env python3
"""usage: readme_test.py CC INCLUDE-DIR LIBRARY

Goal:    what the READMEs show compiles, runs and prints what they say, and both say the same; the
         table of errors in docs/contracts.md is that of the header.
Method:  each block of C is compiled with every warning an error; one with a main is run, and what it
         prints is compared with the block of text that follows it.  Both READMEs must have the same
         blocks but for comments, the same headings by level, and tables of the same size.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh-CN.md")
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=1200)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def check_program(where, code, expected, compiler, include, library):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "block.c"
        source.write_text(code)
        if "int main(" not in code:
            run(compiler, *FLAGS, f"-I{include}", "-fsyntax-only", source)
            return
        program = source.with_suffix("")
        run(compiler, *FLAGS, f"-I{include}", source, "-o", program, library,
            f"-Wl,-rpath,{library.parent}")
        printed = run(program)
        if printed != expected:
            sys.exit(f"{where} prints {printed!r}, and not {expected!r} as the text says")


def shape(text):
    """Levels of headings, rows of tables and items of lists, in order; no words."""
    text = BLOCK.sub("", text)
    return [match[1][0] * len(match[1].rstrip()) if match[1][0] == "#" else match[1]
            for match in re.finditer(r"^(#+ |\||- )", text, re.M)]


def check_errors(include):
    header = (pathlib.Path(include) / "auriga" / "base.h").read_text()
    codes = dict(re.findall(r"X\((AUR_\w+), (\d+), ", header))
    rows = dict(re.findall(r"^\| `(AUR_\w+)` \| (\d+) \|",
                           (ROOT / "docs" / "contracts.md").read_text(), re.M))
    if not codes or codes != rows:
        sys.exit(f"docs/contracts.md and base.h differ: {set(codes.items()) ^ set(rows.items())}")


def main():
    compiler, include, library = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    texts = [(ROOT / name).read_text() for name in READMES]
    programs = []
    for name, text in zip(READMES, texts):
        blocks = BLOCK.findall(text)
        programs.append([re.sub(r" */\*.*?\*/", "", code) if kind == "c" else code
                         for kind, code in blocks])
        for i, (kind, code) in enumerate(blocks):
            if kind == "c":
                follows = blocks[i + 1] if i + 1 < len(blocks) else ("", "")
                check_program(f"{name}, block {i + 1}", code,
                              follows[1] if follows[0] == "text" else "", compiler, include,
                              library)
    if programs[0] != programs[1]:
        sys.exit("the READMEs do not show the same programs and commands")
    if shape(texts[0]) != shape(texts[1]):
        sys.exit("the READMEs differ in their headings, tables or lists")
    for name, text in zip(READMES, texts):
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            if not (ROOT / target).exists():
                sys.exit(f"{name} links to {target}, which does not exist")
    check_errors(include)
    print(f"ok: {sum(map(len, programs))} blocks")


main()
