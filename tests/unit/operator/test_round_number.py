"""A round knows its number in its campaign, and what changes by it reaches stages, RLJob, estimate and status."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.common import ModelStatus
from flywheel_api.results import PackagedDataset, PackageResult, Split, Track, Verdict, VerdictResult
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.round_status import ByRound, FlywheelRoundStatus
from flywheel_api.stages import Stage
from flywheel_operator.plan.content import training_of
from unit.api.test_capacity import QWEN3_8B
from unit.operator.test_does_not_fit import H100, POOL, TEACHER, model_of
from unit.operator.world import NS, World

DIGEST = "sha256:" + "0" * 64
TABLE = [
    {"from": 2, "learningRate": "1.5e-5", "replayShare": "0.1", "difficulty": {"low": "0.1"}},
    {"from": 3, "learningRate": "4e-6", "difficulty": {"low": "0.3"}},
]
ON_CPU = {"preset": "smollm2-135m-cpu"}


@pytest.mark.parametrize(("number", "rate"), [(None, "1e-5"), (2, "1e-5"), (3, "4e-6"), (16, "4e-6")])
def test_a_training_has_the_values_of_the_number_that_preflight_pinned(number: int | None, rate: str) -> None:
    """None: a round that an older operator began."""
    spec = FlywheelRoundSpec.model_validate(
        {
            "campaign": "c",
            "base": {"round": "c-0"},
            "endpoints": [{"role": "Teacher", "url": "http://t/v1", "model": "t"}],
            "reasoning": {"seeds": "builtin://numeracy"},
            "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
            "training": ON_CPU | {"rounds": TABLE[1:]},
        }
    )
    data = PackagedDataset(track=Track.REASONING, split=Split.TRAIN, digest=DIGEST, records=8)
    by_round = ByRound(number=number) if number is not None else None
    status = FlywheelRoundStatus(base_model=ModelStatus(uri="s3://b/m", digest=DIGEST), by_round=by_round)
    job = training_of(Stage.TRAIN_REASONING, spec, status, {}, PackageResult(datasets=[data]))
    assert job.algorithm.learning_rate == rate


OWNER = Owner(kind="FlywheelRound", namespace=NS, name="c-r2", uid="u2")
CAMPAIGN = {"campaign": "demo", "evaluation": {"suites": []}}


def verdict_on(world: World, model: str) -> Manifest:
    """A verdict that promoted this model."""
    return world.manifest(OWNER, Stage.GATE, 1, VerdictResult(verdict=Verdict.PROMOTED, model=model))


class Chained(World):
    """Rounds one after the other."""

    async def turn(self, name: str, base: str | None = None, seed: int = 1, **training: Any) -> dict[str, Any]:
        """A round to its end; its status."""
        on = {"base": {"round": base}} if base is not None else {}
        self.apply_as(name, seed=seed, training=ON_CPU | training, **on)
        await self.finish(name)
        status = self.status(name=name)
        assert status["verdict"] == "Promoted", status["progress"]
        return status

    def rate(self, name: str) -> str:
        """The learning rate of the round's reasoning RLJob."""
        (job,) = [
            j for j in self.of_kind("RLJob")
            if j["metadata"]["name"].startswith(f"{name}-") and "reasoning" in j["metadata"]["name"]
        ]  # fmt: skip
        return str(job["spec"]["algorithm"]["learningRate"])


async def test_one_spec_under_the_next_name_gets_the_values_of_its_number() -> None:
    world = Chained()
    first = await world.turn("c-r1", rounds=TABLE)
    second = await world.turn("c-r2", "c-r1", 2, rounds=TABLE)
    third = await world.turn("c-r3", "c-r2", 3, rounds=TABLE)
    assert first["byRound"] == {"number": 1, "low": "0.05", "high": "0.95", "replayShare": "0"}
    assert second["byRound"] == {"number": 2, "low": "0.1", "high": "0.8", "replayShare": "0.1"}
    assert third["byRound"] == {"number": 3, "low": "0.3", "high": "0.8", "replayShare": "0.1"}
    assert [world.rate(name) for name in ("c-r1", "c-r2", "c-r3")] == ["2e-5", "1.5e-5", "4e-6"]
    for number, name in enumerate(("c-r1", "c-r2", "c-r3"), start=1):
        for stage in ("MineReasoning", "MeasureReasoning", "Gate"):
            assert world.given[name, stage]["number"] == number
    mined = {name: world.given[name, "MineReasoning"]["madeOf"] for name in ("c-r1", "c-r2", "c-r3")}
    assert "rounds.low" not in mined["c-r1"] and mined["c-r2"]["rounds.low"] != mined["c-r3"]["rounds.low"]
    assert [p.number for p in world.promotions()] == [1, 2, 3]


async def test_a_number_is_the_base_round_s_and_one_whether_that_is_there_or_how_many_others_are() -> None:
    world = Chained()
    await world.turn("c-r1")
    await world.turn("c-r2", "c-r1", 2)
    assert (await world.turn("c-r2b", "c-r1", 3))["byRound"]["number"] == 2, "beside it, not after it"
    world.kube.remove("FlywheelRound", NS, "c-r2")
    assert (await world.turn("c-r3", "c-r2", 4))["byRound"]["number"] == 3, "by its promotion"
    uncounted = {k: v.replace(b'"number":2,', b"") for k, v in world.store.objects.items() if "/promotions/" in k}
    world.store.objects |= uncounted
    assert (await world.turn("c-r3b", "c-r2", 5))["byRound"]["number"] == 2, "one that nobody has counted"


async def test_a_kl_that_begins_later_is_in_the_estimate_of_the_round_that_it_begins_in() -> None:
    hours = []
    for begins in (4, 3):
        world = World()
        base = model_of(world, QWEN3_8B)
        world.promote(OWNER, {"number": 2, "inputs": {}, "spec": CAMPAIGN}, verdict_on(world, base))
        table = [{"from": 1, "klCoefficient": "0"}, {"from": begins, "klCoefficient": "0.001"}]
        training = {"preset": "agenticqwen-8b", "podTemplate": {"nodeSelector": H100}, "rounds": table}
        endpoints = [TEACHER, POOL | {"sampling": {"maxTokens": 1024}}]
        world.apply_as("big", base={"round": OWNER.name}, endpoints=endpoints, training=training)
        await world.look()
        hours.append(float(world.status(name="big")["estimate"]["gpuHours"].split()[-1]))
    assert hours[0] < hours[1], "a reference model answers in each step, too"
