"""Whether two answers are the same: our own rules, and behind them a library in a process of its own."""

from __future__ import annotations

from flywheel_jobs.reading import library
from flywheel_jobs.reading.values import Kind, equal_values, normal_form, read

_LEFT_OPEN = frozenset({Kind.OTHER, Kind.SCALAR, Kind.RELATION, Kind.SET, Kind.ORDERED, Kind.NUMBER})


def equal(one: str, other: str) -> bool:
    """Whether two final answers mean the same. Symmetric; never raises; an empty answer equals nothing."""
    a, b = read(one), read(other)
    if not a.text or not b.text:
        return False
    if equal_values(a, b):
        return True
    return (
        Kind.OTHER in (a.kind, b.kind) and {a.kind, b.kind} <= _LEFT_OPEN and library.equal(*sorted((a.text, b.text)))
    )


def checkable(answer: str) -> bool:
    """Whether an answer can serve as a truth: it is understood, it is no refusal, and it equals itself.

    In its normal form too, which is what labels are written in.
    """
    value = read(answer)
    if value.kind is Kind.OTHER:
        return library.equal(value.text, value.text)
    return value.checkable and equal_values(value, value) and equal_values(value, read(normal_form(answer)))
