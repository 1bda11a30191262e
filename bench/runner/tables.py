"""Markdown: a table per workload, the goals, and docs/BENCHMARKS.md as a whole."""

import textwrap
from collections.abc import Iterator

from . import machine
from .catalogue import WORKLOADS
from .limits import Limits, reasons
from .model import Figure, Results, Workload, find
from .stats import cell, count, duration, median, number, size
from .targets import Verdict, judge

Row = list[str]
COORDINATES = {"item_ns": duration, "total_us": lambda us: duration(us * 1e3), "size": size}


def table(rows: list[Row]) -> list[str]:
    """Markdown that is also aligned for people who read it in a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |"
             for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def heading(figure: Figure) -> str:
    """As in "hot p50, us" or "payload, 1 KiB, GB/s"; "tasks = 10k, ns" in a sweep "by tasks"."""
    parts = [figure.name]
    for key, x in figure.at.items():
        if figure.name == f"by {key}":
            parts = [f"{key} = {count(x)}"]
        else:
            parts.append(COORDINATES.get(key, count)(x))
    return ", ".join([*parts, figure.unit] if figure.unit else parts)


def columns(by_series: dict[str, list[Figure]], names: tuple[str, ...] = ()) -> list[Figure]:
    """One figure for each column, in the order in which the programs print them."""
    found: list[Figure] = []
    for figures in by_series.values():
        found += [f for f in figures
                  if (not names or f.name in names) and find(found, f.name, **f.at) is None]
    return found


def plain_table(workload: Workload, by_series: dict[str, list[Figure]],
                wanted: list[Figure]) -> list[str]:
    rows = [[workload.key, *map(heading, wanted)]]
    for series, figures in by_series.items():
        cells = [find(figures, w.name, **w.at) for w in wanted]
        if any(cells):
            rows.append([series, *(cell(c.values) if c else "" for c in cells)])
    return table(rows)


def plain_tables(workload: Workload, by_series: dict[str, list[Figure]]) -> Iterator[list[str]]:
    """One table; a sweep, which has many points, gets one for each name."""
    wanted = columns(by_series, workload.shown)
    if len(wanted) <= 5:
        yield plain_table(workload, by_series, wanted)
        return
    for name in dict.fromkeys(w.name for w in wanted):
        yield plain_table(workload, by_series, [w for w in wanted if w.name == name])


def floors_table(workload: Workload, by_series: dict[str, list[Figure]]) -> Iterator[list[str]]:
    rows = [["floor", "unit", "median (range)"]]
    for figures in by_series.values():
        rows += [[heading(f).rsplit(", ", 1)[0], f.unit, cell(f.values)] for f in figures]
    yield table(rows)


def granularity_tables(workload: Workload,
                       by_series: dict[str, list[Figure]]) -> Iterator[list[str]]:
    """One table per cost of an item and state: implementations down, totals across."""
    every = [f for figures in by_series.values() for f in figures]
    for item in sorted({f.at["item_ns"] for f in every}):
        for state in workload.shown:
            totals = sorted({f.at["total_us"] for f in every
                             if f.name == state and f.at["item_ns"] == item})
            rows = [[f"items of {duration(item)}, {state}", *(duration(t * 1e3) for t in totals)]]
            for series, figures in by_series.items():
                found = [find(figures, state, item_ns=item, total_us=t) for t in totals]
                rows.append([series, *(f"{median(f.values):.2f}" if f else "" for f in found)])
            yield table(rows)


def tables(workload: Workload, by_series: dict[str, list[Figure]]) -> Iterator[list[str]]:
    kinds = {"floors": floors_table, "granularity": granularity_tables}
    yield from kinds.get(workload.key, plain_tables)(workload, by_series)


# ---- goals -----------------------------------------------------------------------------------


def outcome(verdict: Verdict) -> str:
    if verdict.met is None:
        return "not measured"
    return "met" if verdict.met else f"missed by {verdict.missed_by}"


def goal_table(verdicts: list[Verdict]) -> list[str]:
    rows = [["", "goal", "measured", "outcome"]]
    for v in verdicts:
        goal, unit = v.target.goal_text, v.target.unit
        if v.goal is not None and f"{v.goal:g} {unit}" not in goal:  # one of the same run
            goal += f" = {number(v.goal)} {unit}"
        measured = "" if v.value is None else f"{number(v.value)} {unit}"
        rows.append([v.target.what, goal, measured, outcome(v)])
    return table(rows)


def goals(verdicts: list[Verdict]) -> Iterator[str]:
    """How many are met, and a line for each that is not."""
    kept = sum(v.met is True for v in verdicts)
    missed = [v for v in verdicts if v.met is False]
    yield (f"{kept} of {len(verdicts)} goals are met, {len(missed)} missed, "
           f"{len(verdicts) - kept - len(missed)} not measured.")
    if missed:
        yield ""
    for v in missed:
        assert v.value is not None and v.goal is not None
        bound = "at most" if v.target.at_most else "at least"
        yield (f"- {v.target.workload}, {v.target.what}: {number(v.value)} {v.target.unit}, the "
               f"goal is {bound} {number(v.goal)}: missed by {v.missed_by}.")


# ---- docs/BENCHMARKS.md ------------------------------------------------------------------------


def paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, width=98, break_on_hyphens=False, break_long_words=False)


def introduction(m: dict) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield from paragraph(
        "Written by `./dev bench`; do not edit. Each figure is the median of several rounds, in "
        "which all implementations run in turn, each in a process of its own; in brackets the "
        "lowest and the highest, which are also the ends of the bars in the plots. What each "
        "program does: [bench/README.md](../bench/README.md).")
    yield ""
    yield from paragraph("The machine: " + machine.line(m))
    yield ""
    yield from paragraph("Peers as Debian packages them: " + machine.peers_line(m) + ".")
    if m.get("busy during", m["busy"]) > 0.1:
        yield ""
        yield "**Other work was running on this machine, so the figures are rough.**"


def section(workload: Workload, by_series: dict[str, list[Figure]], verdicts: list[Verdict],
            notes: list[str], plots: list[str], limits: Limits) -> Iterator[str]:
    yield ""
    yield f"## {workload.title}"
    yield ""
    yield from paragraph(f"`./dev bench {workload.key}`. {workload.text}")
    for plot in plots:
        yield ""
        yield f"![{workload.title}](bench/{plot})"
    for lines in tables(workload, by_series):
        yield ""
        yield from lines
    if verdicts:
        yield ""
        yield from goal_table(verdicts)
    for reason in reasons(verdicts, limits):
        yield ""
        yield reason
    for note in notes:
        yield ""
        yield from paragraph(note[0].upper() + note[1:] + ".")


def document(m: dict, results: Results, notes: dict[str, list[str]],
             plots: dict[str, list[str]], limits: Limits) -> Iterator[str]:
    verdicts = judge(results)
    yield from introduction(m)
    yield ""
    yield "## Goals"
    yield ""
    yield from goals(verdicts)
    for key, by_series in results.items():
        yield from section(WORKLOADS[key], by_series,
                           [v for v in verdicts if v.target.workload == key], notes.get(key, []),
                           plots.get(key, []), limits)
