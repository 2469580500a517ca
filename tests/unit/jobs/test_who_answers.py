"""Who answers, how much of it, and what is shown of a server's words: names are counted, windows found, no key."""

from __future__ import annotations

import json

import pytest

from flywheel_jobs.core.errors import EndpointUnavailable
from flywheel_jobs.endpoints import line
from flywheel_jobs.endpoints.wire import Reply
from flywheel_jobs.harness.pulse import Pulse
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket
from unit.jobs.test_endpoint_trouble import play
from unit.jobs.virtual import ASK, Body, Wire, client, err, many, ok, run


def test_answers_are_counted_by_the_model_that_they_name() -> None:
    def answer(body: Body, number: int) -> Reply:
        return ok(model="m-2026-05-13" if number < 3 else "cheap-fallback-8b")

    ends, _, made = play(answer, lambda c: many(c, range(8)))
    assert ends == {"answered": 8} and made.answered == {"m-2026-05-13": 3, "cheap-fallback-8b": 5}
    error, _, made = play(answer, lambda c: c.chat(ASK, seeds=range(8)), steady="", concurrency=1)
    assert isinstance(error, EndpointUnavailable) and error.reason == "ServedModelChanged"
    assert "cheap-fallback-8b" in str(error) and made.answered == {"m-2026-05-13": 3}


@pytest.mark.parametrize("models", [Reply(500), Reply(501), Reply(429), Reply(200, b"<html>"), Reply(200), Reply(401)])
def test_whatever_models_does_the_chat_is_what_counts(models: Reply) -> None:
    wire = Wire(lambda b, n: ok("right"), models)

    async def go() -> str:
        made = client(wire)
        text = (await made.chat(ASK)).text
        assert not (await made.identify()).standin
        return text

    assert run(go()) == "right"


def test_a_window_that_cuts_everything_is_the_server_s() -> None:
    def answer(body: Body, number: int) -> Reply:
        return ok("cut", finish="length", usage=(916, 108))

    got, _, _ = play(answer, lambda c: c.chat(ASK, max_tokens=500))
    assert got.finish_reasons == ["window"]
    ends, _, _ = play(answer, lambda c: many(c, range(10)), maxTokens=500)
    assert ends["EndpointUnavailable"] == 1
    error, _, _ = play(answer, lambda c: c.chat(ASK, seeds=range(8)), maxTokens=500)
    assert "window of about 1024 tokens" in str(error) and "500 tokens" in str(error)


SHORT = "k7Qz9mP2xR"  # too short to be known by its beginning


@pytest.mark.parametrize("key", [SHORT, "sk-live-" + "9f8e7d6c5b4a3210" * 3], ids=["short", "long"])
def test_nothing_is_cut_before_it_is_redacted(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a text is cut, no part of a key is left at its end."""
    monkeypatch.setenv("FLYWHEEL_API_KEY_TEACHER", key)
    pulse = Pulse(Store(MemoryBucket()), "progress.json")
    for size in (80, 120, 200, 256, 300, 512):
        for before in range(size - len(key), size):
            text = "x" * before + key
            pulse.update(text=text, waiting_for=text)
            seen = pulse.look()
            for cut in (line.shown(text, size), seen.text, str(seen.waiting_for)):
                assert key[:3] not in cut, (size, before)
    for before in range(160, 220):
        error, _, _ = play(lambda b, n, k=before: err(401, "x" * k + json.dumps({"param": key})))
        assert key[:3] not in str(error)


def test_what_a_redaction_shortens_is_not_cut_inside_a_key_before(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "sk-live-" + "9f8e7d6c5b4a3210" * 120
    monkeypatch.setenv("FLYWHEEL_API_KEY_TEACHER", SHORT)
    monkeypatch.setenv("FLYWHEEL_API_KEY_SOLVER", long)
    for before in range(1980 - len(long), 2000 - len(long)):
        error, _, _ = play(lambda b, n, k=before: err(401, long + " " * k + SHORT))
        assert SHORT[:3] not in str(error), before


def test_scripted_answers_say_so_under_any_name() -> None:
    async def ask() -> bool:
        wire = Wire(lambda _body, _n: ok("4", standin=True))
        asked = client(wire)
        await asked.chat(ASK)
        return (await asked.identify()).standin

    assert run(ask()), "every artefact that a stand-in had a part in says so"
