"""Arguments and the commands they become: every byte of them arrives, once, in the right place."""

import os
import pathlib
import re
import subprocess
import sys
import unittest

import harness
from harness import Case

# Prints its arguments, each with a NUL behind it.
SHOW = [sys.executable, "-Sc", "import os, sys; os.write(1, b''.join(os.fsencode(a) + b'\\0' "
        "for a in sys.argv[1:]))"]
ODD = [b"", b" ", b"a b", b"'", b'"', b"\\", b"$HOME", b"`id`", b"-n", b"--", b"*", b"{}", b"\xff\xfe",
       b"tab\there", b"\xc3\xa9", b";", b"a'b\"c", b"#", b"~", b"!!", b"%s%n", b"&&", b"x" * 100000]


class Words(Case):
    def test_list(self):
        self.assertEqual(self.out("-k", "echo", ":::", "a", "b c", "d"), b"a\nb c\nd\n")

    def test_list_without_arguments(self):
        self.assertEqual(self.out("echo", ":::"), b"")
        self.assertEqual(self.out("echo"), b"")

    def test_lines(self):
        self.assertEqual(self.out("-k", "echo", "x", stdin=b"a\n\n b \nlast"), b"x a\nx \nx  b \nx last\n")
        self.assertEqual(self.out("-k", "echo", "x", stdin=b"\n"), b"x \n")

    def test_odd_arguments(self):
        for arguments in ODD, ODD + [b"two\nlines", b"\n"]:
            expected = b"".join(a + b"\0" for a in arguments)
            self.assertEqual(self.out("-k", *SHOW, "{}", ":::", *arguments), expected)
            self.assertEqual(self.out("-k0", *SHOW, "{}", stdin=expected), expected)
        lines = b"".join(a + b"\n" for a in ODD)
        self.assertEqual(self.out("-k", *SHOW, "{}", stdin=lines), b"".join(a + b"\0" for a in ODD))

    def test_odd_arguments_in_a_shell(self):
        arguments = ODD + [b"two\nlines", b"\n"]
        self.assertEqual(self.out("-kc", "printf '%s\\0' {}", ":::", *arguments),
                         b"".join(a + b"\0" for a in arguments))

    def test_dry_run_prints_what_a_shell_would_run(self):
        text = self.out("-k", "--dry-run", "printf", "%s\\0", "{}", ":::", *ODD, "two\nlines")
        self.assertEqual(text.count(b"\n"), len(ODD) + 1)
        self.assertEqual(subprocess.run(["bash"], input=text, stdout=subprocess.PIPE, check=True).stdout,
                         b"".join(a + b"\0" for a in [*ODD, b"two\nlines"]))

    def test_placeholders(self):
        for template, argument, expected in (
                ("{}", "a/b.c.d", "a/b.c.d"), ("{.}", "a/b.c.d", "a/b.c"), ("{/}", "a/b.c.d", "b.c.d"),
                ("{//}", "a/b.c.d", "a"), ("{/.}", "a/b.c.d", "b.c"), ("{.}", "a.x/b", "a.x/b"),
                ("{//}", "b", "."), ("{//}", "/b", "/"), ("{/}", "b", "b"), ("{.}", "", ""),
                ("{#}", "x", "1"), ("{%}", "x", "1"), ("<{}{}>", "x", "<xx>"), ("{1}{2}", "x", "x"),
                ("{x} {} {", "y", "{x} y {"), ("{0}{}", "y", "{0}y"), ("{{}}", "y", "{y}")):
            self.assertEqual(self.out("echo", template, ":::", argument), expected.encode() + b"\n")

    def test_numbers(self):
        self.assertEqual(self.out("-kj1", "echo", "{#}", "{%}", "{}", ":::", "a", "b"), b"1 1 a\n2 1 b\n")

    def test_several_arguments_a_job(self):
        self.assertEqual(self.out("-kn2", "echo", stdin=b"a\nb\nc\n"), b"a b\nc\n")
        self.assertEqual(self.out("-kn", "2", "echo", "{2}-{1}", ":::", "a", "b", "c"), b"b-a\n-c\n")
        self.assertEqual(self.out("-kn2", "echo", "x{}y", "{/}", ":::", "a/b", "c"), b"xa/b cy b c\n")

    def test_every_combination(self):
        self.assertEqual(self.out("-k", "echo", "{1}", "{2}", ":::", "a", "b", ":::", "1", "2"),
                         b"a 1\na 2\nb 1\nb 2\n")
        self.assertEqual(self.out("-k", "echo", ":::", "a", ":::", ":::", "c"), b"")
        self.assertEqual(self.out("-k", "echo", ":::", "a", ":::", "b", ":::", "c", "d"), b"a b c\na b d\n")

    def test_many_lines(self):
        lines = b"".join(b"%d\n" % i for i in range(100000))
        self.assertEqual(self.out("-k", "-n", "500", "printf", "%s\\n", stdin=lines), lines)
        self.assertEqual(self.out("-k", "--dry-run", "echo", stdin=lines),
                         b"".join(b"echo %d\n" % i for i in range(100000)))

    def test_file_of_arguments(self):
        with open("list", "wb") as file:
            file.write(b"a\nb\n")
        self.assertEqual(self.out("-ka", "list", "echo"), b"a\nb\n")
        self.assertIn(b"nothere: No such file", self.run_map("-a", "nothere", "echo", code=254)[1])
        self.assertIn(b"arguments cannot be read", self.run_map("-a", ".", "echo", code=254)[1])

    def test_arguments_that_no_program_takes(self):
        long = b"x" * (32 * 4096)
        out, err = self.run_map("-k", "echo", stdin=b"a\n" + long + b"\n" + long * 30 + b"\nb\nnu\0l\nc", code=3)
        self.assertEqual(out, b"a\nb\nc\n")
        self.assertEqual(err.count(b"too long"), 2)
        self.assertIn(b"'nu?l') could not be started: the argument contains a NUL", err)
        out, err = self.run_map("-k", "-n", "1000", "echo", stdin=b"x" * 100000 + b"\n" + b"\n".join(
            [b"y" * 100000] * 999), code=1)
        self.assertEqual(out, b"")
        self.assertIn(b"too long", err)

    def test_the_rest_of_a_cut_argument_is_not_run(self):
        self.run_map("sh", "-c", ": > ran", "{/}", stdin=b"x/" * 100000 + b"y", code=1)
        self.assertFalse(os.path.exists("ran"))

    def test_lines_are_taken_as_they_come(self):
        process = harness.start("echo", stdin=subprocess.PIPE)
        for line in b"one\n", b"two\n", b"three\n":
            process.stdin.write(line)
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), line)
        process.stdin.close()
        self.assertEqual(process.wait(), 0)
        process.stdout.close()
        process.stderr.close()

    def test_jobs_read_nothing(self):
        self.assertEqual(self.out("-k", "sh", "-c", "wc -c", stdin=b"1\n2\n"), b"0\n0\n")


class Commands(Case):
    def test_not_found(self):
        out, err = self.run_map("no-such-command", ":::", "a", "b", code=127)
        self.assertEqual(err, b"auriga: no-such-command: command not found\n")
        self.assertIn(b"./none: command not found", self.run_map("./none", ":::", "a", code=127)[1])
        self.assertIn(b"command not found", self.run_map("", ":::", "a", code=127)[1])

    def test_not_executable(self):
        open("text", "w").close()
        self.assertIn(b"./text: Permission denied", self.run_map("./text", ":::", "a", code=126)[1])
        self.assertIn(b"Permission denied", self.run_map("/", ":::", "a", code=126)[1])

    def test_command_is_the_argument(self):
        out, err = self.run_map("-kj1", "{}", ":::", "pwd", "no-such-command", "", "/", "pwd", code=3)
        self.assertEqual(out.split(), [os.fsencode(os.path.realpath(self.folder))] * 2)
        self.assertEqual(err.count(b"No such file or directory"), 2)
        self.assertEqual(err.count(b"Permission denied"), 1)

    @unittest.skipIf(harness.VALGRIND, "it makes a copy of the process, which cannot tell what failed")
    def test_script_without_interpreter(self):
        with open("script", "w") as file:
            file.write("echo from script: \"$@\"\n")
        os.chmod("script", 0o755)
        for command in "./script", "script":
            self.assertEqual(self.out("-k", command, "x", ":::", "a b", "c",
                                      env=dict(os.environ, PATH=":/bin:/usr/bin")),
                             b"from script: x a b\nfrom script: x c\n")
        self.assertEqual(self.out("{}", "x", ":::", "./script"), b"from script: x\n")

    def test_environment_and_files_pass(self):
        read, write = os.pipe()
        self.assertEqual(self.out("sh", "-c", f"echo $VALUE >&{write}", ":::", "a", pass_fds=(write,),
                                  env=dict(os.environ, VALUE="seen")), b"")
        self.assertEqual(os.read(read, 10), b"seen\n")
        os.close(read)
        os.close(write)


class Usage(Case):
    def bad(self, *arguments):
        out, err = self.run_map(*arguments, code=255)
        self.assertEqual(out, b"")
        self.assertTrue(err.startswith(b"auriga: ") and err.count(b"\n") == 1, err)
        return err

    def test_bad_usage(self):
        for arguments, text in (
                ([], b"no command"), ([":::", "a"], b"no command"), (["-j", "0", "true"], b"-j 0"),
                (["-j", "x", "true"], b"-j x"), (["-j"], b"-j needs a value"), (["-j", ":::", "a"], b"needs"),
                (["-j", "-1", "true"], b"-j -1"), (["-P0", "true"], b"-j 0"), (["-n0", "true"], b"-n 0"),
                (["--jobs=", "true"], b"-j :"), (["-Z", "true"], b"-Z: there is no"),
                (["--nope", "true"], b"--nope: there is no"), (["--t", "true"], b"may be"),
                (["--tag=1", "true"], b"takes no value"), (["-kZj2", "true"], b"-Z: there is no"),
                (["-k", "--jobs"], b"--jobs needs a value"), (["--keep-o=1", "true"], b"--keep-order takes no"),
                (["--jo", "1", "true"], b"may be --jobs or --joblog"), (["--=1", "true"], b"--: there is no"), (["--timeout", "soon", "true"], b"--timeout soon"),
                (["--timeout=-1", "true"], b"--timeout -1"), (["--timeout=0", "true"], b"--timeout 0"),
                (["--timeout=nan", "true"], b"--timeout nan"), (["--retries=-1", "true"], b"--retries -1"),
                (["--halt=later", "true"], b"--halt later"), (["--halt=now,fail=0", "true"], b"now,fail=0"),
                (["--delay=x", "true"], b"--delay x"), (["-l0", "true"], b"--load 0"),
                (["--load=", "true"], b"--load :"), (["--memory-free=-1", "true"], b"--memory-free -1"),
                (["--memory-free=1X", "true"], b"--memory-free 1X"), (["--memory-free=1e30", "true"], b"1e30"),
                (["--halt=now,fail=101%", "true"], b"101%"), (["--halt=never,fail=1", "true"], b"never,fail"),
                (["-0", "true", ":::", "a"], b"-0"), (["-a", "x", "true", ":::", "a"], b"--arg-file"),
                (["-ku", "true"], b"go with -k"), (["--ungroup", "--tag", "true"], b"go with --tag"),
                (["--lb", "-u", "true"], b"go with --line-buffer"),
                (["-n2", "true", ":::", "a", ":::", "b"], b"-n does not go")):
            with self.subTest(arguments=arguments):
                self.assertIn(text, self.bad(*arguments))

    def test_forms_of_options(self):
        for arguments in (["-kj2"], ["-k", "-j", "2"], ["--jobs=2", "--keep"], ["-kj", "2", "--"],
                          ["--jobs", "2", "--keep-order"], ["-kP2"]):
            self.assertEqual(self.out(*arguments, "echo", "-n", "-k", ":::", "a"), b"-k a")

    def test_help_and_version(self):
        run = lambda *a: subprocess.run([*harness.PROGRAM, *a], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.assertIn(b"usage: auriga map", self.out("--help"))
        self.assertEqual(self.out("-h"), run("--help").stdout)
        self.assertRegex(self.out("--version"), rb"^auriga \d+\.\d+\.\d+\n$")
        self.assertEqual(run("--version").stdout, self.out("-V"))
        self.assertEqual([run().returncode, run("reduce").returncode], [255, 255])
        self.assertIn(b"there is map", run("reduce").stderr)
        with open("/dev/full", "wb") as full:
            self.assertEqual(subprocess.run([*harness.PROGRAM, "--help"], stdout=full).returncode, 254)


    def test_manual_has_every_option_of_the_help(self):
        manual = pathlib.Path(__file__).resolve().parents[2] / "command" / "auriga.1"
        text = manual.read_text().replace("\\-", "-")
        options = set(re.findall(rb"--[a-z-]+", self.out("--help")))
        self.assertGreater(len(options), 15)
        for option in options:
            self.assertIn(option.decode(), text)


harness.main()
