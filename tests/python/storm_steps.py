"""The steps of storm.py: each does one thing with the pool of a round, and checks all that comes of it."""

import asyncio
import concurrent.futures
import itertools
import signal
import threading

import auriga
import work


class Ended(Exception):
    """The pool takes no more calls."""


class Lost(Exception):
    """A call that did not come to its own end, for a reason that the round has."""


# ---- what runs in workers ------------------------------------------------------------------------------


def stuck(x):
    signal.pause()


def stuck_on_three(x):
    return stuck(x) if x == 3 else x


def mixed(x):
    """Of what a result may be: small, of a pickle, large; every seventh is an exception."""
    if x % 7 == 6:
        raise ValueError(x)
    return x if x % 3 == 0 else [x, {"x": x}] if x % 3 == 1 else b"%c" % (x % 256) * (x * 977 % 200_000)


def together(x, *, plus=0, times=1):
    return (x + plus) * times


# ---- outcomes -------------------------------------------------------------------------------------------


def accept(r, call, *args, **kwargs):
    """A call of the pool that has to take it, unless it was ended."""
    try:
        return call(*args, **kwargs)
    except (ValueError, RuntimeError) as error:
        if r.may_end and type(error) in (ValueError, RuntimeError, auriga.PoolClosed, auriga.BrokenProcessPool):
            raise Ended from error
        raise


def explained(r, error):
    if isinstance(error, auriga.ItemTimeout):
        return False
    if r.kills and not r.retries and isinstance(error, auriga.WorkerDied):
        return error.signal == signal.SIGKILL
    return r.may_end and isinstance(
        error, (auriga.CancelledError, auriga.WorkerDied, auriga.PoolClosed, auriga.BrokenProcessPool)
    )


def outcome(r, get, *args):
    """(value, None) or (None, exception); Lost if it is one of the round's."""
    try:
        return get(*args), None
    except BaseException as error:
        if explained(r, error):
            raise Lost from error
        return None, error


def same(r, get, want, *args):
    """Whether it came; want: the value, or the type of an exception."""
    try:
        value, error = outcome(r, get, *args)
    except Lost:
        return False
    if isinstance(want, type) and issubclass(want, BaseException):
        if not isinstance(error, want):
            raise AssertionError(f"{value!r:.200}, not {want}") from error
    elif error is not None:
        raise error
    elif value != want:
        raise AssertionError(f"{value!r:.200}, not {want!r:.200}")
    return True


def wanted(x):
    try:
        return mixed(x)
    except ValueError:
        return ValueError


# ---- of Pool, ThreadPool, AutoPool -----------------------------------------------------------------------


def pool_calls(r, pool, rand):
    """Single calls, taken in any order, some never."""
    n = rand.randint(1, 60)
    results = [accept(r, pool.apply_async, mixed, (x,)) for x in range(n)]
    for x in rand.sample(range(n), rand.randint(0, n)):
        same(r, results[x].get, wanted(x))
        if not results[x].ready():
            raise AssertionError("it is not ready, and was waited for")


def pool_told(r, pool, rand):
    """Callbacks: one for each call, before it counts as ready; also of what was cancelled."""
    n = rand.randint(1, 30)
    told = []
    results = [
        accept(r, pool.apply_async, mixed, (x,),
               callback=lambda value, x=x: told.append(x), error_callback=lambda error, x=x: told.append(x))
        for x in range(n)
    ]
    for result in results:
        result.wait()
    if sorted(told) != list(range(n)):
        raise AssertionError(f"told of {sorted(told)}, not of {n}")


def pool_map(r, pool, rand):
    n = rand.choice((0, 1, rand.randint(2, 40), rand.randint(100, 3000)))
    chunk = rand.choice((None, 1, rand.randint(1, 50)))
    items = [rand.randrange(1 << rand.choice((7, 31, 70))) for _ in range(n)]
    verb = rand.choice(("map", "starmap", "map_async", "starmap_async"))
    star = verb.startswith("star")
    result = accept(r, getattr(pool, verb + ("" if "async" in verb else "_async")), work.square,
                    [(x,) for x in items] if star else items, chunk)
    del items[: rand.choice((0, 0, n))]  # what was submitted is not looked at any more
    if items or n == 0:
        same(r, result.get, [x * x for x in items])
    else:
        outcome_or_lost(r, result.get)


def outcome_or_lost(r, get, *args):
    try:
        return outcome(r, get, *args)
    except Lost:
        return None, None


def pool_bad_item(r, pool, rand):
    """The first that fails is told, with its number."""
    n = rand.randint(4, 200)
    bad = rand.randrange(n)
    items = [0] * n
    items[bad] = 6
    result = accept(r, pool.map_async, mixed, items, rand.choice((None, 1, 7)))
    value, error = outcome_or_lost(r, result.get)
    if (value, error) == (None, None):
        return
    if not isinstance(error, ValueError) or error.args != (6,):
        raise AssertionError(f"{value!r:.100}, not a ValueError") from error
    if not r.strict and hasattr(error, "__notes__") and error.__notes__ != [f"item {bad} of the map"]:
        raise AssertionError(f"{error.__notes__} for item {bad}")


def pool_iterators(r, pool, rand):
    """All of it, or dropped midway; with a time limit for next() or without."""
    n = rand.randint(1, 200)
    verb = rand.choice(("imap", "imap_unordered"))
    iterator = accept(r, getattr(pool, verb), mixed, iter(range(n)), rand.choice((1, 1, 5)))
    stop = rand.choice((n, n, rand.randint(0, n)))
    got = failed = 0
    while got + failed < stop:
        try:
            _, error = outcome(r, iterator.next, rand.choice((None, 300)))
        except Lost:
            failed += 1
            continue
        if isinstance(error, StopIteration):
            return
        if error is not None and not isinstance(error, ValueError):
            raise error
        got += 1


def pool_ordered(r, pool, rand):
    """Keyword arguments, and values in order; of a pool that nobody disturbs."""
    if r.kills or r.may_end or r.strict:
        return
    n = rand.randint(1, 100)
    kwds = {"plus": rand.randint(0, 9), "times": 3}
    want = [together(x, **kwds) for x in range(n)]
    got = list(pool.istarmap(together, zip(range(n)), rand.choice((1, 4)), kwds=kwds))
    if got != want:
        raise AssertionError(f"{got}, not {want}")
    done = []
    got = pool.map(together, range(n), kwds=kwds, progress=lambda done_n, total: done.append((done_n, total)))
    if got != want or done[-1:] != [(n, n)]:
        raise AssertionError(f"{got}, not {want}, progress {done[-1:]}")


def pool_pids(r, pool, rand):
    """Who is there to be killed."""
    value, error = outcome_or_lost(r, accept(r, pool.map_async, work.pid, range(rand.randint(1, 12)), 1).get)
    if error is not None:
        raise error
    r.pids.update(value or ())


def pool_deaths(r, pool, rand):
    """An item that ends its worker, in a map and alone: it fails, and nothing else."""
    if not r.processes or r.retries:
        return
    same(r, accept(r, pool.apply_async, work.die, (1,)).get, auriga.WorkerDied)
    items = [0] * rand.randint(1, 30)
    items[rand.randrange(len(items))] = 3
    result = accept(r, pool.map_async, work.die_on_three, items, rand.choice((None, 1)))
    value, error = outcome_or_lost(r, result.get)
    if error is None and value is not None or error is not None and not isinstance(error, auriga.WorkerDied):
        raise AssertionError(f"{value!r:.100}, not WorkerDied") from error
    if error is not None and not r.kills and not r.strict and items[error.item] != 3:
        raise AssertionError(f"item {error.item} is blamed for another one")


def pool_timeouts(r, pool, rand):
    """An item that never ends, and one with a limit that it keeps."""
    if not r.processes or r.strict or (r.kills and r.retries):
        return
    same(r, accept(r, pool.apply_async, stuck, (1,), timeout=0.02, retries=0).get, auriga.ItemTimeout)
    same(r, accept(r, pool.apply_async, work.square, (3,), timeout=600).get, 9)
    items = [0] * rand.randint(0, 6) + [3] + [0] * rand.randint(0, 6)
    result = accept(r, pool.map_async, stuck_on_three, items, timeout=0.05, retries=0)
    _, error = outcome_or_lost(r, result.get)
    if error is not None and not isinstance(error, auriga.ItemTimeout):
        raise error


def pool_wait_inside(r, pool, rand):
    """Tasks of a thread pool that wait for others of it; a pool of processes made by a task of one."""
    if r.kind == "ThreadPool":
        def inner(x):
            return pool.apply_async(work.square, (x,)).get()

        n = rand.randint(1, 20)
        result = accept(r, pool.map_async, inner, range(n), 1)
        value, error = outcome_or_lost(r, result.get)
        if error is not None and not (r.may_end and isinstance(error, ValueError)):
            raise error
        if value is not None and value != [x * x for x in range(n)]:
            raise AssertionError(value)
    elif r.kind == "Pool" and not r.kills and not r.may_end and rand.random() < 0.3:
        same(r, pool.apply_async(work.squares_in_own_pool, (7,)).get, [x * x for x in range(8)])


kept = []  # views that outlive their pools, and what they have to be


def pool_large(r, pool, rand):
    size = rand.choice((65536, 300_000, 5_000_000))
    data = bytes([rand.randrange(256)]) * size
    value, error = outcome_or_lost(r, accept(r, pool.apply_async, work.same, (data,)).get)
    if error is not None or value is not None and value != data:
        raise AssertionError(f"{size} bytes came back as {value!r:.50}") from error
    value, error = outcome_or_lost(r, accept(r, pool.apply_async, work.memory, (size,)).get)
    if error is not None or value is not None and (len(value) != size or value[:1] != b"x"):
        raise AssertionError(f"{size} bytes came as {value!r:.50}") from error
    keep(value)
    del value


def keep(value, most=4):
    if value is not None:
        kept.append(value)
    while len(kept) > most:
        old = kept.pop(0)
        if bytes(old[-9:]) != b"x" * 9:
            raise AssertionError("a view has changed")


def unpicklable_things(r, submit, get):
    if r.processes:
        same(r, get(accept(r, submit, work.same, work.unpicklable())), Exception)
        same(r, get(accept(r, submit, work.unpicklable)), Exception)
        if not r.strict:
            same(r, get(accept(r, submit, work.make_unloadable)), RuntimeError)
            same(r, get(accept(r, submit, work.same, work.Unloadable())), RuntimeError)


def pool_unpicklable(r, pool, rand):
    unpicklable_things(r, lambda fn, *args: pool.apply_async(fn, args), lambda result: result.get)


def pool_bad_input(r, pool, rand):
    """An input that fails: it is the iterator's, and what came before is there."""
    def items():
        yield from (1, 2)
        raise KeyError("input")

    for verb in (pool.imap, pool.imap_unordered):
        iterator = accept(r, verb, work.square, items())
        try:
            for _ in range(4):
                _, error = outcome_or_lost(r, next, iterator)
                if error is not None and not isinstance(error, (KeyError, StopIteration)):
                    raise error
        finally:
            del iterator


# ---- of executors ----------------------------------------------------------------------------------------


def executor_calls(r, pool, rand):
    n = rand.randint(1, 60)
    futures = [accept(r, pool.submit, mixed, x) for x in range(n)]
    cancelled = {x for x in range(n) if rand.random() < 0.1 and futures[x].cancel()}
    for x in rand.sample(range(n), rand.randint(0, n)):
        want = concurrent.futures.CancelledError if x in cancelled else wanted(x)
        same(r, futures[x].result, want)


def executor_as_completed(r, pool, rand):
    n = rand.randint(1, 60)
    futures = {accept(r, pool.submit, work.square, x): x for x in range(n)}
    module = rand.choice((auriga, concurrent.futures))
    stop = rand.choice((n, rand.randint(0, n)))
    for future in itertools.islice(module.as_completed(futures), stop):
        same(r, future.result, futures[future] ** 2)
    done, left = module.wait(futures, return_when=rand.choice(("FIRST_COMPLETED", "ALL_COMPLETED")))
    if not done or len(done) + len(left) != n:
        raise AssertionError(f"{len(done)} done, {len(left)} not")


def executor_told(r, pool, rand):
    n = rand.randint(1, 40)
    told = []
    all_told = threading.Semaphore(0)

    def tell(future):
        told.append(future)
        all_told.release()

    for x in range(n):
        accept_one = accept(r, pool.submit, mixed, x)
        accept_one.add_done_callback(tell)
        del accept_one
    for _ in range(n):
        all_told.acquire()
    if len(set(map(id, told))) != n or not all(future.done() for future in told):
        raise AssertionError(f"told of {len(told)} of {n}")


def executor_map(r, pool, rand):
    n = rand.randint(0, 300)
    chunk = rand.choice((1, 1, rand.randint(2, 40)))
    results = accept(r, pool.map, pow, range(n), [2] * n, chunksize=chunk, timeout=rand.choice((None, 600)))
    stop = rand.choice((n, n, rand.randint(0, n)))
    for x, _ in zip(range(stop), itertools.repeat(None)):
        if not same(r, next, x * x, results):
            return  # it is at its end
    if stop == n:
        same(r, list, [], results)


def executor_async(r, pool, rand):
    if r.kills or r.may_end:
        return

    async def all_of(n):
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, work.square, x) for x in range(n)]
        return await asyncio.gather(*calls)

    n = rand.randint(1, 30)
    got = asyncio.run(all_of(n))
    if got != [x * x for x in range(n)]:
        raise AssertionError(got)


def executor_pids(r, pool, rand):
    for future in [accept(r, pool.submit, work.pid) for _ in range(rand.randint(1, 8))]:
        value, error = outcome_or_lost(r, future.result)
        if error is not None:
            raise error
        r.pids.update([value] if value else ())


def executor_deaths(r, pool, rand):
    if r.processes and not r.strict:
        futures = [accept(r, pool.submit, work.die_on_three, x) for x in range(6)]
        for x, future in enumerate(futures):
            same(r, future.result, auriga.WorkerDied if x == 3 else x)


def executor_wait_inside(r, pool, rand):
    if r.kind == "ThreadPoolExecutor" and not r.may_end:
        n = rand.randint(1, 20)
        got = list(pool.map(lambda x: pool.submit(work.square, x).result(), range(n)))
        if got != [x * x for x in range(n)]:
            raise AssertionError(got)


def executor_large(r, pool, rand):
    size = rand.choice((65536, 5_000_000, 40_000_000))
    data = bytearray(b"x" * size)
    value, error = outcome_or_lost(r, accept(r, pool.submit, work.same, memoryview(data)).result)
    if error is not None or value is not None and (len(value) != size or value[-1:] != b"x"):
        raise AssertionError(f"{size} bytes came back as {value!r:.50}") from error
    keep(value)


def executor_unpicklable(r, pool, rand):
    unpicklable_things(r, pool.submit, lambda future: future.result)


POOL = (pool_calls, pool_calls, pool_told, pool_map, pool_map, pool_bad_item, pool_iterators, pool_iterators,
        pool_ordered, pool_pids, pool_pids, pool_deaths, pool_timeouts, pool_wait_inside, pool_large,
        pool_unpicklable, pool_bad_input)
EXECUTOR = (executor_calls, executor_calls, executor_as_completed, executor_told, executor_map, executor_map,
            executor_async, executor_pids, executor_deaths, executor_wait_inside, executor_large,
            executor_unpicklable)


def steps_for(r):
    return EXECUTOR if r.executor else POOL
