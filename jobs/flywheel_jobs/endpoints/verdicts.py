"""What a response of an endpoint can be (law 6), what is seen of it, and one line of the table that decides. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """What a response is."""

    ANSWER = "Answer"
    BUSY = "Busy"
    OUTAGE = "Outage"
    ITEM_REFUSED = "ItemRefused"
    ITEM_FILTERED = "ItemFiltered"
    ENDPOINT_REFUSED = "EndpointRefused"


MEANING: Final = {
    Outcome.ANSWER: "Taken as what the model said.",
    Outcome.BUSY: "Never the item's fault, however often: the whole role waits as long as it is told, or backs off. "
    "Known from words alone, without a status or `Retry-After` that says so, it is tried like an outage: the words may "
    "be the item's.",
    Outcome.OUTAGE: "Asked again. An item is at fault only where small requests of our own are answered every time "
    "between its failures.",
    Outcome.ITEM_REFUSED: "The item is dropped and counted. Where items are refused alike, it is the endpoint.",
    Outcome.ITEM_FILTERED: "The item is dropped and counted, never scored.",
    Outcome.ENDPOINT_REFUSED: "The stage stops, its finished items are kept, and a person must do what is said here. "
    "Known from words alone, only where a small request of our own is refused as well.",
}
"""What is done with each outcome."""


@dataclass(frozen=True)
class Signs:
    """What can be seen of a response: the HTTP status, or the one that an error inside a 200 names.

    `words` are code, type and message of the error in lower case; `finish` is the reason of one choice; `broken` says
    that a 200 holds an error, no choice, or nothing that can be read.
    """

    status: int = 200
    words: str = ""
    finish: str = ""
    retry_after: bool = False
    broken: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table. A row without a condition fits everything; all conditions that are given must fit."""

    what: str
    outcome: Outcome
    word: str  # in counts and messages
    statuses: frozenset[int] = frozenset()
    words: str = ""  # a regular expression, searched in Signs.words
    finish: frozenset[str] = frozenset()
    retry_after: bool | None = None
    broken: bool | None = None
    advice: str = ""
    examples: tuple[Signs, ...] = field(default=(), repr=False)

    def fits(self, seen: Signs) -> bool:
        """Whether a response with these signs belongs here."""
        return (
            (not self.statuses or seen.status in self.statuses)
            and (not self.words or re.search(self.words, seen.words) is not None)
            and (not self.finish or seen.finish in self.finish)
            and self.retry_after in (None, seen.retry_after)
            and self.broken in (None, seen.broken)
        )
