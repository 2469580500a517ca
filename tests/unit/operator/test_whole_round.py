"""The whole operator over fakes: a round from apply to promotion, and what it must never do on the way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flywheel_api.artifacts import Owner, Progress
from flywheel_api.common import ReusedFrom
from flywheel_api.results import TrainingResult
from flywheel_api.round import BaseSpec, StageState, StageStatus
from flywheel_api.stages import Stage
from flywheel_operator.plan import results, texts
from unit.operator.world import NS, ROUND, World


async def test_a_round_goes_from_apply_to_promoted() -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    status = world.status()
    assert status["verdict"] == "Promoted", status.get("progress")
    assert world.condition("Promoted")["message"] == "every gate passed"
    assert {s["state"] for s in status["stages"] if s["name"] not in ("ImportModel", "Export")} == {"Succeeded"}
    assert status["score"] == "25.0 → 50.0"
    assert status["base"] == "tiny"
    assert status["progress"].startswith("20 steps, "), "two trainings of ten"
    trained = next(s["manifest"] for s in status["stages"] if s["name"] == "TrainAgentic")
    assert status["model"]["digest"] == trained
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Promoted")["status"] == "True"
    assert not world.of_kind("RolloutPool") and not world.of_kind("RayService"), "pools must be gone"


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ({"round": "support-r0"}, "support-r0"),
        ({"model": "hf://Qwen/Qwen3-8B"}, "Qwen3-8B"),
        ({"model": "s3://bucket/models/tiny/"}, "tiny"),
        ({"model": "sha256:" + "4f" * 32}, "sha256:4f4f4f4f4f4f"),
    ],
)
def test_the_base_in_short(base: dict[str, str], said: str) -> None:
    assert texts.base(BaseSpec.model_validate(base)) == said


def test_a_column_of_kubectl_get_stays_one() -> None:
    assert texts.line("word " * 100) == ("word " * 31).rstrip() + " …"
    assert texts.line("step 3 of 10") == "step 3 of 10"


def test_what_a_stage_waits_for_takes_no_finished_item_back() -> None:
    at = Progress(done=66, total=76, waiting_for="Policy: no answer", updated_at="", heartbeat_at="")
    assert texts.stage("EvaluateBase", at) == "EvaluateBase 66/76 items waiting for Policy: no answer"
    assert texts.stage("Gate", at.model_copy(update={"total": None})) == "Gate waiting for Policy: no answer"


def test_what_a_round_spent_in_short() -> None:
    stages = {
        Stage.TRAIN_REASONING: StageStatus(name="TrainReasoning", state=StageState.SUCCEEDED, gpu_seconds="473040"),
        Stage.TRAIN_AGENTIC: StageStatus(
            name="TrainAgentic",
            state=StageState.SUCCEEDED,
            reused_from=ReusedFrom(kind="RLJob", name="earlier"),
        ),
    }
    world = World()
    owner = Owner(kind="RLJob", namespace=NS, name="train", uid="train")
    trained = world.manifest(owner, "Train", 1, TrainingResult(step=582))
    manifests = dict.fromkeys(stages, trained)
    assert results.spent(stages, manifests, timedelta(hours=20)) == "582 steps, 131.4 GPU-h", "reused is not spent"
    assert results.spent({}, {}, timedelta(minutes=21, seconds=50)) == "21m50s"


async def test_one_model_at_a_time_needs_memory() -> None:
    world = World()
    world.apply(ROUND)
    seen: set[str] = set()
    for _ in range(200):
        await world.look()
        heavy = [
            kind
            for p in world.of_kind("Pod")
            if (kind := p["metadata"]["ownerReferences"][0]["kind"]) in ("RayJob", "RayService")
        ]
        assert len(heavy) <= 1
        seen |= set(heavy)
        world.act()
        world.tick()
        if world.status().get("finishedAt"):
            break
    assert world.status()["verdict"] == "Promoted"
    assert seen == {"RayJob", "RayService"}


async def test_events_sort_by_name_in_the_order_of_the_story() -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    told = [e["message"] for e in world.of_kind("Event") if e["involvedObject"]["name"] == "demo-r1"]
    assert told[0].startswith("base model") and told[-1].startswith("Promoted: ")
    story = "; ".join(told)
    for stage in ("Prepare", "MineReasoning", "Package"):
        assert story.index(f"{stage} attempt 1 starts") < story.index(f"{stage}: 10 in, 8 out, 2 dropped")
    before = len(told)
    world.restart()
    await world.look()
    assert len([e for e in world.of_kind("Event") if e["involvedObject"]["name"] == "demo-r1"]) == before


async def test_nothing_is_written_at_rest() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    for _ in range(40):
        await world.look()
        world.act()
    before = len(world.kube.log)
    for _ in range(40):
        await world.look()
        world.act()
    assert world.kube.log[before:] == []
    world.holding.clear()
    await world.run()
    before = len(world.kube.log)
    await world.look()
    assert world.kube.log[before:] == []


async def test_applying_children_of_a_deleted_round_are_its_own() -> None:
    world = World()
    world.apply(ROUND)
    await world.run(until="EvaluateBase")
    world.kube.remove("FlywheelRound", NS, "demo-r1")
    assert {k for k, _, _ in world.kube.objects} <= {"Secret", "Event"}
