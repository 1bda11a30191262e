#!/usr/bin/env python3
"""usage: python.py WORKLOAD kind=KIND [NAME=VALUE]...

KIND  ThreadPoolExecutor, ThreadPool, ProcessPoolExecutor, Pool (multiprocessing), pebble, billiard,
      loky, joblib, or mpi4py (under mpiexec and -m mpi4py.futures)

bench/README.md says what is printed.  Status 77: the kind has no way to do the workload, or is not
installed.
"""

import os
import signal
import sys
import tempfile
import threading
import time

CANNOT = 77
THREADS = ("ThreadPoolExecutor", "ThreadPool")


def options():
    return dict(argument.split("=", 1) for argument in sys.argv[2:])


def option(name, fallback):
    return int(options().get(name, fallback))


def figure(name, unit, value, **at):
    coordinates = "".join(f'"{key}": {x}, ' for key, x in at.items())
    print(f'{{"name": "{name}", {coordinates}"unit": "{unit}", "value": {value:.6g}}}', flush=True)


def check(right, what):
    if not right:
        sys.exit(f"bench: {what} failed")


def percentile(samples, percent):
    samples = sorted(samples)
    return samples[(len(samples) - 1) * percent // 100]


# ---- tasks ---------------------------------------------------------------------------------


def nothing(x):
    pass


def add_one(x):
    return x + 1


def identity(x):
    return x


def doze(x, seconds):
    time.sleep(seconds)
    return x + 1


def spin(x, steps):
    for _ in range(steps):
        x = x * 5 & 0xFFFF
    return x


def meet(path, workers):
    """Waits until as many of these run as there are workers, so that each has to answer."""
    with open(path, "ab") as arrivals:
        arrivals.write(b"x")
    while os.stat(path).st_size < workers:
        time.sleep(0.0005)
    return workers + 1


def doze_and_tell(x, seconds, path):
    with open(path, "w") as told:
        told.write(str(os.getpid()))
    time.sleep(seconds)
    return x + 1


# ---- the pools, behind one face --------------------------------------------------------------


class Executor:
    """concurrent.futures and what has its form."""

    def __init__(self, pool):
        self.pool = pool

    def submit(self, function, *arguments):
        return self.pool.submit(function, *arguments)

    def result(self, future, limit=None):
        return future.result(limit)

    def stop(self):
        self.pool.shutdown()


class Pebble(Executor):
    def submit(self, function, *arguments):
        return self.pool.schedule(function, args=arguments)

    def stop(self):
        self.pool.close()
        self.pool.join()


class Pool:
    """multiprocessing.Pool and what has its form."""

    def __init__(self, pool):
        self.pool = pool

    def submit(self, function, *arguments):
        return self.pool.apply_async(function, arguments)

    def result(self, future, limit=None):
        return future.get(limit)

    def stop(self):
        self.pool.close()
        self.pool.join()


def make(kind, workers):
    """Imports what the kind needs, so that a peer pays for itself alone."""
    if kind in ("ThreadPoolExecutor", "ProcessPoolExecutor"):
        import concurrent.futures
        return Executor(getattr(concurrent.futures, kind)(workers))
    if kind == "Pool":
        import multiprocessing
        return Pool(multiprocessing.Pool(workers))
    if kind == "ThreadPool":
        import multiprocessing.pool
        return Pool(multiprocessing.pool.ThreadPool(workers))
    if kind == "billiard":
        import billiard
        return Pool(billiard.Pool(workers))
    if kind == "pebble":
        import pebble
        return Pebble(pebble.ProcessPool(max_workers=workers))
    if kind == "mpi4py":
        from mpi4py.futures import MPIPoolExecutor
        return Executor(MPIPoolExecutor(max_workers=workers))
    if kind == "loky":
        from joblib.externals.loky import ProcessPoolExecutor
        return Executor(ProcessPoolExecutor(max_workers=workers))
    sys.exit(CANNOT)


# ---- workloads -----------------------------------------------------------------------------


def joblib_all(function, arguments, workers):
    import joblib
    return joblib.Parallel(n_jobs=workers)(joblib.delayed(function)(*a) for a in arguments)


def submit(kind, workers, name="empty task"):
    n = option("n", 10000)
    if kind == "joblib":
        joblib_all(add_one, [(1,)] * 100, workers)
        start = time.perf_counter()
        results = joblib_all(add_one, [(i,) for i in range(n)], workers)
        figure(name, "ns", (time.perf_counter() - start) / n * 1e9)
        check(results == list(range(1, n + 1)), "results")
        return
    pool = make(kind, workers)
    check(pool.result(pool.submit(add_one, 1)) == 2, "result")
    start = time.perf_counter()
    futures = [pool.submit(add_one, i) for i in range(n)]
    results = [pool.result(future) for future in futures]
    figure(name, "ns", (time.perf_counter() - start) / n * 1e9)
    check(results == list(range(1, n + 1)), "results")
    pool.stop()


def futures(kind, workers):
    submit(kind, workers, "task with future")


def trips(state, pool, n, pause):
    us = []
    for _ in range(n + n // 10):
        if pause:
            time.sleep(pause)
        start = time.perf_counter()
        value = pool.result(pool.submit(add_one, 1))
        us.append((time.perf_counter() - start) * 1e6)
        check(value == 2, "result")
    us = us[-n:]
    figure(f"{state} p50", "us", percentile(us, 50))
    figure(f"{state} p99", "us", percentile(us, 99))


def roundtrip(kind, workers, idle="idle"):
    pool = make(kind, workers)
    trips("hot", pool, option("trips", 2000), 0)
    trips(idle, pool, option("idle_trips", 200), 0.001)
    pool.stop()


def handoff(kind, workers):
    roundtrip(kind, workers, "parked")


def start(kind, workers):
    if kind == "mpi4py":  # its workers are started before the program
        sys.exit(CANNOT)
    ballast = bytearray(option("parent_mib", 0) << 20)
    for i in range(0, len(ballast), 4096):
        ballast[i] = 1
    first, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(option("repeats", 5)):
            path = os.path.join(folder, str(i))
            begin = time.perf_counter()
            pool = make(kind, workers)
            answers = [pool.submit(meet, path, workers) for _ in range(workers)]
            check(all(pool.result(a) == workers + 1 for a in answers), "first results")
            first.append(time.perf_counter() - begin)
            pool.stop()
            whole.append(time.perf_counter() - begin)
    figure("first results", "ms", percentile(first, 50) * 1e3)
    figure("start to stop", "ms", percentile(whole, 50) * 1e3)


def busy(kind, workers):
    pool = make(kind, workers) if kind != "joblib" else None
    for us in (10, 100):
        steps, n = 100000, option("n", 20000) * 10 // us
        begin = time.perf_counter()
        spin(1, steps)
        steps = max(1, int(steps * us / 1e6 / (time.perf_counter() - begin)))
        loops, pools = [], []
        for _ in range(option("repeats", 3)):
            begin = time.perf_counter()
            expected = [spin(i, steps) for i in range(n)]
            loops.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            if kind == "joblib":
                results = joblib_all(spin, [(i, steps) for i in range(n)], workers)
            else:
                waiting = [pool.submit(spin, i, steps) for i in range(n)]
                results = [pool.result(future) for future in waiting]
            pools.append(time.perf_counter() - begin)
            check(results == expected, "results")
        figure(f"{us} us", "x", percentile(pools, 50) * workers / percentile(loops, 50))
    if pool:
        pool.stop()


def payload(kind, workers):
    pool = make(kind, workers)
    for size, window in ((1 << 10, 64), (1 << 20, 4), (1 << 26, 1)):
        data = os.urandom(size)
        n = max(2 * window, (option("mib", 128) << 20) // size // (8 if size == 1 << 10 else 1))
        n = min(n, option("most", 5000))
        check(pool.result(pool.submit(identity, data)) == data, "result")
        waiting = []
        begin = time.perf_counter()
        for i in range(n + window):
            if i >= window:
                check(len(pool.result(waiting.pop(0))) == size, "size of the result")
            if i < n:
                waiting.append(pool.submit(identity, data))
        figure("payload", "GB/s", 2 * size * n / (time.perf_counter() - begin) / 1e9, size=size)
    pool.stop()


def sleep(kind, workers):
    pool = make(kind, workers)
    tasks, seconds = option("tasks", 64), option("ms", 50) / 1e3
    begin = time.perf_counter()
    waiting = [pool.submit(doze, i, seconds) for i in range(tasks)]
    check([pool.result(w) for w in waiting] == list(range(1, tasks + 1)), "results")
    figure("all done", "ms", (time.perf_counter() - begin) * 1e3)
    with open("/proc/self/status") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    figure("peak memory", "MB", kib * 1024 / 1e6)
    pool.stop()


# ---- kill storm ------------------------------------------------------------------------------


def leave():
    """Ends at once: a pool that hangs cannot be stopped in any other way.  Workers that are left
    over are ended by the runner, which gives each program a process group of its own."""
    sys.stdout.flush()
    os._exit(0)


def kill_workers(path, stopped, kills):
    mine = os.getpid()
    while not stopped.wait(0.02):
        try:
            with open(path, "r+") as told:
                pid = int(told.read() or "0")
                told.truncate(0)
            if pid > 0 and pid != mine:
                os.kill(pid, signal.SIGKILL)
                kills.append(pid)
        except (OSError, ValueError):
            pass


def killstorm(kind, workers):
    if kind in THREADS or kind in ("joblib", "mpi4py"):
        sys.exit(CANNOT)
    tasks, seconds = option("tasks", 2000), option("us", 5000) / 1e6
    folder = tempfile.TemporaryDirectory()
    path = os.path.join(folder.name, "pid")
    open(path, "w").close()
    pool, stopped, kills = make(kind, workers), threading.Event(), []
    threading.Thread(target=kill_workers, args=(path, stopped, kills), daemon=True).start()
    begin, right = time.perf_counter(), 0
    waiting = []
    for i in range(tasks):
        try:
            waiting.append((i, pool.submit(doze_and_tell, i, seconds, path)))
        except Exception:  # a pool that is broken refuses: that task gets no answer
            pass
    deadline = begin + option("limit", 20)
    for i, future in waiting:
        try:
            if pool.result(future, max(0.0, deadline - time.perf_counter())) == i + 1:
                right += 1
        except Exception:  # every pool has its own ways to say that a task is lost
            pass
    figure("answered", "%", 100 * right / tasks)
    figure("time", "s", time.perf_counter() - begin)
    figure("kills", "", len(kills))
    stopped.set()
    folder.cleanup()
    leave()


WORKLOADS = {f.__name__: f for f in (submit, futures, roundtrip, handoff, start, busy, payload,
                                     sleep, killstorm)}


def main():
    kind = options().get("kind", "ThreadPoolExecutor")
    workload = WORKLOADS.get(sys.argv[1])
    if workload is None:
        sys.exit(CANNOT)
    try:
        workload(kind, option("workers", 2))
    except ImportError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(CANNOT)


if __name__ == "__main__":
    main()
