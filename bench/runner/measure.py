"""Runs the programs of a workload in turn, A B C A B C, each in a process group of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from .model import Figure, Series, Workload

LIMIT_S = 120  # no program needs so long
CANNOT = 77


class Failed(Exception):
    pass


class Cannot(Exception):
    """The implementation has no way to do the workload, or lacks a package."""


def say(text: str = "") -> None:
    print(text, flush=True)


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<90.90}\r", end="", file=sys.stderr, flush=True)


def end_group(pid: int) -> None:
    """Ends what a program has left behind: some pools leave workers when they hang."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_once(command: tuple[str, ...]) -> list[dict]:
    """The figures that the program prints.  Its output goes to files, since workers that it leaves
    behind would keep a pipe open."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                                   start_new_session=True)
        try:
            status = program.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"did not end within {LIMIT_S} s") from None
        finally:
            end_group(program.pid)
            program.wait()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or [""])[-1]
        if status == CANNOT:
            raise Cannot(last)
        if status != 0:
            raise Failed(f"ended with {status}: {last}")
        out.seek(0)
        return [json.loads(line) for line in out if line.startswith("{")]


def add(figures: list[Figure], lines: list[dict]) -> None:
    for line in lines:
        name, unit = line.pop("name"), line.pop("unit")
        values = line.pop("values", None) or [line.pop("value")]
        for figure in figures:
            if figure.name == name and figure.at == line:
                figure.values += values
                break
        else:
            figures.append(Figure(name, unit, line, list(values)))


def why_skipped(series: Series, reason: str) -> str:
    needs = f"; needs {series.package}" if series.package else ""
    return f"skipped: {series.name} ({reason or 'no way to do it'}{needs})"


def measure(workload: Workload, rounds: int,
            quick: bool) -> tuple[dict[str, list[Figure]], list[str]]:
    """{series: figures}, and a note for each series that is left out."""
    say(f"{workload.title} ({workload.key})")
    entries = [s for s in workload.series if shutil.which(s.command[0]) is not None]
    notes = [why_skipped(s, "not built or not installed") for s in workload.series
             if s not in entries]
    results: dict[str, list[Figure]] = {series.name: [] for series in entries}
    for number in range(rounds):
        for series in list(entries):
            progress(f"  round {number + 1} of {rounds}: {series.name}")
            try:
                add(results[series.name],
                    run_once(series.command + (series.quick if quick else ())))
            except Cannot as error:
                notes.append(why_skipped(series, str(error)))
            except Failed as error:
                notes.append(f"FAILED: {series.name} {error}")
            else:
                continue
            entries.remove(series)
            del results[series.name]
    progress("")
    for note in notes:
        say(f"  {note}")
    return results, notes
