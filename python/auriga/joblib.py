"""A backend for joblib: ``joblib.parallel_backend("auriga")``.

    import auriga.joblib, joblib

    auriga.joblib.register()
    with joblib.parallel_backend("auriga", n_jobs=4):
        joblib.Parallel()(joblib.delayed(f)(x) for x in data)
"""

from joblib import register_parallel_backend
from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from . import _helpers
from ._executor import ProcessPoolExecutor

__all__ = ["AurigaBackend", "register"]


class _Result:
    """What joblib asks of the outcome of a batch."""

    def __init__(self, future):
        self.get = future.result


def _portable(batch):
    """joblib's batch of calls; its functions without a name go by value, as with its own workers."""
    items = getattr(batch, "items", None)
    if isinstance(items, list):
        known = {}
        for fn, *_ in items:
            if id(fn) not in known:
                known[id(fn)] = _helpers.portable(fn)
        batch.items = [(known[id(fn)], *rest) for fn, *rest in items]
    return batch


class AurigaBackend(AutoBatchingMixin, ParallelBackendBase):
    """Batches of calls on worker processes of this package."""

    supports_timeout = True
    uses_threads = False
    supports_sharedmem = False
    supports_inner_max_num_threads = True

    def effective_n_jobs(self, n_jobs):
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 has no meaning")
        if n_jobs is None:
            return 1
        from . import process_cpu_count

        return max(1, process_cpu_count() + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def configure(self, n_jobs=1, parallel=None, **backend_args):
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        limits = self._prepare_worker_env(n_jobs)
        self._executor = ProcessPoolExecutor(
            n_jobs, initializer=_helpers.limit_threads, initargs=(limits,)
        )
        return n_jobs

    def apply_async(self, func, callback=None):
        future = self._executor.submit(_portable(func))
        if callback is not None:
            future.add_done_callback(lambda future: callback(_Result(future)))
        return _Result(future)

    submit = apply_async

    def terminate(self):
        self._executor.shutdown(wait=False, cancel_futures=True)

    def abort_everything(self, ensure_ready=True):
        self.terminate()
        self._executor._end_now()  # nobody wants what still runs: after a timeout, that may be for long
        if ensure_ready:
            self.configure(self.parallel.n_jobs, self.parallel)


def register(make_default=False):
    """Makes the backend known to joblib under the name "auriga"."""
    register_parallel_backend("auriga", AurigaBackend, make_default)
