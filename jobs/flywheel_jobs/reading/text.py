"""Text as it comes in: cleaned once at the door, cut into lines at `\\n` only."""

from __future__ import annotations

import re

_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
REPLACEMENT = "�"


def clean(text: str) -> str:
    """The text without what no file, log or Parquet column can hold: lone surrogates and control characters.

    Each becomes U+FFFD, so that the text stays as long as it was and a reader sees that something stood there. A pair
    of surrogates becomes the character that it spells.
    """
    if not _BROKEN.search(text):
        return text
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _BROKEN.sub(REPLACEMENT, whole)


def lines(text: str) -> list[str]:
    """The lines of JSON Lines that are not blank. `str.splitlines` would also cut at U+2028, U+2029 and U+0085."""
    return [line for line in text.split("\n") if line.strip()]
