from concurrent.futures import BrokenExecutor as BrokenExecutor
from concurrent.futures import CancelledError as CancelledError
from concurrent.futures import TimeoutError as _FutureTimeout
from concurrent.futures.process import BrokenProcessPool as BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool as BrokenThreadPool
from multiprocessing import TimeoutError as _PoolTimeout
from typing import Any

class AurigaError(RuntimeError):
    report: dict[str, Any]

class DeadlockError(AurigaError): ...
class TooDeepError(AurigaError): ...
class OutOfResources(BlockingIOError, AurigaError): ...
class PoolClosed(AurigaError): ...

class WorkerDied(BrokenProcessPool):
    report: dict[str, Any]
    item: int | None
    @property
    def pid(self) -> int: ...
    @property
    def signal(self) -> int | None: ...
    @property
    def exit_status(self) -> int | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def peak_rss(self) -> int: ...

class TimeoutError(_PoolTimeout, _FutureTimeout): ...

class ItemTimeout(_FutureTimeout):
    report: dict[str, Any]
    item: int | None
