"""A change of the served model in the middle is seen and counted; where answers make a score, it is refused."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from contract import stages
from flywheel_api import artifacts
from flywheel_api.artifacts import Manifest, Owner, ServedBy
from flywheel_api.records.reasoning import Problem
from flywheel_api.results import EvaluationResult, PreparedResult, SuiteInfo, Track
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import EndpointUnavailable, FlywheelError
from flywheel_jobs.endpoints import llm, served, wire
from flywheel_jobs.endpoints.transport import NoReply
from flywheel_jobs.endpoints.wire import Reply
from flywheel_jobs.evaluation.runner import evaluate
from flywheel_jobs.harness import clients, journal
from flywheel_jobs.harness.context import OutputFile, ShardDone, StageContext, StageResult, store_file
from flywheel_jobs.harness.journal import Journal, Segment
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket
from unit.jobs.virtual import ASK, Body, now, ok, run

SUITE, ITEMS = "numeracy-heldout", 12
BEGUN = [0]  # attempts: each is later than the one before
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class Server:
    """A server of one model that says of itself what it is told to; each answer takes 20 s."""

    def __init__(self, **entry: Any) -> None:
        self.entry: dict[str, Any] = entry
        self.reply: Reply | Exception | None = None  # of GET /models, instead of the entry
        self.name, self.print = "policy", "fp_1"
        self.hangs = 0.0
        self.changes: dict[int, Callable[[Server], Any]] = {}  # what happens before the answer of that number
        self.asked: list[str] = []
        self.looks: list[float] = []

    async def send(self, method: str, path: str, body: Body | None, seconds: float) -> Reply:
        """The transport's."""
        if body is None:
            self.looks.append(now())
            await asyncio.sleep(self.hangs)
            if isinstance(self.reply, Exception):
                raise self.reply
            return self.reply or Reply(200, json.dumps({"data": [{"id": "policy", **self.entry}]}).encode())
        await asyncio.sleep(20)
        self.changes.pop(len(self.asked), lambda server: None)(self)
        self.asked.append(str(body["messages"][-1]["content"]))
        return ok("7", model=self.name, system_fingerprint=self.print)

    async def aclose(self) -> None:
        """The transport's."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time on all clocks, beyond the end of each loop too; and nothing in threads, which it would outrun."""

    def shown() -> str:
        return f"attempt {BEGUN[0]:03d}, second {now():09.1f}"

    async def here(work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    monkeypatch.setattr(journal, "now", shown)
    monkeypatch.setattr(llm, "now", shown)
    monkeypatch.setattr(asyncio, "to_thread", here)


def context(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, stage: Stage, shard: int = 0, shards: int = 1
) -> StageContext:
    """A stage of one policy, which that server plays."""
    monkeypatch.setattr(llm, "Http", lambda endpoint: server)
    spec = stages.round_spec(evaluation={"suites": [{"name": SUITE, "items": ITEMS, "repeats": 1}]})
    told = stages.config(stage, spec, "http://models.test/v1", {}, only_for="these", base_model="hf://a/b")
    own = [e.model_copy(update={"concurrency": shards, "timeout_seconds": 90}) for e in told.endpoints]
    attempt = {"endpoints": own, "shards": shards, "attempt": max(1, BEGUN[0])}
    made = StageContext(told.model_copy(update=attempt), store, shard)
    problems = [Problem(id=f"p{n}", question=f"What is {n} + 7?", answer=str(n + 7)) for n in range(ITEMS)]
    entry = store_file(store, OutputFile.of(f"suites/{SUITE}.jsonl", Problem, problems))
    prepared = PreparedResult(suites=[SuiteInfo(name=SUITE, track=Track.REASONING, items=ITEMS)])
    made.inputs[Stage.PREPARE] = Manifest(
        owner=Owner(kind="FlywheelRound", namespace="n", name="r", uid="u"),
        stage="Prepare",
        attempt=1,
        files=[entry],
        result=prepared,
        created_at="2026-01-01T00:00:00Z",
    )
    return made


def evaluated(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, model: str | None = None, **shard: int
) -> StageResult | FlywheelError | ShardDone:
    """How an attempt at an evaluation ends, or a shard of it."""
    BEGUN[0] += 1

    async def go() -> StageResult | FlywheelError | ShardDone:
        ctx = context(server, store, monkeypatch, Stage.EVALUATE_BASE, **shard)
        await asyncio.to_thread(ctx.journal.load)
        try:
            return await evaluate(ctx, model)
        except (FlywheelError, ShardDone) as error:
            return error
        finally:
            await ctx.close()

    return run(go())


def rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[ServedBy]:
    """Who answered, as the next attempt reads it."""
    ctx = context(Server(), store, monkeypatch, Stage.EVALUATE_BASE)
    ctx.journal.load()
    return list(ctx.journal.served_by.values())


def generating(
    server: Server, monkeypatch: pytest.MonkeyPatch, work: Callable[[StageContext], Coroutine[Any, Any, Any]]
) -> list[ServedBy]:
    """Who a stage that makes no score was answered by."""

    async def go() -> list[ServedBy]:
        ctx = context(server, Store(MemoryBucket()), monkeypatch, Stage.MINE_REASONING)
        await work(ctx)
        await ctx.close()
        return ctx.manifest(StageResult(EvaluationResult(suites=[])), []).served_by

    return run(go())


async def asks(ctx: StageContext, count: int = 30) -> None:
    """So many questions of 20 s each, with a flush after each."""
    for _ in range(count):
        await ctx.llm(Role.POLICY).chat(ASK)
        await ctx.flush()


# ---- generation: counted ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("field", "one", "two"), [("root", "/models/1", "/models/2"), ("weights", OLD, NEW)])
def test_other_weights_in_the_middle_are_counted(
    field: str, one: str, two: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(**{field: one})
    server.changes[12] = lambda s: s.entry.update({field: two})
    found = generating(server, monkeypatch, asks)
    assert [getattr(row, field) for row in found] == [one, two] and sum(row.answers for row in found) == 30
    assert 12 <= found[0].answers <= 16, "it is seen within a minute"


def test_other_fingerprints_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    server.changes[12] = lambda s: setattr(s, "print", "fp_2")
    found = generating(server, monkeypatch, asks)
    assert {row.fingerprint: row.answers for row in found} == {"fp_1": 12, "fp_2": 18}


def test_a_fingerprint_for_each_answer_makes_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an attempt, and of all together: each tells others apart."""
    server = Server()
    server.changes = {n: lambda s, n=n: setattr(s, "print", f"fp_{n}") for n in range(90)}
    found = generating(server, monkeypatch, lambda ctx: asks(ctx, 90))
    assert len(found) == served.DISTINCT + 1 and sum(row.answers for row in found) == 90
    assert {row.answers for row in found if row.fingerprint == served.OTHERS} == {90 - served.DISTINCT}
    made = Journal(Store(MemoryBucket()), Owner(kind="R", namespace="n", name="r", uid="u"), OLD, 1)
    for n in range(99):
        made._account(Segment(owner_uid="u", attempt=1, items=[], served_by=[
            ServedBy(role=role, model=f"m{n}", fingerprint=f"fp_{n}", answers=2) for role in ("Teacher", "Solver")
        ]))  # fmt: skip
    for role in ("Teacher", "Solver"):
        mine = [row for row in made.served_by.values() if row.role == role]
        assert len(mine) == 2 * served.DISTINCT + 1 and sum(row.answers for row in mine) == 198


@pytest.mark.parametrize(
    "silent",
    [NoReply("reset"), Reply(503), Reply(404), Reply(200, b"<html>"), Reply(200, b'{"data": []}'),
     Reply(200, b'{"data": [{"id": "policy"}]}')],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("hangs", [0.0, 3600.0])
def test_models_that_falls_silent_keeps_what_was_known_and_costs_no_time(
    silent: Any, hangs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(root="/models/1", max_model_len=4096)
    server.changes[6] = lambda s: s.__dict__.update(reply=silent, hangs=hangs)
    took: list[float] = []

    async def timed(ctx: StageContext) -> None:
        await asks(ctx)
        took.append(now())
        assert ctx.llm(Role.POLICY).window == 4096

    found = generating(server, monkeypatch, timed)
    assert [(row.root, row.answers) for row in found] == [("/models/1", 30)] and took == [30 * 20]


def test_models_is_looked_at_once_a_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    generating(server, monkeypatch, asks)
    assert 8 <= len(server.looks) <= 10 and min(b - a for a, b in pairwise(server.looks)) >= 60


def test_a_look_that_is_under_way_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()

    async def flushes(ctx: StageContext) -> None:
        await asks(ctx, 3)
        for _ in range(3):
            ctx.llm(Role.POLICY).look()
        await asyncio.sleep(1)

    generating(server, monkeypatch, flushes)
    assert server.looks == [0, 60]


def test_weights_are_not_those_of_another_place() -> None:
    before = ServedBy(role="Policy", model="m", weights=OLD, root="/models/1", owned_by="me")
    after = served.kept(before, ServedBy(role="Policy", model="m", root="/models/2"))
    assert (after.weights, after.root, after.owned_by) == (None, "/models/2", "me")


# ---- evaluation: refused ---------------------------------------------------------------------------------------------
def test_other_weights_end_an_evaluation_and_what_is_in_doubt_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server, store = Server(root="/models/1"), Store(MemoryBucket())
    server.changes[5] = lambda s: s.entry.update(root="/models/2")
    error = evaluated(server, store, monkeypatch)
    assert isinstance(error, EndpointUnavailable) and error.reason == "ServedModelChanged"
    assert "/models/2" in str(error) and "/models/1 before: a score is of one model; serve that one again" in str(error)
    assert len(server.asked) < ITEMS, "in the middle"
    before = list(server.asked)
    again = evaluated(server, store, monkeypatch)
    assert getattr(again, "reason", "") == "ServedModelChanged" and server.asked == before, "the next attempt sees it"
    assert {row.root for row in rows(store, monkeypatch)} == {"/models/1"}
    server.entry.update(root="/models/1")
    done = evaluated(server, store, monkeypatch)
    assert isinstance(done, StageResult)
    asked = Counter(server.asked)
    twice = [text for text, times in asked.items() if times > 1]
    assert len(asked) == ITEMS and set(before[5:]) <= set(twice), "whatever the other may have answered"
    assert len(twice) < len(before), "and not what it cannot have"


def test_the_last_item_s_answer_is_not_the_other_model_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked after it: only the look at the end can see it."""
    server, store = Server(weights=OLD), Store(MemoryBucket())
    server.changes[ITEMS - 1] = lambda s: s.entry.update(weights=NEW)
    for model, reason in ((None, "ServedModelChanged"), (OLD, "WrongWeights")):
        error = evaluated(server, store, monkeypatch, model)
        assert getattr(error, "reason", "") == reason
    server.entry.update(weights=OLD)
    assert isinstance(evaluated(server, store, monkeypatch, OLD), StageResult)
    assert server.asked.count(server.asked[ITEMS - 1]) == 2


def test_a_shard_that_ends_before_the_others_looks_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else sees by whom its last items were answered."""
    server, store = Server(weights=OLD), Store(MemoryBucket())
    assert isinstance(evaluated(server, store, monkeypatch, shard=1, shards=2), ShardDone)
    mine, server.asked = len(server.asked), []
    assert 2 <= mine < ITEMS
    server.changes[mine - 1] = lambda s: s.entry.update(weights=NEW)
    error = evaluated(server, Store(MemoryBucket()), monkeypatch, shard=1, shards=2)
    assert getattr(error, "reason", "") == "ServedModelChanged"


def test_a_server_that_said_only_other_weights_has_answered_nothing_that_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It said them late: that it said the same ever since makes none of its answers sure."""
    server, store = Server(), Store(MemoryBucket())
    server.changes[2] = lambda s: s.entry.update(weights=NEW)
    assert getattr(evaluated(server, store, monkeypatch, OLD), "reason", "") == "WrongWeights"
    assert len(server.asked) == ITEMS
    server.entry.update(weights=OLD)
    assert isinstance(evaluated(server, store, monkeypatch, OLD), StageResult)
    assert set(Counter(server.asked).values()) == {2}


def test_another_name_ends_an_evaluation_and_keeps_what_it_cannot_have_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, store = Server(), Store(MemoryBucket())
    server.changes[5] = lambda s: setattr(s, "name", "cheap")
    error = evaluated(server, store, monkeypatch)
    assert getattr(error, "reason", "") == "ServedModelChanged" and "as cheap, and as policy before" in str(error)
    asked = len(server.asked)
    assert getattr(evaluated(server, store, monkeypatch), "reason", "") == "ServedModelChanged"
    assert len(server.asked) == asked + 1, "the next attempt sees it at the first answer"
    server.name = "policy"
    assert isinstance(evaluated(server, store, monkeypatch), StageResult)
    assert sum(row.answers for row in rows(store, monkeypatch)) == ITEMS


def test_another_fingerprint_is_no_other_model(monkeypatch: pytest.MonkeyPatch) -> None:
    server, store = Server(root="/models/1"), Store(MemoryBucket())
    server.changes[5] = lambda s: setattr(s, "print", "fp_2")
    assert isinstance(evaluated(server, store, monkeypatch), StageResult)
    assert {row.fingerprint: row.answers for row in rows(store, monkeypatch)} == {"fp_1": 5, "fp_2": ITEMS - 5}


def test_models_that_falls_silent_ends_no_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    server, store = Server(weights=OLD), Store(MemoryBucket())
    server.changes[5] = lambda s: setattr(s, "reply", NoReply("reset"))
    assert isinstance(evaluated(server, store, monkeypatch, OLD), StageResult)


def test_a_server_that_says_its_weights_late_has_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the manifest has those that the operator has it serve, which a server may call otherwise."""
    server, store = Server(), Store(MemoryBucket())
    server.changes[5] = lambda s: s.entry.update(weights=NEW)
    assert isinstance(evaluated(server, store, monkeypatch, "hf://a/b"), StageResult)
    assert {(row.weights, row.weights_assumed) for row in rows(store, monkeypatch)} == {
        ("hf://a/b", True),
        (NEW, False),
    }


def test_a_server_that_says_the_key_puts_it_into_no_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "k7Qz9mP2xRk7Qz9mP2xR"
    monkeypatch.setenv("FLYWHEEL_API_KEY_POLICY", key)
    server = Server(root=f"/m/{key}", owned_by=key, notice=key)
    server.name = server.print = f"for {key}"
    assert key not in str(generating(server, monkeypatch, asks))


@pytest.mark.parametrize("field", ["model", "root"])
def test_shards_that_saw_different_models_make_no_score(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is steady in itself; also where a release before this one wrote the segment."""
    server, store = Server(root="/models/1"), Store(MemoryBucket())
    ctx = context(server, store, monkeypatch, Stage.EVALUATE_BASE)
    other = ServedBy(role="Policy", **{"model": "policy", "root": "/models/1", field: "else", "answers": 3})
    item = journal.Item(phase="evaluation", key=f"{SUITE}/p0", dropped="crashed")
    segment = Segment(owner_uid="u1", attempt=1, items=[item], served_by=[other])
    store.put_json(artifacts.item_key("n", ctx.config.content_key, "segment/u1/1/x"), segment)
    monkeypatch.setattr(clients, "first", lambda rows, role: served.Steady())  # it began beside this shard
    error = evaluated(server, store, monkeypatch)
    assert getattr(error, "reason", "") == "ServedModelChanged" and "else" in str(error), error
    assert isinstance(evaluated(server, store, monkeypatch), StageResult)
    assert sum(row.answers for row in rows(store, monkeypatch)) == ITEMS and len(set(server.asked)) == ITEMS


# ---- reading ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("said", "fingerprint"),
    [("fp_44709d6fcb", "fp_44709d6fcb"), (None, ""), (3, ""), ({"a": 1}, ""), ("a\x00b\n c", "a\ufffdb c"),
     ("x" * 9999, "x" * 64), ("\ud83d", "\ufffd")],
)  # fmt: skip
def test_a_fingerprint_is_cleaned_and_bounded(said: Any, fingerprint: str) -> None:
    answer = wire.read(ok("hi", system_fingerprint=said, model="m" * 9999)).answers[0]
    assert answer.fingerprint == fingerprint and answer.model == "m" * 253


def test_what_other_shards_write_after_a_doubt_is_in_doubt_and_what_later_attempts_write_is_not() -> None:
    """A shard that is told to stop writes what it has, seconds later; and clocks of nodes differ."""
    store, key = Store(MemoryBucket()), OLD

    def wrote(name: str, at: int, attempt: int, uid: str = "u", **more: Any) -> None:
        items = [journal.Item(phase="p", key=name, dropped="crashed")]
        made = Segment(owner_uid=uid, attempt=attempt, items=items, written_at=f"2026-01-01T00:00:{at:02}Z", **more)
        store.put_json(artifacts.item_key("n", key, f"segment/{uid}/{attempt}/{name}"), made)

    wrote("the doubt", 30, 2, doubts_since="2026-01-01T00:00:10Z")
    wrote("before it was seen", 5, 2)
    wrote("an attempt before", 12, 1)
    wrote("another shard", 33, 2)
    wrote("the next attempt, on a node whose clock is behind", 29, 3)
    wrote("another round, meanwhile", 20, 1, uid="v")
    wrote("another round, later", 31, 1, uid="v")
    made = Journal(store, Owner(kind="R", namespace="n", name="r", uid="u"), key, 4)
    made.load()
    assert {name for _, name in made.items} == {
        "before it was seen", "the next attempt, on a node whose clock is behind", "another round, later"
    }  # fmt: skip


def test_what_was_read_before_another_shard_doubts_it_is_in_doubt_too() -> None:
    store, owner = Store(MemoryBucket()), Owner(kind="R", namespace="n", name="r", uid="u")

    def wrote(at: int, attempt: int, *keys: str, **more: Any) -> None:
        items = [journal.Item(phase="p", key=key, dropped="crashed") for key in keys]
        made = Segment(owner_uid="u", attempt=attempt, items=items, written_at=f"2026-01-01T00:00:{at:02}Z", **more)
        store.put_json(artifacts.item_key("n", OLD, f"segment/u/{attempt}/{at}"), made)

    wrote(5, 1, "before")
    wrote(15, 1, "since then")
    made = Journal(store, owner, OLD, 2)
    made.load()
    assert len(made.items) == 2
    wrote(30, 2, doubts_since="2026-01-01T00:00:10Z")
    wrote(31, 2, "another shard")
    made.load()
    assert {name for _, name in made.items} == {"before"}


def test_journals_of_earlier_releases_are_read() -> None:
    old = {"ownerUid": "u", "attempt": 1, "items": [{"phase": "p", "key": "k", "result": {}}],
           "servedBy": [{"role": "Policy", "model": "m", "answers": 2, "standin": False, "weights": OLD}]}  # fmt: skip
    made = Journal(Store(MemoryBucket()), Owner(kind="R", namespace="n", name="r", uid="u"), OLD, 1)
    made._take(Segment.model_validate(old))
    assert made.items and [(r.answers, r.fingerprint, r.root) for r in made.served_by.values()] == [(2, None, None)]


@pytest.mark.parametrize(
    ("one", "two", "differ"),
    [
        ({"weights": OLD}, {"weights": NEW}, True),
        ({"weights": OLD, "root": "a"}, {"weights": OLD, "root": "b"}, False),
        ({"weights": OLD}, {"weights": OLD[7:19]}, False),
        ({"root": "a"}, {"root": "b"}, True),
        ({"root": "a"}, {"weights": NEW}, False),
        ({"root": "a", "weights": OLD}, {}, False),
        ({"root": "a", "fingerprint": "x"}, {"root": "a", "fingerprint": "y"}, False),
        ({"weights": "hf://a/b", "weights_assumed": True}, {"weights": NEW}, False),
        ({"weights": OLD, "weights_assumed": True, "root": "a"}, {"weights": OLD, "root": "b"}, True),
    ],
)
def test_weights_are_others_by_what_both_say(one: dict[str, Any], two: dict[str, Any], differ: bool) -> None:
    a, b = (ServedBy(role="Policy", model="m", **said) for said in (one, two))
    assert (served.other(a, b) is not None) is differ is (served.other(b, a) is not None)
