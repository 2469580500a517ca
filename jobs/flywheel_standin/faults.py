"""Weather: a table of what goes wrong and when, as data, so that tests and users see real trouble over real HTTP.

A row strikes a request that lies in its window of time, is drawn by its share, or is over its limit. The first row
that strikes is what the client gets. Tables of the house lie in `weather/`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).parent / "weather"
WORDS = "injected fault"


class Fault(BaseModel):
    """What goes wrong, and for which requests: all of them unless a field says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = ""
    # what
    status: int | None = None  # HTTP code
    message: str = WORDS  # of the error
    retry_after: float | None = None  # seconds, as a header
    inside: bool = False  # the error comes in a 200
    finish: str | None = None  # an answer without text that ended by this word
    malformed: bool = False  # a body that is no JSON
    cut: bool = False  # the connection ends in the middle of the body
    reset: bool = False  # the connection ends without an answer
    hang_seconds: float = 0.0  # before anything of the above, or before the right answer
    # when
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    first: int | None = None  # only so many requests
    after: float = 0.0  # seconds since the first request
    until: float | None = None
    every: float | None = None  # the window comes again after so many seconds
    rate: float | None = None  # strikes only what is above so many requests a second
    purse: int | None = None  # strikes once so many requests were served, for `filled_after` seconds
    filled_after: float = 60.0
    seed: int = 0


class _Row:
    """A fault and what it has seen."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.rng = random.Random(fault.seed)
        self.seen = self.paid = 0
        self.tokens, self.last = max(fault.rate or 0.0, 1.0), 0.0
        self.empty: float | None = None

    def strikes(self, now: float) -> bool:
        fault = self.fault
        at = now % fault.every if fault.every else now
        if at < fault.after or (fault.until is not None and at >= fault.until):
            return False
        self.seen += 1
        if (fault.first is not None and self.seen > fault.first) or self.rng.random() >= fault.share:
            return False
        return self._above(now) and self._broke(now)

    def _above(self, now: float) -> bool:
        """A bucket that holds a second's worth of requests."""
        rate = self.fault.rate
        if rate is None:
            return True
        self.tokens = min(max(rate, 1.0), self.tokens + (now - self.last) * rate)
        self.last = now
        if self.tokens < 1:
            return True
        self.tokens -= 1
        return False

    def _broke(self, now: float) -> bool:
        if self.fault.purse is None:
            return True
        if self.empty is not None and now - self.empty >= self.fault.filled_after:
            self.empty, self.paid = None, 0
        if self.empty is None and self.paid >= self.fault.purse:
            self.empty = now
        return self.empty is not None


class Faults:
    """The weather in force."""

    def __init__(self, table: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
        self.set(table)

    def set(self, table: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
        """Takes a new table, or one row; {} is none. Raises ValueError for unknown keys."""
        rows = [table] if isinstance(table, Mapping) else list(table)
        for row in rows:
            if unknown := sorted(set(row) - set(Fault.model_fields)):
                raise ValueError(f"unknown faults {unknown}: use {sorted(Fault.model_fields)}")
        self._rows = [_Row(Fault.model_validate(row)) for row in rows if row]
        self._began: float | None = None

    def show(self) -> list[dict[str, object]]:
        """The table, as it was given."""
        return [row.fault.model_dump(exclude_unset=True) for row in self._rows]

    def next(self, now: float) -> Fault | None:
        """The fault of a request that comes at this time, or None to serve it."""
        if self._began is None:
            self._began = now
        struck = next((row.fault for row in self._rows if row.strikes(now - self._began)), None)
        for row in self._rows:
            row.paid += struck is None
        return struck


def error(fault: Fault) -> tuple[int, dict[str, str], bytes] | None:
    """(status, headers, body) of a fault that needs no answer to spoil; None for the others."""
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    if fault.malformed:
        return 200, headers, b"<html>not json</html>"
    if fault.status is None:
        return None
    said = {"message": fault.message, "type": "server_error", "param": None, "code": str(fault.status)}
    body: dict[str, object] = {"error": said, **({"choices": None} if fault.inside else {})}
    return 200 if fault.inside else fault.status, headers, json.dumps(body).encode()


def table(name: str) -> list[dict[str, object]]:
    """A table by the name of one of ours, or a file (YAML or JSON). Raises ValueError saying which there are."""
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise ValueError(f"no weather {name!r}: use a file, or one of {known}")
    return parsed(path.read_text())


def parsed(text: str) -> list[dict[str, object]]:
    """A table's text. Raises ValueError for what is no list of rows."""
    rows = yaml.safe_load(text)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("weather is a list of rows (docs/endpoints.md, Weather)")
    Faults(rows)
    return rows
