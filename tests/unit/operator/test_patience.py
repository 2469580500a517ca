"""What the API server does not take is not asked for again before its time, however many events come meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
import yaml

from flywheel_api.conditions import Reason
from flywheel_api.names import LABEL_STAGE, kebab
from flywheel_operator.feed import Feed
from flywheel_operator.model import Act, Action, Problem
from flywheel_operator.patience import SAID_AFTER, Patience
from flywheel_operator.plan.conditions import REFUSED_AGAIN
from flywheel_operator.ports.cache import CachedKube, ReadCache
from flywheel_operator.ports.errors import Conflict, Forbidden, PortError, Retryable
from flywheel_operator.ports.kinds import BY_KIND
from flywheel_operator.queue import FIRST_BACK_OFF, JITTER, MAX_ASKED, Key, WorkQueue
from unit.operator.refused import refusing
from unit.operator.world import NS, ROUND, START, World

KEY = Key("FlywheelRound", NS, "demo-r1")
OTHER = Key("FlywheelRound", NS, "gone")  # its events wake the workers, which then read the clock
QUOTA = '403 jobs.batch "x" is forbidden: exceeded quota: team, requested: count/jobs.batch=1, used: 4, limited: 4'
RIGHTS = '403 jobs.batch is forbidden: User "flywheel" cannot create resource "jobs" in API group "batch"'
EVENT = 0.02  # seconds between events


class Served:
    """A world whose operator works through its queue, over a clock that only moves when told."""

    def __init__(self, error: Callable[[], PortError]) -> None:
        self.world, self.error = World(), error
        self.asked: list[datetime] = []
        self.refusing = True
        self.world.apply(ROUND)
        self.world.kube.before_write = self._refuse
        self.queue = WorkQueue(self.world.reconcile, clock=lambda: (self.world.now - START).total_seconds())
        self.feed = Feed(CachedKube(self.world.kube, ReadCache()), self.queue, [])

    def _refuse(self, verb: str, kind: str) -> None:
        if (verb, kind) == ("create", "Job"):
            self.asked.append(self.world.now)
            if self.refusing:
                raise self.error()

    async def go(self, seconds: float, every: float = EVENT) -> None:
        """Time goes by, with an event about the round again and again."""
        task = asyncio.create_task(self.queue.run(2))
        end = self.world.now + timedelta(seconds=seconds)
        while self.world.now < end:
            self.queue.add(KEY)
            self.queue.add(OTHER)
            await asyncio.sleep(0.001)
            self.world.tick(every)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def tell(self) -> None:
        """The watch tells of the round as it is now."""
        obj = await self.world.kube.get(BY_KIND[KEY.kind], NS, KEY.name)
        assert obj is not None
        await self.feed.see("MODIFIED", obj)

    def pauses(self) -> list[float]:
        """Seconds between two times that the refused Job was asked for."""
        return [(b - a).total_seconds() for a, b in zip(self.asked, self.asked[1:], strict=False)]


def kept(world: World) -> dict[str, int]:
    """How much the reconciler remembers, whatever of."""
    return {name: len(held) for name, held in vars(world.reconcile).items() if isinstance(held, dict | set | list)}


ROWS: dict[str, tuple[Callable[[], PortError], float]] = {
    "asks for 10 s": (lambda: Retryable("429 slow down", 10), 10),
    "asks for 60 s": (lambda: Retryable("429 slow down", 60), 60),
    "no rights": (lambda: Forbidden(RIGHTS), REFUSED_AGAIN),
    "quota": (lambda: Forbidden(QUOTA), REFUSED_AGAIN),
}


@pytest.mark.parametrize(("error", "asked"), ROWS.values(), ids=ROWS)
async def test_events_overtake_no_pause_from_the_first_refusal_on(error: Callable[[], PortError], asked: float) -> None:
    served = Served(error)
    await served.go(2)
    assert len(served.asked) == 1
    await served.go(150, every=0.5)
    assert all(asked <= pause <= max(asked, REFUSED_AGAIN) * (1 + JITTER) + 1 for pause in served.pauses()), (
        served.pauses()
    )
    assert len(served.asked) > 2, "it is asked for again by itself"
    before = len(served.asked)
    await served.go(3)
    assert len(served.asked) <= before + 1
    ready = served.world.condition("Ready")
    assert ready["reason"] in (Reason.API_REFUSES, Reason.FORBIDDEN, Reason.QUEUED), "it is said meanwhile"


@pytest.mark.parametrize("error", [lambda: Forbidden(RIGHTS), lambda: Forbidden(QUOTA)], ids=["rights", "quota"])
async def test_what_a_person_grants_is_taken_up_in_reasonable_time(error: Callable[[], PortError]) -> None:
    """Nothing tells of a quota that was raised."""
    served = Served(error)
    await served.go(2)
    served.refusing = False
    await served.go(REFUSED_AGAIN * (1 + JITTER), every=0.5)
    assert len(served.asked) > 1 and served.world.of_kind("Job")


@pytest.mark.parametrize(("error", "overtakes"), [(lambda: Forbidden(QUOTA), True), (lambda: Retryable("", 60), False)])
async def test_a_changed_spec_ends_our_own_caution_and_not_what_was_asked_for(
    error: Callable[[], PortError], overtakes: bool
) -> None:
    served = Served(error)
    await served.go(2)
    spec = yaml.safe_load(ROUND)["spec"]
    spec["budget"]["wallClock"] = "3h"
    served.world.kube.update(KEY.kind, KEY.namespace, KEY.name, spec=spec)
    await served.tell()
    await served.go(1)
    assert len(served.asked) == (2 if overtakes else 1)
    await served.tell()
    await served.go(1)
    assert len(served.asked) == (2 if overtakes else 1), "its generation has been looked at"


async def test_a_refusal_is_told_by_a_look_of_its_own() -> None:
    served = Served(lambda: Forbidden(RIGHTS))
    await served.go(1)
    assert len(served.asked) == 1 and served.world.condition("Ready")["reason"] == Reason.FORBIDDEN


async def test_a_refusal_is_taken_back_as_soon_as_it_is_over() -> None:
    served = Served(lambda: Forbidden(RIGHTS))
    await served.go(2)
    served.refusing = False
    for _ in range(40):
        await served.go(0.5)
        if served.world.of_kind("Job"):
            break
    await served.go(0.2)
    assert len(served.asked) == 2 and served.world.condition("Ready")["reason"] != Reason.FORBIDDEN


class OneRefused(Served):
    """A round whose pool serves; the next Job that is asked for is refused, those after it are not."""

    async def refuse_one(self) -> None:
        self.refusing = False
        await self.world.run(until="ServeBase")
        self.refusing = True
        for _ in range(20):
            await self.world.look()
            if not self.refusing:
                return
            self.world.act()
            self.world.tick()
        raise AssertionError("no Job was asked for")

    def _refuse(self, verb: str, kind: str) -> None:
        if (verb, kind) == ("create", "Job") and self.refusing:
            self.refusing = False
            self.asked.append(self.world.now)
            raise self.error()
        super()._refuse(verb, kind)

    def stages(self) -> set[str]:
        """Those that have had a Job, by the words of its label."""
        return {str(job["metadata"]["labels"][LABEL_STAGE]) for job in self.world.of_kind("Job")}

    def ended(self) -> set[str]:
        """Those that have their result, as the status says."""
        return {kebab(s["name"]) for s in self.world.status()["stages"] if s["state"] == "Succeeded"}


@pytest.mark.parametrize(
    "error",
    [lambda: Forbidden(RIGHTS), lambda: Forbidden(QUOTA), lambda: Conflict("409")],
    ids=["rights", "quota", "?"],
)
async def test_what_was_not_refused_goes_on_meanwhile(error: Callable[[], PortError]) -> None:
    """Stages beside the one whose Job is not taken end, that is seen, and what follows from them is begun."""
    served = OneRefused(error)
    await served.refuse_one()
    refused, begun = served.world.now, served.stages()
    served.world.act()
    await served.go(0.4)
    assert len(begun) > 1 and begun <= served.ended() and served.stages() > begun
    assert (served.world.now - refused).total_seconds() < FIRST_BACK_OFF
    if isinstance(error(), Forbidden):
        await served.go(REFUSED_AGAIN - 2, every=0.1)
        held = served.stages()
        await served.go(4, every=0.1)
        assert len(served.stages() - held) == 1, "the one that was refused"


async def test_whoever_asks_for_patience_is_left_alone_by_the_whole_object() -> None:
    served = OneRefused(lambda: Retryable("429 slow down", 60))
    await served.refuse_one()
    served.world.act()
    await served.go(1)
    assert served.world.condition("Ready")["reason"] == Reason.API_REFUSES, "it is told"
    before, begun = served.world.kube.writes, served.stages()
    await served.go(55, every=0.5)
    assert served.world.kube.writes == before
    await served.go(20, every=0.5)
    assert len(served.stages() - begun) > 1


JOB, POOL = Action(Act.CREATE, "Job", "a"), Action(Act.DELETE, "RolloutPool", "p", uid="u")
NO, NOT_NOW = Problem(Reason.FORBIDDEN, "no"), Problem(Reason.QUEUED, "not now", queued=True)


def patient(chance: float = 0.0) -> Patience:
    return Patience("uid", 1, lambda: chance)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_trouble_is_asked_again_more_and_more_slowly_and_said_within_a_minute(chance: float) -> None:
    patience, now = patient(chance), START
    for pause in [0.5, 1, 2, 4, 8, REFUSED_AGAIN, REFUSED_AGAIN, REFUSED_AGAIN]:
        assert patience.due([JOB, POOL], 1, now) == [JOB, POOL]
        patience.learn([JOB, POOL], {JOB.id: Retryable("503")}, now)
        due = now + timedelta(seconds=pause * (1 + JITTER * chance))
        assert patience.due([JOB, POOL], 1, due - timedelta(seconds=0.01)) == [POOL]
        assert patience.next(now) == (due - now).total_seconds()
        assert (patience.said() is not None) == (now - START >= SAID_AFTER)
        now = due
    assert now - START > timedelta(minutes=1) and patience.said() is not None
    patience.learn([JOB], {}, now)
    assert patience.said() is None and not patience.held and patience.next(now) is None
    patience.learn([JOB], {JOB.id: Retryable("503")}, now)
    assert patience.next(now) == FIRST_BACK_OFF * (1 + JITTER * chance), "from the first back-off on"


def test_what_is_planned_no_more_is_not_spoken_of_and_still_not_asked_before_its_time() -> None:
    patience = patient()
    patience.learn([JOB], {JOB.id: NO}, START)
    assert patience.said() == NO
    assert patience.due([], 1, START) == [] and patience.said() is None
    assert patience.due([JOB], 1, START) == []
    patience.due([], 1, START + timedelta(seconds=REFUSED_AGAIN))
    assert not patience.held, "it is forgotten"


def test_what_is_only_held_back_says_less() -> None:
    patience = patient()
    patience.learn([JOB, POOL], {JOB.id: NOT_NOW, POOL.id: NO}, START)
    assert patience.said() == NO


def test_a_wrong_date_parks_nothing_for_a_day() -> None:
    patience = patient()
    patience.learn([JOB], {JOB.id: Retryable("503", 1e6)}, START)
    assert patience.left_alone(START) == patience.next(START) == MAX_ASKED


@pytest.mark.parametrize("error", [lambda: Forbidden(RIGHTS), lambda: Retryable("", 60)], ids=["refused", "trouble"])
async def test_nothing_is_kept_of_objects_that_are_gone(error: Callable[[], PortError]) -> None:
    served = Served(error)
    before = kept(served.world)
    await served.go(1)
    assert kept(served.world) != before
    served.world.kube.remove(KEY.kind, NS, KEY.name)
    await served.go(100, every=1)
    assert kept(served.world) == before


async def test_nothing_is_kept_of_objects_that_nothing_is_refused() -> None:
    served = Served(lambda: Forbidden(RIGHTS))
    before = kept(served.world)
    served.refusing = False
    await served.go(1)
    assert served.asked and kept(served.world) == before


async def test_another_object_of_the_same_name_begins_anew() -> None:
    served = Served(lambda: Retryable("503 away"))
    await served.go(20, every=0.5)
    served.world.kube.remove(KEY.kind, NS, KEY.name)
    served.world.apply(ROUND)
    await served.go(25, every=0.5)  # the name's back-off ends first
    assert served.world.condition("Ready")["reason"] != Reason.API_REFUSES, "its trouble has not lasted"


async def test_another_object_of_the_same_name_is_not_told_what_that_one_was_refused() -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, "Job", lambda: Forbidden(RIGHTS))
    await answers(world, 4)
    world.kube.remove(KEY.kind, NS, KEY.name)
    world.apply(ROUND)
    await world.reconcile(KEY)
    assert world.condition("Ready")["reason"] != Reason.FORBIDDEN


async def answers(world: World, count: int) -> list[float]:
    """Seconds until the next look, as each look says, where no event comes."""
    found = []
    for _ in range(count):
        answer = await world.reconcile(KEY)
        assert isinstance(answer, float | int)
        found.append(answer)
    return found


async def test_without_events_looks_come_when_there_is_something_to_say_or_to_ask() -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, "Job", lambda: Forbidden(RIGHTS))
    at_once = 0.1
    assert (await answers(world, 1))[0] < at_once, "it was refused: that is told"
    assert await answers(world, 2) == [REFUSED_AGAIN] * 2
    world.kube.before_write = lambda verb, kind: None
    world.tick(REFUSED_AGAIN)
    assert (await answers(world, 1))[0] < at_once, "it was taken: what was told is taken back"
    await world.reconcile(KEY)
    assert world.condition("Ready")["reason"] != Reason.FORBIDDEN


async def test_trouble_that_is_not_told_is_tried_again_without_events_too() -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, "Job", lambda: Retryable("503"))
    assert await answers(world, 1) == [FIRST_BACK_OFF]


@pytest.mark.parametrize("refused", [(NO, Problem(Reason.NAME_CONFLICT, "taken")), (NOT_NOW, NO)])
def test_of_two_refusals_the_same_is_said_whichever_was_asked_for_last(refused: tuple[Problem, Problem]) -> None:
    """Each has its own time, so that they take turns: what is said must not."""
    draws = iter([0.0, 1.0] * 100)
    patience, now = Patience("uid", 1, lambda: next(draws)), START
    answers = dict(zip((JOB.id, POOL.id), refused, strict=True))
    said = []
    for _ in range(200):
        due = patience.due([JOB, POOL], 1, now)
        patience.learn(due, {action.id: answers[action.id] for action in due}, now)
        said.append(patience.said())
        now += timedelta(seconds=1)
    assert len(set(said)) == 1


def test_what_the_server_asked_for_is_known_though_a_changed_spec_plans_nothing_of_it() -> None:
    """Who holds nothing any more is forgotten, with the time that was asked for."""
    patience = patient()
    patience.learn([JOB], {JOB.id: Retryable("429", 60)}, START)
    almost = START + timedelta(seconds=59)
    assert patience.due([], 2, START) == patience.due([JOB, POOL], 3, almost) == []
    assert patience.held and patience.next(almost) == 1
    assert patience.due([JOB, POOL], 3, START + timedelta(seconds=60)) == [JOB, POOL]
