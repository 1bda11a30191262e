"""The backend for joblib."""

import os
import unittest

import auriga
import work
from support import Case

try:
    import joblib

    import auriga.joblib
except ImportError:
    joblib = None


def nested(n):
    calls = (joblib.delayed(work.square)(i) for i in range(n))
    return joblib.Parallel(n_jobs=2)(calls), type(joblib.parallel.get_active_backend()[0]).__name__


@unittest.skipUnless(joblib, "there is no joblib for this interpreter")
class Joblib(Case):
    def setUp(self):
        auriga.joblib.register()

    def test_maps(self):
        with joblib.parallel_backend("auriga", n_jobs=2):
            got = joblib.Parallel()(joblib.delayed(work.square)(i) for i in range(30))
        self.assertEqual(got, [i * i for i in range(30)])
        with joblib.parallel_backend("auriga", n_jobs=2):
            calls = (joblib.delayed(work.fail)(i) for i in range(3))
            self.assertRaises(ValueError, joblib.Parallel(), calls)

    def test_ends_what_it_gave_up(self):
        path = os.path.join(self.folder(), "open")
        os.mkfifo(path)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        calls = [joblib.delayed(work.hold_open)(path)] * 2
        with joblib.parallel_backend("auriga", n_jobs=2):
            self.assertRaises(TimeoutError, joblib.Parallel(timeout=0.1), calls)
        os.set_blocking(fd, True)
        self.assertEqual(os.read(fd, 1), b"")  # the end: nobody is left who has it open

    def test_takes_functions_without_a_name(self):
        try:
            import cloudpickle  # noqa: F401
        except ImportError:
            self.skipTest("there is no cloudpickle for this interpreter")
        with joblib.Parallel(n_jobs=2, backend="auriga") as parallel:
            calls = (joblib.delayed(lambda x, y: x + y)(i, y=1) for i in range(20))
            self.assertEqual(parallel(calls), list(range(1, 21)))
            calls = (joblib.delayed(work.fail_on(7))(i) for i in range(5))
            self.assertEqual(parallel(calls), list(range(5)))

    def test_one_job_runs_here(self):
        calls = [joblib.delayed(os.getpid)()] * 2
        got = joblib.Parallel(n_jobs=1, backend="auriga")(calls)
        self.assertEqual(got, [os.getpid()] * 2)
        with self.assertRaises(ValueError):
            joblib.Parallel(n_jobs=0, backend="auriga")(calls)

    def test_what_a_call_asks_for_instead(self):
        calls = [joblib.delayed(os.getpid)()] * 2
        with joblib.parallel_backend("auriga", n_jobs=2):
            self.assertNotIn(os.getpid(), joblib.Parallel()(calls))
            self.assertEqual(joblib.Parallel(require="sharedmem")(calls), [os.getpid()] * 2)

    def test_calls_in_calls(self):
        with joblib.parallel_backend("auriga", n_jobs=2):
            got = joblib.Parallel(batch_size=1)(joblib.delayed(nested)(n) for n in range(4))
        want = [([i * i for i in range(n)], "ThreadingBackend") for n in range(4)]
        self.assertEqual(got, want)

    def test_threads_of_libraries(self):
        calls = [joblib.delayed(os.getenv)("OMP_NUM_THREADS")] * 4
        with joblib.parallel_backend("auriga", n_jobs=2, inner_max_num_threads=3):
            self.assertEqual(joblib.Parallel()(calls), ["3"] * 4)
        before = os.environ.pop("OMP_NUM_THREADS", None)
        if before is not None:
            self.addCleanup(os.environ.__setitem__, "OMP_NUM_THREADS", before)
        got = joblib.Parallel(n_jobs=2, backend="auriga")(calls)
        self.assertEqual(got, [str(max(1, joblib.cpu_count() // 2))] * 4)

    def test_an_array_that_is_large(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("there is no numpy for this interpreter")
        data = numpy.arange(300_000.0)
        with joblib.parallel_backend("auriga", n_jobs=2):
            calls = [joblib.delayed(work.same)(data[n:]) for n in range(3)]
            for n, got in enumerate(joblib.Parallel(max_nbytes=1000)(calls)):
                self.assertTrue((got == data[n:]).all())

    def test_a_dead_worker(self):
        with joblib.parallel_backend("auriga", n_jobs=2):
            calls = (joblib.delayed(work.die_on_three)(i) for i in range(6))
            self.assertRaises(auriga.WorkerDied, joblib.Parallel(batch_size=1), calls)
            calls = (joblib.delayed(work.square)(i) for i in range(6))
            self.assertEqual(joblib.Parallel()(calls), [i * i for i in range(6)])


if __name__ == "__main__":
    unittest.main()
