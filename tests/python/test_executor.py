"""Executors and futures, and how they get on with the standard library's."""

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import threading
import unittest
import weakref

import auriga
import auriga.stdlib
import work
from auriga import _executor
from support import Case


class Mark:
    pass


class Executors:
    def test_submit_and_map(self):
        with self.make(2) as executor:
            self.assertEqual(executor.submit(work.add, 1, y=4).result(), 5)
            self.assertEqual(list(executor.map(work.add, [1, 2, 3], [4, 5, 6])), [5, 7, 9])
            self.assertEqual(
                list(executor.map(work.square, range(20), chunksize=6)), [x * x for x in range(20)]
            )
            self.assertEqual(list(executor.map(work.square, range(9), buffersize=2))[-1], 64)

    def test_a_call_that_ends_while_a_callback_is_added(self):
        called = []

        class Garbage:
            def __init__(self):
                self.me = self

            def __del__(self):
                open(go, "w").close()
                future.result()

        with self.make(1) as executor:
            go = os.path.join(self.folder(), "go")
            os.mkfifo(go)
            future = executor.submit(work.wait_for_file, go)
            add, fn = future._on_done, called.append
            before = gc.get_threshold()
            gc.collect()
            gc.disable()
            Garbage()
            try:
                gc.set_threshold(1)
                gc.enable()  # the next object may collect what is garbage
                add(fn)
            finally:
                gc.set_threshold(*before)
            gc.collect()
        self.assertEqual(called, [future])

    def test_chunks_of_an_executor_that_was_shut_down(self):
        sizes = [200_000] * 12  # of results: too large for the room that a first chunk is given
        for after in ("with", "wait", "no wait"):
            with self.subTest(after):
                executor = self.make(2)
                results = executor.map(work.big, sizes, chunksize=6)
                if after == "with":
                    with executor:
                        pass
                else:
                    executor.shutdown(wait=after == "wait")
                self.assertEqual([len(one) for one in results], sizes)
                self.assertRaises(RuntimeError, executor.submit, work.pid)

    def test_without_a_shutdown_nothing_is_kept(self):
        mark = Mark()
        kept = weakref.ref(mark)
        executor = self.make(2, initializer=work.store, initargs=(mark,))
        self.assertEqual(executor.submit(work.add, 1).result(), 3)
        del executor, mark
        gc.collect()
        work.store(None)  # threads have it there
        while issubclass(self.make, auriga.ThreadPoolExecutor) and kept() is not None:
            with auriga.ThreadPool(1) as pool:  # the next pool lets go what threads had that have ended
                pool.apply(gc.collect)
        self.assertIsNone(kept())

    def test_is_standard(self):
        executor = self.make(1)
        self.assertIsInstance(executor, concurrent.futures.Executor)
        with executor:
            future = executor.submit(work.add, 1)
            self.assertIsInstance(future, concurrent.futures.Future)
            self.assertIs(type(future), auriga.Future)
            done, left = concurrent.futures.wait([future])
            self.assertEqual((done, left), ({future}, set()))
            futures = [executor.submit(work.square, i) for i in range(5)]
            got = sorted(f.result() for f in concurrent.futures.as_completed(futures))
            self.assertEqual(got, [0, 1, 4, 9, 16])

    def test_wait_and_as_completed(self):
        with self.make(2) as executor, self.gate() as gate:
            slow = executor.submit(work.wait_for_file, gate)
            quick = executor.submit(work.add, 1)
            bad = executor.submit(work.fail, 1)
            done, left = auriga.wait([slow, quick], return_when=auriga.FIRST_COMPLETED)
            self.assertEqual((done, left), ({quick}, {slow}))
            done, left = auriga.wait([slow, bad], return_when=auriga.FIRST_EXCEPTION)
            self.assertEqual((done, left), ({bad}, {slow}))
            done, left = auriga.wait([slow, bad], timeout=0.01)
            self.assertEqual(left, {slow})
            with self.assertRaises(concurrent.futures.TimeoutError):
                list(auriga.as_completed([slow], timeout=0.01))
            self.assertRaises(concurrent.futures.TimeoutError, slow.result, 0.01)
            self.assertRaises(auriga.TimeoutError, slow.result, 0.01)
            self.open_gate(gate)
            order = [f.result() for f in auriga.as_completed([slow, quick])]
            self.assertEqual(set(order), {gate, 3})
            own = auriga.Future()  # with one that nobody runs
            own.set_result(5)
            done, _ = auriga.wait([own, executor.submit(work.add, 1)])
            self.assertEqual({f.result() for f in done}, {5, 3})

    def test_exceptions_and_callbacks(self):
        with self.make(1) as executor:
            future = executor.submit(work.fail, 3)
            self.assertIsInstance(future.exception(), ValueError)
            self.assertRaises(ValueError, future.result)
            told = []
            event = threading.Event()
            future = executor.submit(work.add, 1)
            future.add_done_callback(lambda f: (told.append(f.result()), event.set()))
            event.wait()
            future.add_done_callback(lambda f: told.append(f.done()))
            self.assertEqual(told, [3, True])
            self.assertIn("state=finished returned int", repr(future))
            with self.assertLogs("concurrent.futures", "ERROR"):
                future.add_done_callback(lambda f: 1 / 0)

    def test_cancel(self):
        with self.make(1) as executor, self.gate() as gate:
            first = executor.submit(work.wait_for_file, gate)
            self.await_begun(gate)
            second = executor.submit(work.add, 1)
            told = []
            second.add_done_callback(told.append)
            self.assertTrue(second.cancel())
            self.assertTrue(second.cancelled() and second.done())
            self.assertEqual(told, [second])
            self.assertRaises(concurrent.futures.CancelledError, second.result)
            self.open_gate(gate)
            self.assertEqual(first.result(), gate)
            self.assertFalse(first.cancel())

    def test_shutdown(self):
        with self.make(1) as executor, self.gate() as gate:
            first = executor.submit(work.wait_for_file, gate)
            self.await_begun(gate)
            rest = [executor.submit(work.add, i) for i in range(20)]
            executor.shutdown(wait=False, cancel_futures=True)
            self.assertRaises(RuntimeError, executor.submit, work.add, 1)
            self.open_gate(gate)
            self.assertEqual(first.result(), gate)
            auriga.wait(rest)
        self.assertTrue(sum(f.cancelled() for f in rest) >= 18)

    def test_asyncio(self):
        async def main():
            loop = asyncio.get_running_loop()
            with self.make(2) as executor:
                one = await loop.run_in_executor(executor, work.add, 1)
                two = await asyncio.wrap_future(executor.submit(work.add, 2))
                three = await asyncio.gather(
                    *(loop.run_in_executor(executor, work.square, i) for i in range(5))
                )
                with self.assertRaises(ValueError):
                    await loop.run_in_executor(executor, work.fail, 1)
            return one, two, three

        self.assertEqual(asyncio.run(main()), (3, 4, [0, 1, 4, 9, 16]))

    def test_failing_initializer(self):
        with self.make(1, initializer=work.fail, initargs=(1,)) as executor:
            with self.assertRaises(concurrent.futures.BrokenExecutor):
                with open(os.devnull, "w"):
                    executor.submit(work.add, 1).result()

    def test_bad_input(self):
        self.assertRaises(ValueError, self.make, 0)
        self.assertRaises(ValueError, self.make, 4097)
        self.assertRaises(TypeError, self.make, 1, initializer=3)


class Forgotten:
    def test_bad_chunks(self):
        with self.make(1) as executor:
            self.assertRaises(ValueError, executor.map, work.add, [1], chunksize=0)

    def test_who_looks_at_a_chunk_does_not_close_the_pool_on_it(self):
        with self.make(1) as executor:
            executor.submit(work.add, 1).result()
            pool, sizes = executor._core, [200_000] * 6
            chunk = pool.submit_batch(work.big, sizes, 0, len(sizes), 0, 0)
            self.assertFalse(pool.has_ended())
            self.assertFalse(pool.join(0))
            chunk.wait()
            self.assertEqual([len(one) for one in chunk.get()], sizes)

    def test_work_goes_on_and_nothing_is_kept(self):
        mark = Mark()
        kept = weakref.ref(mark)
        with self.gate() as gate:
            executor = self.make(2, initializer=work.store, initargs=(mark,))
            for _ in range(3):
                executor.submit(work.wait_for_file, gate)
            del executor, mark
            gc.collect()
            self.assertIsNone(kept())
            self.assertFalse(all(pool.has_ended() for pool in _executor._forgotten))
        while _executor._forgotten:  # until its last process has ended
            with self.make(1) as executor:  # the next one looks at those that were forgotten
                executor.submit(work.add, 1).result()


class Processes(Executors, Forgotten, Case):
    make = auriga.ProcessPoolExecutor

    def test_a_death_costs_one_call(self):
        with self.make(2) as executor:
            futures = [executor.submit(work.die_on_three, i) for i in range(20)]
            got = [f.exception() or f.result() for f in futures]
            self.assertIsInstance(got[3], auriga.WorkerDied)
            self.assertIsInstance(got[3], concurrent.futures.process.BrokenProcessPool)
            del got[3], futures
            self.assertEqual(got, [i for i in range(20) if i != 3])
            self.assertEqual(executor.submit(work.add, 1).result(), 3)

    def test_arguments_that_cannot_be_loaded(self):
        with self.make(1) as executor:
            with self.assertRaisesRegex(RuntimeError, "not here"):
                executor.submit(work.same, work.Unloadable()).result()
            with self.assertRaisesRegex(RuntimeError, "not here"):
                executor.submit(work.make_unloadable).result()
            self.assertEqual(executor.submit(work.add, 1).result(), 3)


class StandardProcesses(Executors, Forgotten, Case):
    make = auriga.stdlib.ProcessPoolExecutor

    def test_a_death_breaks_it(self):
        with self.make(2) as executor, self.gate() as gate:
            held = executor.submit(work.wait_for_file, gate)
            bad = executor.submit(work.die, 1)
            broken = concurrent.futures.process.BrokenProcessPool
            self.assertRaises(broken, bad.result)
            self.assertRaises(broken, held.result)
            self.assertRaises(broken, executor.submit, work.add, 1)

    def test_max_tasks_per_child(self):
        fork = multiprocessing.get_context("fork")
        self.assertRaises(ValueError, self.make, 1, fork, max_tasks_per_child=1)
        with self.make(1, max_tasks_per_child=2) as executor:  # spawn
            pids = list(executor.map(work.pid, range(6)))
        self.assertEqual(len(set(pids)), 3)


class InOrder:
    def test_order(self):
        """One worker is a queue, also for what comes while it works."""
        with self.make(1) as executor:
            order = []
            results = executor.map(order.append, range(500))
            for i in range(500, 1000):
                executor.submit(order.append, i)
            self.assertEqual(list(results), [None] * 500)
        self.assertEqual(order, list(range(1000)))

    def test_order_beside_a_task_that_waits(self):
        """Two workers are held while tasks are submitted; then one is, by the first of these."""
        begun, go = threading.Semaphore(0), [threading.Event() for _ in range(3)]

        def hold(number):
            begun.release()
            go[number].wait()

        order = []
        with self.make(2) as executor:
            for number in range(2):
                executor.submit(hold, number)
            for _ in range(2):
                begun.acquire()
            executor.submit(hold, 2)
            futures = [executor.submit(order.append, i) for i in range(200)]
            go[0].set()
            go[1].set()
            auriga.wait(futures)
            go[2].set()
        self.assertEqual(order, list(range(200)))

    def test_more_tasks_wait_than_threads_stand_in(self):
        with self.make(2) as executor:
            begun, go = threading.Event(), threading.Event()
            executor.submit(lambda: (begun.set(), go.wait()))
            executor.submit(go.wait)
            begun.wait()
            futures = []
            results = executor.map(lambda i: futures[i].result(), range(1000))
            futures += [executor.submit(work.square, i) for i in range(1000)]
            go.set()
            self.assertEqual(list(results), [i * i for i in range(1000)])


class Threads(Executors, InOrder, Case):
    make = auriga.ThreadPoolExecutor

    def test_names(self):
        with self.make(1, thread_name_prefix="mine") as executor:
            name = executor.submit(lambda: threading.current_thread().name).result()
        self.assertEqual(name, "mine_0")


class StandardThreads(Executors, InOrder, Case):
    make = auriga.stdlib.ThreadPoolExecutor




if __name__ == "__main__":
    unittest.main()
