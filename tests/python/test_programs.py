"""Whole programs: the notes' snippets, starts, signals, the end of the interpreter."""

import os
import signal
import subprocess
import sys
import unittest

from support import Case, environment, run_program

MUTUAL = """
import auriga, time
from auriga import ThreadPoolExecutor
def wait_on_b():
    time.sleep(0.2)
    print(b.result())
    return 5
def wait_on_a():
    time.sleep(0.2)
    print(a.result())
    return 6
executor = ThreadPoolExecutor(max_workers=2)
a = executor.submit(wait_on_b)
b = executor.submit(wait_on_a)
try:
    a.result()
except auriga.DeadlockError as error:
    print(error)
"""

ALONE = """
from auriga import ThreadPoolExecutor
def wait_on_future():
    f = executor.submit(pow, 5, 2)
    # This will never complete because there is only one worker thread and
    # it is executing this function.
    print(f.result())

executor = ThreadPoolExecutor(max_workers=1)
executor.submit(wait_on_future)
"""

NOTES = """
import auriga as mp
import time
total = 12

def add(x: int, y: int) -> int:
    time.sleep(0.001)
    return x ** y

def add_worker(x):
    return add(*x)

with mp.Pool(mp.cpu_count() // 4) as pool:
    params = [(num, 2) for num in range(total)]
    for param in params:
        res = pool.apply_async(add, param)
        res.get()
with mp.Pool(mp.cpu_count() // 4) as pool:
    asy_res = pool.map_async(add_worker, params)
    print(asy_res.get())
with mp.Pool(mp.cpu_count() // 4) as pool:
    asy_res = pool.starmap_async(add, params)
    print(asy_res.get())
"""

AS_COMPLETED = """
import auriga as futures
URLS = ['a', 'bb', 'bad']
def load_url(url, timeout):
    if url == 'bad':
        raise OSError('no such host')
    return url * timeout
with futures.ThreadPoolExecutor(max_workers=5) as executor:
    future_to_url = {executor.submit(load_url, url, 60): url for url in URLS}
    for future in futures.as_completed(future_to_url):
        url = future_to_url[future]
        try:
            data = future.result()
        except Exception as exc:
            print('%r generated an exception: %s' % (url, exc))
        else:
            print('%r page is %d bytes' % (url, len(data)))
"""

START = """
import multiprocessing, os, sys
import auriga{stdlib}
print_at_import = os.environ.get("SAY")
state = "imported"
def get_state(queue_there):
    return state, initialised is not None, __name__
initialised = None
def init(queue):
    global initialised
    initialised = queue
    queue.put(os.getpid())
if __name__ == "__main__":
    state = "changed"
    context = multiprocessing.get_context("{method}")
    queue = context.Queue()
    with auriga{stdlib}.Pool(2, init, (queue,), context=context) as pool:
        print(pool.apply(get_state, (1,)))
        pids = {{queue.get(), queue.get()}}
        print(len(pids), os.getpid() in pids)
    with auriga{stdlib}.ProcessPoolExecutor(2, context) as executor:
        print(executor.submit(get_state, 1).result()[0])
"""

INHERITED = """
import os, auriga
squares = [n * n for n in range(9)]
def square(x):
    return x * x
def use(x):
    for size in (1, 3):
        assert earlier.map(square, range(9), size) == squares
        assert list(earlier.imap(square, range(9), size)) == squares
        assert sorted(earlier.imap_unordered(square, range(9), size)) == squares
        assert list(executor.map(square, range(9), chunksize=size)) == squares
    assert earlier.starmap(pow, [(2, 5)], retries=1, timeout=600) == [32]
    assert earlier.apply(os.getpid) != os.getpid()
    got = []
    result = earlier.apply_async(square, (x,), callback=got.append)
    result.wait()
    return got + [result.get()]
if __name__ == "__main__":
    with auriga.Pool(2) as earlier, auriga.ProcessPoolExecutor(2) as executor:
        executor.submit(square, 1).result()
        with auriga.Pool(2) as pool:
            print(pool.map(use, range(4), 1))
"""

FORKED_BY_A_THREAD = """
import threading
import auriga

def inner(x):
    threading.current_thread()  # makes one up for a thread that Python has not started
    with auriga.Pool(1) as pool:
        got = pool.apply(abs, (x,))
        pool.close()
        pool.join()
    return got

if __name__ == "__main__":
    with auriga.ThreadPool(1) as pool:
        print(pool.apply(inner, (-3,)))
"""

OWN_EXECUTOR = """
import auriga
def use(x):
    try:
        return executor.submit(abs, x).result()
    except RuntimeError as error:
        return str(error)
if __name__ == "__main__":
    with auriga.ProcessPoolExecutor(2) as executor:
        print(executor.submit(use, -1).result())
"""

INHERITED_THREADS = """
import auriga
def use(x):
    try:
        return threads.{call}
    except RuntimeError as error:
        return str(error)
if __name__ == "__main__":
    with auriga.{kind}(2) as threads:
        print(threads.{call})
        with auriga.Pool(2) as pool:
            print(pool.apply(use, (-1,)))
"""

INTERRUPTED = """
import signal, auriga
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
def wait(x=None):
    print("started", flush=True)
    signal.pause()
def main():
    with auriga.{kind}(1) as pool:
        {call}
try:
    main()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

ENDED = """
import os, signal, threading, auriga
signal.signal(signal.SIGINT, signal.default_int_handler)
gate = os.pipe()
def wait():
    os.read(gate[0], 1)
    print("started", flush=True)
    signal.pause()
def start():
    os.write(gate[1], b".")
executor = auriga.ProcessPoolExecutor(1)
future = executor.submit(wait)
{call}
"""

FORGOTTEN = """
import atexit, gc, os, auriga, auriga.stdlib
def work(path, x, data):
    open(path).close()
    good = data == bytes([x]) * (1 << 20)
    os.write(1, b"worked %d\\n" % x if good else b"its argument was another one\\n")
    with open(path + ".end", "w") as end:
        end.write(".")
def main(path):
    executor = auriga.{executor}(1)
    for x in range(3):
        executor.submit(work, path, x, bytes([x]) * (1 << 20))
path = os.path.join(os.path.dirname(__file__), "gate")
os.mkfifo(path)
os.mkfifo(path + ".end")
ends = os.open(path + ".end", os.O_RDWR)
main(path)
gc.collect()
atexit.register(print, "end")  # after the wait for all work
os.open(path, os.O_RDWR)  # the gate opens when nobody has the executor any more
{end}
"""

CALLBACKS = """
import atexit, threading, auriga
told = []
gate = threading.Event()
def tell(future):
    if threading.current_thread() is not threading.main_thread():
        gate.wait()
    told.append(future.result())
executor = auriga.{executor}(2)
for x in range(20000):
    executor.submit(abs, x).add_done_callback(tell)
threading._register_atexit(gate.set)  # before the wait for all work, with most of them still to come
atexit.register(lambda: print(sorted(told) == list(range(20000))))  # after it
"""

AT_EXIT = """
import atexit, os, auriga
def late():
    try:
        executor.submit(work, 9)
    except RuntimeError as error:
        print(error)
def work(x):
    os.write(1, b"worked %d\\n" % x)
executor = auriga.{executor}(2)
atexit.register(late)
for i in range(3):
    executor.submit(work, i)
"""


OTHER_INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
program = (
    "try:\\n"
    "    import auriga._core\\n"
    "except ImportError:\\n"
    "    print('refused', flush=True)\\n"
)
interpreters.run_string(interpreters.create(), program)
"""


class Notes(Case):
    def test_mutual_deadlock(self):
        status, out, err = run_program(MUTUAL)
        self.assertEqual(status, 0, err)
        self.assertIn("wait_on_b waits for wait_on_a", out)
        self.assertIn("wait_on_a waits for wait_on_b", out)

    def test_one_worker_that_waits_for_its_own_queue(self):
        status, out, err = run_program(ALONE)
        self.assertEqual((status, out.strip()), (0, "25"), err)

    def test_processes(self):
        status, out, err = run_program(NOTES)
        self.assertEqual(status, 0, err)
        self.assertEqual(out.splitlines(), [str([n * n for n in range(12)])] * 2)

    def test_as_completed(self):
        status, out, err = run_program(AS_COMPLETED)
        self.assertEqual(status, 0, err)
        want = {
            "'a' page is 60 bytes",
            "'bb' page is 120 bytes",
            "'bad' generated an exception: no such host",
        }
        self.assertEqual(set(out.splitlines()), want)


class Starts(Case):
    def check(self, method, state, name):
        for stdlib in ("", ".stdlib"):
            status, out, err = run_program(START.format(method=method, stdlib=stdlib))
            self.assertEqual(status, 0, err)
            want = [str((state, True, name)), "2 False", state]
            self.assertEqual(out.splitlines(), want)

    def test_fork(self):
        self.check("fork", "changed", "__main__")

    def test_spawn(self):
        self.check("spawn", "imported", "__mp_main__")

    def test_forkserver(self):
        self.check("forkserver", "imported", "__mp_main__")


class Signals(Case):
    def run_interrupted(self, text):
        """(status, output after the first line) of a program that has SIGINT for itself."""
        program = subprocess.Popen(
            [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(), start_new_session=True,
        )
        with program:
            self.assertEqual(program.stdout.readline(), "started\n")
            os.kill(program.pid, signal.SIGINT)
            # The end of the output: no process that has it open is left.
            out, err = program.communicate()
        return program.returncode, out, err

    def interrupt(self, kind, *calls):
        for call in calls:
            with self.subTest(kind=kind, call=call):
                text = INTERRUPTED.format(kind=kind, call=call)
                self.assertEqual(self.run_interrupted(text), (0, "interrupted\n", ""))

    def test_interrupt_of_a_call(self):
        self.interrupt(
            "Pool", "pool.apply(wait)", "pool.apply_async(wait).get(3600)",
            "pool.apply_async(wait, callback=print).wait()",
            "pool.apply_async(wait); pool.close(); pool.join()",
        )

    def test_interrupt_of_a_map(self):
        self.interrupt(
            "Pool", "pool.map(wait, range(3))", "pool.map(wait, range(3), 1, progress=lambda *at: None)",
            "list(pool.imap(wait, range(9), 3))", "list(pool.imap_unordered(wait, range(9)))",
        )
        self.interrupt("AutoPool", "pool.map(wait, range(3), timeout=3600)")

    def test_interrupt_of_an_executor(self):
        self.interrupt(
            "ProcessPoolExecutor", "pool.submit(wait).result()", "list(pool.map(wait, range(3)))",
            "auriga.wait([pool.submit(wait)])", "list(auriga.as_completed([pool.submit(wait)]))",
            "pool.submit(wait)", "pool.submit(wait); pool.shutdown()",
        )

    def test_interrupt_that_ends_the_program(self):
        late = "threading._register_atexit(start)"  # then nothing is left of the program but to wait
        for call in ("start(); future.result()", late, "del executor, future; " + late):
            with self.subTest(call=call):
                status, out, err = self.run_interrupted(ENDED.format(call=call))
                self.assertEqual((out, err.count("Traceback")), ("", 1), err)
                self.assertIn("KeyboardInterrupt", err)
                self.assertEqual(status, 0 if late in call else -signal.SIGINT)


class Inherited(Case):
    """Pools of the program in the hands of a worker process."""

    def test_pools_that_are_older_than_its_own(self):
        status, out, err = run_program(INHERITED)
        self.assertEqual((status, out), (0, "[[0, 0], [1, 1], [4, 4], [9, 9]]\n"), err)

    def test_a_worker_forked_by_a_thread_ends_quietly(self):
        self.assertEqual(run_program(FORKED_BY_A_THREAD), (0, "3\n", ""))

    def test_its_own_executor_is_refused(self):
        status, out, err = run_program(OWN_EXECUTOR)
        self.assertEqual(status, 0, err)
        self.assertIn("cannot be used from its own worker processes", out)

    def test_threads_are_refused(self):
        for kind, call in (
            ("ThreadPool", "map(abs, [-1])"),
            ("ThreadPoolExecutor", "submit(abs, -1).result()"),
        ):
            with self.subTest(kind=kind):
                program = INHERITED_THREADS.format(kind=kind, call=call)
                status, out, err = run_program(program)
                self.assertEqual(status, 0, err)
                self.assertIn("its threads are in the program", out.splitlines()[1])


class Ends(Case):
    def test_interpreter_waits_for_work(self):
        for executor in ("ThreadPoolExecutor", "ProcessPoolExecutor"):
            with self.subTest(executor=executor):
                status, out, err = run_program(AT_EXIT.format(executor=executor))
                self.assertEqual(status, 0, err)
                lines = out.splitlines()
                self.assertEqual(sorted(lines[:3]), ["worked 0", "worked 1", "worked 2"])
                self.assertIn("cannot schedule new futures", lines[3])

    def test_work_of_a_forgotten_executor(self):
        goes_on = "for _ in range(3): os.read(ends, 1)\nos._exit(0)"
        worked = "worked 0\nworked 1\nworked 2\n"
        for executor in ("ThreadPoolExecutor", "ProcessPoolExecutor", "stdlib.ProcessPoolExecutor"):
            for end, want in (("", worked + "end\n"), (goes_on, worked)):
                with self.subTest(executor=executor, end=end):
                    done = run_program(FORGOTTEN.format(executor=executor, end=end))
                    self.assertEqual(done, (0, want, ""))

    def test_callbacks_at_the_end(self):
        for executor in ("ThreadPoolExecutor", "ProcessPoolExecutor"):
            with self.subTest(executor=executor):
                done = run_program(CALLBACKS.format(executor=executor))
                self.assertEqual(done, (0, "True\n", ""))

    def test_output_is_written_once(self):
        status, out, err = run_program(
            "import auriga\n"
            "print('before')\n"
            "with auriga.Pool(3) as pool: pool.map(abs, range(3), 1)\n"
        )
        self.assertEqual((status, out), (0, "before\n"), err)

    def test_forgotten_pools(self):
        status, out, err = run_program(
            "import auriga, os\n"
            "pool = auriga.Pool(2)\n"
            "pool.me = pool\n"
            "print(pool.apply(abs, (-5,)))\n"
            "executor = auriga.ProcessPoolExecutor(2)\n"
            "print(executor.submit(abs, -6).result())\n"
            "if os.fork() == 0:\n"
            "    os._exit(0)\n"
            "os.wait()\n"
        )
        self.assertEqual((status, out), (0, "5\n6\n"), err)

    def test_other_interpreters_are_refused(self):
        status, out, err = run_program(OTHER_INTERPRETER)
        self.assertEqual((status, out), (0, "refused\n"), err)

    def test_import_loads_nothing_slow(self):
        status, out, err = run_program(
            "import sys, auriga\n"
            "print({'multiprocessing', 'concurrent.futures', 'logging'} & set(sys.modules))\n"
        )
        self.assertEqual((status, out), (0, "set()\n"), err)


if __name__ == "__main__":
    unittest.main()
