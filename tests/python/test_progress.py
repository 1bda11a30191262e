"""progress=: who is told, of what, and when nobody is."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import unittest
from unittest import mock

import auriga
import work
from auriga import _progress
from support import Case, environment, run_program

PROGRAM = """
import auriga
with auriga.{kind}(2) as pool:
    assert pool.map(abs, range(9), 4, progress=True) == list(range(9))
    assert list(pool.imap(abs, iter(range(9)), progress=True)) == list(range(9))
"""
ENDED = """
import auriga, signal, sys, threading
drawn = threading.Event()
class Stream:
    def __getattr__(self, name):
        return getattr(sys.__stderr__, name)
    def write(self, text):
        sys.__stderr__.write(text)
        drawn.set()
def work(x):
    return x if x == 0 else signal.pause()
sys.stderr = Stream()
with auriga.Pool(1) as pool:
    results = pool.imap(work, range(9), progress=True)
    drawn.wait()
sys.__stderr__.write("after\\n")
"""
KINDS = ("Pool", "ThreadPool")


class Told:
    """Of each kind of pool."""

    def make(self):
        return getattr(auriga, self.kind)(2)

    def test_every_item_of_a_map(self):
        want = [(done, 50) for done in range(1, 51)]
        with self.make() as pool:
            for size in (None, 1, 7):
                seen = []
                results = pool.map(
                    work.square, range(50), size, progress=lambda *told: seen.append(told)
                )
                self.assertEqual(results, [x * x for x in range(50)])
                self.assertEqual(seen, want)
            seen = []
            pairs = [(x, 1) for x in range(50)]
            pool.starmap_async(
                work.add, pairs, 9, progress=lambda *told: seen.append(told)
            ).get()
            self.assertEqual(seen, want)

    def test_every_item_of_an_iterator(self):
        with self.make() as pool:
            for verb in ("imap", "imap_unordered"):
                for total, items in ((500, range(500)), (None, iter(range(500)))):
                    seen = []
                    results = getattr(pool, verb)(
                        work.square, items, 7, progress=lambda *told: seen.append(told)
                    )
                    self.assertEqual(sorted(results), [x * x for x in range(500)])
                    self.assertEqual([done for done, _ in seen], list(range(1, 501)))
                    known = [now for _, now in seen if now is not None]
                    self.assertEqual(known, [500] * len(known))
                    self.assertIn(len(known), (500,) if total else range(501))
            seen = []
            results = pool.istarmap(pow, [(2, 5)], progress=lambda *told: seen.append(told))
            self.assertEqual((list(results), seen), ([32], [(1, 1)]))

    def test_the_total_of_an_iterator(self):
        for verb in ("imap", "imap_unordered"):
            with self.make() as pool:
                seen = []
                first = threading.Event()

                def items():
                    yield 1
                    first.wait()
                    yield 2

                def told(*now):
                    seen.append(now)
                    first.set()

                self.assertEqual(sorted(getattr(pool, verb)(work.square, items(), progress=told)),
                                 [1, 4])
                self.assertEqual(seen[0], (1, None))
                self.assertIn(seen[1:], ([(2, None)], [(2, 2)]))

    def test_nothing_to_do(self):
        with self.make() as pool:
            self.assertEqual(pool.map(work.square, [], progress=self.fail), [])
            self.assertEqual(list(pool.imap(work.square, [], progress=self.fail)), [])

    def test_errors(self):
        with self.make() as pool:
            told = []
            with self.assertRaisesRegex(ValueError, "no 0"):
                pool.map(work.fail, range(5), progress=lambda *now: told.append(now))
            self.assertLessEqual(len(told), 5)
            self.assertRaises(TypeError, pool.map, work.square, [1], progress=5)
            self.assertRaises(TypeError, pool.imap, work.square, [1], progress=5)

    def test_finished_before_the_map(self):
        with self.make() as pool:
            with self.gate() as gate:
                seen = []
                two = threading.Event()

                def told(*now):
                    seen.append(now)
                    if len(seen) == 2:
                        two.set()

                result = pool.map_async(work.open_or_wait, [gate, "", ""], progress=told)
                two.wait()
                self.assertEqual(seen, [(1, 3), (2, 3)])
                self.assertFalse(result.ready())
            result.get()
            self.assertEqual(seen[-1], (3, 3))

    def test_a_function_that_raises(self):
        def told(done, total):
            seen.append(done)
            raise LookupError("mine")

        with self.make() as pool:
            for verb in ("map", "imap", "imap_unordered"):
                seen = []
                with mock.patch("threading.excepthook") as hook:
                    results = getattr(pool, verb)(work.square, range(300), progress=told)
                    self.assertEqual(sorted(results), [x * x for x in range(300)])
                self.assertEqual(seen, [1])
                hook.assert_called_once()
                self.assertEqual(str(hook.call_args.args[0].exc_value), "mine")


class Threads(Told, Case):
    kind = "ThreadPool"


class Processes(Told, Case):
    kind = "Pool"

    def test_the_end_of_the_pool(self):
        for verb in ("imap", "imap_unordered"):
            with auriga.Pool(2) as pool, self.gate() as gate:
                seen = []
                results = getattr(pool, verb)(
                    work.wait_for_file, [gate] * 4, progress=lambda *now: seen.append(now)
                )
                pool.terminate()
                for _ in range(4):  # as many as are submitted ahead
                    self.assertRaises(auriga.CancelledError, next, results)
                self.assertRaises(StopIteration, next, results)
                self.assertEqual(seen, [])  # of what was cancelled, nothing was finished


class Terminal(Case):
    def run_there(self, text, columns=80):
        """(status, output) of a program whose stderr is a terminal."""
        main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with open(main, "rb", buffering=0) as out:
            program = subprocess.Popen([sys.executable, "-c", text], env=environment(), stderr=other)
            os.close(other)
            text = b""
            try:
                while data := out.read(4096):
                    text += data
            except OSError:  # how a terminal ends
                pass
            return program.wait(), text.decode()

    def test_a_line(self):
        for kind in KINDS:
            with self.subTest(kind=kind):
                status, text = self.run_there(PROGRAM.format(kind=kind))
                self.assertEqual(status, 0, text)
                lines = text.split("\r\n")
                self.assertEqual(len(lines), 3, text)
                self.assertEqual(lines[2], "")
                for line in lines[:2]:
                    self.assertIn("\r9/9 items, ", line)

    def test_a_narrow_terminal(self):
        status, text = self.run_there(PROGRAM.format(kind="Pool"), columns=12)
        self.assertEqual(status, 0, text)
        drawn = re.findall("\r([^\r\n\x1b]+)\x1b", text)
        self.assertGreater(len(drawn), 1)
        for line in drawn:
            self.assertEqual(len(line), 11)  # as the last place often wraps, too

    def test_the_end_of_the_pool(self):
        status, text = self.run_there(ENDED)
        self.assertEqual(status, 0, text)
        first, after, rest = text.split("\r\n")
        self.assertRegex(first, "\r1/9 items, [^\r]+$")
        self.assertEqual((after, rest), ("after", ""))

    def test_the_line_is_drawn_before_the_wait_ends(self):
        class Stream:
            def write(self, text):
                drawn.append((text[-1], progress._all.is_set()))

            def flush(self):
                pass

        for total in (0, 1):
            drawn = []
            progress = _progress.Progress(_progress.Line(Stream()), None)
            for _ in range(total):
                progress.one()
            progress.last(total)
            progress.wait()
            self.assertEqual(drawn, [("K", False), ("\n", False)] if total else [])

    def test_silent_elsewhere(self):
        for kind in KINDS:
            self.assertEqual(run_program(PROGRAM.format(kind=kind)), (0, "", ""))

    def test_text(self):
        self.assertEqual(
            _progress.describe(30, 100, 2.0), "30/100 items, 15 a second, 0:04 left"
        )
        self.assertEqual(_progress.describe(5, None, 65.0), "5 items, 0.0769 a second, 1:05")
        self.assertEqual(
            _progress.describe(1, 7201, 1.0), "1/7201 items, 1 a second, 2:00:00 left"
        )


if __name__ == "__main__":
    unittest.main()
