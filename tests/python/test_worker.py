"""A worker process from inside: what multiprocessing notes about it, its input, its end."""

import unittest

from support import Case, run_program

PROGRAM = """
import multiprocessing, os, sys
from multiprocessing import process, util

import auriga

class Anything:
    pass

thing = Anything()
told = []

def describe(_=None):
    me, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    util.Finalize(None, print, ("finalizer of", me.name), exitpriority=0)
    return (me.name, me.daemon, me._parent_pid == parent.pid, parent.name, parent.pid,
            parent.is_alive(), sys.stdin.read(), multiprocessing.active_children(),
            [one is me for one in process._dangling], told)

if __name__ == "__main__":
    method = METHOD
    context = multiprocessing.get_context(method)
    print(sys.stdin.readline().strip())  # which reads more than this line
    util.register_after_fork(thing, lambda one: told.append(one is thing))
    util.Finalize(None, print, ("finalizer of the program",), exitpriority=0)
    before = len(process._dangling)
    with auriga.Pool(2, context=context) as pool, auriga.ProcessPoolExecutor(1, context) as executor:
        for item in [pool.apply(describe), executor.submit(describe).result()]:
            name, *rest, told_there = item
            assert rest == [name.endswith("PoolWorker-1"), True, "MainProcess", os.getpid(), True, "",
                            [], [True]], rest
            assert told_there == ([True] if method == "fork" else []), told_there
            print(name)
        pool.close()
        pool.join()
    assert len(process._dangling) == before and told == []
    print(sys.stdin.readline().strip())
"""

QUEUES = """
import multiprocessing
import auriga{stdlib} as module
from auriga import _ends

def keep(given):
    global queue
    queue = given
def put(x):
    queue.put(x)
if __name__ == "__main__":
    _ends._GRACE = 600  # the machine may be busy
    context = multiprocessing.get_context("{method}")
    queue = context.Queue()
    with module.Pool(2, keep, (queue,), context=context) as pool:
        pool.map(put, range(50), 1)
    print(sorted(queue.get() for _ in range(50)) == list(range(50)))
"""


class Inside(Case):
    def check(self, method, prefix):
        text = PROGRAM.replace("METHOD", repr(method))
        status, out, errors = run_program(text, input="one\ntwo\n")
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(sorted(out.splitlines()), sorted([
            "one", "two", f"{prefix}PoolWorker-1", f"{prefix}Process-1", "finalizer of the program",
            f"finalizer of {prefix}PoolWorker-1", f"finalizer of {prefix}Process-1",
        ]))

    def test_fork(self):
        self.check("fork", "Fork")

    def test_spawn(self):
        self.check("spawn", "Spawn")

    def test_forkserver(self):
        self.check("forkserver", "ForkServer")

    def test_queues_are_written_at_the_end_of_the_block(self):
        for method in ("fork", "forkserver", "spawn"):
            for stdlib in ("", ".stdlib"):
                with self.subTest(method=method, stdlib=stdlib):
                    program = QUEUES.format(method=method, stdlib=stdlib)
                    self.assertEqual(run_program(program), (0, "True\n", ""))

    def test_without_stdin(self):
        text = "import sys\nsys.stdin = None\n" + (
            "import auriga, multiprocessing\n"
            "def stdin():\n    return sys.stdin\n"
            "with auriga.Pool(1, context=multiprocessing.get_context('fork')) as pool:\n"
            "    print(pool.apply(stdin))\n"
        )
        self.assertEqual(run_program(text), (0, "None\n", ""))


if __name__ == "__main__":
    unittest.main()
