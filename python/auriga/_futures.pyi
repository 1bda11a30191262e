from collections.abc import Iterable, Iterator
from concurrent.futures import Future as _StandardFuture
from concurrent.futures._base import DoneAndNotDoneFutures
from types import GenericAlias
from typing import Any, TypeVar

_T = TypeVar("_T")
_F = TypeVar("_F", bound=_StandardFuture[Any])

class Future(_StandardFuture[_T]):
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...

def wait(
    fs: Iterable[_StandardFuture[_T]], timeout: float | None = None, return_when: str = ...
) -> DoneAndNotDoneFutures[_T]: ...
def as_completed(fs: Iterable[_F], timeout: float | None = None) -> Iterator[_F]: ...
