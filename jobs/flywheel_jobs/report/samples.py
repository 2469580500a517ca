"""Picks what is worth reading among the evaluation's samples: what got better, what got worse, what neither can do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flywheel_api.records.evaluation import EvaluationRow
from flywheel_api.results import Track
from flywheel_jobs.reading.calls import parse
from flywheel_jobs.reading.thought import kept
from flywheel_jobs.report.model import Sample, SampleItem, ToolCall, Turn

TEXT_LIMIT = 6000  # characters of one message; longer ones are cut with a note
ITEMS_PER_SUITE = 4


def clip(text: str) -> str:
    """The start of a long text, saying how much is left out."""
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}… ({len(text) - TEXT_LIMIT} more characters)"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return clip(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))


def _call(raw: Any) -> ToolCall:
    body = raw.get("function", raw) if isinstance(raw, Mapping) else {"name": str(raw)}
    if not isinstance(body, Mapping):
        return ToolCall(str(body), "")
    return ToolCall(str(body.get("name", "?")), _text(body.get("arguments", "")))


def _calls_in_text(text: str) -> tuple[str, tuple[ToolCall, ...]]:
    """Text without its calls, and those; thought stays, and what cannot be read stays as it was written."""
    turn = parse(text)
    if turn.malformed or not turn.calls:
        return text, ()
    return kept(turn.text, turn.said.thought), tuple(ToolCall(c.name, _text(c.arguments)) for c in turn.calls)


def turns_of(messages: Iterable[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """OpenAI-style messages as turns; system prompts are kept, empty messages without calls are not."""
    turns = []
    for message in messages:
        calls = tuple(_call(c) for c in message.get("tool_calls") or ())
        text, written = _calls_in_text(_text(message.get("content")))
        calls += written
        if text.strip() or calls:
            turns.append(Turn(str(message.get("role", "?")), text, calls))
    return tuple(turns)


def _by_item(rows: Iterable[EvaluationRow]) -> dict[tuple[str, str], list[EvaluationRow]]:
    grouped: dict[tuple[str, str], list[EvaluationRow]] = {}
    for row in rows:
        grouped.setdefault((row.suite, row.item), []).append(row)
    return grouped


def _mean(rows: Sequence[EvaluationRow]) -> float:
    return sum(r.score for r in rows) / len(rows) if rows else 0.0


def _typical(rows: Sequence[EvaluationRow]) -> EvaluationRow:
    """The sample whose score is nearest to the item's mean: no cherry-picking within an item."""
    mean = _mean(rows)
    return min(rows, key=lambda r: (abs(r.score - mean), r.repeat))


def choose(
    base: Iterable[EvaluationRow], candidate: Iterable[EvaluationRow], tracks: Mapping[str, Track]
) -> tuple[SampleItem, ...]:
    """Up to four items a suite, by the change between base and candidate: best, worst, then the lowest candidates.

    `tracks` maps suites to tracks, in the order to show. Items that only one of the two was
    sampled on are used when nothing better exists.
    """
    first, second = _by_item(base), _by_item(candidate)
    shown: list[SampleItem] = []
    for suite, track in tracks.items():
        keys = sorted(k for k in {*first, *second} if k[0] == suite)
        both = [k for k in keys if k in first and k in second] or keys
        gain = {k: _mean(second.get(k, ())) - _mean(first.get(k, ())) for k in both}
        ranked = sorted(both, key=lambda k: (-gain[k], k))
        weakest = sorted(both, key=lambda k: (_mean(second.get(k, ())), k))
        picked = list(dict.fromkeys([*ranked[:2], *ranked[-1:], *weakest]))[:ITEMS_PER_SUITE]
        shown += [_item(suite, k[1], first.get(k), second.get(k), track) for k in picked]
    return tuple(shown)


def _item(
    suite: str,
    item: str,
    base: Sequence[EvaluationRow] | None,
    candidate: Sequence[EvaluationRow] | None,
    track: Track,
) -> SampleItem:
    samples, expected = [], ""
    for rows, source in ((base, "base"), (candidate, "candidate")):
        if rows:
            row = _typical(rows)
            samples.append(Sample(source, row.score, turns_of(row.messages), row.outcome or None, row.reason))
            expected = expected or _text(row.expected)
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
