"""What a scripted behaviour sees and says. A behaviour is a function `respond(request) -> Answer | None` (None: not
mine).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MODEL_NAME = "flywheel-standin"
OWNED_BY = "flywheel-standin"


@dataclass(frozen=True)
class ChatRequest:
    """One choice of a chat request: a request for n choices is asked n times with `choice` 0 to n-1."""

    model: str
    messages: list[dict[str, Any]]
    choice: int = 0
    seed: int | None = None
    temperature: float = 1.0
    schema: Mapping[str, Any] | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)

    @property
    def system(self) -> str:
        """The system message, or an empty text."""
        return next((str(m.get("content") or "") for m in self.messages if m.get("role") == "system"), "")

    @property
    def last_user(self) -> str:
        """The last user message, or an empty text."""
        return next((str(m.get("content") or "") for m in reversed(self.messages) if m.get("role") == "user"), "")

    def rng(self, *parts: object) -> random.Random:
        """A generator seeded by the request's content and nothing else: equal requests get equal answers."""
        text = json.dumps([self.model, self.messages, self.choice, self.seed, *map(str, parts)], sort_keys=True)
        return random.Random(hashlib.sha256(text.encode()).digest())


@dataclass(frozen=True)
class Answer:
    """A completion: text, tool calls (OpenAI form) or both."""

    text: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def json(cls, value: Mapping[str, Any]) -> Answer:
        """An answer that is one JSON object."""
        return cls(json.dumps(value))


Behaviour = Callable[[ChatRequest], Answer | None]


def payload(request: ChatRequest) -> dict[str, Any] | None:
    """The last user message as a JSON object, if it is one."""
    text = request.last_user.strip()
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
