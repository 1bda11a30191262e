from collections.abc import Iterable, Iterator
from concurrent.futures import Future as _StandardFuture
from typing import TypeVar

_T = TypeVar("_T")

class Future(_StandardFuture[_T]): ...

def wait(
    fs: Iterable[_StandardFuture[_T]], timeout: float | None = None, return_when: str = ...
) -> tuple[set[_StandardFuture[_T]], set[_StandardFuture[_T]]]: ...
def as_completed(
    fs: Iterable[_StandardFuture[_T]], timeout: float | None = None
) -> Iterator[_StandardFuture[_T]]: ...
