"""Words of a server may be an item's: what they alone say of the endpoint is tried on a request of our own."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from flywheel_jobs.core.errors import EndpointUnavailable
from flywheel_jobs.endpoints import wire
from flywheel_jobs.endpoints.line import SUSPECT
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.pace import Pace
from flywheel_jobs.endpoints.verdicts import Outcome
from flywheel_jobs.endpoints.wire import Reply
from unit.jobs.test_endpoint_trouble import SCHEMA, Limited, play
from unit.jobs.virtual import ASK, Body, Wire, client, err, is_probe, many, now, ok, run

ECHOES = [
    err(500, "Failed to parse input at pos 12: the room is not ready yet"),
    err(500, "cannot read this: the room is not ready yet"),
    err(404, "no grammar for: the wagon is still being loaded"),
    err(400, "cannot read this: too many requests for one waiter"),
    err(403, "cannot read this: too many requests for one waiter"),
    err(400, "cannot read this: he has no money left"),
    err(429, "cannot read this: he has no money left"),
    err(422, "cannot read this: the model train is not available"),
    err(400, "cannot read this: invalid api key of a hotel"),
    Reply(200, b'{"error": {"message": "cannot read this: he has no money left"}}'),
]


def said(reply: Reply) -> str:
    return f"{reply.status} {json.loads(reply.body)['error']['message']}"


@pytest.mark.parametrize("beside", [0, 7])
@pytest.mark.parametrize("echo", ECHOES, ids=said)
def test_an_item_whose_words_are_taken_for_the_endpoint_s_is_dropped_and_ends_no_stage(
    echo: Reply, beside: int
) -> None:
    """llama.cpp repeats in a 500 what its model said: "not ready" there ended stages."""

    def answer(body: Body, number: int) -> Reply:
        return echo if body["messages"][0]["content"] == "0" else ok()

    ends, wire_, _ = play(answer, lambda c: many(c, range(beside + 1)))
    assert ends["RequestRefused"] == 1 and ends["answered"] == beside
    assert sum(map(is_probe, wire_.bodies)) >= 8 and len(wire_.bodies) < 60
    ends, _, _ = play(answer, lambda c: many(c, range(beside + 1)), patience=1.0)
    assert ends["RequestRefused"] == 1, "though the endpoint is given little time"


def test_such_an_item_is_found_beside_a_trickle_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: dict[int, float] = {}
    rests: list[float] = []
    busy = Pace.busy

    def counted(pace: Pace, began: float, after: float | None) -> float:
        rests.append(busy(pace, began, after))
        return rests[-1]

    monkeypatch.setattr(Pace, "busy", counted)

    async def one(c: ChatClient, item: int) -> None:
        await asyncio.sleep(item)
        try:
            await c.chat([{"role": "user", "content": str(item)}])
        finally:
            ended[item] = now() - item

    def answer(body: Body, number: int) -> Reply:
        return ECHOES[1] if body["messages"][0]["content"] == "7" else ok()

    async def work(c: ChatClient) -> Any:
        return await asyncio.gather(*(one(c, n) for n in range(600)), return_exceptions=True)

    ends, _, _ = play(answer, work)
    assert sum(end is not None for end in ends) == 1
    assert ended.pop(7) < 180 and max(ended.values()) < 5, "seconds"
    assert len(rests) <= SUSPECT, "no more once our own requests are answered"


@pytest.mark.parametrize("words", ["throttlingexception: too many requests", "the request queue is full"])
def test_a_crowd_that_only_words_tell_of_costs_no_item(words: str) -> None:
    limit = Limited(5, 1, err(400, words))
    ends, wire_, _ = play(limit, lambda c: many(c, range(150)), concurrency=64)
    assert ends == {"answered": 150} and len(wire_.bodies) < 4 * 150


@pytest.mark.parametrize(
    "fault", [err(500, "loading model"), err(400, "throttled"), err(404, "model is loading")], ids=said
)
def test_a_server_that_only_words_tell_of_is_waited_for_as_long_as_any(fault: Reply) -> None:
    got, wire_, _ = play(lambda b, n: fault if now() < 100 else ok("right"))
    assert got.text == "right" and any(map(is_probe, wire_.bodies))
    error, _, _ = play(lambda b, n: fault)
    assert isinstance(error, EndpointUnavailable) and error.reason == "EndpointUnavailable"
    _, wire_, _ = play(lambda b, n: fault if now() < 20 else ok("x"), lambda c: c.chat(ASK, schema=SCHEMA))
    assert all("response_format" in b for b in wire_.bodies if not is_probe(b)), "that is not what it is about"


def test_what_a_person_must_do_is_said_after_one_request_of_our_own() -> None:
    error, wire_, _ = play(lambda b, n: err(400, "your credit balance is too low"))
    assert isinstance(error, EndpointUnavailable) and error.reason == "EndpointRefused" and "pay" in str(error)
    assert [is_probe(b) for b in wire_.bodies] == [False, True]
    big = {"temperature": 1.0, "maxTokens": 9000}
    too_many = err(400, "max_tokens is too large: 9000. this model supports at most 8192 completion tokens")
    error, wire_, _ = play(lambda b, n: too_many if b["max_tokens"] == 9000 else ok(), **big)
    assert "sampling.maxTokens" in str(error) and len(wire_.bodies) == 2, "ours is of the same shape"


def test_a_purse_that_is_filled_in_the_meantime_costs_no_item() -> None:
    got, _, _ = play(lambda b, n: ok("right") if n else err(400, "your credit balance is too low"))
    assert got.text == "right"


def test_the_server_s_own_signs_are_believed() -> None:
    """A status or a `Retry-After` repeats no item."""
    for reply in (err(429, "slow down"), err(503, "loading model"), err(400, "throttled", **{"retry-after": "7"})):
        read = wire.read(reply)
        assert read.outcome is Outcome.BUSY and not read.by_words
    assert wire.read(err(400, "throttled")).by_words and not wire.read(err(402, "no money")).by_words

    async def work() -> list[float]:
        rests = err(400, "throttled", **{"retry-after": "7"})
        wire_ = Wire(lambda b, n: rests if n < 9 else ok())
        made = client(wire_)
        await made.chat(ASK)
        return wire_.times

    times = run(work())
    assert len(times) == 10 and all(7 <= b - a <= 9 for a, b in pairwise(times))


@pytest.mark.parametrize(
    "message",
    [
        "Failed to parse input at pos 12: this was flagged, it violates our policy",
        "1 validation error for Body\nx\n  bad [type=string, input_value='the prompt is too long', input_type=str]",
        'cannot read {"loc": ["body"], "input": "content_filter: moderation"}',
        'a tool call that is none {"failed_generation": "maximum context length"}',
    ],
)
def test_what_a_server_repeats_is_not_read(message: str) -> None:
    for status, words in ((500, "outage"), (400, "request-refused")):
        found = wire.read(err(status, message))
        assert found.row.word == words and message.split()[-1] in found.said, "though it is shown"


@pytest.mark.parametrize("status", [400, 500])
def test_what_a_server_repeats_takes_nothing_away_from_the_others(status: int) -> None:
    echo = err(status, 'Failed to parse input at pos 3: {"json": "temperature and top_p are not supported"}')

    def answer(body: Body, number: int) -> Reply:
        return echo if body["messages"][0]["content"] == "0" and "temperature" in body else ok()

    ends, _, made = play(answer, lambda c: many(c, range(3)))
    assert ends == {"answered": 2, "RequestRefused": 1} and not made.learnt.takes_no
    got, _, made = play(lambda b, n: echo if "response_format" in b else ok("x"), lambda c: c.chat(ASK, schema=SCHEMA))
    assert got.text == "x" and bool(made.learnt.no_schema) == (status == 400), "a refusal is one whatever it says"
