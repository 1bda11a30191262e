"""The soak test of the Python package: pools of all kinds come and go, and everything is done with them.

    tests/python/run --storm rounds N [SEED]
    tests/python/run --storm minutes N [SEED]

Goal:    no call is lost, answered wrongly or left hanging, and nothing grows.
Method:  rounds.  Each makes a pool of a random kind, start method and options, lets one to three threads
         do random steps with it, perhaps kills workers or closes or terminates it meanwhile, ends it in
         a random way, and checks that each call that was accepted has one outcome.  Every result is
         checked; an error has to be one that the round explains.  At checkpoints there are no more descriptors,
         threads and children than at the first; memory, mappings and objects have not grown.

The seed is printed first; the same seed makes the same calls.  A round is its own seed: when one
fails, it is named, and `rounds 1 SEED` is that round.
"""

import contextlib
import ctypes
import faulthandler
import gc
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import threading
import time
import traceback

import auriga
import auriga.stdlib
import work
from storm_steps import Ended, keep, steps_for

WARM_UP = 30  # rounds until allocators, caches and templates have their size
CHECK_EVERY = 10

METHODS = ("fork", "fork", "spawn", "forkserver")


class Round:
    """A pool, and what its steps may meet."""

    def __init__(self, seed):
        self.seed = seed
        self.random = rand = random.Random(seed)
        self.kind = rand.choice(
            ("Pool", "Pool", "Pool", "ThreadPool", "ProcessPoolExecutor", "ThreadPoolExecutor", "AutoPool")
        )
        self.strict = rand.random() < 0.2 and self.kind != "AutoPool"
        self.processes = self.kind in ("Pool", "ProcessPoolExecutor")
        self.executor = self.kind.endswith("Executor")
        self.workers = rand.randint(1, 4)
        self.method = rand.choice(METHODS) if self.kind != "ThreadPool" else None
        # A strict executor is broken by a death; the standard Pool hangs, ours never does.
        self.kills = self.processes and not self.strict and rand.random() < 0.4
        self.ends = self.may_end = rand.random() < 0.25  # closed or terminated while it is used
        self.limit = rand.choice((None, None, 20)) if self.processes else None  # calls of a worker
        self.retries = rand.choice((0, 0, 50)) if self.kind == "Pool" else 0
        self.views = self.processes and rand.random() < 0.3
        self.threads = rand.randint(1, 3)
        self.pids = set()
        self.failures = []
        self.over = threading.Event()

    def __str__(self):
        return (f"{'stdlib.' if self.strict else ''}{self.kind}({self.workers}) {self.method} kills={self.kills} "
                f"ends={self.ends} limit={self.limit} retries={self.retries} views={self.views} "
                f"threads={self.threads}")

    def make(self):
        module = auriga.stdlib if self.strict else auriga
        options = {}
        context = multiprocessing.get_context(self.method) if self.method else None
        if self.kind == "Pool":
            options = {"context": context, "maxtasksperchild": self.limit}
            if not self.strict:
                options.update(retries=self.retries, views=self.views)
        elif self.kind == "ProcessPoolExecutor":
            options = {"mp_context": context}
            if self.limit and not (self.strict and self.method == "fork"):
                options["max_tasks_per_child"] = self.limit
            if not self.strict:
                options["views"] = self.views
        elif self.kind == "AutoPool":
            options = {"context": context}
        return getattr(module, self.kind)(self.workers, **options)

    def fail(self, text):
        self.failures.append(text)
        self.over.set()

    # -- who disturbs

    def kill_one(self):
        """A worker that some call has named; it may be gone, but its number is not used again so soon."""
        pids = sorted(self.pids)
        if pids:
            victim = self.random.choice(pids)
            self.pids.discard(victim)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    def disturb(self, pool, submitters):
        when = self.random.random() * 0.1
        began = time.monotonic()
        while any(thread.is_alive() for thread in submitters):
            submitters[0].join(0.005 + self.random.random() * 0.02)
            if self.kills:
                self.kill_one()
            if self.ends and time.monotonic() - began > when:
                self.end(pool, self.random.random() < 0.5)
                self.ends = False

    def end(self, pool, gently):
        if self.executor:
            pool.shutdown(wait=False, cancel_futures=not gently)
        elif gently:
            pool.close()
        else:
            pool.terminate()

    # -- all of it

    def submit(self, pool, seed):
        rand = random.Random(seed)
        try:
            steps = steps_for(self)
            for _ in range(rand.randint(2, 8)):
                if self.over.is_set():
                    return
                rand.choice(steps)(self, pool, rand)
        except Ended:
            if not self.may_end:
                self.fail(f"nobody had ended it:\n{traceback.format_exc()}")
        except BaseException:
            self.fail(traceback.format_exc())

    def run(self):
        pool = self.make()
        if self.executor and self.method == "fork":
            # Its workers are forked now, while no other thread of this program runs.
            pool.submit(work.square, 2).result()
        submitters = [
            threading.Thread(target=self.submit, args=(pool, self.random.random()))
            for _ in range(self.threads)
        ]
        for thread in submitters:
            thread.start()
        self.disturb(pool, submitters)
        for thread in submitters:
            thread.join()
        cores = [core for core in (getattr(pool, "_core", None),) if core is not None]
        how = self.random.choice(("join", "with", "drop"))
        if how == "join" or self.kind == "AutoPool":
            self.end(pool, True)
            if self.executor:
                pool.shutdown()
            else:
                pool.join()
        elif how == "with":
            with contextlib.suppress(ValueError), pool:  # ValueError: it is closed
                pass
        if how == "drop" and not self.executor:
            self.end(pool, self.random.random() < 0.5)  # not joined
        del pool
        if how == "join":
            for core in cores:
                self.count(core.stats())

    def count(self, stats):
        if stats["submitted"] != stats["done"] + stats["failed"] + stats["cancelled"] or stats["workers"]:
            self.fail(f"the counters do not add up: {stats}")


# ---- what must not grow ------------------------------------------------------------------------------


def children():
    return pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def settle(read, most, name):
    """Until there are no more of them: threads and workers of a pool that was dropped end on their own."""
    told = time.monotonic() + 60
    while read() > most:
        if time.monotonic() > told:
            print(f"more than {most} {name} are still there:", *list(details()), sep="\n", flush=True)
            told = float("inf")
        gc.collect()
        os.sched_yield()


_libc = ctypes.CDLL(None)
_M_ARENA_MAX = -8


def memory_kib():
    _libc.malloc_trim(0)  # what is free already is not held, though the C library keeps it for later
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1])


def details():
    """Of the descriptors and threads that are there."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield f"{name} -> {os.readlink('/proc/self/fd/' + name)}"
    for task in pathlib.Path("/proc/self/task").iterdir():
        yield f"{task.name} {(task / 'comm').read_text().strip()} {(task / 'wchan').read_text()}"
    yield from (repr(one) for one in gc.get_objects() if isinstance(one, (auriga.Pool, auriga.Executor)))
    yield from (str(one.stats()) for one in gc.get_objects() if isinstance(one, auriga._core.Pool))


class Held:
    """What this process holds."""

    COUNTS = {
        "descriptors": lambda: len(os.listdir("/proc/self/fd")),
        "threads": lambda: len(os.listdir("/proc/self/task")),
        "children": lambda: len(children()),
        "threads of Python": threading.active_count,
    }
    SIZES = {
        "mappings": lambda: sum(1 for _ in open("/proc/self/maps")),
        "memory_kib": memory_kib,
        "blocks": sys.getallocatedblocks,
        "objects": lambda: len(gc.get_objects()),
        "references": getattr(sys, "gettotalrefcount", lambda: 0),
    }

    def __init__(self):
        gc.collect()
        self.counts = {name: read() for name, read in self.COUNTS.items()}
        self.sizes = {name: read() for name, read in self.SIZES.items()}

    def __str__(self):
        return ", ".join(f"{value} {name}" for name, value in {**self.counts, **self.sizes}.items())

    def settle(self):
        """Until there are as many as here; here are the fewest that were ever seen."""
        for name, read in self.COUNTS.items():
            settle(read, self.counts[name], name)
            self.counts[name] = min(self.counts[name], read())

    def grown(self, first):
        """The sizes that are larger, by more than what allocators and caches do."""
        room = {"mappings": 60, "memory_kib": 16384, "blocks": 30000, "objects": 15000, "references": 100000}
        return [name for name in self.sizes if self.sizes[name] > first.sizes[name] * 1.25 + room[name]]


def check(first, rounds, verbose):
    keep(None, 0)
    if first:
        first.settle()
    now = Held()
    if verbose:
        print(f"round {rounds}: {now}", flush=True)
    grown = now.grown(first) if first else []
    if grown:
        print(f"grown after {rounds} rounds: {', '.join(grown)}\nfirst: {first}\nnow:   {now}")
        sys.exit(1)
    return now


def warm_up():
    """What a program starts once: templates, and the thread that callbacks run in."""
    for method in sorted(set(METHODS)):
        with auriga.Pool(1, context=multiprocessing.get_context(method)) as pool:
            pool.apply_async(work.square, (2,), callback=abs).wait()


def storm(limit, seed, verbose=True):
    """limit: called with the number of rounds; whether to stop."""
    print(f"seed {seed}", flush=True)
    _libc.mallopt(_M_ARENA_MAX, 2)  # else threads spread what is free over a dozen of heaps
    warm_up()
    seeds = random.Random(seed)
    first = None
    n = 0
    while not limit(n):
        this = seed if n == 0 else seeds.getrandbits(48)
        one = Round(this)
        if verbose > 1:
            print(f"round {n}, seed {this}: {one}", flush=True)
        faulthandler.dump_traceback_later(180, file=sys.__stderr__)
        try:
            one.run()
        except BaseException:
            one.fail(traceback.format_exc())
        faulthandler.cancel_dump_traceback_later()
        n += 1
        if one.failures:
            print(f"round with seed {this}: {one}\n{one.failures[0]}")
            sys.exit(1)
        del one
        if n >= WARM_UP and n % CHECK_EVERY == 0:
            now = check(first, n, verbose)
            first = first or now
    print(f"{n} rounds, no error: {check(first, n, False)}")


def main(argv):
    what, n = argv[1], float(argv[2])
    seed = int(argv[3]) if len(argv) > 3 else random.randrange(1 << 32)
    end = time.monotonic() + n * 60
    storm((lambda rounds: rounds >= n) if what == "rounds" else lambda _: time.monotonic() > end, seed,
          verbose=2 if "STORM_VERBOSE" in os.environ else 1)


if __name__ == "__main__":
    main(sys.argv)
