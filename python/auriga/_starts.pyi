from collections.abc import Callable, Iterable
from multiprocessing.context import (
    BaseContext,
    ForkContext,
    ForkServerContext,
    SpawnContext,
)
from typing import Any, overload

from typing_extensions import Literal

from ._pool import Pool

class _Context(BaseContext):
    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
    ) -> Pool: ...

class _Fork(_Context, ForkContext): ...
class _Spawn(_Context, SpawnContext): ...
class _ForkServer(_Context, ForkServerContext): ...

@overload
def get_context(method: None = None) -> _Context: ...
@overload
def get_context(method: Literal["fork"]) -> _Fork: ...
@overload
def get_context(method: Literal["spawn"]) -> _Spawn: ...
@overload
def get_context(method: Literal["forkserver"]) -> _ForkServer: ...
@overload
def get_context(method: str) -> _Context: ...
