"""The command."""

import argparse
import json
import sys
import time

from . import limits, machine, plots, tables
from .catalogue import ROOT, WORKLOADS
from .measure import measure, say
from .model import Results, from_json, to_json
from .targets import judge

BUILD = ROOT / "build" / "bench"
DOCS = ROOT / "docs"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description="Runs the benchmarks that ./dev bench has built.  All of them without --quick "
                    "also write docs/BENCHMARKS.md and docs/bench/*.svg.")
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD",
                        help=f"one of: {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--quick", action="store_true",
                        help="fewer rounds and repeats, no documents")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="rounds of each workload, in place of its own number; no documents")
    parser.add_argument("--history", action="store_true",
                        help="also append the results to build/bench/history.jsonl")
    parser.add_argument("--render", action="store_true",
                        help="measure nothing: write the documents from build/bench/results.json")
    options = parser.parse_args(arguments)
    for name in options.workload:
        if name not in WORKLOADS:
            parser.error(f"no workload {name}; there are: {', '.join(WORKLOADS)}")
    return options


def write_documents(data: dict, why: limits.Limits) -> None:
    results = from_json(data["results"])
    files = plots.draw(results, DOCS / "bench")
    if not files:
        say("no plots: python3-matplotlib is not installed")
    lines = tables.document(data["machine"], results, data["notes"], files, why)
    (DOCS / "BENCHMARKS.md").write_text("\n".join(lines) + "\n")
    say("written: docs/BENCHMARKS.md, docs/bench/*.svg")


def run(options: argparse.Namespace) -> dict:
    m = machine.describe()
    say("This machine: " + machine.line(m))
    say("Peers: " + machine.peers_line(m) + "\n")
    results: Results = {}
    notes: dict[str, list[str]] = {}
    for key in options.workload or WORKLOADS:
        workload = WORKLOADS[key]
        rounds = max(1, workload.rounds // 2) if options.quick else workload.rounds
        rounds = options.rounds or rounds
        start, others = time.monotonic(), machine.Others()
        results[key], notes[key] = measure(workload, rounds, options.quick)
        say(f"  {rounds} rounds, {time.monotonic() - start:.0f} s")
        if key == "granularity":  # elsewhere worker processes, which are not our children, count
            m["busy during"] = others.share()
        for lines in tables.tables(workload, results[key]):
            say("\n".join(lines) + "\n")
    say("\n".join(tables.goals(judge(results))))
    return {"machine": m, "results": to_json(results), "notes": notes}


def main() -> None:
    options = parse(sys.argv[1:])
    try:
        why = limits.load()  # before the hour that a complete run takes
    except limits.LimitsError as error:
        sys.exit(str(error))
    path = BUILD / "results.json"
    if options.render:
        write_documents(json.loads(path.read_text()), why)
        return
    data = run(options)
    complete = not (options.workload or options.quick or options.rounds)
    if not complete:
        path = BUILD / "results-part.json"
    path.write_text(json.dumps(data, indent=1) + "\n")
    say(f"\nwritten: {path.relative_to(ROOT)}")
    if options.history:
        with open(BUILD / "history.jsonl", "a") as history:
            history.write(json.dumps(data) + "\n")
    if complete:
        write_documents(data, why)
