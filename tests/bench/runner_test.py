#!/usr/bin/env python3
"""usage: runner_test.py

Goal:    what docs/BENCHMARKS.md says is what the programs printed: medians, ranges, verdicts on
         goals, notes for what is missing; and a program that fails or leaves children behind does
         not stop the run.
Method:  the parts of bench/runner are given small inputs with known answers.  Plots are drawn where
         matplotlib is installed.
"""

import os
import pathlib
import select
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

from runner import catalogue, limits, measure, model, plots, stats, tables, targets  # noqa: E402

SHELL = ("/bin/sh", "-c")


def series(name: str, script: str) -> model.Series:
    return model.Series(name, (*SHELL, script), "a-package")


def workload(*entries: model.Series) -> model.Workload:
    return model.Workload("submit", "A title", "A text.", entries)


def figure(name: str, unit: str, *values: float, **at: float) -> model.Figure:
    return model.Figure(name, unit, at, list(values))


class Numbers(unittest.TestCase):
    def test_three_digits(self):
        self.assertEqual([stats.number(x) for x in (0, 0.0123, 0.123, 1.234, 12.34, 123.4, 12345)],
                         ["0", "0.012", "0.12", "1.23", "12.3", "123", "12,345"])

    def test_median_and_range(self):
        self.assertEqual(stats.cell([3, 1, 200]), "3.00 (1.00 – 200)")
        self.assertEqual(stats.cell([5]), "5.00")

    def test_coordinates(self):
        self.assertEqual([stats.duration(x) for x in (1, 100000, 1e6, 2e9)],
                         ["1 ns", "100 us", "1 ms", "2 s"])
        self.assertEqual([stats.count(x) for x in (16, 1000, 1500, 10_000_000)],
                         ["16", "1k", "1,500", "10M"])
        self.assertEqual([stats.size(x) for x in (1024, 1 << 26)], ["1 KiB", "64 MiB"])


class Running(unittest.TestCase):
    LINE = '{"name": "p50", "unit": "us", "value": %s}'

    def test_rounds_are_joined_by_name_and_coordinate(self):
        script = "".join(f"echo '{line}';" for line in (
            self.LINE % 2, '{"name": "s", "n": 4, "unit": "ns", "values": [1, 2]}'))
        results, notes = measure.measure(workload(series("A", script)), 2, False)
        self.assertEqual(notes, [])
        self.assertEqual([(f.name, f.at, f.values) for f in results["A"]],
                         [("p50", {}, [2, 2]), ("s", {"n": 4}, [1, 2, 1, 2])])

    def test_who_fails_or_cannot_is_left_out_and_named(self):
        good = series("good", f"echo '{self.LINE % 1}'")
        bad = series("bad", f"echo '{self.LINE % 1}'; echo broken >&2; exit 3")
        cannot = series("cannot", "exit 77")
        absent = model.Series("absent", ("/nowhere/at/all",), "a-package")
        results, notes = measure.measure(workload(bad, good, cannot, absent), 2, False)
        self.assertEqual(list(results), ["good"])
        self.assertEqual(len(results["good"][0].values), 2)
        self.assertEqual(sorted(notes), [
            "FAILED: bad ended with 3: broken",
            "skipped: absent (not built or not installed; needs a-package)",
            "skipped: cannot (no way to do it; needs a-package)"])

    def test_children_left_behind_are_ended_and_not_waited_for(self):
        with tempfile.TemporaryDirectory() as folder:
            told = pathlib.Path(folder) / "pid"
            lines = measure.run_once((*SHELL, f"sleep 1000 & echo $! > {told}; "
                                      f"echo '{self.LINE % 7}'"))
            self.assertEqual(lines, [{"name": "p50", "unit": "us", "value": 7}])
            try:
                child = os.pidfd_open(int(told.read_text()))
            except ProcessLookupError:  # ended and reaped
                return
            select.select([child], [], [])  # for ever, if it was not ended
            os.close(child)


class Goals(unittest.TestCase):
    def verdicts(self, results):
        return {v.target.what: v for v in targets.judge(results)}

    def test_met_missed_and_not_measured(self):
        found = self.verdicts({"submit": {"Auriga": [figure("empty task", "ns", 50, 90, 90)]}})
        self.assertIs(found["empty task from outside"].met, False)
        self.assertEqual(found["empty task from outside"].missed_by, "1.50 times")
        self.assertIsNone(found["memory of a pending task"].met)
        found = self.verdicts({"submit": {"Auriga": [figure("empty task", "ns", 60)]}})
        self.assertIs(found["empty task from outside"].met, True)

    def test_goals_of_the_same_run(self):
        results = {"memory": {"Auriga": [figure("speed-up", "x", 1.0)],
                              "no pool": [figure("speed-up", "x", 9.0)],
                              "oneTBB": [figure("speed-up", "x", 2.0)]}}
        best = next(v for v in targets.judge(results) if "best peer" in v.target.goal_text)
        self.assertAlmostEqual(best.goal, 1.9)
        self.assertIs(best.met, False)

    def test_floors_move_the_goal(self):
        results = {"floors": {"floors": [figure("futex p50", "us", 40)]},
                   "handoff": {"Auriga": [figure("parked p50", "us", 42)]}}
        self.assertIs(self.verdicts(results)["parked"].met, True)

    def test_excess_of_cold_loops(self):
        points = [figure("cold extra", "us", 0.5, item_ns=10, total_us=1),
                  figure("cold extra", "us", 9.0, item_ns=10000, total_us=100)]
        results = {"granularity": {"Auriga map": points}}
        self.assertAlmostEqual(targets.cold_excess("Auriga map", False)(results), 0.5 - 0.33)
        self.assertAlmostEqual(targets.cold_excess("Auriga map", True)(results), 9.0 - 5.0)

    def test_every_goal_belongs_to_a_workload(self):
        self.assertLessEqual({t.workload for t in targets.TARGETS}, set(catalogue.WORKLOADS))


class Reasons(unittest.TestCase):
    GOAL = "submit, empty task from outside"

    def refused(self, text):
        with self.assertRaises(limits.LimitsError) as caught:
            limits.parse(text)
        return str(caught.exception)

    def test_the_file_in_the_tree_is_right(self):
        limits.load()

    def test_sections_are_found_by_workload_and_goal(self):
        text = (f"# Title\n\nAbout.\n\n## {self.GOAL}\n\nOne.\n\nTwo.\n\n"
                "## inside, empty task from inside\nX.\n")
        self.assertEqual(limits.parse(text), {
            ("submit", "empty task from outside"): "One.\n\nTwo.",
            ("inside", "empty task from inside"): "X."})
        self.assertEqual(limits.parse("# Title\n\nAbout.\n"), {})

    def test_a_section_that_would_never_be_shown_is_an_error(self):
        self.assertIn("submit, no such goal", self.refused("## submit, no such goal\nX.\n"))
        self.assertIn("inside, empty task from outside",
                      self.refused("## inside, empty task from outside\nX.\n"))
        self.assertIn("two sections", self.refused(f"## {self.GOAL}\nX.\n" * 2))
        self.assertIn("nothing is said", self.refused(f"## {self.GOAL}\n\n"))

    def test_shown_below_the_table_and_only_while_missed(self):
        why = limits.parse(f"## {self.GOAL}\nBecause.\n")
        for value, shown in ((70, True), (50, False)):
            results = {"submit": {"Auriga": [figure("empty task", "ns", value)]}}
            lines = list(tables.document(Document.MACHINE, results, {}, {}, why))
            found = [i for i, line in enumerate(lines) if "Because." in line]
            self.assertEqual(len(found), 1 if shown else 0)
            if shown:
                goal = next(i for i, line in enumerate(lines)
                            if line.startswith("| empty task from outside"))
                self.assertGreater(found[0], goal)
        self.assertEqual(list(limits.reasons(targets.judge({"submit": {}}), why)), [])

    def test_goals_of_one_name_share_a_section(self):
        results = {"skew": {"Auriga": [figure("last", "%", 10)],
                            "oneTBB": [figure("last", "%", 90)]}}
        verdicts = [v for v in targets.judge(results) if v.met is False]
        self.assertEqual(len(verdicts), 2)
        why = limits.parse("## skew, last\nX.\n")
        self.assertEqual(len(list(limits.reasons(verdicts, why))), 1)


class Document(unittest.TestCase):
    MACHINE = {"cpu": "A CPU", "cpus": 2, "virtual": "", "kernel": "1", "governor": "none",
               "load": 0.5, "libc": "glibc", "compilers": ["cc 1"], "python": "Python 3",
               "peers": {"p": "1.0"}, "busy": 0.0, "when": "now"}
    RESULTS = {
        "submit": {"Auriga": [figure("empty task", "ns", 70, 80, 75)],
                   "Go": [figure("empty task", "ns", 50)]},
        "granularity": {"Auriga map": [figure("cold", "x", 0.9, item_ns=10, total_us=1),
                                       figure("hot", "x", 1.8, item_ns=10, total_us=1)]},
    }

    def test_figures_goals_and_notes_are_there(self):
        text = "\n".join(tables.document(self.MACHINE, self.RESULTS,
                                         {"submit": ["skipped: Rayon (needs rust)"]}, {}, {}))
        self.assertIn("75.0 (70.0 – 80.0)", text)
        self.assertIn("75.0 ns, the goal is at most 60.0: missed by 1.25 times.", text)
        self.assertIn("Skipped: Rayon (needs rust).", text)
        self.assertRegex(text, r"items of 10 ns, cold +\| 1 us")
        self.assertNotIn("figures are rough", text)
        busy = "\n".join(tables.document({**self.MACHINE, "busy": 0.5}, self.RESULTS, {}, {}, {}))
        self.assertIn("figures are rough", busy)

    def test_results_survive_json(self):
        self.assertEqual(model.from_json(model.to_json(self.RESULTS)), self.RESULTS)

    @unittest.skipIf(plots.plt is None, "python3-matplotlib is not installed")
    def test_plots_are_svg_in_two_colour_sets(self):
        with tempfile.TemporaryDirectory() as folder:
            files = plots.draw(self.RESULTS, pathlib.Path(folder))
            self.assertEqual(sorted(files), ["granularity", "submit"])
            for name in sum(files.values(), []):
                text = (pathlib.Path(folder) / name).read_text()
                xml.etree.ElementTree.fromstring(text)
                self.assertIn("prefers-color-scheme: dark", text)
                self.assertIn(plots.OURS[0], text)

    def test_labels_are_moved_apart(self):
        placed = plots.spread_out([0.5, 0.5, 0.51], 0.1)
        self.assertTrue(all(b - a > 0.099 for a, b in zip(sorted(placed), sorted(placed)[1:])))


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "svg")
    unittest.main()
