"""A call in another family's markup is no reply to the user: the write that was meant would pass for a refusal."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from flywheel_jobs.reading.calls import parse
from unit.agentic.world import episode

TURNS = [json.loads(line) for line in (Path(__file__).parent / "foreign.jsonl").read_text().splitlines()]
FOREIGN = {turn["family"]: turn["text"] for turn in TURNS}
PLAIN = [
    "I am sorry, I cannot cancel that order.",
    "The function = key on your remote turns it off. Call: 555-0100.",
    'Your order is {"id": 47, "status": "sent"}.',
    "[Order 47] was sent.",
    "Use <invoice> as the subject.",
    'Here is your order:\n```json\n{"id": 47, "name": "Ann"}\n```',
    '{"name": "Ann", "id": 47}',
    "The list [a(b=1)] is not valid, please write again.",
    "Action needed: please send the code. Thought you should know.",
    "Press the <function> key.",
    "I checked (id=47) and it is fine.",
    "Your flight (ref=AB12)\nleaves at 9.",
    "Please use form A(b) as told.",
]


@pytest.mark.parametrize("family", FOREIGN)
def test_a_call_in_another_form_is_malformed_and_no_reply(family: str) -> None:
    turn = parse(FOREIGN[family])
    assert not turn.calls and turn.broken
    played = episode()
    played.agent_says(FOREIGN[family])
    assert played.env.closed == "malformed"


@pytest.mark.parametrize("text", PLAIN)
def test_words_that_only_look_like_it_are_a_reply(text: str) -> None:
    turn = parse(text)
    assert turn.text == text and not turn.broken


@pytest.mark.parametrize(
    "piece", ["<|tool", "</", "[a(", "```", "<minimax:", "Action: a\n", " ", "{", '{"name": ', "a(b=", "a("]
)
def test_it_is_looked_for_in_linear_time(piece: str) -> None:
    started = time.process_time()
    parse(piece * 20_000)
    parse(piece * (8_000 // len(piece)))
    assert time.process_time() - started < 1.0
