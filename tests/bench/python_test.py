#!/usr/bin/env python3
"""usage: python_test.py

Goal:    what docs/BENCHMARKS-python.md says is what was measured: medians, percentiles, ratios the
         right way round, met, missed and not measured; and every goal has its row in rows.py.
Method:  the parts of bench/python are given small inputs with known answers.
"""

import pathlib
import re
import sys
import unittest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path[:0] = [str(BENCH), str(BENCH / "python")]

import goals  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402


def goal_of(text, of=None):
    return next(g for g in goals.GOALS if g.row == text and (of is None or g.of is of))


class Judging(unittest.TestCase):
    def test_times_are_better_when_smaller(self):
        goal = goal_of("map")
        self.assertEqual(goal.ratio([1, 2, 3], [4, 8, 9]), 4)
        self.assertIs(goal.is_met([1, 2, 3], [4]), True)
        self.assertIs(goal.is_met([2.1], [4]), False)

    def test_rates_are_better_when_bigger(self):
        goal = goal_of("bytes")
        self.assertEqual(goal.ratio([2], [0.5]), 4)
        self.assertIs(goal.is_met([1.0], []), True)
        self.assertIs(goal.is_met([0.9], [0.1]), False)

    def test_nothing_measured(self):
        self.assertIsNone(goal_of("map").is_met([], []))
        self.assertIsNone(goal_of("map").is_met([1], []))
        self.assertIsNone(goal_of("thread idle").is_met([1], [1]))

    def test_percentiles(self):
        self.assertEqual(goals.p99(range(1, 101)), 99)
        self.assertEqual(goals.p99([7]), 7)
        tail = goal_of("apply idle", goals.p99)
        self.assertEqual(tail.ratio([1] * 99 + [90], [50] * 100), 50)

    def test_crossing(self):
        self.assertEqual(rows.crossing((1, 2, 4), (2, 1.5, 0.5)), 3)
        self.assertEqual(rows.crossing((1, 2, 4), (2, 1.5, 1.5)), 6)  # not even there
        self.assertEqual(rows.crossing((1, 2, 4), (0.5, 0.4, 0.3)), 0.5)


class Table(unittest.TestCase):
    def test_a_line_and_the_counts(self):
        wanted, counts = report.lines({"map": {"ours": [1], "theirs": [4]},
                                       "thread idle": {"ours": [1], "theirs": [4]}})
        self.assertEqual(wanted[1][1:], ["us", "4.00 (Pool)", "1.00", "4.0 x", ">= 2 x", "met"])
        self.assertEqual(counts["met"], 1)
        self.assertEqual(counts["missed"], 0)
        idle = next(line for line in wanted if "threads" in line[0] and "1 ms" in line[0])
        self.assertEqual(idle[4:], ["4.0 x", "", ""])

    def test_every_goal_has_its_row(self):
        text = (BENCH / "python" / "rows.py").read_text()
        told = set(re.findall(r'row\(f?"([^"]+)"', text))
        told |= {f"start {method}" for method in rows.METHODS}
        told |= {f"start {method} many" for method in rows.MANY_METHODS}
        self.assertLessEqual({g.row for g in goals.GOALS}, told)


class Limits(unittest.TestCase):
    text = "What this is.\n\n## `imap`\n\nOne.\nTwo.\n\n## `starmap` of `add(x, 2)`, 200,000 calls\n\nThree.\n"

    def test_shown_while_the_goal_is_missed(self):
        limits = report.parse_limits(self.text)
        slow, quick = {"ours": [1], "theirs": [4]}, {"ours": [1], "theirs": [40]}
        wanted, _ = report.lines({"imap": slow, "starmap": quick})
        self.assertEqual(list(report.reasons(wanted, limits)), ["", "**`imap`**: One.\nTwo."])
        wanted, _ = report.lines({"imap": quick})
        self.assertEqual(list(report.reasons(wanted, limits)), [])

    def test_sections_that_would_not_be_shown(self):
        for text in ("## `jmap`\n\nOne.\n", "## `imap`\n\n", self.text + self.text):
            self.assertRaises(report.LimitsError, report.parse_limits, text)

    def test_what_is_there_is_whole(self):
        self.assertTrue(report.load_limits())


if __name__ == "__main__":
    unittest.main()
