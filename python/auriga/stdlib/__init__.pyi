from concurrent.futures import ALL_COMPLETED as ALL_COMPLETED
from concurrent.futures import FIRST_COMPLETED as FIRST_COMPLETED
from concurrent.futures import FIRST_EXCEPTION as FIRST_EXCEPTION
from concurrent.futures import BrokenExecutor as BrokenExecutor
from concurrent.futures import CancelledError as CancelledError
from concurrent.futures import Executor as Executor
from concurrent.futures import InvalidStateError as InvalidStateError
from concurrent.futures import TimeoutError as TimeoutError
from concurrent.futures.process import BrokenProcessPool as BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool as BrokenThreadPool
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
    cpu_count as cpu_count,
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

from .. import RemoteTraceback as RemoteTraceback
from .._executor import ProcessPoolExecutor as ProcessPoolExecutor
from .._executor import ThreadPoolExecutor as ThreadPoolExecutor
from .._futures import Future as Future
from .._futures import as_completed as as_completed
from .._futures import wait as wait
from .._pool import AsyncResult as ApplyResult
from .._pool import AsyncResult as AsyncResult
from .._pool import IMapIterator as IMapIterator
from .._pool import IMapUnorderedIterator as IMapUnorderedIterator
from .._pool import MapResult as MapResult
from .._pool import Pool as Pool
from .._pool import ThreadPool as ThreadPool
from .._starts import get_context as get_context
