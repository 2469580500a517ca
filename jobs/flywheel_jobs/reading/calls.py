"""Tool calls in the Hermes format: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

The blocks are those of verl's "hermes" parser: cut out by their tags, each from the first opening to the next closing
one; a block that is not JSON with a name and arguments is skipped, and the first call of a turn is the one that is
carried out. A call that was only thought about is none (`thought`), one in another family's markup is malformed
(`foreign`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel_jobs.reading import jsontext
from flywheel_jobs.reading.foreign import holds_call
from flywheel_jobs.reading.thought import Said, split

OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class Call:
    """A call as the agent wrote it. `arguments` is whatever JSON value stood there; the environment checks it."""

    name: str
    arguments: object


@dataclass(frozen=True)
class Turn:
    """A turn of the agent: what it said without call blocks, its calls in order, how many blocks were malformed."""

    text: str
    calls: list[Call] = field(default_factory=list)
    malformed: int = 0
    said: Said = field(default_factory=lambda: Said(""))

    @property
    def broken(self) -> bool:
        """The turn says nothing that anybody could act on: a call that cannot be read, or thought alone."""
        if self.calls:
            return False
        return self.malformed > 0 or OPEN in self.text or ((self.said.cut or bool(self.said.thought)) and not self.text)


def parse(text: str) -> Turn:
    """Reads one turn, in time linear in the text. Never raises: a malformed block is counted and skipped."""
    said = split(text)
    calls, malformed, kept, at = [], 0, [], 0
    for start, end in _blocks(said.text):
        kept.append(said.text[at:start])
        at = end
        call = _call(said.text[start + len(OPEN) : end - len(CLOSE)])
        if call is None:
            malformed += 1
        else:
            calls.append(call)
    kept.append(said.text[at:])
    words = "".join(kept).strip()
    return Turn(words, calls, malformed + (OPEN not in words and holds_call(words)), said)


def _blocks(text: str) -> list[tuple[int, int]]:
    """Where blocks begin and end, tags included."""
    found, at = [], 0
    while (start := text.find(OPEN, at)) >= 0:
        end = text.find(CLOSE, start + len(OPEN))
        if end < 0:
            break
        at = end + len(CLOSE)
        found.append((start, at))
    return found


def _call(block: str) -> Call | None:
    try:
        value = jsontext.loads(block)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or "arguments" not in value:
        return None
    return Call(value["name"], value["arguments"])


def render(name: str, arguments: Mapping[str, object]) -> str:
    """A call in the same format."""
    return f"{OPEN}{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}{CLOSE}"
