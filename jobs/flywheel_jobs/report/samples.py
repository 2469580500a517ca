"""Picks what is worth reading among the evaluation's samples: what got better, what got worse, what neither can do."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flywheel_jobs.report.model import Sample, SampleItem, ToolCall, Turn

TEXT_LIMIT = 6000  # characters of one message; longer ones are cut with a note
ITEMS_PER_SUITE = 4
_CALL_TEXT = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)

Record = Mapping[str, Any]


def clip(text: str, limit: int = TEXT_LIMIT) -> str:
    """The start of a long text, saying how much is left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return clip(value)
    if isinstance(value, list) and all(isinstance(p, Mapping) and "text" in p for p in value):
        return clip("".join(str(p["text"]) for p in value))
    return clip(json.dumps(value, ensure_ascii=False, sort_keys=True))


def _call(raw: Any) -> ToolCall:
    body = raw.get("function", raw) if isinstance(raw, Mapping) else {"name": str(raw)}
    if not isinstance(body, Mapping):
        return ToolCall(str(body), "")
    return ToolCall(str(body.get("name", "?")), _text(body.get("arguments", "")))


def _calls_in_text(text: str) -> tuple[str, tuple[ToolCall, ...]]:
    """Text without its `<tool_call>` parts, and those as calls; what is not valid JSON stays as it was written."""
    calls = []
    for part in _CALL_TEXT.findall(text):
        try:
            raw = json.loads(part)
        except ValueError:
            return text, ()
        calls.append(_call(raw))
    return (_CALL_TEXT.sub("", text).strip(), tuple(calls)) if calls else (text, ())


def turns_of(messages: Iterable[Any]) -> tuple[Turn, ...]:
    """OpenAI-style messages as turns; system prompts are kept, empty messages without calls are not."""
    turns = []
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        calls = tuple(_call(c) for c in message.get("tool_calls") or ())
        text, written = _calls_in_text(_text(message.get("content")))
        calls += written
        if text.strip() or calls:
            turns.append(Turn(str(message.get("role", "?")), text, calls))
    return tuple(turns)


def turns_of_record(record: Record) -> tuple[Turn, ...]:
    """The turns of a sample: its messages, or its prompt and its answer."""
    messages = record.get("messages") or record.get("turns")
    if isinstance(messages, list):
        return turns_of(messages)
    prompt = record.get("prompt") or record.get("question") or record.get("input")
    head = turns_of(prompt) if isinstance(prompt, list) else (Turn("user", _text(prompt)),) if prompt else ()
    for key in ("response", "completion", "answer_text", "text", "output"):
        if record.get(key):
            return (*head, Turn("assistant", _text(record[key])))
    return head


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def sample_of(record: Record, source: str) -> Sample:
    """A sample record of an evaluation as the page shows it."""
    outcome = record.get("outcome")
    reason = record.get("reason") or record.get("failure") or record.get("error") or ""
    turns = turns_of_record(record)
    return Sample(source, _number(record.get("score")), turns, str(outcome) if outcome else None, _text(reason))


def _by_item(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        grouped.setdefault((str(record.get("suite", "")), str(record.get("item", ""))), []).append(record)
    return grouped


def _mean(records: Sequence[Record]) -> float:
    scores = [s for s in (_number(r.get("score")) for r in records) if s is not None]
    return sum(scores) / len(scores) if scores else 0.0


def _typical(records: Sequence[Record]) -> Record:
    """The sample whose score is nearest to the item's mean: no cherry-picking within an item."""
    mean = _mean(records)
    return min(records, key=lambda r: (abs((_number(r.get("score")) or 0.0) - mean), int(r.get("repeat") or 0)))


def choose(base: Iterable[Record], candidate: Iterable[Record], tracks: Mapping[str, str]) -> tuple[SampleItem, ...]:
    """Up to four items a suite, by the change between base and candidate: best, worst, then the lowest candidates.

    `tracks` maps suites to tracks, in the order to show. Items that only one of the two was
    sampled on are used when nothing better exists.
    """
    first, second = _by_item(base), _by_item(candidate)
    shown: list[SampleItem] = []
    found = sorted({s for s, _ in (*first, *second)})
    for suite in [*(s for s in tracks if s in found), *(s for s in found if s not in tracks)]:
        keys = sorted(k for k in {*first, *second} if k[0] == suite)
        both = [k for k in keys if k in first and k in second] or keys
        gain = {k: _mean(second.get(k, ())) - _mean(first.get(k, ())) for k in both}
        ranked = sorted(both, key=lambda k: (-gain[k], k))
        weakest = sorted(both, key=lambda k: (_mean(second.get(k, ())), k))
        picked = list(dict.fromkeys([*ranked[:2], *ranked[-1:], *weakest]))[:ITEMS_PER_SUITE]
        shown += [_item(suite, k[1], first.get(k), second.get(k), tracks.get(suite, "reasoning")) for k in picked]
    return tuple(shown)


def _item(
    suite: str, item: str, base: Sequence[Record] | None, candidate: Sequence[Record] | None, track: str
) -> SampleItem:
    samples, expected = [], ""
    for records, source in ((base, "base"), (candidate, "candidate")):
        if records:
            record = _typical(records)
            samples.append(sample_of(record, source))
            expected = expected or _text(record.get("expected") or record.get("answer") or "")
    prompt = _common_start([s.turns for s in samples])
    return SampleItem(
        title=item.removeprefix(f"{suite}-"),
        suite=suite,
        track=track,
        samples=tuple(dataclasses.replace(s, turns=s.turns[len(prompt) :]) for s in samples),
        prompt=prompt,
        expected=expected,
    )


def _common_start(conversations: Sequence[Sequence[Turn]]) -> tuple[Turn, ...]:
    """Turns that all conversations begin with, up to the last one of a user: what follows is the model's own."""
    same = 0
    for turns in zip(*conversations, strict=False):
        if any(t != turns[0] for t in turns):
            break
        same += 1
    head = list(conversations[0][:same]) if conversations else []
    while head and head[-1].role not in ("user", "system"):
        head.pop()
    return tuple(head)
