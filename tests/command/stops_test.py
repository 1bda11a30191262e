"""Ctrl-Z and fg: jobs stand still meanwhile, and the time counts for nobody."""

import fcntl
import os
import signal
import subprocess
import termios
import time
import unittest

import harness
from harness import Case

# A shell with job control, for which the terminal is its own: says what it sees of us.
SHELL = ('trap : INT; set -m; "$@" >result 2>errors; status=$?; echo stopped $status > seen; '
         '[ $status = 148 ] || exit; read x < go; fg > named; echo ended $? > seen')


def state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


class Stops(Case):
    def setUp(self):
        super().setUp()
        for name in "ready", "seen", "go":
            self.fifo(name)

    def line(self, name):
        with open(name) as file:
            return file.readline().strip()

    def let_go(self):
        with open("go", "w") as file:
            file.write("\n")

    def session(self, *arguments):
        """The shell on a terminal of its own, and our side of that; the job's number, once it runs."""
        ours, theirs = os.openpty()

        def own_terminal():
            os.setsid()
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        shell = subprocess.Popen(["sh", "-c", SHELL, "sh", *harness.words(arguments)], stdin=theirs, stdout=theirs,
                                 stderr=theirs, preexec_fn=own_terminal)
        os.close(theirs)
        return shell, ours, int(self.line("ready"))

    @staticmethod
    def wait_for(pid, stopped):
        while (state(pid) == "T") != stopped:
            pass

    def end(self, shell, ours):
        seen = self.line("seen")
        shell.wait()
        os.close(ours)
        return seen

    def test_jobs_stand_still_and_go_on(self):
        self.fifo("on")
        shell, ours, job = self.session("-k", "sh", "-c", "echo $$ > ready; read x < on; echo done", ":::", "1")
        os.write(ours, b"\x1a")
        self.assertEqual(self.line("seen"), "stopped 148")
        self.wait_for(job, True)
        self.let_go()
        with open("on", "w") as file:
            file.write("\n")
        self.assertEqual(self.end(shell, ours), "ended 0")
        with open("result") as result, open("errors") as errors:
            self.assertEqual((result.read(), errors.read()), ("done\n", ""))

    def test_time_does_not_count(self):
        """The pause alone is longer than the limit."""
        limit, stopped = 1, "stopped 1"
        while stopped == "stopped 1":  # on a slow machine the limit may be over before
            begin = time.monotonic()
            shell, ours, job = self.session(f"--timeout={limit}", "--joblog=log", "sh", "-c",
                                            "echo $$ > ready; exec sleep 1000", ":::", "1")
            os.write(ours, b"\x1a")
            stopped = self.line("seen")
        self.assertEqual(stopped, "stopped 148")
        while time.monotonic() < begin + limit + 0.2:
            time.sleep(0.05)
        self.let_go()
        self.assertEqual(self.end(shell, ours), "ended 1")
        with open("log") as log:
            seconds = float(log.readlines()[1].split("\t")[3])
        self.assertGreaterEqual(seconds, limit)

    def test_interrupt_afterwards(self):
        shell, ours, job = self.session("sh", "-c", "echo $$ > ready; exec sleep 1000", ":::", "1")
        os.write(ours, b"\x1a")
        self.assertEqual(self.line("seen"), "stopped 148")
        self.wait_for(job, True)
        self.let_go()
        self.wait_for(job, False)  # by then it is our terminal again
        os.write(ours, b"\x03")
        self.assertEqual(self.end(shell, ours), "ended 130")

    def test_nobody_could_let_us_go_on(self):
        """Without a shell above us that signal stops nobody."""
        self.fifo("on")
        process = harness.start("sh", "-c", "echo $$ > ready; read x < on; echo done", ":::", "1",
                                start_new_session=True)
        self.line("ready")
        process.send_signal(signal.SIGTSTP)
        with open("on", "w") as file:
            file.write("\n")
        self.assertEqual(process.communicate(), (b"done\n", b""))


harness.main()
