"""What the API server refuses, in its words: one table for pods of a child and for the children themselves.

A quota or a LimitRange holds something back: it keeps its place and no clock runs (law 8). A quota frees by itself,
the rest is for a person to mend.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flywheel_api.conditions import Reason
from flywheel_operator.model import Problem


@dataclass(frozen=True)
class _Kind:
    """Words of one kind, what is said before them, and in which word of a condition."""

    pattern: re.Pattern[str]
    text: str
    reason: Reason


_HOLDING = (
    _Kind(
        re.compile(r"exceeded quota|status unknown for quota"), "the namespace's quota is used up", Reason.QUEUED
    ),
    _Kind(  # the API server's own trouble, a webhook that is away, a quota that was counted twice at once
        re.compile(
            r"Internal error|failed calling webhook|Operation cannot be fulfilled|etcdserver|[Tt]oo many requests|"
            r"deadline exceeded|timed out|time-?out|connection (?:refused|lost|reset)|unable to handle the request|"
            r"\(re\)initializing"
        ),
        "no pods are taken now",
        Reason.API_REFUSES,
    ),
    _Kind(
        re.compile(
            r"failed quota|insufficient quota|usage per (?:Container|Pod)|limit to request ratio|"
            r"must be less than or equal to (?:cpu|memory|[\w./-]+) limit|LimitRange"
        ),
        "a quota or LimitRange of the namespace refuses it",
        Reason.POD_REFUSED,
    ),
)  # fmt: skip
_RIGHTS = re.compile(r"cannot \S+ resource")


def of_pods(words: str) -> Problem:
    """Of pods that a controller cannot make. Whatever it is, their child keeps its place."""
    kind = next((kind for kind in _HOLDING if kind.pattern.search(words)), None)
    if kind is None:
        return Problem(Reason.POD_REFUSED, f"pods are refused: {words}", queued=True)
    return Problem(kind.reason, f"{kind.text}: {words}", queued=True)


def of_child(words: str) -> Problem:
    """Of a child that the API server answers with 403: held back by a limit, or not allowed."""
    kind = next((kind for kind in _HOLDING if kind.pattern.search(words)), None)
    if kind is not None and kind.reason is not Reason.API_REFUSES:
        return Problem(kind.reason, f"{kind.text}: {words}", queued=True)
    advice = "grant it" if _RIGHTS.search(words) else "grant it, or change the rule that refuses it"
    return Problem(Reason.FORBIDDEN, f"{words}: {advice}")
