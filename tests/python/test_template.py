"""The process that spawned workers come from: kept for later pools, replaced when they would differ
from a program that is executed now, and gone with the program."""

import os
import pathlib
import signal
import subprocess
import sys
import unittest

from support import Case, environment, run_program

# What every program begins with.  lineage() in a worker: the pid of its nursery's parent, the template.
HEAD = """
import multiprocessing, os, select, signal, sys, threading, time
import auriga

def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])

def lineage(_=None):
    return parent_of(os.getppid())

def lookup(name):
    return os.environ.get(name)

def exists(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

def end_of(pid):
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([ended], [], [])
    os.close(ended)

def ask(method, fn=lineage, *args, init=None, initargs=()):
    with auriga.Pool(1, init, initargs, context=multiprocessing.get_context(method)) as pool:
        return pool.apply(fn, args)
"""

KEPT = HEAD + """
if __name__ == "__main__":
    first = ask("{method}")
    print(first != 1, first != os.getpid(), parent_of(first) != os.getpid())
    print(ask("{method}") == first)
    with auriga.ProcessPoolExecutor(1, multiprocessing.get_context("{method}")) as executor:
        print(executor.submit(lineage).result() == first)
    sys.stdout.flush()
    os.write(1, b"pid %d\\n" % first)
"""

REPLACED = HEAD + """
def umask(_=None):
    mask = os.umask(0)
    os.umask(mask)
    return mask

if __name__ == "__main__":
    first = ask("spawn")
    os.environ["AURIGA_TEST_VARIABLE"] = "here"
    print(ask("spawn", lookup, "AURIGA_TEST_VARIABLE"))
    second = ask("spawn")
    print(second != first, exists(first))
    os.umask(0o27)
    print(oct(ask("spawn", umask)))
    third = ask("spawn")
    print(third != second)
    os.nice(1)
    print(ask("spawn", os.nice, 0) == os.nice(0))
    os.chdir("/")
    fourth = ask("spawn")
    print(ask("spawn", os.getcwd), ask("spawn") == fourth)
"""

HANDED = HEAD + """
import multiprocessing.util, pathlib

def seen():
    return os.getcwd(), sys.argv[1:], sys.path[-1], bytes(multiprocessing.current_process().authkey)

def handlers():
    logger = multiprocessing.util._logger
    return logger and (logger.level, len(logger.handlers))

def change(step):
    if step == 1:
        os.chdir("/")
    elif step == 2:
        sys.argv.append("more")
    elif step == 3:
        multiprocessing.current_process().authkey = b"another"
    elif step == 4:
        sys.path.append(pathlib.PurePosixPath("/there"))  # no plain value
    elif step == 5:
        sys.path.append("/somewhere")

if __name__ == "__main__":
    for method in ("forkserver", "spawn"):
        template = ask(method)
        for step in range(6):
            change(step)
            same = [ask(method, seen) == seen() for _ in range(3)]
            with_initializer = ask(method, seen, init=os.getpid) == seen()
            print(*same, with_initializer, end=", ")
        print(ask(method) == template)
    multiprocessing.log_to_stderr(50)
    print(*(ask(method, handlers) for method in ("spawn", "forkserver", "forkserver")))
"""

IMPORTS = HEAD + """
print(f"import {__name__}", flush=True)
started = [os.getpid()]

def where(_=None):
    return started[0]

def inner(_=None):
    return __name__

if __name__ == "__main__":
    method = "{method}"
    here = ask(method, where)
    print(here == ask(method), here == ask(method, where), ask(method, inner))
"""

UNFIT = HEAD + """
{unfit}
def use(_=None):
    return {use}

if __name__ == "__main__":
    print(ask("forkserver", use))
    print(ask("forkserver") == ask("forkserver"))
"""

OUTPUT = HEAD + """
def say(text):
    print(text, flush=True)
    print(text, file=sys.stderr, flush=True)

if __name__ == "__main__":
    template = ask("{method}")
    kept = os.dup(1), os.dup(2)
    for name in ("one", "two"):
        fd = os.open(os.path.join(sys.argv[1], name), os.O_CREAT | os.O_RDWR)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        ask("{method}", say, name)
        assert ask("{method}") == template
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
    for name in ("one", "two"):
        print(open(os.path.join(sys.argv[1], name)).read().split())
"""

KILLED = HEAD + """
if __name__ == "__main__":
    first = ask("spawn")
    os.kill(first, signal.SIGKILL)
    end_of(first)
    print(ask("spawn", abs, -3))
    second = ask("spawn")
    print(second != first, ask("spawn") == second)
    context = multiprocessing.get_context("spawn")
    with auriga.Pool(1, context=context) as pool:  # a pool goes on without its template
        os.kill(pool.apply(lineage), signal.SIGKILL)
        print(pool.apply(abs, (-4,)))
"""

GIVEN = HEAD + """
def init(lock, queue, pipes):
    with lock:
        queue.put(sum(pipe.recv() for pipe in pipes))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    for number in (1, 2, 9):  # so many descriptors: more than a request has room for, at last
        pipes = [context.Pipe(False) for _ in range(number)]
        for _, end in pipes:
            end.send(number)
        queue = context.Queue()
        with auriga.Pool(1, init, (context.Lock(), queue, [end for end, _ in pipes]), context=context):
            print(queue.get())
"""

FORKED = HEAD + """
if __name__ == "__main__":
    first = ask("spawn")
    pid = os.fork()
    if pid == 0:
        print(ask("spawn") != first, exists(first), flush=True)
        sys.exit(0)
    print(os.waitpid(pid, 0)[1], ask("spawn") == first)
    with auriga.Pool(1) as forked:  # its workers have copies of our end of the socket
        forked.apply(abs, (1,))
        os.environ["AURIGA_TEST_VARIABLE"] = "here"
        print(ask("spawn") != first, exists(first))
"""

THREADS = HEAD + """
def many(_=None):
    return ask("spawn")

if __name__ == "__main__":
    with auriga.ThreadPool(4) as pool:
        print(len(set(pool.map(many, range(8), 1))))
"""

NO_OUTPUT = HEAD + """
if __name__ == "__main__":
    kept = os.dup(1)
    os.close(1)
    try:
        got = ask("spawn", abs, -5)
    finally:
        os.dup2(kept, 1)
    print(got)
"""

PRELOADED = HEAD + """
def loaded(name):
    return name in sys.modules

if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["colorsys", "no_such_module"])
    print(ask("forkserver", loaded, "colorsys"), ask("spawn", loaded, "colorsys"))
    print(ask("forkserver") == ask("forkserver"))
"""

STANDARD = """
import sys
there = [name for name in ("statistics", "csv") if name in sys.modules]
import csv, statistics
def look():
    return there, hasattr(csv, "mine"), statistics.mean([1, 3])
""" + HEAD + """
if __name__ == "__main__":
    print(there, ask("spawn", look))
"""

RANDOM = HEAD + """
import random
def draw(_=None):
    return random.random()

if __name__ == "__main__":
    numbers = set()
    for _ in range(2):
        with auriga.Pool(2, context=multiprocessing.get_context("spawn")) as pool:
            numbers.update(pool.map(draw, range(8), 1))
    print(len(numbers))
"""

TRACKER = HEAD + """
if __name__ == "__main__":
    from multiprocessing import resource_tracker
    ask("spawn")
    ask("forkserver")
    resource_tracker._resource_tracker._stop()  # waits for its end, as the standard tests do
    print(ask("spawn", abs, -6))
"""

LIKE_NEW = HEAD + """
def open_files():
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            pass  # of the listing itself
    return links

def state(_=None):
    files = open_files()
    return (signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL,
            os.waitstatus_to_exitcode(os.system("exit 3")),  # needs SIGCHLD as a process has it
            threading.current_thread() is threading.main_thread(),
            sum(link.startswith("socket:") for link in files),
            sum("pidfd" in link for link in files))  # of its parent, for multiprocessing

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        template = ask(method)
        print(*ask(method, state))
        while open(f"/proc/{template}/task/{template}/children").read():
            pass  # a nursery that has ended leaves no zombie
"""

NESTED = HEAD + """
def inner(method):
    return ask(method, abs, -7)

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        for initializer in (None, os.getpid):
            with auriga.ProcessPoolExecutor(1, context, initializer) as executor:
                print(*executor.map(inner, ("fork", "spawn", "forkserver")), end=" ")
"""

ABANDONED = HEAD + """
from auriga import _template

def nurseries(template):
    with open(f"/proc/{template}/task/{template}/children") as file:
        return [int(pid) for pid in file.read().split()]

def waiting(template):
    while not nurseries(template):
        pass
    return nurseries(template)[0]

if __name__ == "__main__":
    template = ask("spawn")
    while nurseries(template):
        pass
    line = _template.ask("spawn")
    nursery = waiting(template)
    copy = os.dup(line.socket.fileno())  # as a process that was forked meanwhile has it
    line.close()
    end_of(nursery)
    try:
        ask("spawn", abs, -1, init=print, initargs=(threading.Lock(),))
    except TypeError:
        ask("spawn")  # the template forks in order: the nursery of the pool that did not come is there, or was
        while nurseries(template):
            pass
    line = _template.ask("spawn")
    print(waiting(template), flush=True)
    sys.stdin.read()
"""

LIVING = HEAD + """
if __name__ == "__main__":
    print(ask("spawn"), ask("forkserver"), flush=True)
    sys.stdin.read()
"""


def ended(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


class Template(Case):
    def prints(self, text, expected):
        status, out, err = run_program(text)
        self.assertEqual((status, out), (0, expected), err)

    def test_kept_and_gone_with_the_program(self):
        for method in ("spawn", "forkserver"):
            with self.subTest(method):
                status, out, err = run_program(KEPT.replace("{method}", method))
                *lines, last = out.splitlines()
                self.assertEqual((status, lines), (0, ["True True True", "True", "True"]), err)
                self.assertTrue(ended(int(last.split()[1])))  # the end of the program waits for it

    def test_gone_with_a_killed_program(self):
        self.ends_with_its_program(LIVING, 2)

    def test_no_nursery_waits_for_a_pool_that_does_not_come(self):
        self.ends_with_its_program(ABANDONED, 1)

    def ends_with_its_program(self, text, processes):
        path = pathlib.Path(self.folder()) / "program.py"
        path.write_text(text)
        with subprocess.Popen([sys.executable, str(path)], env=environment(), text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
            pids = [int(word) for word in program.stdout.readline().split()]
            self.assertEqual([ended(pid) for pid in pids], [False] * processes)
            program.send_signal(signal.SIGKILL)
            program.wait()
        for pid in pids:
            self.await_end(pid)

    def test_replaced_when_workers_would_differ(self):
        self.prints(REPLACED, "here\nTrue False\n0o27\nTrue\nTrue\n/ True\n")

    def test_each_pool_gets_what_the_program_has_now(self):
        self.prints(HANDED, 2 * (6 * "True True True True, " + "True\n") +
                    "(50, 1) (50, 1) (50, 1)\n")

    def test_spawn_loads_the_main_module_in_each_worker(self):
        status, out, err = run_program(IMPORTS.replace("{method}", "spawn"))
        lines = sorted(out.splitlines())
        expected = ["False False __mp_main__", "import __main__", *["import __mp_main__"] * 4]
        self.assertEqual((status, lines), (0, expected), err)

    def test_forkserver_loads_it_once(self):
        status, out, err = run_program(IMPORTS.replace("{method}", "forkserver"))
        lines = sorted(out.splitlines())
        expected = ["True True __mp_main__", "import __main__", "import __mp_main__"]
        self.assertEqual((status, lines), (0, expected), err)

    def test_workers_make_pools(self):
        self.prints(NESTED, 12 * "7 ")

    def test_main_modules_that_must_not_be_forked(self):
        # Threads do not survive a fork, and a module that fails may have done half of its work.
        cases = {
            "thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)\n"
            "thread.start()": ("thread.is_alive()", "True"),
            "threads = auriga.ThreadPool(1)": ("threads.apply(abs, (-1,))", "1"),
            "name = multiprocessing.current_process().name\n"
            "if name == 'MainProcess' and __name__ != '__main__': raise OSError": ("name", "auriga-worker"),
        }
        for unfit, (use, expected) in cases.items():
            with self.subTest(unfit):
                text = UNFIT.replace("{unfit}", unfit).replace("{use}", use)
                self.prints(text, f"{expected}\nTrue\n")

    def test_output_goes_where_the_program_has_it(self):
        for method in ("spawn", "forkserver"):
            with self.subTest(method):
                path = pathlib.Path(self.folder()) / "program.py"
                path.write_text(OUTPUT.replace("{method}", method))
                done = subprocess.run([sys.executable, str(path), self.folder()], text=True,
                                      env=environment(), capture_output=True)
                self.assertEqual(done.stdout, "['one', 'one']\n['two', 'two']\n", done.stderr)

    def test_without_output(self):
        self.prints(NO_OUTPUT, "5\n")

    def test_a_killed_one(self):
        self.prints(KILLED, "3\nTrue True\n4\n")

    def test_what_travels_with_a_pool(self):
        self.prints(GIVEN, "1\n4\n81\n")

    def test_a_forked_program_has_its_own(self):
        self.prints(FORKED, "True True\n0 True\nTrue False\n")

    def test_threads_share_it(self):
        self.prints(THREADS, "1\n")

    def test_standard_modules_are_there_before_the_main_module(self):
        folder, elsewhere = pathlib.Path(self.folder()), pathlib.Path(self.folder())
        (folder / "program.py").write_text(STANDARD)
        (folder / "csv.py").write_text("mine = True")  # hides the standard one from the program
        (elsewhere / "statistics.py").write_text("")  # in the working directory: not meant
        done = subprocess.run([sys.executable, str(folder / "program.py")], cwd=elsewhere, text=True,
                              env=environment(), capture_output=True)
        expected = "[] (['statistics'], True, 2)\n"
        self.assertEqual((done.returncode, done.stdout), (0, expected), done.stderr)

    def test_random_numbers_differ(self):
        self.prints(RANDOM, "16\n")

    def test_the_resource_tracker_can_end_before_it(self):
        self.prints(TRACKER, "6\n")

    def test_workers_have_nothing_of_its_own(self):
        self.prints(LIKE_NEW, "True 3 True 0 1\n" * 2)

    def test_preloaded_modules(self):
        self.prints(PRELOADED, "True False\nTrue\n")


if __name__ == "__main__":
    unittest.main()
