"""What follows from what the door says: nothing is dropped for weather, and what a person must do is said."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pydantic import BaseModel

from flywheel_jobs.core.errors import BudgetExceeded, EndpointUnavailable
from flywheel_jobs.endpoints import structured
from flywheel_jobs.endpoints.asking import strict
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.transport import NoReply
from flywheel_jobs.endpoints.wire import Reply
from unit.jobs.virtual import ASK, Body, Wire, client, err, is_probe, many, now, ok, run

Work = Callable[[ChatClient], Coroutine[Any, Any, Any]]


def play(answer: Any, work: Work = lambda c: c.chat(ASK), **settings: Any) -> tuple[Any, Wire, ChatClient]:
    """What the work came to, its error included."""
    wire = Wire(answer)

    async def go() -> tuple[Any, ChatClient]:
        made = client(wire, **settings)
        try:
            return await work(made), made
        except Exception as error:
            return error, made
        finally:
            await made.aclose()

    result, made = run(go())
    return result, wire, made


class Limited:
    """At most `rate` answers in a window of so many seconds; the rest are refused in a server's own way."""

    def __init__(self, rate: int, seconds: float, refusal: Reply) -> None:
        self.rate, self.seconds, self.refusal = rate, seconds, refusal
        self.began, self.count = 0.0, 0

    def __call__(self, body: Body, number: int) -> Reply:
        if now() - self.began >= self.seconds:
            self.began, self.count = now(), 0
        self.count += 1
        return ok() if self.count <= self.rate else self.refusal


@pytest.mark.parametrize(
    ("limit", "items"),
    [
        (Limited(5, 1, err(429, "slow down", **{"retry-after": "1"})), 150),
        (Limited(60, 60, err(429, "slow down")), 150),
        (Limited(60, 60, err(429, "", **{"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"})), 150),
        (Limited(20, 1, err(429, "", **{"retry-after": "0"})), 100),
        (Limited(20, 1, err(429, "", **{"retry-after-ms": "900"})), 100),
        (Limited(10, 1, err(503, "busy")), 100),
        (Limited(10, 1, Reply(200, b'{"error": {"code": 429, "message": "slow down"}}')), 100),
    ],
)
def test_a_limit_costs_time_and_no_item(limit: Limited, items: int) -> None:
    ends, wire, _ = play(limit, lambda c: many(c, range(items)), concurrency=64)
    assert ends == {"answered": items}
    assert len(wire.bodies) < 4 * items  # and asks less while it is refused


@pytest.mark.parametrize("share", [50, 80])
@pytest.mark.parametrize("fault", [err(503), err(500), ok("", finish="abort"), Reply(200, b'{"choices": []}'), None])
def test_bad_weather_costs_no_item(share: int, fault: Reply | None) -> None:
    def answer(body: Body, number: int) -> Reply:
        if (number * 7919) % 101 % 100 < share:
            if fault is None:
                raise NoReply("reset by peer")
            return fault
        return ok()

    ends, _, _ = play(answer, lambda c: many(c, range(150)), concurrency=64)
    assert ends == {"answered": 150}


@pytest.mark.parametrize(("replicas", "items", "concurrency"), [(2, 20, 2), (2, 150, 8), (3, 64, 64), (4, 20, 8)])
def test_one_dead_replica_behind_a_balancer_that_goes_round_costs_no_item(
    replicas: int, items: int, concurrency: int
) -> None:
    """Tries that fall into step with our own requests all meet the dead one: 12 of 120 items were lost."""

    def answer(body: Body, number: int) -> Reply:
        return ok() if number % replicas else err(500, "dead")

    ends, _, _ = play(answer, lambda c: many(c, range(items)), concurrency=concurrency)
    assert ends == {"answered": items}


def test_everybody_that_is_told_to_wait_comes_back_one_after_the_other() -> None:
    _, wire, _ = play(Limited(5, 1, err(429, "", **{"retry-after": "1"})), lambda c: many(c, range(64)), concurrency=64)
    assert max(Counter(round(t, 3) for t in wire.times).values()) <= 8


@pytest.mark.parametrize("beside", [0, 1, 5, 12])
def test_poison_is_found_by_a_request_of_our_own_whoever_is_beside_it(beside: int) -> None:
    """A stage whose last item is poisoned could never end: nobody answered beside it."""

    def answer(body: Body, number: int) -> Reply:
        return err(500, "boom") if body["messages"][0]["content"] == "0" else ok()

    ends, wire, _ = play(answer, lambda c: many(c, range(beside + 1)), patience=5.0)
    assert ends == Counter({"answered": beside, "RequestRefused": 1})
    assert 8 <= sum(is_probe(b) for b in wire.bodies) <= 8 * 4


def test_no_item_is_poison_while_our_own_requests_fail_too() -> None:
    def answer(body: Body, number: int) -> Reply:
        return ok() if body["messages"][0]["content"] == "good" else err(500)

    error, wire, _ = play(answer, lambda c: c.chat(ASK), patience=600.0)
    assert isinstance(error, EndpointUnavailable) and error.reason == "EndpointUnavailable"
    assert "has not answered for" in str(error) and any(map(is_probe, wire.bodies))


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (err(402, "no balance left"), "pay"),
        (err(429, "You exceeded your current quota (insufficient_quota)"), "pay"),
        (err(429, "credit_balance_exhausted"), "pay"),
        (err(498, "token expired"), "apiKey"),
        (err(401, "bad key"), "apiKey"),
        (err(404, "no such model"), "url and model"),
        (err(451, "not here"), "server's own log"),
        (err(423, "locked"), "server's own log"),
        (err(501, "no"), "server's own log"),
        (Reply(308, b"", {"location": "http://elsewhere/v1"}), "elsewhere"),
    ],
)
def test_what_a_person_must_do_ends_the_stage_and_drops_nothing(reply: Reply, says: str) -> None:
    ends, _, _ = play(lambda b, n: reply, lambda c: many(c, range(20)))
    assert ends == {"EndpointUnavailable": 20}
    error, _, _ = play(lambda b, n: reply)
    assert isinstance(error, EndpointUnavailable) and error.reason == "EndpointRefused" and says in str(error)


@pytest.mark.parametrize("fault", [err(402, "", **{"retry-after": "2"}), err(400, "model is still loading"),
                                   err(404, "loading model"), err(499), err(421)])  # fmt: skip
def test_what_passes_is_waited_for(fault: Reply) -> None:
    got, _, _ = play(lambda b, n: fault if n < 2 else ok("right"))
    assert got.text == "right"


def test_refusals_alike_are_the_endpoint_s_and_single_ones_the_item_s() -> None:
    ends, _, _ = play(lambda b, n: err(400, f"strange refusal {n}"), lambda c: many(c, range(30)))
    assert ends == {"RequestRefused": 29, "EndpointUnavailable": 1}, "a stage ends at the first"

    def some(body: Body, number: int) -> Reply:
        return err(400, "too odd") if int(body["messages"][0]["content"]) % 3 == 1 else ok()

    ends, _, _ = play(some, lambda c: many(c, range(90)), concurrency=1)
    assert ends == {"answered": 60, "RequestRefused": 30}


def test_items_that_are_refused_for_good_may_come_in_a_row() -> None:
    """What an attempt asks that goes on behind another one: all that is missing was refused there."""
    asked: list[Body] = []

    def content(body: Body, number: int) -> Reply:
        asked.append(body)
        return ok() if is_probe(body) else err(400, "not about that")

    ends, _, _ = play(content, lambda c: many(c, range(200)), concurrency=1, maxTokens=300)
    assert ends == {"RequestRefused": 200}
    ours = [body for body in asked if is_probe(body)]
    assert len(ours) == 1 + (200 - 8) // 30 and {body["max_tokens"] for body in ours} == {300}, "of the same shape"

    def never(body: Body, number: int) -> Reply:
        return err(400, "no such parameter") if body["max_tokens"] == 300 else ok()

    ends, _, _ = play(never, lambda c: many(c, range(200)), concurrency=1, maxTokens=300)
    assert ends["EndpointUnavailable"], "though smaller ones are answered"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("this model's maximum context length is 512 tokens", "too-long"),
        ("prompt is too long: 9000 tokens > 8192 maximum", "too-long"),
        ("content_filter", "filtered"),
        ("bad request", "request-refused"),
    ],
)
def test_a_dropped_item_says_why(text: str, word: str) -> None:
    error, wire, _ = play(lambda b, n: err(400, text))
    assert isinstance(error, RequestRefused) and error.reason == word and len(wire.bodies) == 1


# ---- what a server cannot do --------------------------------------------------------------------------------------
SCHEMA = {"title": "Reply", "type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("part", "refusal"),
    [
        ("response_format", err(400, "response_format is not supported")),
        ("response_format", err(500, "Grammar error: unimplemented")),
        ("response_format", err(501, "not implemented")),
        ("response_format", err(400, "failed to parse grammar")),
        ("seed", err(400, "seed is not supported")),
        ("seed", err(422, "extra fields")),
    ],
)
def test_what_a_server_cannot_do_is_left_out_and_remembered(part: str, refusal: Reply) -> None:
    async def twice(c: ChatClient) -> Any:
        await c.chat(ASK, seed=1, schema=SCHEMA)
        return await c.chat(ASK, seed=1, schema=SCHEMA)

    got, wire, made = play(lambda b, n: refusal if part in b else ok("right"), twice)
    assert got.text == "right" and part not in wire.bodies[-1]
    assert bool(made.learnt.no_schema) == (part == "response_format")  # and nothing else is given up
    assert made.learnt.no_seed == (part == "seed")


NO_LIMIT = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
NO_HEAT = "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default value is supported."
NO_NUCLEUS = "Unsupported parameter: 'top_p' is not supported with this model."
ONE_OF_TWO = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."


def thinking(body: Body, number: int) -> Reply:
    """A model that thinks, as vendors serve it: it says one thing at a time."""
    for part, says in (("max_tokens", NO_LIMIT), ("temperature", NO_HEAT), ("top_p", NO_NUCLEUS)):
        if part in body:
            return err(400, says)
    return ok("right") if body["max_completion_tokens"] else err(400)


async def twice_with_schema(c: ChatClient) -> Any:
    await c.chat(ASK, seed=1, schema=SCHEMA)
    return await c.chat(ASK, seed=1, schema=SCHEMA)


def test_a_model_that_thinks_has_a_limit_of_another_name_and_samples_as_it_will() -> None:
    got, wire, made = play(thinking, twice_with_schema)
    assert got.text == "right" and len(wire.bodies) == 5, "three refusals, and then it is known"
    assert made.learnt.takes_no == {"max_tokens", "temperature", "top_p"}
    assert "response_format" in wire.bodies[-1] and "seed" in wire.bodies[-1], "nothing else is given up"
    plain = err(400, "response_format is not supported")

    def thinking_plainly(b: Body, n: int) -> Reply:
        said = thinking(b, n)
        return plain if said.status == 200 and "response_format" in b else said

    _, wire, made = play(thinking_plainly, twice_with_schema)
    assert len(made.learnt.takes_no) == 3 and made.learnt.no_schema and "temperature" not in wire.bodies[-1]
    _, wire, made = play(lambda b, n: err(400, ONE_OF_TWO) if "top_p" in b else ok("right"), twice_with_schema)
    assert made.learnt.takes_no == {"top_p"} and "temperature" in wire.bodies[-1]


def test_what_a_server_takes_no_such_value_of_is_no_part_to_leave_out() -> None:
    """Samples of another temperature than was asked for are other samples."""
    hot = err(400, "temperature must be at most 1.5")
    end, _, made = play(lambda b, n: hot if "temperature" in b else ok("x"), twice_with_schema)
    assert isinstance(end, RequestRefused) and not made.learnt.takes_no


def test_a_policy_is_never_sampled_otherwise_than_it_says() -> None:
    end, _, made = play(thinking, twice_with_schema, role="Policy")
    assert isinstance(end, RequestRefused) and "temperature" in str(end) and not made.learnt.takes_no


def test_a_schema_survives_weather_and_another_schema_s_refusal() -> None:
    def answer(body: Body, number: int) -> Reply:
        name = body["response_format"]["json_schema"]["schema"]["title"] if "response_format" in body else ""
        return err(500) if number in (0, 1) else err(400, "schema") if name == "Tree" else ok("right")

    async def three(c: ChatClient) -> None:
        await c.chat(ASK, schema=SCHEMA)
        await c.chat(ASK, schema={**SCHEMA, "title": "Tree"})
        await c.chat(ASK, schema=SCHEMA)

    _, wire, made = play(answer, three)
    assert made.learnt.no_schema == {"Tree"} and "response_format" in wire.bodies[-1]


class One(BaseModel):
    """An answer's shape."""

    x: int


class Other(BaseModel):
    """Another one."""

    y: int


def test_each_answer_is_asked_for_by_the_schema_of_its_own_shape() -> None:
    async def both(c: ChatClient) -> Any:
        return [await structured.ask(c, ASK, shape) for shape in (One, Other, One)]

    got, wire, _ = play(lambda b, n: ok(*['{"x": 1}', '{"y": 2}', '{"x": 3}'][n : n + 1]), both)
    assert got == [One(x=1), Other(y=2), One(x=3)]
    asked = [body["response_format"]["json_schema"]["schema"] for body in wire.bodies]
    assert asked == [shape.model_json_schema() for shape in (One, Other, One)]


def test_strict_is_said_only_of_what_strict_mode_takes() -> None:
    closed: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"],
                              "additionalProperties": False}  # fmt: skip
    assert strict(closed)
    broken: dict[str, Any]
    for broken in ({"required": []}, {"additionalProperties": True}, {"properties": {"x": {"default": 1}}}):
        assert not strict({**closed, **broken})
    assert not strict({"anyOf": [closed, {"type": "object"}]})


# ---- usage and budgets ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("usage", [None, (0, 0), (-500, -100)])
def test_a_budget_fires_also_where_the_server_does_not_count(usage: tuple[int, int] | None) -> None:
    text = "x" * 1200

    async def calls(c: ChatClient) -> int:
        for n in range(200):
            try:
                await c.chat(ASK)
            except BudgetExceeded:
                return n
        return 200

    n, _, made = play(lambda b, n: ok(text, usage=usage), calls, tokenLimit=1000)
    assert n == 4 and made.usage.estimated_tokens == made.tokens_used >= 1000


def test_a_budget_holds_within_one_request_with_64_in_flight() -> None:
    async def slow() -> Reply:
        await asyncio.sleep(1)
        return ok(usage=(6, 50))

    ends, _, made = play(
        lambda b, n: slow(), lambda c: many(c, range(64)), concurrency=64, tokenLimit=1000, maxTokens=50
    )
    assert 1000 <= made.tokens_used < 1056 and ends["answered"] == 18 and ends["BudgetExceeded"] == 46


def test_time_outs_double_and_count_for_the_budget() -> None:
    limits: list[float] = []

    async def answer(body: Body, number: int) -> Reply:
        raise NoReply("no answer", timed_out=True)

    class Slow(Wire):
        async def send(self, method: str, path: str, body: Body | None, seconds: float) -> Reply:
            if body is not None and not is_probe(body):
                limits.append(seconds)
                if seconds < 300:
                    await asyncio.sleep(seconds)
                    raise NoReply("no answer", timed_out=True)
                return ok(usage=(10, 20))
            return ok(usage=(1, 1))

    async def go() -> ChatClient:
        made = client(Slow(answer), timeoutSeconds=90.0, maxTokens=100)
        await made.chat(ASK)
        return made

    made = run(go())
    assert limits == [90, 180, 360]
    assert made.usage.unconfirmed_tokens == 2 * 138 and made.tokens_used >= 2 * 138 + 30


def test_what_is_too_slow_for_any_time_is_given_up() -> None:
    def answer(body: Body, number: int) -> Reply:
        if is_probe(body):
            return ok()
        raise NoReply("no answer", timed_out=True)

    error, wire, _ = play(answer)
    assert isinstance(error, RequestRefused) and sum(not is_probe(b) for b in wire.bodies) < 10
