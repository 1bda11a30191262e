#!/usr/bin/env python3
"""The pools of auriga beside those of the standard library, in turns, in one process.

usage: pools.py [NAME...]     names: map single submit roundtrip large start import

PYTHONPATH must have the package: tests/python/run leaves it in build/python/.

Each figure is the median of the rounds, with the lowest and the highest; the last column is the ratio
of the medians.
"""

import concurrent.futures
import multiprocessing
import multiprocessing.pool
import os
import statistics
import subprocess
import sys
import time

import auriga
import auriga.stdlib

WORKERS = 2
ROUNDS = 5


def add(x, y):
    return x + y


def add2(x):
    return x + 2


def same(x):
    return x


def clock(fn, *args):
    start = time.perf_counter()
    fn(*args)
    return time.perf_counter() - start


def report(name, unit, scale, ours, theirs, whose):
    a = [t * scale for t in ours]
    b = [t * scale for t in theirs]
    ratio = statistics.median(b) / statistics.median(a)
    print(
        f"{name:34s} {statistics.median(a):10.3f} [{min(a):.3f} .. {max(a):.3f}]   "
        f"{whose} {statistics.median(b):10.3f} [{min(b):.3f} .. {max(b):.3f}] {unit}   "
        f"{ratio:.1f} x",
        flush=True,
    )


def in_turns(name, unit, scale, ours, theirs, whose, rounds=ROUNDS):
    """ours and theirs: functions that return the time of one unit."""
    ours(), theirs()  # once for nothing: first pages, first imports
    a, b = [], []
    for _ in range(rounds):
        a.append(ours())
        b.append(theirs())
    report(name, unit, scale, a, b, whose)


def with_pools(body):
    with multiprocessing.Pool(WORKERS) as theirs, auriga.stdlib.Pool(WORKERS) as ours:
        body(ours, theirs)


def bench_map():
    n = 200_000
    items = [(i, 2) for i in range(n)]

    def body(ours, theirs):
        for name, call in (
            ("map(add2), 200,000", lambda p: p.map(add2, range(n))),
            ("starmap(add), 200,000", lambda p: p.starmap(add, items)),
        ):
            in_turns(name, "us", 1e6 / n, lambda: clock(call, ours), lambda: clock(call, theirs),
                     "Pool")
        loop = [clock(lambda: [add2(x) for x in range(n)]) for _ in range(ROUNDS)]
        print(f"{'the plain loop':34s} {statistics.median(loop) * 1e6 / n:10.3f} us")

    with_pools(body)


def bench_single():
    n = 10_000

    def body(ours, theirs):
        for name, call in (
            ("map(chunksize=1)", lambda p: p.map(add2, range(n), 1)),
            ("imap", lambda p: sum(p.imap(add2, range(n)))),
            ("imap_unordered", lambda p: sum(p.imap_unordered(add2, range(n)))),
            ("apply_async one by one",
             lambda p: [r.get() for r in [p.apply_async(add, (i, 2)) for i in range(n)]]),
        ):
            in_turns(name, "us", 1e6 / n, lambda: clock(call, ours), lambda: clock(call, theirs),
                     "Pool", 3)

    with_pools(body)


def bench_submit():
    def run(executor, n):
        return clock(lambda: [f.result() for f in [executor.submit(add, i, 2) for i in range(n)]]) / n

    with concurrent.futures.ProcessPoolExecutor(WORKERS) as theirs:
        with auriga.stdlib.ProcessPoolExecutor(WORKERS) as ours:
            in_turns("ProcessPoolExecutor.submit", "us", 1e6, lambda: run(ours, 20_000),
                     lambda: run(theirs, 3_000), "Executor", 3)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as theirs:
        with auriga.stdlib.ThreadPoolExecutor(WORKERS) as ours:
            in_turns("ThreadPoolExecutor.submit", "us", 1e6, lambda: run(ours, 20_000),
                     lambda: run(theirs, 20_000), "Executor")


def p50(call, n=300, idle=0.0):
    times = []
    for _ in range(n):
        if idle:
            time.sleep(idle)
        times.append(clock(call))
    return statistics.median(times)


def bench_roundtrip():
    def body(ours, theirs):
        for name, idle in (("apply, back to back, p50", 0), ("apply, after 1 ms idle, p50", 0.001)):
            in_turns(name, "us", 1e6, lambda: p50(lambda: ours.apply(add, (1, 2)), idle=idle),
                     lambda: p50(lambda: theirs.apply(add, (1, 2)), idle=idle), "Pool")

    with_pools(body)


def bench_large():
    data = os.urandom(1 << 20) * 64

    def body(ours, theirs):
        def rate(pool):
            start = time.perf_counter()
            assert len(pool.apply(same, (data,))) == len(data)
            return time.perf_counter() - start

        gb = 2 * len(data) / 1e9
        ours_t, theirs_t = [], []
        rate(ours), rate(theirs)
        for _ in range(ROUNDS):
            ours_t.append(rate(ours))
            theirs_t.append(rate(theirs))
        a, b = statistics.median(ours_t), statistics.median(theirs_t)
        print(f"{'64 MiB of bytes there and back':34s} {gb / a:10.3f} GB/s   Pool {gb / b:.3f}   "
              f"{b / a:.1f} x")

    with_pools(body)


def bench_start():
    def once(make):
        def run():
            pool = make(WORKERS)
            pool.map(add2, range(WORKERS), 1)
            pool.close()
            pool.join()

        return lambda: clock(run)

    in_turns("start, 2 results, stop: fork", "ms", 1e3, once(auriga.stdlib.Pool),
             once(multiprocessing.Pool), "Pool")
    spawn = multiprocessing.get_context("spawn")
    in_turns("start, 2 results, stop: spawn", "ms", 1e3,
             once(lambda n: auriga.stdlib.Pool(n, context=spawn)), once(spawn.Pool), "Pool", 3)


def bench_import():
    program = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"

    def of(modules):
        out = subprocess.run([sys.executable, "-c", program.format(modules)], capture_output=True,
                             text=True, check=True).stdout
        return float(out)

    in_turns("import", "ms", 1e3, lambda: of("auriga"),
             lambda: of("multiprocessing.pool, concurrent.futures.process"), "both")
    with_all = [of("auriga; auriga.Pool; auriga.ProcessPoolExecutor") for _ in range(ROUNDS)]
    print(f"{'import and use of every name':34s} {statistics.median(with_all) * 1e3:10.3f} ms")


def main():
    names = sys.argv[1:] or [n[6:] for n in globals() if n.startswith("bench_")]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, {WORKERS} workers")
    for name in names:
        globals()[f"bench_{name}"]()


if __name__ == "__main__":
    main()
