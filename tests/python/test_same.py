"""The same program on the standard library's pools and on those of auriga.stdlib: it says the same."""

import unittest

from support import Case, run_program

STANDARD = """
import concurrent.futures as futures, multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import Pool, ThreadPool
"""
OURS = """
import auriga.stdlib as futures, auriga.stdlib as mp
from auriga.stdlib import Pool, ProcessPoolExecutor, ThreadPool, ThreadPoolExecutor
"""
COMMON = """
import asyncio, atexit, concurrent.futures.process, copy, gc, multiprocessing, multiprocessing.pool
import os, pickle, signal, sys, threading, time, warnings
from multiprocessing import util
fork = multiprocessing.get_context("fork")

def kind(error):
    names = [base.__name__ for base in type(error).__mro__ if not base.__module__.startswith("auriga")]
    return names[0]

def say(label, call):
    try:
        told = call()
    except BaseException as error:
        told = kind(error), str(error)
    print(label, told, flush=True)

def square(x):
    return x * x

def same(x):
    return x

def fail(x):
    raise ValueError(x)

def fail_on_three(x):
    if x == 3:
        raise ValueError(x)
    return x
"""

INPUT = """
lock = threading.Lock()
def items():
    yield from range(5)
    raise KeyError("input")
with {kind}(2) as pool:
    say("no function", lambda: pool.apply())
    for args in (3, None), ((2,), None), ((), 0), ([2], {{}}), ("2", {{"x": 2}}), ((2,), "text"), ({{2: 3}}, []):
        say("arguments", pool.apply_async(square, *args).get)
        say("of a builtin", pool.apply_async(abs, *args).get)
    say("none", pool.apply_async(None, (), None).get)
    for verb in (pool.imap, pool.imap_unordered):
        for chunksize in (1, 2):
            results = verb(square, 5, chunksize)
            say("no iterable", lambda: next(results))
    for chunksize in (0, -1):
        say("imap", lambda: pool.imap(square, [1], chunksize))
        say("imap_unordered", lambda: pool.imap_unordered(square, [1], chunksize))
    for chunksize in (1, 2, 10):
        results = pool.imap(square, items(), chunksize)
        for _ in range(7):
            say("items", lambda: next(results))
    say("map", lambda: pool.map(square, items()))
    told = []
    pool.map_async(square, [], callback=told.append).get()
    pool.map_async(square, [2], callback=told.append).get()
    print(told)
    pool.close()
    pool.join()
for bad in (0, -1, "x"):
    say("workers", lambda: {kind}(bad))
say("initializer", lambda: {kind}(1, 5))
say("unknown", lambda: {kind}(unknown=1))
"""

UNSENDABLE = """
lock = threading.Lock()
def note(path, x):
    with open(path, "a") as out:
        out.write("%s\\n" % x)
    return x
with Pool(2) as pool:
    results = pool.imap(same, [1, lock, 3, lock, 5])
    for _ in range(6):
        say("imap", lambda: next(results))
    results = pool.imap(same, [1, 2, 3, lock, 5, 6], 2)
    for _ in range(5):
        say("imap of chunks", lambda: next(results))
    got = []
    results = pool.imap_unordered(same, [1, lock, 3])
    for _ in range(3):
        try:
            got.append(next(results))
        except TypeError:
            got.append(0)
    print(sorted(got))
    for chunksize in (1, 2):
        path = "out%d" % chunksize
        say("map", lambda: pool.starmap(note, [(path, 0), (path, lock), (path, 2), (path, 3)], chunksize))
        pool.map(same, range(9), 1)
        print(sorted(open(path).read().split()))
    pool.close()
    pool.join()
"""

CHUNKS = """
with {kind}(2) as pool:
    for verb in (pool.imap, pool.imap_unordered):
        results = verb(fail_on_three, range(8), 8)
        for _ in range(3):
            say("chunk", lambda: next(results))
    results = pool.imap(fail_on_three, range(9), 2)
    for _ in range(6):
        say("chunks", lambda: next(results))
    results = pool.imap(fail_on_three, range(5))
    for _ in range(6):
        say("items", lambda: next(results))
"""

IDENTITY = """
def describe(parent):
    me, thread = multiprocessing.current_process(), threading.current_thread()
    return (me.name, me.daemon, me._identity, me.pid == os.getpid(), thread.name,
            thread.native_id == threading.get_native_id(), multiprocessing.get_start_method(),
            multiprocessing.parent_process().pid == parent)
def keep(given):
    global barrier
    barrier = given
def meet(_):
    barrier.wait()
    return multiprocessing.current_process()._identity
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with Pool(1, context=context) as pool:
        say("pool", lambda: pool.apply(describe, (os.getpid(),)))
    with Pool(3, keep, (context.Barrier(3),), context=context) as pool:
        numbers = sorted(pool.map(meet, range(3), 1))
        print([number[0] - numbers[0][0] for number in numbers])
"""

ATEXIT = """
def register(x):
    atexit.register(print, "at exit", x, flush=True)
    util.Finalize(None, print, args=("finalizer", x), kwargs={{"flush": True}}, exitpriority=5)
atexit.register(print, "the program's", flush=True)
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    pool = Pool(1, context=context)
    pool.apply(register, (1,))
    pool.close()
    pool.join()
    with ProcessPoolExecutor(1, context) as executor:
        executor.submit(register, 2).result()
"""

NESTED = """
class Process(multiprocessing.context.ForkProcess):
    daemon = property(lambda self: False, lambda self, value: None)
class Context(type(fork)):
    Process = Process
def inner():
    child = fork.Process(target=print, args=("a child", ), daemon=False)
    sys.stdout.flush()
    child.start()
    child.join()
    with Pool(1, context=fork) as pool:
        return pool.apply(square, (3,)), multiprocessing.current_process().daemon, child.exitcode
class Outer(Pool):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, context=Context(), **kwargs)
with Outer(1) as pool:
    say("nested", lambda: pool.apply(inner))
"""

EXECUTORS = """
say("unknown", lambda: {kind}(1, unknown=2))
say("text", lambda: {kind}("x"))
say("none", lambda: {kind}(0))
say("chunks of none", lambda: list({kind}(1).map(square, [3], chunksize=0)))
with {kind}(1) as executor:
    say("pickle", lambda: isinstance(executor, concurrent.futures.{kind}))
    for how in (pickle.dumps, copy.deepcopy):
        try:
            how(executor)
        except TypeError:
            print("TypeError")
class Counting({kind}):
    submitted = 0
    def submit(self, *args, **kwargs):
        self.submitted += 1
        return super().submit(*args, **kwargs)
with Counting(2) as executor:
    print(list(executor.map(square, range(4))), executor.submitted)
    print(list(executor.map(square, range(4), chunksize=2)), executor.submitted)
    executor.shutdown()
    say("after", lambda: executor.submit(square, 1))
"""

THREADS = """
def describe():
    me = threading.current_thread()
    made = threading.Thread()
    return me.daemon, made.daemon, me in threading.enumerate()
with ThreadPoolExecutor(1.5) as executor:
    say("executor", lambda: executor.submit(describe).result())
with ThreadPoolExecutor(1, 5) as executor:
    say("name", lambda: executor.submit(lambda: threading.current_thread().name).result())
with ThreadPool(1) as pool:
    say("pool", lambda: pool.apply(describe))
async def main():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1, "mine"))
    return await loop.run_in_executor(None, lambda: threading.current_thread().name)
print(asyncio.run(main()))
"""

INITIALIZER = """
import logging
logging.getLogger("concurrent.futures").setLevel(logging.CRITICAL + 1)
executor = {kind}(1, initializer=fail, initargs=(1,))
future = executor.submit(square, 1)
say("future", lambda: kind(future.exception()))
for _ in range(2):
    try:
        print(executor.submit(square, 2))
    except futures.BrokenExecutor as error:
        print(kind(error))
executor.shutdown()
"""

LOGGED = """
import logging.handlers
def connect(queue):
    logger = logging.getLogger("concurrent.futures")
    logger.addHandler(logging.handlers.QueueHandler(queue))
    raise ValueError("no database")
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    queue = context.Queue()
    with ProcessPoolExecutor(1, context, connect, (queue,)) as executor:
        say("broken", executor.submit(square, 1).result)
    record = queue.get()
    print(record.levelname, record.getMessage().splitlines()[0], "no database" in record.getMessage())
"""

BROKEN = """
def boom():
    raise RuntimeError("not here")
class Unloadable:
    def __reduce__(self):
        return boom, ()
class Two(Exception):
    def __init__(self, one, two):
        super().__init__(one)
def raise_two():
    raise Two(1, 2)
def held():
    time.sleep(600)
def die_on_three(x):
    return os._exit(5) if x == 3 else x
for call in ((os._exit, 3), (Unloadable,), (same, Unloadable()), (raise_two,)):
    with ProcessPoolExecutor(2) as executor:
        waiting = executor.submit(held)
        future = executor.submit(*call)
        for one in (future, waiting):
            say("waits", one.result)
            print(repr(one).partition("state")[2], type(one.exception()) is concurrent.futures.process.BrokenProcessPool)
        say("submits", lambda: executor.submit(square, 1))
        say("maps", lambda: executor.map(square, [1]))
for chunksize in (1, 2, 4, 20):
    with ProcessPoolExecutor(2) as executor:
        try:
            print(list(executor.map(die_on_three, range(9), chunksize=chunksize)))
        except Exception as error:  # of map() itself or of what it returns, as it happens
            print(type(error) is concurrent.futures.process.BrokenProcessPool)
        say("submits", lambda: executor.submit(square, 1))
"""

CLASSES = """
print([name for name in dir(futures.Future) if not name.startswith("_")])
print(issubclass(ThreadPool, Pool), ThreadPool.__name__)
for make, standard in ((Pool, multiprocessing.pool.Pool), (ThreadPool, multiprocessing.pool.ThreadPool),
                       (ThreadPool, multiprocessing.pool.Pool)):
    with make(1) as pool:
        print(isinstance(pool, standard), type(pool) is make, isinstance(pool, make))
        print(pool.apply_async(square, (3,)).get(), type(pool.map_async(square, [1])).__name__)
        results = {"apply_async": (square, (3,)), "map_async": (square, [1]), "imap": (square, [1]),
                   "imap_unordered": (square, [1])}
        for verb, args in results.items():
            result = getattr(pool, verb)(*args)
            print(verb, [name for name in ("AsyncResult", "MapResult", "IMapIterator", "IMapUnorderedIterator")
                         if isinstance(result, getattr(multiprocessing.pool, name))])
        class Mine(make):
            pass
        with Mine(1) as mine:
            print(isinstance(mine, standard), repr(mine))
    print(repr(pool).startswith("<" + make.__module__ + "." + make.__name__))
with mp.get_context("fork").Pool(1) as pool:
    print(isinstance(pool, Pool), pool.apply(square, (4,)))
queue = mp.JoinableQueue()
queue.put(1)
print(queue.get(), mp.Barrier(1).wait(), mp.get_all_start_methods())
try:
    with Pool(1) as pool:
        pool.apply(fail, (1,))
except ValueError as error:
    print(isinstance(error.__cause__, multiprocessing.pool.RemoteTraceback))
"""

FRAMES = """
import functools
seen = []
threading.settrace(lambda frame, event, arg: seen.append("trace"))
threading.setprofile(lambda frame, event, arg: seen.append("profile"))
with ThreadPoolExecutor(1) as executor:
    for fn, *args in ((eval, "1 + 1"), (exec, "x = 1"), (dir,), (functools.partial(eval, "3"),), (square, 2)):
        say("executor", lambda: type(executor.submit(fn, *args).result()))
    say("globals", lambda: type(executor.submit(globals).result()))
with ThreadPool(1) as pool:
    say("map", lambda: pool.map(eval, ["1 + 1", "2"]))
    say("imap", lambda: list(pool.imap(eval, ["1 + 1", "2"])))
    say("starmap", lambda: pool.starmap(eval, [("1 + 1",), ("2",)]))
    say("apply", lambda: pool.apply(eval, ("1 + 1",)))
threading.settrace(None)
threading.setprofile(None)
print(sorted(set(seen)))
"""

ENDS = """
def work(x):
    time.sleep(0.05)
    print("worked", x, flush=True)
pool = {kind}(1)
results = [pool.{verb} for i in range(3)]
{then}
"""


FORKED = """
event = threading.Event()
thread = threading.Thread(target=event.wait)
thread.start()
def told(make):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with make(1) as one:
            getattr(one, "apply", getattr(one, "submit", None))(os.getpid)
    return {{str(one.message).replace(str(os.getpid()), "") for one in caught}}
print(told({kind}))
print(told(ThreadPool))
event.set()
thread.join()
"""

DROPPED = """
ends, end = os.pipe()
def work(x):
    print("worked", x, flush=True)
    os.write(end, b"x")
    return x
def drop(pool):
    for i in range(3):
        pool.apply_async(work, (i,))
    {then}
drop({kind}(1))
gc.collect()
os.read(ends, 1), os.read(ends, 1), os.read(ends, 1)
say("result", lambda: {kind}(1).apply_async(work, (3,)).get())
say("map", lambda: {kind}(1).map_async(work, range(4), 2).get())
say("imap", lambda: list({kind}(1).imap(work, range(4))))
def kept():
    pool = {kind}(1)
    return pool.apply_async(work, (4,)), pool.map_async(work, range(5, 9), 2), pool.imap(work, (9,))
results = kept()
gc.collect()
print(results[0].get(), results[1].get(), list(results[2]))
"""


class Same(Case):
    def check(self, text):
        folder = self.folder()
        theirs, ours = (run_program(head + COMMON + text, cwd=self.folder()) for head in (STANDARD, OURS))
        self.assertEqual(ours[:2], theirs[:2], f"{folder}\n{ours[2]}\n{theirs[2]}")
        self.assertNotEqual(theirs[1], "")

    def check_kinds(self, text, kinds, **more):
        for kind in kinds:
            with self.subTest(kind=kind):
                self.check(text.format(kind=kind, **more))

    def check_methods(self, text):
        for method in ("fork", "forkserver", "spawn"):
            with self.subTest(method=method):
                self.check(text.format(method=method))

    def test_input(self):
        self.check_kinds(INPUT, ("Pool", "ThreadPool"))

    def test_what_cannot_be_sent(self):
        self.check(UNSENDABLE)

    def test_chunks_that_fail(self):
        self.check_kinds(CHUNKS, ("Pool", "ThreadPool"))

    def test_identity(self):
        self.check_methods(IDENTITY)

    def test_exits_of_workers(self):
        self.check_methods(ATEXIT)

    def test_the_recipe_for_pools_in_pools(self):
        self.check(NESTED)

    def test_executors(self):
        self.check_kinds(EXECUTORS, ("ThreadPoolExecutor", "ProcessPoolExecutor"))

    def test_threads(self):
        self.check(THREADS)

    def test_initializers(self):
        self.check_kinds(INITIALIZER, ("ThreadPoolExecutor", "ProcessPoolExecutor"))

    def test_what_a_failing_initializer_logs(self):
        self.check_methods(LOGGED)

    def test_broken_executors(self):
        self.check(BROKEN)

    def test_classes(self):
        self.check(CLASSES)

    def test_calls_in_threads_have_frames_and_are_traced(self):
        self.check(FRAMES)

    def test_dropped_pools(self):
        for then in ("pass", "pool.close()"):
            self.check_kinds(DROPPED, ("Pool", "ThreadPool"), then=then)

    def test_forks_beside_threads(self):
        self.check_kinds(FORKED, ("Pool", "ProcessPoolExecutor"))

    def test_ends(self):
        for kind, verb in (("ThreadPoolExecutor", "submit(work, i)"), ("ProcessPoolExecutor", "submit(work, i)"),
                           ("Pool", "apply_async(work, (i,))"), ("ThreadPool", "apply_async(work, (i,))")):
            waits = "pool.close(); pool.join()" if "Executor" not in kind else "pool.shutdown(wait=False)"
            for then in (waits, waits + "; sys.exit(4)"):
                with self.subTest(kind=kind, then=then):
                    self.check(ENDS.format(kind=kind, verb=verb, then=then))


if __name__ == "__main__":
    unittest.main()
