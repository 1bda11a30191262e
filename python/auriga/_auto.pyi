from ._pool import Pool

class AutoPool(Pool):
    def explain(self) -> str: ...
