"""What an agent may say as a fact: what it was shown, what the caller said, what the policy says, and what follows.

What follows is little: how many rows a list has, what its amounts come to, how far two moments are apart, and the day
that lies as far from a known one as the policy says. Anything else was made up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import combinations
from typing import Any

from flywheel_domains.domain import Domain
from flywheel_domains.talk import NO_YEAR, Talk, clean, plain, values_of
from flywheel_domains.unknown import Unknown
from flywheel_domains.values import plain as as_json

MOST_MOMENTS = 60
"""Moments that are compared in pairs: what one conversation shows has fewer."""
LONGEST = 366  # days that a policy counts
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?")
_HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0, "month": 730.5, "year": 8766.0}


@dataclass
class Truth:
    """Values that may be said. Amounts and numbers are kept without their sign, moments in the domain's zone."""

    domain: Domain
    now: datetime
    ints: set[int] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    moments: dict[datetime, None] = field(default_factory=dict)
    times: set[str] = field(default_factory=set)
    lasting: set[tuple[str, str]] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.moments[self.now] = None
        self.times.add(f"{self.now:%H:%M}")

    def shown(self, value: Any) -> None:
        """A value as a tool answered it, or as it was said, with all that is within it."""
        if isinstance(value, Mapping):
            for key, member in value.items():
                self._text(str(key))
                self.shown(member)
        elif isinstance(value, list | tuple):
            self.ints.add(len(value))
            self._sums(value)
            for member in value:
                self.shown(member)
        elif isinstance(value, Unknown):
            pass
        elif isinstance(value, int) and not isinstance(value, bool):
            self.ints.add(abs(value))
        elif isinstance(value, str):
            self._text(value)
        elif value is not None and not isinstance(value, bool):
            self.shown(as_json(value))

    def _sums(self, rows: Iterable[Any]) -> None:
        """What a list comes to: how many rows have each value, and the sum of each column."""
        counts, sums = Counter[tuple[str, str]](), Counter[str]()
        for row in rows:
            for key, value in row.items() if isinstance(row, Mapping) else ():
                if isinstance(value, int) and not isinstance(value, bool):
                    sums[key] += value
                if isinstance(value, str | bool | int):
                    counts[key, str(value)] += 1
        self.ints |= {abs(total) for total in sums.values()} | set(counts.values())

    def _text(self, text: str) -> None:
        if text in self.read:
            return
        self.read.add(text)
        self.words.add(text.casefold())
        if not any(map(str.isdigit, text)):
            return
        if _MOMENT.fullmatch(text):
            self.moments.setdefault(datetime.fromisoformat(text))
        self.said(_values(text, self.domain.money.currency, self.domain.money.minor))

    def said(self, talk: Talk) -> None:
        """Values of a text that is true."""
        self.ints |= {abs(amount) for _, amount in talk.money}
        self.numbers |= talk.numbers | {number for number, _ in talk.lasting}
        self.lasting |= talk.lasting
        self.times |= talk.times
        self.words |= talk.words
        for day in talk.dates:
            if (moment := _moment(day)) is not None:
                self.moments.setdefault(moment)

    # ---- what is false

    def false(self, talk: Talk) -> Iterator[str]:
        """What a text claims that is neither known nor follows."""
        currency, minor = self.domain.money.currency, self.domain.money.minor
        yield from (f"{amount} {of}" for of, amount in talk.money if of != currency or abs(amount) not in self.ints)
        days = {moment.date() for moment in self.moments}
        yield from (day for day in talk.dates if not self._day(day, days))
        yield from (time for time in talk.times if self._unknown_time(time))
        if talk.numbers or talk.lasting:
            known = self.numbers | {str(n) for n in self.ints} | {major(n, minor) for n in self.ints}
            known |= {str(moment.year) for moment in self.moments}
            yield from talk.numbers - known
            lasting = self.lasting | (self._spans() if talk.lasting else set())
            yield from (n for n, unit in talk.lasting if (n, unit) not in lasting and n not in known)
        yield from (word for word in talk.ids if word not in self.words)

    def _unknown_time(self, time: str) -> bool:
        return time not in self.times and not any(f"{moment:%H:%M}" == time for moment in self.moments)

    def _day(self, day: str, days: set[date]) -> bool:
        if day.startswith(NO_YEAR):
            return any(f"{NO_YEAR}-{each:%m-%d}" == day for each in self._all_days(days))
        moment = _moment(day)
        return moment is not None and (moment.date() in days or moment.date() in self._all_days(days))

    def _all_days(self, days: set[date]) -> set[date]:
        """Known days, and those as far from one as the policy counts: "up to 30 days from the day of delivery"."""
        spoken = {int(n) for n, unit in self.domain.spoken.lasting if unit == "day" and int(n) <= LONGEST}
        reach = {n + more for n in spoken for more in (0, 1)}
        return days | {each + timedelta(sign * n) for each in days for n in reach for sign in (1, -1)}

    def _spans(self) -> set[tuple[str, str]]:
        """How far known moments are from now and from each other, in every unit, rounded down and up."""
        moments = list(self.moments)[:MOST_MOMENTS]
        hours = {abs((one - other).total_seconds()) / 3600 for one, other in combinations(moments, 2)}
        spans = ((int(h / size), unit) for h in hours for unit, size in _HOURS.items())
        return {(str(n + more), unit) for n, unit in spans for more in (0, 1)}


@lru_cache(maxsize=1 << 14)
def _values(text: str, currency: str, minor: int) -> Talk:
    """Values of a text that a world holds: the same ones come in every episode."""
    return values_of(clean(text), currency, minor)


def _moment(day: str) -> datetime | None:
    try:
        return datetime.fromisoformat(day)
    except ValueError:
        return None


def major(value: int, minor: int) -> str:
    """An amount in minor units as somebody says it: 4050 is 40.5."""
    text = str(abs(value)).rjust(minor + 1, "0")
    return plain(f"{text[:-minor]}.{text[-minor:]}" if minor else text)
