#!/usr/bin/env python3
"""usage: python.py WHAT CLASS WORKERS

WHAT   submit, roundtrip or start
CLASS  mp.Pool, ThreadPoolExecutor or ProcessPoolExecutor
"""

import concurrent.futures
import multiprocessing
import sys
import time

CALLS = {"mp.Pool": 20000, "ThreadPoolExecutor": 50000, "ProcessPoolExecutor": 10000}
TRIPS, IDLE_TRIPS, TIMES = 2000, 200, 10


def add_one(x):
    return x + 1


def nothing(x):
    pass


class Pool:
    """What the three have in common, under one name each."""

    def __init__(self, kind, workers):
        self.is_mp = kind == "mp.Pool"
        self.pool = (multiprocessing.Pool(workers) if self.is_mp
                     else getattr(concurrent.futures, kind)(workers))

    def submit(self, function, x):
        return (self.pool.apply_async(function, (x,)) if self.is_mp
                else self.pool.submit(function, x))

    def call(self, x):
        future = self.submit(add_one, x)
        return future.get() if self.is_mp else future.result()

    def stop(self):
        if self.is_mp:
            self.pool.close()
            self.pool.join()
        else:
            self.pool.shutdown()


def figure(name, metric, value):
    print(f"{name}\t{metric}\t{value:.6g}")


def trips(name, pool, n, pause):
    times = []
    for i in range(n + n // 10):
        if pause:
            time.sleep(pause)
        start = time.perf_counter()
        pool.call(1)
        times.append(time.perf_counter() - start)
    times = sorted(times[-n:])
    figure(name, "p50 us", times[(n - 1) * 50 // 100] * 1e6)
    figure(name, "p99 us", times[(n - 1) * 99 // 100] * 1e6)


def main():
    what, kind, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if what == "start":
        first, whole = [], []
        for _ in range(TIMES):
            start = time.perf_counter()
            pool = Pool(kind, workers)
            pool.call(1)
            first.append(time.perf_counter() - start)
            pool.stop()
            whole.append(time.perf_counter() - start)
        figure("first result", "ms", sorted(first)[TIMES // 2] * 1e3)
        figure("first result and stop", "ms", sorted(whole)[TIMES // 2] * 1e3)
        return
    pool = Pool(kind, workers)
    pool.call(1)
    if what == "submit":
        start = time.perf_counter()
        for i in range(CALLS[kind]):
            pool.submit(nothing, i)
        pool.stop()
        figure("empty call", "ns", (time.perf_counter() - start) / CALLS[kind] * 1e9)
        return
    trips("submit + result, hot", pool, TRIPS, 0)
    trips("submit + result, after 1 ms idle", pool, IDLE_TRIPS, 0.001)
    pool.stop()


if __name__ == "__main__":
    main()
