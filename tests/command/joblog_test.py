"""The job log, and going on behind one."""

import os
import resource
import signal
import unittest

import harness
from harness import Case

HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
# Says that it ran, and ends with its argument as long as there is no file "good".
SCRIPT = ["sh", "-c", 'echo "$1" >> ran; echo out; [ -e good ] || exit "$1"', "x"]


class Joblog(Case):
    def lines(self):
        with open("log") as file:
            text = file.read()
        self.assertTrue(text.endswith("\n"))
        lines = text.splitlines()
        self.assertEqual(lines[0], HEADER)
        return [line.split("\t") for line in lines[1:]]

    def ran(self):
        with open("ran") as file:
            words = file.read().split()
        os.unlink("ran")
        return words

    def log(self, *options, code=0, jobs=("0", "3", "0"), script=SCRIPT, **others):
        return self.run_map("-qj1", "--joblog", "log", *options, *script, ":::", *jobs, code=code, **others)

    def test_format(self):
        self.log(code=2, script=["sh", "-c", 'printf 12345; [ "$1" != K ] || kill -KILL $$; exit "$1"', "x"],
                 jobs=("0", "7", "K"))
        lines = self.lines()
        self.assertEqual([line[0:2] + line[4:8] for line in lines],
                         [["1", ":", "0", "5", "0", "0"], ["2", ":", "0", "5", "7", "0"],
                          ["3", ":", "0", "5", "0", "9"]])
        for line in lines:
            self.assertEqual(len(line), 9)
            self.assertRegex(line[2], r"^\d+\.\d{3}$")
            self.assertRegex(line[3], r"^ *\d+\.\d{3}$")
        self.assertTrue(lines[1][8].endswith(" x 7"), lines[1])

    def test_odd_words_stay_on_one_line(self):
        self.log(script=["true"], jobs=("a\nb\tc", "d e", "", "\udcff"))
        with open("log", "rb") as file:
            commands = [line.rsplit(b"\t", 1)[1] for line in file.read().splitlines()[1:]]
        self.assertEqual(commands, [rb"true $'a\nb\tc'", b"true 'd e'", b"true ''", b"true '\xff'"])
        self.log("-c", script=["true {}"], jobs=("a", "b c"))
        self.assertEqual([line[8] for line in self.lines()], ["true a", "true 'b c'"])

    def test_what_could_not_be_started(self):
        self.log(script=["{}"], jobs=("none", "/", "true"), code=2)
        self.assertEqual([line[6] for line in self.lines()], ["127", "126", "0"])

    def test_resume(self):
        self.log(code=1)
        self.assertEqual(self.ran(), ["0", "3", "0"])
        self.log("--resume", jobs=("0", "3", "0", "0"))
        self.assertEqual(self.ran(), ["0"])
        self.assertEqual([line[0] for line in self.lines()], ["1", "2", "3", "4"])

    def test_resume_failed(self):
        self.log(code=1)
        self.ran()
        self.log("--resume-failed", code=1)
        self.assertEqual(self.ran(), ["3"])
        open("good", "w").close()
        self.log("--resume-failed")
        self.assertEqual(self.ran(), ["3"])
        self.log("--resume-failed")  # the last line of a job counts
        self.assertFalse(os.path.exists("ran"))

    def test_resume_without_a_log_begins_one(self):
        self.log("--resume", code=1)
        self.assertEqual(len(self.lines()), 3)

    def test_without_resume_it_begins_anew(self):
        self.log(code=1)
        self.log(jobs=("0",))
        self.assertEqual(len(self.lines()), 1)

    def test_other_arguments_are_noticed(self):
        self.log(code=1)
        self.ran()
        out, err = self.run_map("-j1", "--joblog=log", "--resume", *SCRIPT, ":::", "0", "4", "0", "0", code=254)
        self.assertIn(b"log: job 2 was another command then", err)
        self.assertFalse(os.path.exists("ran"))

    def test_line_that_was_not_finished(self):
        self.log(code=1)
        self.ran()
        with open("log") as file:
            text = file.read()
        for cut in range(len(text) - len(text.splitlines(True)[-1]) + 1, len(text)):
            with open("log", "w") as file:
                file.write(text[:cut])
            self.log("--resume")
            self.assertEqual(self.ran(), ["0"])
            self.assertEqual([line[0] for line in self.lines()], ["1", "2", "3"])

    def test_something_else_is_not_touched(self):
        for text in "precious\n", "x" * 1000:
            with open("log", "w") as file:
                file.write(text)
            out, err = self.run_map("--joblog=log", "--resume", "true", ":::", "a", code=254)
            self.assertIn(b"log: this is not a job log", err)
            with open("log") as file:
                self.assertEqual(file.read(), text)

    def test_killed_in_the_middle(self):
        """What the log has was done and printed before; the rest is done by the next run."""
        os.mkfifo("gate")
        script = ["sh", "-c", 'echo "$1" >> ran; [ "$1" != 5 ] || [ -e good ] || read x < gate; echo "$1"', "x"]
        jobs = [str(i) for i in range(10)]
        process = harness.start("-j1", "--joblog=log", *script, ":::", *jobs)
        with open("gate", "w"):
            process.kill()
            out = process.communicate()[0]
        printed, logged = out.decode().split(), len(self.lines())
        self.assertEqual(printed, jobs[:len(printed)])
        self.assertIn(logged, range(len(printed) + 1))
        open("good", "w").close()
        out, err = self.log("--resume", script=script, jobs=jobs)
        self.assertEqual(out.decode().split(), jobs[logged:])
        self.assertEqual(self.ran(), jobs[:6] + jobs[logged:])

    def test_interrupted_jobs_are_not_in_it(self):
        process = harness.start("-j1", "--joblog=log", "sh", "-c", '[ "$1" = 1 ] || kill -TERM $PPID; '
                                '[ "$1" = 1 ] || exec sleep 1000', "x", ":::", "1", "2")
        process.communicate()
        self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertEqual([line[0] for line in self.lines()], ["1"])

    def test_log_that_cannot_be_written(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (120, 120))
        out, err = self.run_map("-j1", "--joblog=log", "sh", "-c", ": >> ran", ":::", *"abcdefgh", code=254,
                                preexec_fn=limit)
        self.assertIn(b"log: File too large; no more jobs are started", err)
        out, err = self.run_map("--joblog=/dev/full", "true", ":::", "a", code=254)
        self.assertIn(b"/dev/full: No space left on device", err)
        out, err = self.run_map("--joblog=no/where", "true", ":::", "a", code=254)
        self.assertIn(b"no/where: No such file", err)

    def test_job_that_prints_too_much(self):
        """The limit of a file's size is one for what a job prints, too: the job is told, and so are we."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        out, err = self.run_map("-kj1", "head", "-c", "{}", "/dev/zero", ":::", "100", "100000", "50", code=1,
                                preexec_fn=limit)
        self.assertEqual(len(out), 10150)
        self.assertIn(b"job 2 (100000) was killed by SIGXFSZ", err)

    def test_usage(self):
        for option in "--resume", "--resume-failed":
            self.assertIn(b"needs --joblog", self.run_map(option, "true", ":::", "a", code=255)[1])


harness.main()
