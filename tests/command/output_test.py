"""What jobs print: whole, unmixed, in order, whatever it is and wherever it goes."""

import collections
import os
import re
import socket
import subprocess
import threading
import unittest

import harness
from harness import Case

MIB = 1 << 20


class Order(Case):
    """Two jobs of which the second ends first."""

    def setUp(self):
        super().setUp()
        self.fifo("gate")
        self.script = 'if [ "$1" = 1 ]; then read x < gate; else echo > gate; fi; echo "$1"'

    def test_as_completed(self):
        # Job 2 is reaped no later than job 1 which it let go; both may be found at the same moment.
        out = self.out("-j2", "sh", "-c", self.script, "x", ":::", "1", "2")
        self.assertEqual(sorted(out.split()), [b"1", b"2"])

    def test_keep_order(self):
        self.assertEqual(self.out("-kj2", "sh", "-c", self.script, "x", ":::", "1", "2"), b"1\n2\n")

    def test_keep_order_with_retries(self):
        script = '[ "$1" = 2 ] || [ -e again ] || { echo wrong; : > again; exit 1; }; echo "$1"'
        out, err = self.run_map("-kj1", "--retries", "1", "sh", "-c", script, "x", ":::", "1", "2")
        self.assertEqual(out, b"1\n2\n")
        self.assertIn(b"job 1 (1) failed: exit code 1", err)
        self.assertIn(b"it is run again (attempt 2 of 2)", err)

    def test_first_job_is_shown_while_it_runs(self):
        self.fifo("go")
        process = harness.start("-kj2", "sh", "-c", 'echo "$1"; read x < go', "x", ":::", "1")
        self.assertEqual(process.stdout.readline(), b"1\n")
        with open("go", "w") as file:
            file.write("\n")
        self.assertEqual(process.communicate(), (b"", b""))
        self.assertEqual(process.returncode, 0)


class Places(Case):
    def test_jobs_at_the_same_time(self):
        self.fifo("meet")
        script = 'if [ "$1" = 1 ]; then read x < meet; else echo > meet; fi'
        self.out("-j2", "sh", "-c", script, "x", ":::", "1", "2")

    def test_one_at_a_time(self):
        self.out("-j1", "sh", "-c", "mkdir lock && rmdir lock", ":::", *"abcdefgh")

    def test_places_are_used_again(self):
        out = self.out("-j3", "echo", "{%}", ":::", *map(str, range(30)))
        self.assertLessEqual(set(out.split()), {b"1", b"2", b"3"})
        self.assertEqual(len(out.split()), 30)


class Grouped(Case):
    def test_streams_stay_apart_and_whole(self):
        script = 'for i in 1 2 3 4 5; do echo "$1 out"; echo "$1 err" >&2; done'
        out, err = self.run_map("-j4", "sh", "-c", script, "x", ":::", *"abcdefgh")
        for text, name in (out, b"out"), (err, b"err"):
            lines = text.splitlines()
            self.assertEqual(len(lines), 40)
            for i in range(0, 40, 5):
                self.assertEqual(set(lines[i:i + 5]), {lines[i]})
            self.assertTrue(all(line.endswith(name) for line in lines))

    def test_streams_that_are_the_same_file_stay_in_turn(self):
        out = self.out_of_both("-kj1", "sh", "-c", 'echo "$1 out"; echo "$1 err" >&2; exit 1', "x", ":::", "a", "b")
        self.assertRegex(out, rb"^a out\na err\nauriga: job 1 .*\nb out\nb err\nauriga: job 2 .*\nauriga: 2 of 2 .*\n$")

    def out_of_both(self, *arguments):
        return subprocess.run(harness.words(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT).stdout

    def test_no_newline_at_the_end(self):
        self.assertEqual(self.out("-k", "printf", "%s", ":::", "a", "b"), b"ab")

    def test_no_output_and_closed_output(self):
        self.assertEqual(self.out("-k", "sh", "-c", "exec 1>&- 2>&-; exit 0", ":::", *"abc"), b"")

    def test_output_opened_anew(self):
        self.assertEqual(self.out("-k", "sh", "-c", "echo 1; echo 2 >> /dev/stdout", ":::", "a", "b"),
                         b"1\n2\n1\n2\n")

    def test_tag(self):
        out = self.out("-k", "--tag", "printf", "%s\\nx", ":::", "a", "b c")
        self.assertEqual(out, b"a\ta\na\tx\nb c\tb c\nb c\tx\n")
        text = "x" * 70000
        out = self.out("--tag", "-kc", "cat {1}", ":::", self.file("big", f"{text}\n{text}"))
        self.assertEqual(out, f"big\t{text}\nbig\t{text}\n".encode())

    def file(self, name, text):
        with open(name, "w") as file:
            file.write(text)
        return name

    def test_what_a_job_leaves_behind_writes_into_no_other_output(self):
        """The file of a job is used again, unless somebody still has it open."""
        self.fifo("go")
        self.fifo("done")
        script = ('if [ "$1" = 1 ]; then (read x < go; echo late; echo > done) & '
                  'else echo > go; read x < done; fi; echo "$1"')
        for options in "-kj1", "-j1":
            self.assertEqual(self.out(options, "sh", "-c", script, "x", ":::", "1", "2"), b"1\n2\n")

    def test_a_job_has_ended_though_its_child_holds_the_output(self):
        self.fifo("go")
        process = harness.start("sh", "-c", "(read x < go; exit 0) & echo ended", ":::", "1")
        self.assertEqual(process.communicate(), (b"ended\n", b""))
        with open("go", "w"):
            pass

    def test_failed_attempts_print_nothing(self):
        script = 'echo x; [ -e again ] || { : > again; exit 1; }'
        out, err = self.run_map("--retries=1", "sh", "-c", script, ":::", "1")
        self.assertEqual(out, b"x\n")

    @unittest.skipIf(harness.VALGRIND, "Valgrind has files of its own there")
    def test_nowhere_to_put_files(self):
        self.assertEqual(self.out("-k", "echo", ":::", "a", "b", env=dict(os.environ, TMPDIR="/none")), b"a\nb\n")


class Ungrouped(Case):
    def test_output_is_passed_on_at_once(self):
        self.fifo("go")
        process = harness.start("-uj1", "sh", "-c", 'printf out; printf err >&2; read x < go', "x", ":::", "1")
        self.assertEqual((process.stdout.read(3), process.stderr.read(3)), (b"out", b"err"))
        with open("go", "w") as file:
            file.write("\n")
        self.assertEqual(process.communicate(), (b"", b""))

    def test_it_is_the_same_file(self):
        with open("result", "wb") as file:
            self.run_map_to(file, "-uj1", "readlink", ":::", "/proc/self/fd/1")
        with open("result") as file:
            self.assertEqual(file.read(), os.path.realpath("result") + "\n")

    def test_every_attempt_is_shown(self):
        out, err = self.run_map("-u", "--retries=1", "sh", "-c", "echo x; exit 1", ":::", "1", code=1)
        self.assertEqual(out, b"x\nx\n")

    def test_reader_that_leaves(self):
        process = harness.start("-u", "--joblog=log", "yes", stdin=subprocess.PIPE, bufsize=0)
        process.stdin.write(b"a\n")
        self.assertEqual(process.stdout.readline(), b"a\n")
        process.stdout.close()
        self.assertEqual(process.wait(), -13)
        self.assertEqual(process.stderr.read(), b"")
        process.stdin.close()
        process.stderr.close()
        with open("log") as file:
            self.assertEqual(len(file.readlines()), 1)


class Lines(Case):
    """--line-buffer"""

    def go(self, name):
        with open(name, "w") as file:
            file.write("\n")

    def test_lines_are_shown_as_they_come(self):
        for name in "1a", "1b", "1c", "2a", "2b", "2c":
            self.fifo(name)
        process = harness.start("-j2", "--line-buffer", "sh", "-c", 'read x < $1"a"; echo "$1 a"; read x < $1"b"; '
                                'echo "$1 b" >&2; read x < $1"c"', "x", ":::", "1", "2")
        for file, name in ((process.stdout, "2a"), (process.stdout, "1a"), (process.stderr, "1b"),
                           (process.stderr, "2b")):
            self.go(name)
            self.assertEqual(file.readline().decode(), f"{name[0]} {name[1]}\n")
        self.go("1c")
        self.go("2c")
        self.assertEqual(process.communicate(), (b"", b""))

    def test_a_line_is_shown_when_it_is_whole(self):
        for name in "half", "seen", "more":
            self.fifo(name)
        process = harness.start("-j2", "--lb", "sh", "-c", 'if [ "$1" = 1 ]; then printf half; echo > half; '
                                'read x < more; printf "done\\ntail"; else read x < half; echo whole; fi', "x", ":::",
                                "1", "2")
        self.assertEqual(process.stdout.readline(), b"whole\n")
        self.go("more")
        self.assertEqual(process.communicate(), (b"halfdone\ntail\n", b""))

    def test_first_job_comes_first(self):
        self.fifo("go")
        script = 'if [ "$1" = 1 ]; then printf "1 a\\n1"; echo "1 err" >&2; read x < go; echo " b"; else echo 2; fi'
        process = harness.start("-kj2", "--line-buffer", "sh", "-c", script, "x", ":::", "1", "2")
        self.assertEqual((process.stdout.readline(), process.stderr.readline()), (b"1 a\n", b"1 err\n"))
        self.go("go")
        self.assertEqual(process.communicate(), (b"1 b\n2\n", b""))

    def test_every_attempt_is_shown(self):
        for options in [], ["--tag"]:
            out, err = self.run_map("-j1", "--line-buffer", "--retries=2", *options, "sh", "-c",
                                    'printf "%s\\n" a b; printf c; printf e >&2; exit 1', ":::", "x", code=1)
            tag = b"x\t" if options else b""
            self.assertEqual(out, b"".join(tag + line for line in (b"a\n", b"b\n", b"c\n")) * 3)
            self.assertRegex(err, rb"^(%se\nauriga: job 1 [^\n]*\n){3}auriga: 1 of 1 " % tag)
        out, err = self.run_map("-kj1", "--line-buffer", "--retries=1", "sh", "-c", "echo a; exit 1", ":::", "x", code=1)
        self.assertEqual(out, b"a\n")

    def test_no_line_is_lost_or_mixed(self):
        script = ('i=0; while [ $i -lt 300 ]; do printf "$1 %0*d" $((i * i % 997)) $i; echo; echo "$1 $i" >&2; '
                  "i=$((i + 1)); done; [ $((i = $1 % 3)) = 0 ]")
        jobs = [str(i) for i in range(8)]
        lines = [f"{job} {i:0{i * i % 997}}" for job in jobs for i in range(300)]
        for options in ["-j8"], ["-kj4"], ["--tag", "-j3"], ["--tag", "-kj4"]:
            tagged = [f"{line[0]}\t{line}" if "--tag" in options else line for line in lines]
            out, err = self.run_map("-q", "--lb", *options, "sh", "-c", script, "x", ":::", *jobs, code=5)
            got = out.decode().splitlines()
            if "-k" in options[-1]:
                self.assertEqual(got, tagged)
            for job in jobs:
                self.assertEqual([line for line in got if line[0] == job],
                                 [line for line in tagged if line[0] == job])
            self.assertEqual(sorted(err.decode().splitlines()), sorted(
                "".join([f"{job}\t" if "--tag" in options else "", f"{job} {i}"]) for job in jobs for i in range(300)))


class Large(Case):
    """64 MiB in pieces that name their job, by each kind of way out."""

    JOBS = 4
    PIECES = (1 if harness.SLOW else 16) * MIB // 8

    def setUp(self):
        super().setUp()
        for i in range(self.JOBS):
            with open(f"in{i}", "wb") as file:
                file.write(self.part(i))
        self.names = [f"in{i}" for i in range(self.JOBS)]
        self.whole = b"".join(self.part(i) for i in range(self.JOBS))

    def part(self, i):
        return b"%07d\n" % i * self.PIECES

    def check_unordered(self, out):
        self.assertEqual(len(out), len(self.whole))
        size = len(self.part(0))
        self.assertEqual({out[i * size:(i + 1) * size] for i in range(self.JOBS)},
                         {self.part(i) for i in range(self.JOBS)})

    def test_pipe(self):
        self.assertTrue(self.out("-kj2", "cat", ":::", *self.names) == self.whole)
        self.check_unordered(self.out("-j4", "cat", ":::", *self.names))

    def test_lines(self):
        """By pipes that are too small for them, to both of which each job writes."""
        out, err = self.run_map("-j4", "--line-buffer", "-c", "head -n 100000 {} | tee /dev/stderr; head -n 100000 {}",
                                ":::", *self.names)
        lines = [b"%07d" % i for i in range(self.JOBS)]
        for text, times in (out, 2), (err, 1):
            self.assertEqual(collections.Counter(text.splitlines()),
                             {line: 100000 * times for line in lines})

    def test_file(self):
        for mode in "wb", "ab":
            with open("result", mode) as file:
                self.run_map_to(file, "-kj2", "cat", ":::", *self.names)
        with open("result", "rb") as file:
            self.assertTrue(file.read() == self.whole * 2)

    def test_socket(self):
        ours, theirs = socket.socketpair()
        got = []
        thread = threading.Thread(target=lambda: got.extend(iter(lambda: ours.recv(MIB), b"")))
        thread.start()
        self.run_map_to(theirs, "-kj2", "cat", ":::", *self.names)
        theirs.close()
        thread.join()
        ours.close()
        self.assertTrue(b"".join(got) == self.whole)

    def test_terminal(self):
        main, sub = os.openpty()
        got = []

        def read():
            try:
                while data := os.read(main, 65536):
                    got.append(data)
            except OSError:  # what a terminal says when its other side is gone
                pass

        thread = threading.Thread(target=read)
        thread.start()
        lines = [b"%d\n" % i for i in range(2000)]
        with open("short", "wb") as file:
            file.writelines(lines)
        self.run_map_to(sub, "-kj2", "cat", ":::", "short", "short")
        os.close(sub)
        thread.join()
        os.close(main)
        self.assertEqual(b"".join(got).replace(b"\r\n", b"\n"), b"".join(lines) * 2)


class Progress(Case):
    def test_on_a_terminal(self):
        """The line is there while a job runs, names what is known, and is gone at the end."""
        self.fifo("go")
        main, sub = os.openpty()
        process = harness.start("-j1", "--progress", "sh", "-c", '[ "$1" = 1 ] || read x < go; echo "$1"', "x", ":::",
                                "1", "2", stderr=sub)
        os.close(sub)
        seen = b""
        while not re.search(rb"\r1 of 2 done, 0 failed, 1 running, \S+/s, 0:\d\d:\d\d left\x1b\[K", seen):
            seen += os.read(main, 4096)
        with open("go", "w") as file:
            file.write("\n")
        self.assertEqual(process.communicate()[0], b"1\n2\n")
        self.assertEqual(process.returncode, 0)
        try:
            while data := os.read(main, 4096):
                seen += data
        except OSError:  # its other side is gone
            pass
        os.close(main)
        self.assertTrue(seen.endswith(b"\r\x1b[K"), seen[-80:])

    def test_nowhere_else(self):
        self.assertEqual(self.out("-k", "--progress", "echo", ":::", "a", "b"), b"a\nb\n")


class Readers(Case):
    def test_reader_that_leaves(self):
        process = harness.start("echo", stdin=subprocess.PIPE, bufsize=0)
        feeder = threading.Thread(target=self.feed, args=(process.stdin,))
        feeder.start()
        self.assertEqual(process.stdout.readline(), b"y\n")
        process.stdout.close()
        self.assertEqual(process.wait(), -13)
        feeder.join()
        process.stdin.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()

    @staticmethod
    def feed(file):
        try:
            while True:
                file.write(b"y\n" * 1000)
        except BrokenPipeError:
            pass

    def test_full_disk(self):
        for options in [], ["-k"], ["--tag"]:
            with open("/dev/full", "wb") as full:
                process = harness.start(*options, "echo", ":::", "a", "b", stdout=full)
                err = process.communicate()[1]
            self.assertEqual(process.returncode, 254)
            self.assertIn(b"output cannot be written: No space left on device", err)

    def test_closed_standard_files(self):
        run = lambda redirections: subprocess.run(
            ["sh", "-c", f'exec "$@" {redirections}', "sh", *harness.PROGRAM, "map", "echo", ":::", "a"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(run("<&-").stdout, b"a\n")
        done = run(">&-")
        self.assertEqual(done.returncode, 254)
        self.assertIn(b"Bad file descriptor", done.stderr)
        self.assertEqual(run("2>&-").stdout, b"a\n")

    def test_few_files(self):
        """Outputs wait for their turn in files: with few of these fewer jobs are ahead, and none is lost."""
        names = [str(i) for i in range(60)]
        out = subprocess.run(["sh", "-c", 'ulimit -n 80; exec "$@"', "sh", *harness.PROGRAM, "map", "-kj8",
                              "echo", ":::", *names], stdout=subprocess.PIPE, check=True).stdout
        self.assertEqual(out.decode().split(), names)


harness.main()
