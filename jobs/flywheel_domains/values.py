"""Types of columns and arguments, and what a value is at the tool's door: normalised once, compared exactly after.

| type | inside | read from |
|---|---|---|
| string, text, a reference | str, NFC, trimmed | text; a reference also from a row |
| int | int | 3, 3.0, "3", "1,628" |
| money | int, minor units | 1628 (minor units); "16.28", "€16.28", "1,628.00 EUR" (major units, by sign or decimals) |
| bool | bool | true, "true" |
| date, datetime | date, datetime without zone (the domain has one) | ISO 8601 |
| an enumeration | str | one of its values, whatever its case |
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

SCALARS = ("string", "text", "int", "money", "bool", "date", "datetime")
LARGEST = 10**15


@dataclass(frozen=True)
class ColumnType:
    """What a column or an argument holds. `kind` is one of SCALARS, `enum`, `ref` or `list`.

    `values` are those of an enumeration, `table` is what a reference points to, `item` is the type of a list's members.
    """

    kind: str
    values: tuple[str, ...] = ()
    table: str = ""
    item: ColumnType | None = None
    minor: int = 2
    """Decimals of the currency, for money."""


def fold(text: str) -> str:
    """Text for comparison by meaning: normal form, trimmed, single spaces, no case."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


def clean(text: str) -> str:
    """Text as it is stored: normal form, no spaces around it."""
    return unicodedata.normalize("NFC", text).strip()


def normalise(kind: ColumnType, raw: object) -> Any:
    """The value as it is inside. Raises ValueError that says what was expected."""
    if kind.kind == "list":
        if not isinstance(raw, list | tuple):
            raise ValueError("a list is expected")
        assert kind.item is not None
        return tuple(normalise(kind.item, member) for member in raw)
    return _READERS[kind.kind](kind, raw)


def _text(kind: ColumnType, raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("text is expected")
    return clean(raw)


def _ref(kind: ColumnType, raw: object) -> str:
    found = getattr(raw, "id", raw)
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise ValueError(f"an id of {kind.table} is expected")
    return clean(found)


def _bool(kind: ColumnType, raw: object) -> bool:
    if isinstance(raw, str) and fold(raw) in ("true", "false"):
        return fold(raw) == "true"
    if not isinstance(raw, bool):
        raise ValueError("true or false is expected")
    return raw


def _bounded(number: int) -> int:
    if abs(number) > LARGEST:
        raise ValueError(f"a number is at most {LARGEST}")
    return number


_DIGITS = r"[+-]?(?:\d{1,15}|\d{1,3}(?:,\d{3}){1,4})"


def _int(kind: ColumnType, raw: object) -> int:
    if isinstance(raw, str) and re.fullmatch(_DIGITS, raw.strip()):
        return _bounded(int(raw.replace(",", "")))
    if isinstance(raw, float) and raw.is_integer() and abs(raw) <= LARGEST:
        return int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError("a whole number is expected")
    return _bounded(raw)


def _money(kind: ColumnType, raw: object) -> int:
    if isinstance(raw, str):
        text = raw.strip()
        sign = r"(?P<sign>[$€£¥]|[A-Z]{3}\s)?"
        found = re.fullmatch(
            rf"(?P<minus>-)?{sign}\s*(?P<whole>{_DIGITS})(?:\.(?P<part>\d+))?(?P<unit>\s?[A-Z]{{3}}|\s?[$€£¥])?", text
        )
        if found is None:
            raise ValueError("an amount is expected, in minor units")
        part = found["part"] or ""
        if not (found["sign"] or found["unit"] or part):
            return _int(kind, raw)
        if len(part) > kind.minor and part[kind.minor :].strip("0"):
            raise ValueError(f"an amount has at most {kind.minor} decimals")
        whole = int(found["whole"].replace(",", ""))
        minor = int((part + "0" * kind.minor)[: kind.minor] or "0")
        size = abs(whole) * 10**kind.minor + minor
        return _bounded(-size if found["minus"] or whole < 0 or found["whole"].startswith("-") else size)
    if isinstance(raw, float) and not raw.is_integer():
        raise ValueError("an amount is a whole number of minor units")
    return _int(kind, raw)


def _date(kind: ColumnType, raw: object) -> date:
    if isinstance(raw, date) and not isinstance(raw, datetime):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", raw.strip()):
        return date.fromisoformat(raw.strip())
    raise ValueError("a date is expected, as 2031-03-14")


def _datetime(kind: ColumnType, raw: object) -> datetime:
    if isinstance(raw, datetime):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?", raw.strip()):
        return datetime.fromisoformat(raw.strip().replace(" ", "T"))
    raise ValueError("a moment is expected, as 2031-03-14T10:00")


def _enum(kind: ColumnType, raw: object) -> str:
    if isinstance(raw, str):
        for value in kind.values:
            if raw == value or fold(raw) == fold(value):
                return value
    raise ValueError(f"one of {', '.join(kind.values)} is expected")


_READERS = {
    "string": _text, "text": _text, "ref": _ref, "bool": _bool, "int": _int, "money": _money, "date": _date,
    "datetime": _datetime, "enum": _enum,
}  # fmt: skip


def plain(value: Any) -> Any:
    """The value as JSON has it: dates in ISO 8601, rows as their ids."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return value.isoformat(timespec="minutes")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return int(value.total_seconds() // 60)
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, dict):
        return {str(key): plain(member) for key, member in value.items()}
    if hasattr(value, "plain"):
        return value.plain()
    raise TypeError(f"{type(value).__name__} is no value of a domain")


def json_schema(kind: ColumnType) -> dict[str, Any]:
    """The JSON schema of a value, as a model is shown it."""
    if kind.kind == "enum":
        return {"type": "string", "enum": list(kind.values)}
    if kind.kind == "list":
        assert kind.item is not None
        return {"type": "array", "items": json_schema(kind.item)}
    return dict(_SCHEMAS.get(kind.kind, {"type": "string"}))


_SCHEMAS: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "money": {"type": "integer", "description": "Amount in minor units (cents)."},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
}
