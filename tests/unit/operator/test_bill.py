"""What was seen to be held is counted once, whoever deletes what, and when: pools, trainings, their pods, a round."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.base import format_time
from flywheel_api.round import StageState, StageStatus
from flywheel_api.round_status import ChildAccount
from flywheel_operator.observe.pods import held
from flywheel_operator.plan import budget
from unit.operator.cases import edited, say, stage, turns
from unit.operator.world import NS, START, World

GPUS: dict[str, Any] = {
    "spec__training": {"preset": "agenticqwen-8b"},
    "spec__endpoints": [{"role": "Teacher", "url": "http://standin:8000/v1", "model": "m"}],
    "spec__budget": {"gpuHours": "50000", "wallClock": "2000h"},
}
HOUR = 3600.0
MOMENTS = {"ServeBase": ("RolloutPool", "serve"), "TrainReasoning": ("RLJob", "Train")}
"""A stage that holds GPUs: the kind of its child, and what keeps that from getting on."""


class Billed(World):
    """A world with an accountant of its own: GPUs that pods hold, by the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.truth = 0.0
        self.apply(edited(**GPUS))

    def tick(self, seconds: float = 1.5) -> None:
        self.truth += held(self.of_kind("Pod"), "nvidia.com/gpu") * seconds
        super().tick(seconds)

    @property
    def hours(self) -> float:
        """What the round's status says that it spent."""
        return float(self.status()["usage"]["gpuHours"])

    @property
    def slack(self) -> float:
        """GPU-hours that a look may come late: a few turns of 64 GPUs, and what a pod takes to go."""
        return 0.5


def drop(world: World, kind: str) -> None:
    """Somebody deletes every object of the kind, and what those own goes with them."""
    for obj in world.of_kind(kind):
        world.kube.remove(kind, NS, obj["metadata"]["name"])


@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize("state", ["starting", "running"])
@pytest.mark.parametrize("gone", ["child", "Pod", "Ray"])
async def test_whoever_deletes_what_holds_gpus_the_hours_stay(name: str, state: str, gone: str) -> None:
    kind, hold = MOMENTS[name]
    ray = {"RolloutPool": "RayService", "RLJob": "RayJob"}[kind]
    world = Billed()
    world.holding |= {hold} if state == "starting" or kind == "RLJob" else {"EvaluateBase", "MineReasoning"}
    await world.run(until=name)
    await turns(world, 6)
    world.tick(10 * HOUR)
    await turns(world, 2)
    before = world.truth
    assert before > 9 * HOUR and world.hours * HOUR == pytest.approx(before, abs=world.slack * HOUR), "while it runs"
    drop(world, {"child": kind, "Ray": ray}.get(gone, gone))
    await turns(world, 2)
    assert world.hours * HOUR >= before - world.slack * HOUR
    world.holding.clear()
    for _ in range(60):
        world.tick(20)
        await turns(world, 3)
        if world.status().get("finishedAt"):
            break
    assert world.status()["verdict"] == "Promoted", world.status()["progress"]
    assert world.hours * HOUR == pytest.approx(world.truth, abs=2 * world.slack * HOUR), "neither lost nor twice"
    assert not any(s.get("held") for s in world.status()["stages"])


@pytest.mark.parametrize("kind", ["RolloutPool", "RLJob", "Job", "Pod", "RayJob", "RayService"])
async def test_the_bill_never_falls_whatever_is_deleted_at_every_turn(kind: str) -> None:
    """Children are deleted every seventh turn of 200 s, in whatever state they are."""
    world, known = Billed(), 0.0
    for turn in range(140):
        await world.look()
        said = float(world.status().get("usage", {}).get("gpuHours", 0))
        assert said >= known, f"turn {turn}"
        known = said
        world.act()
        world.tick(200)
        if turn % 7 == 6:
            drop(world, kind)
        if world.status().get("finishedAt"):
            break
    late = 5 * 64 * 200 / HOUR  # a turn is 200 s of up to 64 GPUs
    assert world.truth and known == pytest.approx(world.truth / HOUR, rel=0.35, abs=late)


async def test_a_failed_round_says_what_its_servers_and_its_starts_took() -> None:
    """A pool that served for ten hours, then a training of eight GPUs that ten times does not get beyond its start."""
    world = Billed()
    world.holding |= {"MineReasoning", "EvaluateBase"}
    await world.run(until="EvaluateBase")
    world.tick(10 * HOUR)
    await turns(world, 2)
    drop(world, "RolloutPool")
    world.holding.clear()
    world.holding.add("Train")
    await world.run(until="TrainReasoning")
    served = world.truth
    assert served > 9 * HOUR
    for _ in range(400):
        for job in world.of_kind("RayJob"):
            job.setdefault("status", {}).update(jobDeploymentStatus="Initializing", jobStatus="")
        await turns(world, 1)
        world.tick(120)
        if world.status().get("finishedAt"):
            break
    assert world.status()["verdict"] == "Failed", "it starts five times, and then no more"
    assert world.truth > served + 3 * HOUR
    assert world.hours * HOUR == pytest.approx(world.truth, rel=0.1)


async def test_tokens_of_what_ran_when_the_round_ended_are_counted() -> None:
    """The last figures that a pod told, where another stage ends the round in the same look."""
    world = Billed()
    world.holding |= {"MineReasoning", "EvaluateBase"}
    await world.run(until="MineReasoning")
    await turns(world, 3)
    say(world, "MineReasoning", done=10, total=20, tokens={"Policy": 123456})
    world.tick(3000 * HOUR)  # the wall clock is over
    await turns(world, 3)
    assert world.condition("BudgetAvailable")["reason"] == "BudgetExhausted"
    assert {"role": "Policy", "tokens": "123456"} in world.status()["usage"]["tokens"]
    assert stage(world, "MineReasoning")["state"] == "Failed"


def test_the_account_of_a_child_becomes_the_stages_once() -> None:
    """Also where a child of the same name comes back: it is another one."""
    at, since = START.replace(hour=20), format_time(START)
    status = StageStatus(name="ServeBase", state=StageState.RUNNING, gpu_seconds="100")
    first = ChildAccount(uid="one", gpu_seconds="50", held_gpus=2, held_since=since)
    status = budget.followed(status, first, at)
    assert budget.stage_seconds(status, at) == 150 + 2 * 8 * 3600
    assert budget.followed(status, first, at) == status, "at rest nothing is written"
    again = budget.followed(status, ChildAccount(uid="two", gpu_seconds="7"), at)
    assert (again.gpu_seconds, budget.stage_seconds(again, at)) == ("57750", 57757)
    assert budget.followed(again, None, at).gpu_seconds == "57757"
    assert budget.paid(budget.followed(again, None, at), at).gpu_seconds == "57757"
