"""A chat completion as OpenAI's server writes it, in one piece or as the chunks of a stream. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flywheel_standin.strict import ChatBody

PIECE = 32  # characters of a chunk
TOKEN = 4  # characters; a stand-in has no tokenizer, and says so by being a stand-in
Json = dict[str, object]


@dataclass(frozen=True)
class Completion:
    """Choices as (text or None, finish reason), and what they cost."""

    id: str
    model: str
    choices: tuple[tuple[str | None, str], ...]
    prompt: int
    written: int
    usage_in_stream: bool = False

    @classmethod
    def of(cls, name: str, body: ChatBody, texts: Sequence[str], finish: str | None = None) -> Completion:
        """Texts are cut at the first stop and at the request's limit; with `finish` they are lost, and it says why."""
        choices = [(None, finish) if finish else _ended(text, body) for text in texts]
        prompt = sum(tokens(m.text) for m in body.messages)
        written = sum(tokens(text or "") for text, _ in choices)
        wanted = body.stream_options is not None and bool(body.stream_options.include_usage)
        return cls(name, body.model, tuple(choices), prompt, written, wanted)

    def whole(self) -> Json:
        """In one piece."""
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text, "refusal": None}, "finish_reason": finish}
            for i, (text, finish) in enumerate(self.choices)
        ]
        return self._frame("chat.completion", choices) | {"usage": self._usage()}

    def chunks(self) -> Iterator[Json]:
        """As a stream: each choice's role, its pieces and its end; then the usage, if it was asked for."""
        for index, (text, finish) in enumerate(self.choices):
            said = text or ""
            deltas: list[Json] = [{"role": "assistant", "content": ""}]
            deltas += [{"content": said[at : at + PIECE]} for at in range(0, len(said), PIECE)]
            for delta in deltas:
                yield self._chunk([{"index": index, "delta": delta, "finish_reason": None}])
            yield self._chunk([{"index": index, "delta": {}, "finish_reason": finish}])
        if self.usage_in_stream:
            yield self._frame("chat.completion.chunk", []) | {"usage": self._usage()}

    def _chunk(self, choices: list[Json]) -> Json:
        rest: Json = {"usage": None} if self.usage_in_stream else {}
        return self._frame("chat.completion.chunk", choices) | rest

    def _frame(self, kind: str, choices: list[Json]) -> Json:
        fields: Json = {"id": self.id, "object": kind, "created": int(time.time()), "model": self.model}
        return fields | {"standin": True, "choices": choices}

    def _usage(self) -> Json:
        total = self.prompt + self.written
        return {"prompt_tokens": self.prompt, "completion_tokens": self.written, "total_tokens": total}


def tokens(text: str) -> int:
    """How many tokens a text counts for."""
    return max(1, -(-len(text) // TOKEN))


def _ended(text: str, body: ChatBody) -> tuple[str, str]:
    for stop in body.stops:
        text = text.split(stop, 1)[0] if stop else text
    if body.limit is not None and tokens(text) > body.limit:
        return text[: body.limit * TOKEN], "length"
    return text, "stop"
