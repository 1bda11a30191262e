"""A program that mypy looks at (test_types.py); nobody runs it."""

import concurrent.futures
import multiprocessing.pool
from collections.abc import Iterable, Iterator

from typing_extensions import assert_type

import auriga
import auriga.joblib
import auriga.stdlib

def f(x: int, y: int = 2, *, sep: str = "") -> str:
    return str(x + y)

def named(x: int, *, sep: str) -> str:
    return sep

def first(texts: list[str]) -> str:
    return texts[0]

def told(done: int, total: int | None) -> None: ...

with auriga.Pool(2, retries=1, timeout=3.5, memory_max=1 << 30, contextvars=[], views=True) as pool:
    assert_type(pool, auriga.Pool)
    assert_type(pool.apply(f, (1,), {"y": 3}, timeout=3, retries=1), str)
    one = pool.apply_async(f, [1], callback=print, error_callback=print, timeout=1)
    assert_type(one, auriga.AsyncResult[str])
    assert_type(one.get(timeout=1), str)
    assert_type(one.ready() or one.successful(), bool)
    one.wait(1.5)
    assert_type(pool.map(f, [1, 2], timeout=3, progress=True), list[str])
    assert_type(pool.map(named, [1, 2], kwds={"sep": ""}, progress=told), list[str])
    assert_type(pool.starmap(f, [(1, 2)], 10, kwds={"sep": ""}), list[str])
    many = pool.map_async(f, range(3), callback=first)
    assert_type(many, auriga.MapResult[str])
    assert_type(many.get(), list[str])
    assert_type(pool.map_async(named, [1], kwds={"sep": ""}).get(), list[str])
    assert_type(pool.starmap_async(f, [(1, 2)], error_callback=print).get(1), list[str])
    assert_type(pool.imap(f, [1], ahead_bytes=1).next(timeout=1), str)
    assert_type(next(pool.imap(named, [1], kwds={"sep": ""})), str)
    assert_type(list(pool.imap_unordered(f, [1], 5)), list[str])
    assert_type(list(pool.imap_unordered(named, [1], kwds={"sep": ""})), list[str])
    assert_type(list(pool.istarmap(f, [(1, 2)])), list[str])
    assert_type(list(pool.istarmap_unordered(f, [(1, 2)], retries=1)), list[str])
    standard: multiprocessing.pool.Pool = pool
    iterator: auriga.IMapIterator[str] = pool.imap(f, [1])
    pool.close()
    pool.join()
with auriga.ThreadPool(2, print, ("started",)) as threads:
    assert_type(threads.map(lambda x: x + 1, [1]), list[int])
    standard_threads: multiprocessing.pool.ThreadPool = threads
with auriga.AutoPool() as auto:
    assert_type(auto, auriga.AutoPool)
    assert_type(auto.map(f, [1, 2]), list[str])
    assert_type(auto.explain(), str)
with auriga.get_context("spawn").Pool(2) as spawned:
    assert_type(spawned.map(f, [1], retries=1), list[str])
assert_type(auriga.get_context().Pool(), auriga.Pool)

def collect(executor: concurrent.futures.Executor) -> None: ...

def take(futures: Iterable[concurrent.futures.Future[str]]) -> None: ...

with auriga.ThreadPoolExecutor(2, "prefix") as executor:
    future = executor.submit(f, 1, y=3, sep="-")
    assert_type(future, auriga.Future[str])
    assert_type(future.result(1), str)
    assert_type(future.exception(), BaseException | None)
    future.add_done_callback(lambda done: print(done.result().upper()))
    assert_type(auriga.as_completed([future], timeout=1), Iterator[auriga.Future[str]])
    done, left = auriga.wait([future], 1, auriga.FIRST_COMPLETED)
    assert_type(done, set[concurrent.futures.Future[str]])
    assert_type(auriga.wait({future: 1}).not_done, set[concurrent.futures.Future[str]])
    assert_type(executor.map(f, [1], [2], timeout=1, chunksize=2, buffersize=5), Iterator[str])
    executor.shutdown(wait=False, cancel_futures=True)
    collect(executor)
    take([future])
    standard_executor: concurrent.futures.ThreadPoolExecutor = executor
context = auriga.get_context("spawn")
with auriga.ProcessPoolExecutor(
    2, context, print, ("started",), max_tasks_per_child=5, contextvars=False, views=True
) as processes:
    assert_type(processes.submit(f, 1), auriga.Future[str])
with auriga.stdlib.ProcessPoolExecutor() as plain:
    for got in auriga.stdlib.as_completed([plain.submit(f, 1)]):
        assert_type(got.result(), str)
with auriga.stdlib.Pool() as plain_pool:
    assert_type(plain_pool.map_async(f, [1]).get(), list[str])

try:
    pool.map(f, [1])
except auriga.WorkerDied as died:
    assert_type(died.item, int | None)
    assert_type(died.signal, int | None)
except auriga.ItemTimeout as late:
    print(late.item, late.report["name"])
except (auriga.DeadlockError, auriga.PoolClosed, auriga.OutOfResources) as error:
    print(error.report)
except (auriga.TimeoutError, auriga.CancelledError, auriga.BrokenProcessPool):
    pass
auriga.joblib.register()
queue: "auriga.Queue[int]" = auriga.get_context().Queue()
assert_type(auriga.cpu_count() + auriga.process_cpu_count(), int)
