"""What the lints share: the files of the tree, and C source with comments and strings blanked."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

_NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def files(*patterns):
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def code(path):
    """The text of a file; comments and literals become blanks, line numbers stay."""
    return _NOT_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), path.read_text())


def place(path, text, offset):
    return f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, offset) + 1}"


def finish(complaints, what):
    """Prints the complaints, one a line, and ends the program."""
    for line in complaints:
        print(line)
    print(f"{what}: {len(complaints)} complaint(s)")
    sys.exit(bool(complaints))
