"""Why goals are missed: sections of limits.md, shown in docs/BENCHMARKS.md where they apply."""

from collections.abc import Iterator
from pathlib import Path

from .targets import TARGETS, Verdict

Limits = dict[tuple[str, str], str]  # by the workload and the name of the goal
FILE = Path(__file__).with_name("limits.md")


class LimitsError(Exception):
    """limits.md has a section that would never be shown, or not whole."""


def parse(text: str) -> Limits:
    """What stands before the first section is for those who read the file itself."""
    known = {(t.workload, t.what) for t in TARGETS}
    limits: Limits = {}
    for section in ("\n" + text).split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        workload, _, what = title.strip().partition(", ")
        if (workload, what) not in known:
            raise LimitsError(f"limits.md: no goal is called \"{title.strip()}\"")
        if (workload, what) in limits:
            raise LimitsError(f"limits.md: two sections are called \"{title.strip()}\"")
        if not body.strip():
            raise LimitsError(f"limits.md: nothing is said about \"{title.strip()}\"")
        limits[workload, what] = body.strip()
    return limits


def load() -> Limits:
    return parse(FILE.read_text())


def reasons(verdicts: list[Verdict], limits: Limits) -> Iterator[str]:
    """Markdown, one item for each missed goal that has a section; goals of one name share it."""
    missed = dict.fromkeys((v.target.workload, v.target.what) for v in verdicts if v.met is False)
    for key in missed:
        if key in limits:
            yield f"**Why \"{key[1]}\" is missed.** {limits[key]}"
