import multiprocessing.pool
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import GenericAlias, TracebackType
from typing import Any, Generic, TypeVar, overload

from typing_extensions import Self, TypeAlias

_S = TypeVar("_S")
_T = TypeVar("_T")
_Progress: TypeAlias = bool | Callable[[int, int | None], object] | None

class AsyncResult(Generic[_T]):
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def get(self, timeout: float | None = None) -> _T: ...
    def wait(self, timeout: float | None = None) -> None: ...
    def ready(self) -> bool: ...
    def successful(self) -> bool: ...

class MapResult(AsyncResult[list[_T]]): ...

class IMapIterator(Iterator[_T]):
    def __iter__(self) -> Self: ...
    def __next__(self, timeout: float | None = None) -> _T: ...
    def next(self, timeout: float | None = None) -> _T: ...

class IMapUnorderedIterator(IMapIterator[_T]): ...

# As isinstance() has it; in fact a class of its own, whose results are its own, too.
class Pool(multiprocessing.pool.Pool):
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: BaseContext | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        memory_max: int = 0,
        contextvars: bool | Iterable[ContextVar[Any]] = True,
        views: bool = False,
    ) -> None: ...
    @staticmethod
    def Process(ctx: BaseContext, *args: Any, **kwds: Any) -> BaseProcess: ...
    def apply(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        *,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> _T: ...
    def apply_async(  # type: ignore[override]
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[_T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> AsyncResult[_T]: ...
    @overload
    def map(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = None,
        *,
        kwds: None = None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
    ) -> list[_T]: ...
    @overload
    def map(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        kwds: Mapping[str, Any] | None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
    ) -> list[_T]: ...
    def starmap(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
    ) -> list[_T]: ...
    @overload  # type: ignore[override]
    def map_async(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = None,
        callback: Callable[[list[_T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        kwds: None = None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
    ) -> MapResult[_T]: ...
    @overload
    def map_async(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[_T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        kwds: Mapping[str, Any] | None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
    ) -> MapResult[_T]: ...
    def starmap_async(  # type: ignore[override]
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[_T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
    ) -> MapResult[_T]: ...
    @overload  # type: ignore[override]
    def imap(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int = 1,
        *,
        kwds: None = None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
        ahead_bytes: int = ...,
    ) -> IMapIterator[_T]: ...
    @overload
    def imap(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        kwds: Mapping[str, Any] | None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
        ahead_bytes: int = ...,
    ) -> IMapIterator[_T]: ...
    @overload  # type: ignore[override]
    def imap_unordered(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int = 1,
        *,
        kwds: None = None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
        ahead_bytes: int = ...,
    ) -> IMapUnorderedIterator[_T]: ...
    @overload
    def imap_unordered(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        kwds: Mapping[str, Any] | None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
        ahead_bytes: int = ...,
    ) -> IMapUnorderedIterator[_T]: ...
    def istarmap(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int = 1,
        *,
        kwds: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
        ahead_bytes: int = ...,
    ) -> IMapIterator[_T]: ...
    def istarmap_unordered(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int = 1,
        *,
        kwds: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        progress: _Progress = None,
        ahead_bytes: int = ...,
    ) -> IMapUnorderedIterator[_T]: ...
    def close(self) -> None: ...
    def terminate(self) -> None: ...
    def join(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None: ...

class ThreadPool(Pool, multiprocessing.pool.ThreadPool):
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None: ...
