"""What programs read of a pool's workers: pool._pool, executor._processes, executor._threads."""

import gc
import multiprocessing
import os
import signal
import threading
import unittest
from multiprocessing.connection import wait

import auriga
import auriga.stdlib
import work
from support import Case

METHODS = "fork", "forkserver", "spawn"


class Processes(Case):
    def test_of_a_pool(self):
        for method in METHODS:
            with self.subTest(method=method):
                pool = auriga.Pool(3, context=multiprocessing.get_context(method))
                workers = pool._pool
                self.assertEqual([one.name[-1] for one in workers], ["1", "2", "3"])
                self.assertEqual(len({one.pid for one in workers}), 3)
                self.assertEqual(pool._pool, workers)
                for one in workers:
                    self.assertTrue(one.is_alive())
                    self.assertTrue(one.daemon)
                    self.assertIsNone(one.exitcode)
                    self.assertEqual(one.ident, one.pid)
                    one.join(0)
                    self.assertRegex(repr(one), "PoolWorker-.*started daemon")
                self.assertIn(pool.apply(os.getpid), [one.pid for one in workers])
                pool.close()
                pool.join()
                wait([one.sentinel for one in workers])
                for one in workers:
                    one.join()
                    self.assertFalse(one.is_alive())
                    one.kill()  # nothing any more
                    self.assertEqual(one.exitcode, 0)
                self.assertEqual(pool._pool, [])

    def test_how_they_end(self):
        for method in METHODS:
            with self.subTest(method=method), auriga.Pool(1, context=auriga.get_context(method)) as pool:
                for end, code in ((os._exit, 0), (os._exit, 3), (os.abort, -signal.SIGABRT)):
                    one = pool._pool[0]
                    with self.assertRaises(auriga.WorkerDied):
                        pool.apply(end, () if end is os.abort else (code,))
                    one.join()
                    self.assertEqual(one.exitcode, code)
                one = pool._pool[0]
                os.kill(one.pid, signal.SIGKILL)
                one.join()
                self.assertEqual(one.exitcode, -signal.SIGKILL)
        unknown = auriga.Pool(1)
        one = unknown._pool[0]
        unknown.terminate()
        unknown.join()
        del unknown
        gc.collect()
        self.assertEqual(one.exitcode, 255)

    def test_how_they_end_with_their_executor(self):
        executor = auriga.stdlib.ProcessPoolExecutor(1)
        pid = executor.submit(os.getpid).result()
        one = executor._processes[pid]
        self.assertIsInstance(executor.submit(os._exit, 7).exception(), auriga.BrokenProcessPool)
        one.join()
        self.assertEqual(one.exitcode, 7)
        executor.shutdown()

    def test_one_that_is_ended(self):
        with auriga.Pool(1) as pool, self.gate() as gate:
            result = pool.apply_async(work.wait_for_file, (gate,))
            self.await_begun(gate)
            first = pool._pool[0]
            first.terminate()
            first.join()
            self.assertEqual(first.exitcode, -signal.SIGTERM)
            with self.assertRaises(auriga.WorkerDied) as caught:
                result.get()
            self.assertEqual(caught.exception.pid, first.pid)
            while pool._pool == [first]:  # until the pool knows
                pass
            pool._repopulate_pool()
            self.assertEqual([one.pid for one in pool._pool], [pool.apply(os.getpid)])

    def test_of_an_executor(self):
        for kind in (auriga.ProcessPoolExecutor, auriga.stdlib.ProcessPoolExecutor):
            with kind(2) as executor:
                self.assertEqual(executor._processes, {})
                self.assertEqual(len(executor._pending_work_items), 0)
                pid = executor.submit(os.getpid).result()
                workers = executor._processes
                self.assertEqual((len(workers), workers[pid].pid), (2, pid))
                self.assertFalse(workers[pid].daemon)
                with self.gate() as gate:
                    waiting = executor.submit(work.wait_for_file, gate)
                    self.assertEqual(len(executor._pending_work_items), 1)
                waiting.result()
            self.assertIsNone(executor._processes)
            for one in workers.values():
                one.join()

    def test_a_broken_executor(self):
        with auriga.stdlib.ProcessPoolExecutor(2) as executor, self.gate() as gate:
            waiting = executor.submit(work.wait_for_file, gate)
            next(iter(executor._processes.values())).kill()
            self.assertIs(type(waiting.exception()), auriga.BrokenProcessPool)

    def test_ending_all(self):
        for kind in (auriga.ProcessPoolExecutor, auriga.stdlib.ProcessPoolExecutor):
            for how in ("terminate_workers", "kill_workers"):
                with self.subTest(kind=kind, how=how), self.gate() as gate:
                    executor = kind(1)
                    getattr(executor, how)()  # nobody is there
                    self.assertRaises(RuntimeError, executor.submit, abs, 1)
                    executor = kind(1)
                    futures = [executor.submit(work.wait_for_file, gate) for _ in range(9)]
                    self.await_begun(gate)
                    workers = list(executor._processes.values())
                    getattr(executor, how)()
                    self.assertIsInstance(futures[0].exception(), auriga.BrokenProcessPool)
                    self.assertTrue(futures[-1].cancelled())
                    self.assertTrue(all(future.done() for future in auriga.as_completed(futures)))
                    self.assertRaises(auriga.BrokenProcessPool, executor.submit, abs, 1)
                    for one in workers:
                        one.join()
                    executor.shutdown()


class Threads(Case):
    def test_of_a_pool(self):
        with auriga.ThreadPool(3) as pool:
            workers = pool._pool
            self.assertEqual([one.name[-2:] for one in workers], ["_0", "_1", "_2"])
            self.assertEqual(pool._pool, workers)
            for one in workers:
                self.assertTrue(one.is_alive() and one.daemon)
            self.assertIn(pool.apply(threading.get_ident), [one.ident for one in workers])
            self.assertIn(pool.apply(threading.get_native_id), [one.native_id for one in workers])
        pool.join()
        for one in workers:
            one.join()
            self.assertFalse(one.is_alive())

    def test_of_an_executor(self):
        with auriga.ThreadPoolExecutor(2, "mine") as executor:
            self.assertEqual((executor._threads, executor._work_queue.qsize()), (set(), 0))
            executor.submit(abs, -1).result()
            workers = executor._threads
            self.assertEqual(sorted(one.name for one in workers), ["mine_0", "mine_1"])
            self.assertEqual(executor._threads, workers)
            with self.gate() as gate:
                futures = [executor.submit(work.wait_for_file, gate) for _ in range(5)]
                for _ in range(2):
                    self.await_begun(gate)
                self.assertEqual(executor._work_queue.qsize(), 3)
                self.assertFalse(executor._work_queue.empty())
            auriga.wait(futures)
            self.assertTrue(executor._work_queue.empty())
        for one in workers:
            one.join()
        self.assertEqual(executor._threads, set())

    def test_those_of_a_pool_whose_initializer_fails(self):
        executor = auriga.stdlib.ThreadPoolExecutor(1, initializer=work.fail, initargs=(1,))
        with self.assertLogs("concurrent.futures"):
            self.assertIsInstance(executor.submit(abs, 1).exception(), auriga.BrokenThreadPool)
        for one in executor._threads:
            one.join()


class Unfinished(Case):
    def test_calls(self):
        for kind in (auriga.Pool, auriga.ThreadPool):
            with kind(1) as pool:
                with self.gate() as gate:
                    results = [pool.apply_async(work.wait_for_file, (gate,)) for _ in range(3)]
                    self.assertEqual(len(pool._cache), 3)
                for result in results:
                    result.wait()
                while pool._cache:  # the last one counts as ended a moment after it has a result
                    pass


if __name__ == "__main__":
    unittest.main()
