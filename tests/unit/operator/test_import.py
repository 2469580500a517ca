"""A base model of a hub: imported once, before anything is made of it, and from then on known by its digest."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.stages import STAGE_CONFIG_ENV, Stage
from unit.operator.world import COMMIT, HUB_MODEL, World, env_json, key_secret

HUB = {"endpoint": "http://mirror.models.svc/", "token": {"secretName": "hub", "key": "token"}}


def token(world: World, **data: str) -> None:
    world.kube.seed(key_secret("hub", "mirror.models.svc,huggingface.co", **data))


def state(world: World, stage: str, name: str = "demo-r1") -> str:
    found = next(s for s in world.status(name=name)["stages"] if s["name"] == stage)
    return f"{found['state']}/{found.get('progress') or ''}"


async def test_what_a_round_makes_is_made_of_the_imported_digest() -> None:
    world = World()
    token(world, token="aGZfeA==")
    world.apply_as("demo-r1", base={"model": HUB_MODEL, "hub": HUB})
    seen: dict[str, dict[str, Any]] = {}
    for _ in range(200):
        await world.look()
        for job in world.of_kind("Job"):
            pod = job["spec"]["template"]["spec"]
            found = env_json(pod, STAGE_CONFIG_ENV)
            keys = {e["name"] for c in pod["containers"] for e in c["env"]}
            seen[found["stage"]] = {"base": found.get("baseModel"), "token": "HF_TOKEN" in keys}
        for pool in world.of_kind("RolloutPool"):
            seen.setdefault("pools", {})[pool["spec"]["model"]] = 1
        world.act()
        world.tick()
        if world.status().get("finishedAt"):
            break
    status = world.status()
    digest = status["baseModel"]["digest"]
    assert status["verdict"] == "Promoted" and digest.startswith("sha256:")
    assert status["baseModel"]["uri"] == f"{HUB_MODEL}@{COMMIT}"
    assert seen["ImportModel"] == {"base": HUB_MODEL, "token": True}
    others = {stage for stage, found in seen.items() if stage not in ("ImportModel", "pools") and found["token"]}
    assert not others, "the token is for the pod that imports"
    made = {s: seen[s]["base"] for s in ("EvaluateBase", "MineReasoning", "SeedAgentic", "Package", "Gate")}
    assert set(made.values()) == {digest}, made
    assert digest in seen["pools"] and HUB_MODEL not in seen["pools"]


async def test_an_equal_round_asks_the_hub_and_makes_nothing_again() -> None:
    """The name may stand for other weights by now; it does not, and all results are taken over."""
    world = World()
    for name in ("demo-r1", "again"):
        world.apply_as(name, base={"model": HUB_MODEL})
        await world.finish(name)
    again = {s["name"]: s.get("reusedFrom") for s in world.status(name="again")["stages"]}
    assert again["ImportModel"] is None and again["EvaluateBase"]["name"] == "demo-r1", again
    assert again["TrainReasoning"]["name"].startswith("demo-r1-train-reasoning")


async def test_a_pinned_import_is_taken_over() -> None:
    world = World()
    for name in ("demo-r1", "again"):
        world.apply_as(name, base={"model": f"{HUB_MODEL}@{COMMIT}"})
        await world.finish(name)
    again = {s["name"]: s.get("reusedFrom") for s in world.status(name="again")["stages"]}
    assert again["ImportModel"]["name"] == "demo-r1" and again["EvaluateBase"]["name"] == "demo-r1"
    # what is made of the base is looked up by its digest in the very look that found it: nobody has to be asked
    prepare = next(s for s in world.status(name="again")["stages"] if s["name"] == "Prepare")
    assert prepare["attempt"] == 0, prepare


async def test_what_is_in_the_store_is_not_imported() -> None:
    world = World()
    world.apply_as("demo-r1")
    await world.run(until=Stage.EVALUATE_BASE)
    assert state(world, "ImportModel") == "Skipped/the base model is in the store"


async def test_a_directory_of_files_is_imported_and_an_empty_one_is_said() -> None:
    world = World()
    world.store.put("plain/small/config.json", b"{}")
    world.apply_as("demo-r1", base={"model": world.store.settings.uri("plain/small")})
    world.apply_as("none", base={"model": "s3://flywheel/nothing"})
    await world.run(until=Stage.EVALUATE_BASE)
    assert state(world, "ImportModel").startswith("Succeeded")
    assert world.condition("Preflight", name="none")["reason"] == "ModelNotFound"


TO_HUB = {"hub": {"repo": "acme/support", "token": {"secretName": "hub", "key": "token"}}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [({"base": {"model": HUB_MODEL, "hub": HUB}}, "base.hub"), ({"export": TO_HUB}, "export.hub")],
)
@pytest.mark.parametrize(
    ("data", "reason", "sentence"),
    [
        (None, "SecretNotFound", "Secret 'hub', the token of {}, does not exist"),
        ({"other": "eA=="}, "SecretKeyMissing", "Secret 'hub' has no key 'token' (token of {})"),
        ({"token": "QmVhcmVyIHg="}, "SecretKeyInvalid", "begins with `Bearer `"),
    ],
)
async def test_a_token_that_is_not_there_is_said_before_anything_starts(
    spec: dict[str, Any], field: str, data: dict[str, str] | None, reason: str, sentence: str
) -> None:
    world = World()
    if data is not None:
        token(world, **data)
    world.apply_as("demo-r1", **spec)
    await world.look()
    found = world.condition("Preflight")
    assert (found["status"], found["reason"]) == ("False", reason) and sentence.format(field) in found["message"]
    assert not world.of_kind("Job")


async def test_a_token_goes_to_the_hub_that_its_owner_allows_and_no_other() -> None:
    world = World()
    world.kube.seed(key_secret("hub", "mirror.models.svc", token="aGZfeA=="))
    world.apply_as("demo-r1", export=TO_HUB)
    world.apply_as("there", export={"hub": TO_HUB["hub"] | {"endpoint": "http://mirror.models.svc"}})
    await world.look()
    found = world.condition("Preflight")
    assert (
        found["reason"] == "SecretNotAllowed"
        and "the token of export.hub would go to huggingface.co" in found["message"]
    )
    assert world.condition("Preflight", name="there")["status"] == "True"


async def test_the_token_to_write_with_is_for_the_export_and_for_who_asks_before() -> None:
    world, given = World(), dict[str, list[str]]()
    token(world, token="aGZfeA==")
    world.apply_as("demo-r1", export=TO_HUB)
    for _ in range(200):
        await world.look()
        for pod in (job["spec"]["template"]["spec"] for job in world.of_kind("Job")):
            env = pod["containers"][0]["env"]
            secrets = [e["valueFrom"]["secretKeyRef"]["name"] for e in env if e["name"] == "HF_TOKEN"]
            given[env_json(pod, STAGE_CONFIG_ENV)["stage"]] = secrets
        world.act()
        world.tick()
        if world.status().get("finishedAt"):
            break
    assert {stage for stage, secrets in given.items() if secrets == ["hub"]} == {"Prepare", "Export"}
    assert {stage for stage, secrets in given.items() if not secrets} >= {"MineReasoning", "EvaluateBase", "Report"}
