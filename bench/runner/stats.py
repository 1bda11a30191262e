"""Medians, ranges, and numbers as people read them."""

import statistics
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def number(value: float) -> str:
    """Three significant digits, thousands with commas."""
    size = abs(value)
    if size == 0:
        return "0"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def cell(values: Sequence[float]) -> str:
    """The median, and the range it comes from."""
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))} – {number(max(values))})"


def duration(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:g} {unit}"
    return f"{ns:g} ns"


def count(n: float) -> str:
    """16, 10k, 1M."""
    for unit, step in (("M", 1_000_000), ("k", 1000)):
        if n >= step and n % step == 0:
            return f"{n // step:g}{unit}"
    return f"{n:,.0f}"


def size(n: float) -> str:
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= step:
            return f"{n / step:g} {unit}"
    return f"{n:g} B"
