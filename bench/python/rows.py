#!/usr/bin/env python3
"""Measures the pools of auriga and those of the standard library in turn; bench/python/run calls it.

usage: rows.py [--ours] [ROW...]     prints a JSON object for each row: its key, and the figures of
                                     all rounds of both sides
       rows.py start|import ...      one program of the rows "start ..." and "import"

--ours leaves the standard library out, to compare two builds of the package.  PYTHONPATH must have
the package.  This file imports little, since spawned workers import it, too.
"""

import json
import statistics
import subprocess
import sys
import time

WORKERS = 2
ROUNDS = 9
METHODS = ("fork", "forkserver", "spawn")
MANY_WORKERS = 16
MANY_METHODS = ("fork", "forkserver")  # a round by spawn takes seconds
MANY_ROUNDS = 5


def add(x, y):
    return x + y


def add2(x):
    return x + 2


def same(x):
    return x


def burn(turns):
    while turns:
        turns -= 1


def clock(fn, *args):
    start = time.perf_counter()
    fn(*args)
    return time.perf_counter() - start


class Sides:
    """The pools that a group of rows measures: ours, and theirs unless it is left out."""

    def __init__(self, ours_only, ours, theirs):
        self.ours_only = ours_only
        self.ours = ours()
        self.theirs = None if ours_only else theirs()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for pool in (self.ours, self.theirs):
            if pool is not None:
                pool.__exit__(None, None, None)

    def row(self, key, measure, n=1, n_theirs=None, rounds=ROUNDS):
        """measure(pool, n): one figure, or several, of one side."""
        figures = {"ours": [], "theirs": []}
        for number in range(rounds + 1):  # the first for nothing: first pages, first imports
            for side, pool, count in (("ours", self.ours, n), ("theirs", self.theirs, n_theirs or n)):
                if pool is not None:
                    got = measure(pool, count)
                    figures[side] += [] if number == 0 else got if isinstance(got, list) else [got]
        print(json.dumps({"row": key, **figures}), flush=True)


# ---- many calls ----------------------------------------------------------------------------------


def each(call):
    """Microseconds of each of n calls."""
    return lambda pool, n: clock(call, pool, n) * 1e6 / n


def pools(ours_only):
    import multiprocessing

    import auriga.stdlib

    return Sides(ours_only, lambda: auriga.stdlib.Pool(WORKERS),
                 lambda: multiprocessing.Pool(WORKERS))


def executors(ours_only, name="ProcessPoolExecutor"):
    import concurrent.futures

    import auriga.stdlib

    return Sides(ours_only, lambda: getattr(auriga.stdlib, name)(WORKERS),
                 lambda: getattr(concurrent.futures, name)(WORKERS))


def group_map(ours_only):
    pairs = [(i, 2) for i in range(200_000)]
    numbers = list(range(200_000))
    with pools(ours_only) as sides:
        sides.row("map", each(lambda p, n: p.map(add2, numbers)), len(numbers))
        sides.row("starmap", each(lambda p, n: p.starmap(add, pairs)), len(pairs))


def group_single(ours_only):
    with pools(ours_only) as sides:
        sides.row("map 1", each(lambda p, n: p.map(add2, range(n), 1)), 10_000, 4000)
        sides.row("imap", each(lambda p, n: sum(p.imap(add2, range(n)))), 10_000, 4000)
        sides.row("imap_unordered", each(lambda p, n: sum(p.imap_unordered(add2, range(n)))), 10_000,
                  4000)
        sides.row("apply_async", each(
            lambda p, n: [r.get() for r in [p.apply_async(add, (i, 2)) for i in range(n)]]), 10_000,
            4000)


def group_executor(ours_only):
    submit = each(lambda e, n: [f.result() for f in [e.submit(add, i, 2) for i in range(n)]])
    with executors(ours_only) as sides:
        sides.row("Executor.map", each(lambda e, n: sum(e.map(add2, range(n)))), 10_000, 1500)
        sides.row("submit", submit, 10_000, 1500)
    with executors(ours_only, "ThreadPoolExecutor") as sides:
        sides.row("thread submit", submit, 10_000)


# ---- one call ------------------------------------------------------------------------------------


def trips(call, idle):
    """Microseconds of n round trips, each after so many seconds of idleness."""

    def measure(pool, n):
        times = []
        for _ in range(n):
            if idle:
                time.sleep(idle)
            times.append(clock(call, pool) * 1e6)
        return times

    return measure


def group_roundtrip(ours_only):
    def apply(pool):
        pool.apply(add, (1, 2))

    def submit(executor):
        executor.submit(add, 1, 2).result()

    with pools(ours_only) as sides:
        sides.row("apply hot", trips(apply, 0), 1000)
        sides.row("apply idle", trips(apply, 0.001), 200)
    with executors(ours_only) as sides:
        sides.row("submit hot", trips(submit, 0), 1000)
        sides.row("submit idle", trips(submit, 0.001), 200)
    with executors(ours_only, "ThreadPoolExecutor") as sides:
        sides.row("thread hot", trips(submit, 0), 1000)
        sides.row("thread idle", trips(submit, 0.001), 200)


def group_large(ours_only):
    def rate(data, size):
        def measure(pool, n):
            took = clock(pool.apply, same, (data,))
            return 2 * size / took / 1e9

        return measure

    size = 64 << 20
    with pools(ours_only) as sides:
        sides.row("bytes", rate(bytes(range(256)) * (size >> 8), size))
        try:
            import numpy
        except ImportError:
            return
        sides.row("numpy", rate(numpy.arange(size // 8, dtype=numpy.float64), size))


# ---- break-even ----------------------------------------------------------------------------------


def crossing(costs, ratios):
    """Where the ratio of the pool's time to the loop's falls to 1 for good, between two costs."""
    for i in range(len(costs) - 1, -1, -1):
        if ratios[i] > 1:
            if i == len(costs) - 1:
                return costs[-1] * ratios[-1]  # further out: at least that
            share = (ratios[i] - 1) / (ratios[i] - ratios[i + 1])
            return costs[i] + share * (costs[i + 1] - costs[i])
    return costs[0] * ratios[0]


def group_breakeven(ours_only):
    turn_us = statistics.median(clock(burn, 250) for _ in range(99)) * 4000

    def measure(executor, costs):
        real, ratios = [], []
        for cost in costs:
            turns = max(1, round(cost / turn_us))
            n = max(64, round(30_000 / cost))  # 30 ms of work
            work = [turns] * n
            alone = clock(lambda: [burn(t) for t in work])
            real.append(alone * 1e6 / n)
            ratios.append(clock(lambda: list(executor.map(burn, work))) / alone)
        return crossing(real, ratios)

    with executors(ours_only) as sides:
        sides.row("break-even", measure, (1, 2, 3, 4, 6, 8, 12, 20),
                  (100, 200, 300, 400, 600, 900, 1400))


# ---- start and import ----------------------------------------------------------------------------


def program(*args):
    """Milliseconds that another run of this file reports."""
    return float(subprocess.run([sys.executable, __file__, *args], stdout=subprocess.PIPE,
                                check=True).stdout)


def start_once(module, method, workers):
    """From making a pool to its end, one result of each worker."""
    import multiprocessing

    workers = int(workers)
    if module == "auriga":
        from auriga.stdlib import Pool
    else:
        from multiprocessing.pool import Pool
    context = multiprocessing.get_context(method)

    def run():
        pool = Pool(workers, context=context)
        pool.map(add2, range(workers), 1)
        pool.close()
        pool.join()

    run()  # once for nothing: imports, and the fork server, which stays
    return statistics.median(clock(run) for _ in range(3)) * 1e3


def import_once(module):
    if module == "auriga":
        return clock(__import__, "auriga") * 1e3
    return clock(lambda: (__import__("multiprocessing.pool"),
                          __import__("concurrent.futures.process"))) * 1e3


def group_programs(ours_only):
    with Sides(ours_only, lambda: Name("auriga"), lambda: Name("standard")) as sides:
        def start(method, workers):
            return lambda side, n: program("start", side.name, method, str(workers))

        for method in METHODS:
            sides.row(f"start {method}", start(method, WORKERS))
        for method in MANY_METHODS:
            sides.row(f"start {method} many", start(method, MANY_WORKERS), rounds=MANY_ROUNDS)
        sides.row("import", lambda side, n: program("import", side.name))


class Name:
    """Stands for a pool where each figure comes from a program of its own."""

    def __init__(self, name):
        self.name = name

    def __exit__(self, *exc_info):
        pass


def main(args):
    if args[:1] == ["start"]:
        print(start_once(*args[1:]))
    elif args[:1] == ["import"]:
        print(import_once(*args[1:]))
    else:
        groups = {n[6:]: f for n, f in globals().items() if n.startswith("group_")}
        names = [a for a in args if a != "--ours"] or list(groups)
        for name in names:
            groups[name]("--ours" in args)


if __name__ == "__main__":
    main(sys.argv[1:])
