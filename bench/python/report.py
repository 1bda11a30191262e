"""docs/BENCHMARKS-python.md: a table for each interpreter, and why goals are missed (limits.md)."""

import pathlib
import textwrap

from goals import GOALS
from runner import machine
from runner.stats import number
from runner.tables import table


def paragraph(text):
    return textwrap.wrap(text, width=98, break_on_hyphens=False, break_long_words=False)


def outcome(goal, met):
    if goal.bound is None:
        return ""
    return "not measured" if met is None else "met" if met else "missed"


def lines(rows):
    """The table's rows, and how many goals are met, missed and not measured."""
    wanted = [["", "unit", "standard library", "Auriga", "ratio", "goal", "outcome"]]
    counts = {"met": 0, "missed": 0, "not measured": 0}
    for goal in GOALS:
        ours, theirs = (rows.get(goal.row, {}).get(side, []) for side in ("ours", "theirs"))
        ratio = goal.ratio(ours, theirs) if ours else None
        told = outcome(goal, goal.is_met(ours, theirs))
        counts[told] = counts.get(told, 0) + 1
        wanted.append([
            goal.text,
            goal.unit,
            number(goal.of(theirs)) + (f" ({goal.peer})" if goal.peer else "") if theirs else "",
            number(goal.of(ours)) if ours else "",
            f"{ratio:.1f} x" if ratio else "",
            goal.goal_text,
            told,
        ])
    return wanted, counts


class LimitsError(Exception):
    """limits.md has a section that would never be shown, or not whole."""


def parse_limits(text):
    """Text by the text of its goal."""
    limits = {}
    for section in ("\n" + text).split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if title not in {goal.text for goal in GOALS if goal.bound is not None}:
            raise LimitsError(f"no goal is called {title!r}")
        if title in limits or not body.strip():
            raise LimitsError(f"{title!r} has two sections, or an empty one")
        limits[title] = body.strip()
    return limits


def load_limits():
    return parse_limits(pathlib.Path(__file__).with_name("limits.md").read_text())


def reasons(wanted, limits):
    """A paragraph for each line of the table whose goal is missed, if there is one."""
    for text, *_, told in wanted[1:]:
        if told == "missed" and text in limits:
            yield ""
            yield f"**{text}**: {limits[text]}"


def document(runs, limits):
    yield "# Benchmarks of the Python package"
    yield ""
    yield from paragraph(
        "Written by `bench/python/run`; do not edit. 2 workers where it is not said otherwise; "
        "`auriga.stdlib` and the standard library in turn, in one process where that is possible. "
        "Each figure is the median of 9 rounds (of 5 with 16 workers) after one for nothing, or the "
        "percentile of all trips of these rounds; the ratio "
        "says how many times better Auriga is. Times of many calls are per call. What is measured: "
        "[bench/python/rows.py](../bench/python/rows.py).")
    for run in runs:
        wanted, counts = lines(run["rows"])
        yield ""
        yield f"## CPython {run['version']}"
        yield ""
        yield from paragraph(f"The machine: {machine.line(run['host'])}")
        if run["host"].get("busy during", 0) > 0.1:
            yield ""
            yield "**Other work was running on this machine, so the figures are rough.**"
        yield ""
        yield (f"{counts['met']} of {len(GOALS) - counts.get('', 0)} goals are met, {counts['missed']} missed, "
               f"{counts['not measured']} not measured.")
        yield ""
        yield from table(wanted)
        yield from reasons(wanted, limits)
