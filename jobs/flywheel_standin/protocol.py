"""What a scripted behaviour sees and says.

A behaviour is a function `respond(request) -> Answer | None`, where None leaves the request to the next one.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MODEL_NAME = "flywheel-standin"
OWNED_BY = "flywheel-standin"
Data = dict[str, Any]
"""The data of a request, as JSON."""


@dataclass(frozen=True)
class ChatRequest:
    """One choice of a chat request: a request for n choices is asked n times with `choice` 0 to n-1."""

    model: str
    messages: Sequence[Mapping[str, object]]
    choice: int = 0
    seed: int | None = None
    temperature: float = 1.0
    schema: Mapping[str, object] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def system(self) -> str:
        """The system message, or an empty text."""
        return next((str(m.get("content") or "") for m in self.messages if m.get("role") == "system"), "")

    @property
    def last_user(self) -> str:
        """The last user message, or an empty text."""
        return next((str(m.get("content") or "") for m in reversed(self.messages) if m.get("role") == "user"), "")

    @property
    def data(self) -> Data | None:
        """The data of a request for a structured answer: its first user message as a JSON object; None if it is not."""
        text = next((str(m.get("content") or "") for m in self.messages if m.get("role") == "user"), "")
        try:
            value = json.loads(text) if text.startswith("{") else None
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def rng(self, *parts: object) -> random.Random:
        """A generator seeded by the request's content and nothing else: equal requests get equal answers."""
        text = json.dumps([self.model, self.messages, self.choice, self.seed, *map(str, parts)], sort_keys=True)
        return random.Random(hashlib.sha256(text.encode()).digest())


@dataclass(frozen=True)
class Answer:
    """A completion."""

    text: str

    @classmethod
    def json(cls, value: Mapping[str, object]) -> Answer:
        """An answer that is one JSON object."""
        return cls(json.dumps(value))


Behaviour = Callable[[ChatRequest], Answer | None]
