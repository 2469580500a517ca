"""Tool calls in the Hermes format: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

The same rules as verl's "hermes" parser, which training uses: blocks are cut out by their tags, a block that is not
JSON with a name and arguments is skipped, and the first call of a turn is the one that is carried out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_BLOCK = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """A call as the agent wrote it. `arguments` is whatever JSON value stood there; the environment checks it."""

    name: str
    arguments: object


@dataclass(frozen=True)
class Parsed:
    """A turn of the agent: its text without call blocks, its calls in order, and how many blocks were malformed."""

    text: str
    calls: list[Call] = field(default_factory=list)
    malformed: int = 0

    @property
    def broken(self) -> bool:
        """The turn meant to call a tool and wrote no call that can be read: unfinished tags count too."""
        return not self.calls and (self.malformed > 0 or "<tool_call>" in self.text)


def parse(text: str) -> Parsed:
    """Reads one turn. Never raises: a malformed block is counted and skipped."""
    calls, malformed = [], 0
    for block in _BLOCK.findall(text):
        call = _call(block)
        if call is None:
            malformed += 1
        else:
            calls.append(call)
    return Parsed(_BLOCK.sub("", text).strip(), calls, malformed)


def _call(block: str) -> Call | None:
    try:
        value = json.loads(block)
    except json.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or "arguments" not in value:
        return None
    return Call(value["name"], value["arguments"])


def render(name: str, arguments: Mapping[str, object]) -> str:
    """A call in the same format."""
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}</tool_call>"
