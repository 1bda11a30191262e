from concurrent.futures import ALL_COMPLETED as ALL_COMPLETED
from concurrent.futures import FIRST_COMPLETED as FIRST_COMPLETED
from concurrent.futures import FIRST_EXCEPTION as FIRST_EXCEPTION
from concurrent.futures import Executor as Executor
from concurrent.futures import InvalidStateError as InvalidStateError
from multiprocessing import (
    Array as Array,
    AuthenticationError as AuthenticationError,
    Barrier as Barrier,
    BoundedSemaphore as BoundedSemaphore,
    BufferTooShort as BufferTooShort,
    Condition as Condition,
    Event as Event,
    JoinableQueue as JoinableQueue,
    Lock as Lock,
    Manager as Manager,
    Pipe as Pipe,
    Process as Process,
    ProcessError as ProcessError,
    Queue as Queue,
    RLock as RLock,
    RawArray as RawArray,
    RawValue as RawValue,
    Semaphore as Semaphore,
    SimpleQueue as SimpleQueue,
    Value as Value,
    active_children as active_children,
    allow_connection_pickling as allow_connection_pickling,
    current_process as current_process,
    freeze_support as freeze_support,
    get_all_start_methods as get_all_start_methods,
    get_logger as get_logger,
    get_start_method as get_start_method,
    log_to_stderr as log_to_stderr,
    parent_process as parent_process,
    set_executable as set_executable,
    set_forkserver_preload as set_forkserver_preload,
    set_start_method as set_start_method,
)

from ._auto import AutoPool as AutoPool
from ._errors import AurigaError as AurigaError
from ._errors import BrokenExecutor as BrokenExecutor
from ._errors import BrokenProcessPool as BrokenProcessPool
from ._errors import BrokenThreadPool as BrokenThreadPool
from ._errors import CancelledError as CancelledError
from ._errors import DeadlockError as DeadlockError
from ._errors import ItemTimeout as ItemTimeout
from ._errors import OutOfResources as OutOfResources
from ._errors import PoolClosed as PoolClosed
from ._errors import TimeoutError as TimeoutError
from ._errors import TooDeepError as TooDeepError
from ._errors import WorkerDied as WorkerDied
from ._executor import ProcessPoolExecutor as ProcessPoolExecutor
from ._executor import ThreadPoolExecutor as ThreadPoolExecutor
from ._futures import Future as Future
from ._futures import as_completed as as_completed
from ._futures import wait as wait
from ._pool import AsyncResult as AsyncResult
from ._pool import IMapIterator as IMapIterator
from ._pool import MapResult as MapResult
from ._pool import Pool as Pool
from ._pool import ThreadPool as ThreadPool
from ._starts import get_context as get_context

class RemoteTraceback(Exception):
    tb: str

__version__: str

def cpu_count() -> int: ...
def process_cpu_count() -> int: ...
