"""How jobs, and the command itself, come to an end: nobody is left, and it is said what happened."""

import os
import re
import signal
import subprocess
import time
import unittest

import harness
from harness import Case


class Codes(Case):
    def test_number_of_failed_jobs(self):
        for n, code in (0, 0), (1, 1), (3, 3), (100, 100), (101, 101), (130, 101):
            out, err = self.run_map("-q", "sh", "-c", 'exit "$1"', "x", ":::", "0", *["7"] * n, code=code)
            self.assertEqual(err, b"")

    def test_messages(self):
        out, err = self.run_map("-kj1", "sh", "-c", 'kill -$1 $$; exit 3', "x", ":::", "0", "KILL", "SEGV", code=3)
        lines = err.decode().splitlines()
        self.assertRegex(lines[0], r"^auriga: job 1 \(0\) failed: exit code 3, after \S+ s, peak memory \S+ MiB$")
        self.assertIn("job 2 (KILL) was killed by SIGKILL, after", lines[1])
        self.assertIn("job 3 (SEGV) was killed by SIGSEGV, after", lines[2])
        self.assertEqual(lines[3], "auriga: 3 of 3 jobs failed")

    def test_message_follows_the_output(self):
        out, err = self.run_map("-kj1", "sh", "-c", 'echo "$1" >&2; exit 1', "x", ":::", "a", "b", code=2)
        self.assertRegex(err, rb"(?s)^a\n[^\n]*job 1 [^\n]*\nb\n[^\n]*job 2 ")

    def test_retries(self):
        out, err = self.run_map("--retries", "2", "sh", "-c", 'echo x >> count; exit 1', ":::", "1", code=1)
        with open("count") as file:
            self.assertEqual(len(file.readlines()), 3)
        self.assertIn(b"(attempt 3 of 3)", err)

    def test_signals_of_the_caller_are_not_those_of_jobs(self):
        """Jobs find signals as we found them: neither blocked nor, like SIGCHLD here, ignored by chance."""
        out = subprocess.run(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *harness.PROGRAM, "map", "-k",
                              "grep", "-E", "^Sig(Blk|Ign):", ":::", "/proc/self/status"],
                             stdout=subprocess.PIPE, check=True).stdout.decode()
        blocked, ignored = (int(v, 16) for v in re.findall(r":\s*([0-9a-f]+)", out))
        self.assertEqual(blocked & (1 << 30), 0)
        self.assertEqual(blocked & 0x1ffff, 0)
        self.assertEqual(ignored & 0x1ffff, 1)  # SIGHUP

    def test_ignored_sigchld(self):
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            process = harness.start("sh", "-c", "exit 1", ":::", "a")
            process_out = process.stderr.read()
        finally:
            signal.signal(signal.SIGCHLD, before)
        self.assertIn(b"exit code 1", process_out)
        process.wait()
        process.stdout.close()
        process.stderr.close()


class Limits(Case):
    def test_timeout_ends_the_whole_group(self):
        reader, writer = self.lifeline()
        process = harness.start("--timeout", "0.3", "sh", "-c", "sleep 1000 & sleep 1000; :", ":::", "1",
                                pass_fds=(writer,))
        os.close(writer)
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)
        out, err = process.communicate()
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"job 1 (1) took longer than 0.3 s: it was ended", err)

    def test_who_does_not_hear_is_killed(self):
        script = 'trap "" TERM; while :; do sleep 1; done'
        out, err = self.run_map("--timeout", "0.1s", "sh", "-c", script, ":::", "1", code=1)
        self.assertIn(b"took longer", err)

    def test_quick_jobs_are_in_time(self):
        self.out("--timeout", "1d", "true", ":::", *"abc")

    def test_a_stopped_job_is_ended_too(self):
        process = harness.start("sh", "-c", "kill -STOP $$", ":::", "1")
        self.assertIn(b"was stopped by SIGSTOP; it goes on after: kill -CONT", process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate()
        self.assertEqual(process.returncode, -signal.SIGTERM)

    def test_a_stopped_job_goes_on(self):
        process = harness.start("sh", "-c", "kill -STOP $$; echo on", ":::", "1")
        line = process.stderr.readline().decode()
        os.killpg(int(re.search(r"kill -CONT -(\d+)$", line)[1]), signal.SIGCONT)
        self.assertEqual(process.communicate(), (b"on\n", b""))

    def test_timeout_and_retries(self):
        out, err = self.run_map("--timeout=0.1", "--retries=1", "sleep", ":::", "1000", code=1)
        self.assertEqual(err.count(b"took longer"), 2)


class Gates(Case):
    def test_delay(self):
        begin = time.monotonic()
        self.out("-j9", "--delay=0.05", "true", ":::", *"abcdefg")
        self.assertGreaterEqual(time.monotonic() - begin, 0.3)  # six pauses; a slow machine takes longer

    def test_open_gates(self):
        self.assertEqual(self.out("-kj2", "--load=1e6", "--memory-free=1M", "echo", ":::", "a", "b"), b"a\nb\n")

    def test_a_high_load_leaves_one_at_a_time(self):
        with open("/proc/loadavg") as file:
            if float(file.read().split()[0]) < 0.02:
                self.skipTest("there is no load")
        self.out("-j4", "--load=0.001", "sh", "-c", "mkdir lock && rmdir lock", ":::", *"ab")

    def test_no_memory(self):
        for options in [], ["-k"]:
            process = harness.start(*options, "--memory-free=100T", "true", ":::", "a", "b")
            self.assertIn(b"waiting: ", process.stderr.readline())
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate()
            self.assertEqual(process.returncode, -signal.SIGTERM)
            self.assertIn(b"0 jobs were done", err)


class Halt(Case):
    def count(self, *options, code, jobs="1 1 1 1 1 1 1 1 1 1"):
        """Jobs one after the other that say that they ran, and end with their argument."""
        out, err = self.run_map("-j1", *options, "sh", "-c", 'echo ran; exit "$1"', "x", ":::", *jobs.split(),
                                code=code)
        return len(out.split())

    def test_when(self):
        self.assertEqual(self.count(code=10), 10)
        self.assertEqual(self.count("--halt=never", code=10), 10)
        self.assertEqual(self.count("--halt=soon", code=1), 1)
        self.assertEqual(self.count("--halt=now", code=1), 1)
        self.assertEqual(self.count("--halt=soon,fail=3", code=3), 3)
        self.assertEqual(self.count("--halt=now,fail=10%", code=3), 3)
        self.assertEqual(self.count("--halt=soon,fail=50%", jobs="0 0 0 0 1 1 1 0 1 1 1 1", code=5), 10)

    def test_soon_lets_jobs_end(self):
        self.fifo("gate")
        # The first job goes on when the second has been taken: its number is nobody's then.
        script = ('if [ "$1" = 1 ]; then read x < gate; while kill -0 $x 2>&-; do :; done; echo whole; '
                  'else echo $$ > gate; exit 1; fi')
        out, err = self.run_map("-j2", "--halt=soon", "sh", "-c", script, "x", ":::", "1", "2", "3", code=1)
        self.assertEqual(out, b"whole\n")
        self.assertIn(b"1 of 2 jobs failed; no more were started", err)

    def test_now_ends_jobs(self):
        self.fifo("gate")
        script = 'if [ "$1" = 1 ]; then echo > gate; sleep 1000; else read x < gate; exit 1; fi'
        for options in [], ["-k"]:
            out, err = self.run_map("-j2", "--halt=now", *options, "sh", "-c", script, "x", ":::", "1", "2", "3",
                                    code=2)
            self.assertIn(b"job 1 (1) was ended", err)


class Signals(Case):
    def started(self, script, *options, jobs=("1", "2"), **others):
        """Jobs that run and hold a lifeline; the end of it that reads as ended without them."""
        reader, writer = self.lifeline()
        self.fifo("ready")
        process = harness.start("-j2", *options, "sh", "-c", f"{script}", "x", ":::", *jobs, pass_fds=(writer,), **others)
        os.close(writer)
        with open("ready") as file:
            while len(file.read(1)) != 0:
                pass
        return process, reader

    def ends(self, process, reader, code):
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)
        out, err = process.communicate()
        self.assertEqual(process.returncode, code)
        return err

    # Jobs keep the FIFO open until both have come.
    READY = 'exec 9> ready; exec 9>&-; '

    def test_interrupt_leaves_nobody(self):
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
            process, reader = self.started(self.READY + "sleep 1000 & sleep 1000; :")
            process.send_signal(number)
            err = self.ends(process, reader, -number)
            self.assertIn(f"ended by {number.name}".encode(), err)
            os.unlink("ready")

    def test_second_interrupt_does_not_wait(self):
        process, reader = self.started('trap "" TERM; ' + self.READY + "while :; do sleep 1; done", jobs=("1",))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)
        process.communicate()
        self.assertIn(process.returncode, (-signal.SIGINT, -signal.SIGTERM))

    @unittest.skipIf(harness.VALGRIND, "the process is Valgrind's")
    def test_killed_command_leaves_no_job(self):
        """Nor a process of a job; and who was told to stop listens to that as well."""
        for script in "exec sleep 1000", "sleep 1000 & sleep 1000; :", 'trap "" TERM; (sleep 1000; :); :':
            process, reader = self.started(self.READY + script)
            process.kill()
            self.ends(process, reader, -signal.SIGKILL)
            os.unlink("ready")

    @unittest.skipIf(harness.VALGRIND, "the process is Valgrind's")
    def test_killed_group_leaves_no_job(self):
        """What is killed together with the command does not take the guardian along."""
        process, reader = self.started(self.READY + "sleep 1000 & sleep 1000; :", start_new_session=True)
        os.killpg(process.pid, signal.SIGKILL)
        self.ends(process, reader, -signal.SIGKILL)

    def test_what_a_job_has_left_lives_on(self):
        """The guardian goes without a word, and without a deed."""
        reader, writer = self.lifeline()
        self.fifo("go")
        process = harness.start("sh", "-c", "(read x < go; echo lives >&%d) & :" % writer, ":::", "1", pass_fds=(writer,))
        os.close(writer)
        self.assertEqual(process.communicate(), (b"", b""))
        with open("go", "w") as file:
            file.write("\n")
        self.assertEqual(os.read(reader, 100), b"lives\n")
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)

    def test_ignored_signal_stays_ignored(self):
        process = subprocess.run(["sh", "-c", 'trap "" INT; exec "$@"', "sh", *harness.PROGRAM, "map", "sh", "-c",
                                  "kill -INT $PPID; echo on", ":::", "a"], stdout=subprocess.PIPE)
        self.assertEqual((process.returncode, process.stdout), (0, b"on\n"))

    def test_signal_while_nobody_reads(self):
        self.fifo("ready")
        process = harness.start("-j1", "sh", "-c", '[ "$1" = 1 ] && exec head -c 1000000 /dev/zero; exec 9> ready; '
                                "sleep 1000", "x", ":::", "1", "2")
        with open("ready") as file:
            file.read(0)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(), -signal.SIGTERM)
        process.stdout.close()
        process.stderr.close()


harness.main()
