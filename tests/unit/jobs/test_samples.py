"""Several answers are several samples: fewer are asked again, and what a cache gives twice is one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from flywheel_jobs.core.errors import EndpointUnavailable
from flywheel_jobs.endpoints import samples
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.transport import NoReply
from flywheel_jobs.endpoints.wire import Reply
from unit.jobs.test_endpoint_trouble import play
from unit.jobs.virtual import ASK, Body, Wire, client, err, is_probe, many, ok, run


def eight(c: ChatClient) -> Coroutine[Any, Any, Any]:
    return c.chat(ASK, n=8, seed=3)


@pytest.mark.parametrize(
    "answer",
    [
        lambda b, n: ok("a"),  # Ollama: n is ignored
        lambda b, n: err(400, "n must lie in 1..4") if b.get("n", 1) > 4 else ok(*"a" * b.get("n", 1)),
        lambda b, n: err(422, "extra fields not permitted") if "n" in b else ok("a"),
        lambda b, n: err(500, "n > 1 is not implemented") if "n" in b else ok("a"),
        lambda b, n: ok(*"abcdefghij"),  # more than asked
        lambda b, n: ok(*"abcdefgh") if n else ok(*"abcde"),
        lambda b, n: ok(*"a" * b.get("n", 1), finish="stop" if n else "abort"),
    ],
)
def test_n_means_n_samples(answer: Any) -> None:
    got, wire, _ = play(lambda b, n: ok(str(n)) if is_ours(b) else answer(b, n), eight)
    assert len(got.texts) == 8
    seeds = [b["seed"] for b in wire.bodies if not is_ours(b)]
    singles = [b["seed"] for b in wire.bodies if "n" not in b and not is_ours(b)]
    assert seeds[0] == 3 and len(set(singles)) == len(singles)  # each sample has a seed of its own


def test_a_server_without_n_is_asked_so_once() -> None:
    def answer(body: Body, number: int) -> Reply:
        return err(400, "n is not supported") if "n" in body else ok(f"a{number}")

    async def twice(c: ChatClient) -> None:
        await c.chat(ASK, n=3)
        await c.chat(ASK, n=3)

    _, wire, _ = play(answer, twice)
    assert sum("n" in b for b in wire.bodies) == 1 and len(wire.bodies) == 7


def test_one_cached_completion_is_one_sample() -> None:
    """A gateway that answers by messages and ignores the seed made 14 of 30 verified labels wrong."""
    error, wire, _ = play(lambda b, n: ok("a", id="same"), lambda c: c.chat(ASK, seeds=[1, 2, 3]))
    assert isinstance(error, RequestRefused) and error.reason == "not-independent" and "cache" in str(error)
    assert len({b["seed"] for b in wire.bodies}) == len(wire.bodies)

    async def votes(c: ChatClient) -> list[Any]:
        return [await asyncio.gather(c.chat(ASK, seeds=[k, k + 1]), return_exceptions=True) for k in range(9)]

    ends, _, _ = play(lambda b, n: ok("a", id="same"), votes)
    assert isinstance(ends[4][0], EndpointUnavailable) and "for the first 5 items" in str(ends[4][0])
    own, _, _ = play(lambda b, n: ok(f"a{n}", id=str(n)), lambda c: c.chat(ASK, seeds=[1, 2, 3]))
    assert own.ids == ["0", "1", "2"]


# ---- samples that are word for word alike ---------------------------------------------------------------------------
def is_open_question(body: Body) -> bool:
    return str(body["messages"][0]["content"]).startswith(samples.OPEN)


def is_ours(body: Body) -> bool:
    return is_probe(body) or is_open_question(body)


def votes_of(items: int, **ask: Any) -> Any:
    async def work(c: ChatClient) -> list[Any]:
        return [await c.chat(ASK, seeds=[k, k + 1, k + 2], **ask) for k in range(items)]

    return work


IDS = pytest.mark.parametrize("ids", [{"id": ""}, {}], ids=["no ids", "fresh ids"])


@IDS
def test_equal_texts_are_a_cache_where_our_own_question_is_answered_alike_too(ids: dict[str, str]) -> None:
    """The first vote of all finds it: nothing was counted before. A cache may give its answers fresh ids."""
    for text in ("a", "Let us add the numbers. " * 20):
        error, wire, _ = play(lambda b, n, text=text: ok(text, **ids), votes_of(1))
        assert isinstance(error, EndpointUnavailable) and error.reason == "EndpointRefused" and "cache" in str(error)
        assert sum(map(is_open_question, wire.bodies)) == samples.OPEN_ASKED
    memory: dict[str, str] = {}

    def gateway(body: Body, number: int) -> Reply:
        """It answers by the messages, whatever seed and temperature."""
        return ok(memory.setdefault(str(body["messages"]), f"text {number}"), **ids)

    error, wire, _ = play(gateway, votes_of(1))
    assert isinstance(error, EndpointUnavailable) and error.reason == "EndpointRefused"
    asked = [b for b in wire.bodies if is_open_question(b)]
    assert len({b["seed"] for b in asked}) == len(asked) and {b["temperature"] for b in asked} == {1.0}


@IDS
def test_a_short_answer_that_is_always_the_same_is_believed_where_the_server_samples(ids: dict[str, str]) -> None:
    def model(body: Body, number: int) -> Reply:
        return ok(f"sentence {number}" if is_open_question(body) else "4", **ids)

    found, wire, _ = play(model, votes_of(1 + 2 * samples.ALIKE))
    assert all(r.texts == ["4"] * 3 for r in found)
    assert sum(map(is_open_question, wire.bodies)) == 3 * 2  # at once, and after each further twenty in a row

    def refuses(body: Body, number: int) -> Reply:
        return (ok("s", **ids) if number < 4 else err(400, "off topic")) if is_open_question(body) else ok("4", **ids)

    found, _, _ = play(refuses, votes_of(3))
    assert all(r.texts == ["4"] * 3 for r in found)


@IDS
def test_equal_texts_are_meant_at_temperature_0_once_and_of_a_script(ids: dict[str, str]) -> None:
    for more, ask in ((ids, {"temperature": 0.0}), ({"standin": True, **ids}, {})):
        found, wire, _ = play(lambda b, n, more=more: ok("4", **more), votes_of(samples.ALIKE + 5, **ask))
        assert all(r.texts == ["4"] * 3 for r in found) and not any(map(is_open_question, wire.bodies))
    _, wire, _ = play(lambda b, n: ok("4", **ids), lambda c: many(c, range(samples.ALIKE + 5)))
    assert not any(map(is_open_question, wire.bodies))


def test_a_policy_that_has_learnt_to_say_one_thing_is_for_the_gate_to_judge() -> None:
    """It says so to our own question, too; without ids of completions it cannot be told from a cache."""
    work = votes_of(samples.ALIKE + 5)
    found, wire, _ = play(lambda b, n: ok("<answer>7</answer>"), work, role="Policy")
    assert all(r.texts == ["<answer>7</answer>"] * 3 for r in found) and not any(map(is_open_question, wire.bodies))
    error, _, _ = play(lambda b, n: ok("<answer>7</answer>", id=""), work, role="Policy")
    assert isinstance(error, EndpointUnavailable)


def test_choices_that_are_always_alike_are_asked_for_one_by_one() -> None:
    """A server made n choices of one seed (easyllm): n samples were one."""

    async def work(c: ChatClient) -> None:
        for k in range(samples.ALIKE + 1):
            await c.chat(ASK, n=4, seed=k)

    _, wire, made = play(lambda b, n: ok(*[str(n) if is_ours(b) else "same"] * b.get("n", 1)), work)
    asked = [b.get("n", 1) for b in wire.bodies if not is_ours(b)]
    assert made.learnt.single and asked == [4] * samples.ALIKE + [1] * 4
    _, _, made = play(lambda b, n: ok(*"abcd"[: b.get("n", 1)]), work)
    assert not made.learnt.single


class Slow(Wire):
    """A server that needs 40 s for an answer, one after the other, and 200 for the first that is asked for alone.

    `in_time`: requests for several, by their number, that it answers at once all the same.
    """

    def __init__(self, in_time: frozenset[int] = frozenset()) -> None:
        super().__init__(lambda body, number: ok(*[f"answer {number}"] * body.get("n", 1)))
        self.in_time = in_time
        self.asked: list[tuple[int, int]] = []
        self.long: int | None = None

    async def send(self, method: str, path: str, body: Body | None, seconds: float) -> Reply:
        if body is None or is_ours(body):
            return await super().send(method, path, body, seconds)
        n, seed = body.get("n", 1), body["seed"]
        number = sum(n > 1 for n, _ in self.asked)
        self.asked.append((n, seed))
        self.long = self.long or (seed if n == 1 else None)
        needed = 0.0 if n > 1 and number in self.in_time else 40.0 * n + 160.0 * (seed == self.long)
        await asyncio.sleep(min(needed, seconds))
        if needed > seconds:
            raise NoReply("no answer", timed_out=True)
        return await super().send(method, path, body, seconds)


def asked_of(wire: Slow, items: int) -> list[tuple[int, int]]:
    async def work() -> None:
        made = client(wire, timeoutSeconds=90.0, role="Policy", maxTokens=100)
        for k in range(items):
            assert len((await made.chat(ASK, n=4, seed=1000 * k)).texts) == 4
        await made.aclose()

    run(work())
    return wire.asked


def test_one_long_sample_does_not_cost_its_siblings() -> None:
    """Four samples of one request are lost together; of four requests the long one alone is asked again."""
    asked = asked_of(Slow(), 1)
    assert [n for n, _ in asked] == [4] + [1] * 6
    times = Counter(seed for _, seed in asked[1:])
    assert sorted(times.values()) == [1, 1, 1, 3]  # 90 s, 180 s, 360 s


def test_a_server_that_is_always_too_slow_for_several_is_asked_one_by_one() -> None:
    asked = asked_of(Slow(), samples.LATE + 2)
    assert sum(n > 1 for n, _ in asked) == samples.LATE and all(n == 1 for n, _ in asked[-8:])


def test_time_outs_now_and_then_teach_nothing() -> None:
    items = 4 * samples.LATE
    asked = asked_of(Slow(in_time=frozenset(range(1, items, samples.LATE))), items)
    assert sum(n > 1 for n, _ in asked) == items
