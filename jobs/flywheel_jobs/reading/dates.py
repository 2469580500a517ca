"""Days of the calendar in the writings that nobody reads in two ways.

`2024-03-05`, `March 5, 2024`, `5 March 2024`, and `12/25/2024` or `25/12/2024` where only one of the
two can be a month.
"""

from __future__ import annotations

import re

_MONTHS: tuple[str, ...] = ("january", "february", "march", "april", "may", "june")
_MONTHS += ("july", "august", "september", "october", "november", "december")
_MONTH = r"(?P<month>[a-z]{3,9})\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_WRITINGS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)",
        r"(?P<month>0?[1-9]|1[0-2])/(?P<day>1[3-9]|2\d|3[01])/(?P<year>\d{4})",
        r"(?P<day>1[3-9]|2\d|3[01])/(?P<month>0?[1-9]|1[0-2])/(?P<year>\d{4})",
        rf"{_MONTH} {_DAY}(?:,? (?P<year>\d{{4}}))?",
        rf"{_DAY}(?: of)? {_MONTH}(?:,? (?P<year>\d{{4}}))?",
    )
)


def read_date(text: str) -> str | None:
    """A folded answer as `5 march 2024`, the year only where it is said; None where it is no day."""
    for writing in _WRITINGS:
        found = writing.fullmatch(text)
        if found:
            said, day = found["month"].lower(), int(found["day"])
            name = next((m for n, m in enumerate(_MONTHS, 1) if m.startswith(said) or said.zfill(2) == f"{n:02}"), None)
            if name and 1 <= day <= 31:
                return f"{day} {name} {found['year'] or ''}".rstrip()
    return None
