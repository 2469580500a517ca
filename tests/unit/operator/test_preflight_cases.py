"""What is refused before anything is spent, and what a person reads then."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from flywheel_api.conditions import Reason
from flywheel_api.overrides import PROMPTED
from flywheel_api.pods.allowed import AllowList
from flywheel_api.rljob import RLJobSpec
from flywheel_operator.plan.preflight import rljob_spec
from flywheel_store import errors
from flywheel_store.errors import StoreProblem
from unit.operator.cases import Object, edited, turns
from unit.operator.world import NS, ROUND, World, key_secret

TEACHER: dict[str, Any] = {"role": "Teacher", "url": "http://t.x/v1", "model": "t"}
POLICY: dict[str, Any] = {"role": "Policy", "pool": {"gpusPerReplica": 0}}


async def test_an_invalid_spec_is_a_condition_and_blocks_nobody_else() -> None:
    world = World()
    world.apply(ROUND)
    bad = yaml.safe_load(ROUND)
    bad["metadata"]["name"] = "bad"
    bad["spec"]["budgets"] = {"wallClock": "1h"}
    world.kube.seed(bad)
    await world.run()
    assert world.status()["verdict"] == "Promoted"
    found = world.condition("Ready", name="bad")
    assert found["reason"] == "InvalidSpec" and "budgets" in found["message"]


async def test_sizes_of_a_preset_that_do_not_divide_are_said_before_anything_is_spent() -> None:
    world = World()
    world.apply(edited(spec__training={"preset": "agenticqwen-8b", "gpusPerNode": 3}))
    await turns(world, 5)
    found = world.condition("Preflight")
    assert found["reason"] == "InvalidSpec" and "do not divide by 3 data-parallel GPUs" in found["message"]
    assert not world.of_kind("Job") and not world.of_kind("RolloutPool")


def secret_key(world: World, key: str, value: str) -> None:
    """Writes a value into the store's Secret, whose endpoint is https then."""
    secret = world.kube.objects[("Secret", NS, "flywheel-s3")]
    for name, text in (("endpoint", "https://fake:9000"), (key, value)):
        secret["data"][name] = base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("breakage", "reason", "where"),
    [
        (lambda w: w.kube.remove("Secret", NS, "flywheel-s3"), "SecretNotFound", "StorageReady"),
        (lambda w: secret_key(w, "caBundle", "/no/such/file"), "SecretKeyInvalid", "StorageReady"),
        (lambda w: secret_key(w, "endpoint", "http://fake:9000/path"), "SecretKeyInvalid", "StorageReady"),
        (lambda w: secret_key(w, "accessKey", ""), "SecretKeyMissing", "StorageReady"),
        (lambda w: setattr(w.store.memory, "there", False), "BucketNotFound", "StorageReady"),
        (lambda w: setattr(w.store.memory, "conditional", False), "StoreWithoutConditionalWrites", "StorageReady"),
        (lambda w: setattr(w.store, "broken", True), "StoreUnreachable", "StorageReady"),
        (lambda w: w.kube.api_versions.clear(), "KubeRayNotInstalled", "Preflight"),
        (lambda w: w.store.objects.clear(), "ModelNotFound", "Preflight"),
    ],
)
async def test_preflight_names_the_fix_and_starts_nothing(breakage: Any, reason: str, where: str) -> None:
    world = World()
    world.apply(ROUND)
    breakage(world)
    await turns(world, 3)
    assert world.condition(where)["reason"] == reason
    assert world.condition("Stalled")["status"] == "True"
    assert len(world.condition("Stalled")["message"]) > 20
    assert not world.of_kind("Job") and not world.of_kind("RolloutPool")
    before = len(world.kube.log)
    await turns(world, 5)
    assert len(world.kube.log) == before, "a blocked round writes nothing"


TINY = "s3://flywheel/flywheel/models/tiny"
OF_STORES = sorted(
    {row.reason for row in (*errors._ANSWERS, errors._OTHER, errors._PLAIN_HTTP)}
    | {Reason(name) for name in Reason if name.startswith(("Store", "Bucket"))}
)


@pytest.mark.parametrize("reason", OF_STORES)
async def test_whatever_is_wrong_with_a_store_is_in_storage_ready_of_every_kind(
    reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.apply(ROUND)
    shared: Object = {"apiVersion": "flywheel.dev/v1alpha1", "metadata": {"name": "own", "namespace": NS}}
    world.kube.seed(shared | {"kind": "RolloutPool", "spec": {"model": TINY, "gpusPerReplica": 0}})
    job = {"model": TINY, "data": {"train": ["s3://flywheel/a.jsonl"]}, "reward": {"type": "Math"}, "gpusPerNode": 0}
    world.kube.seed(shared | {"kind": "RLJob", "spec": job})

    def refuse(inside: bool = True) -> None:
        raise StoreProblem(reason, "what to do")

    monkeypatch.setattr(world.store.memory, "_check", refuse)
    await turns(world, 2)
    for kind, name in (("FlywheelRound", "demo-r1"), ("RolloutPool", "own"), ("RLJob", "own")):
        for condition in ("StorageReady", "Preflight"):
            found = world.condition(condition, kind, name)
            assert (found["status"], found["reason"], found["message"]) == ("False", reason, "what to do"), kind


async def test_a_missing_key_of_an_endpoint_is_no_matter_of_the_store() -> None:
    world = World()
    endpoint = {"role": "Teacher", "url": "https://api.example.org/v1", "model": "m"}
    key = {"apiKey": {"secretName": "absent", "key": "k"}}
    world.apply(edited(spec__endpoints=[endpoint | key, yaml.safe_load(ROUND)["spec"]["endpoints"][1]]))
    await turns(world, 2)
    assert world.condition("Preflight")["reason"] == "SecretNotFound"
    assert world.condition("StorageReady")["status"] == "True"


async def test_a_store_without_keys_says_whose_credentials_count() -> None:
    world = World()
    for key in ("accessKey", "secretKey"):
        del world.kube.objects[("Secret", NS, "flywheel-s3")]["data"][key]
    world.store.settings = replace(world.store.settings, access_key="", secret_key="")
    world.apply(ROUND)
    await world.run()
    said = {kind: world.condition("StorageReady", kind, o["metadata"]["name"])["message"]
            for kind in ("FlywheelRound", "RLJob", "RolloutPool") for o in world.of_kind(kind)}  # fmt: skip
    assert world.status()["verdict"] == "Promoted" and set(said.values()) == {"credentials: identity"}, said
    pods = [p for p in world.of_kind("Job")[0]["spec"]["template"]["spec"]["containers"][0]["env"] if "S3" in p["name"]]
    keys = {p["name"]: p["valueFrom"]["secretKeyRef"].get("optional") for p in pods}
    assert keys["FLYWHEEL_S3_ACCESS_KEY"] is keys["FLYWHEEL_S3_SECRET_KEY"] is True, "the kubelet asks for neither"
    assert keys["FLYWHEEL_S3_ENDPOINT"] is None


async def test_a_bucket_that_frees_nothing_is_used_and_said() -> None:
    world = World()
    world.store.memory.unfreed = "the bucket keeps old versions and they cannot be deleted (AccessDenied)"
    world.apply(ROUND)
    await world.run()
    said = {world.condition("StorageReady", kind, o["metadata"]["name"])["message"]
            for kind in ("FlywheelRound", "RLJob", "RolloutPool") for o in world.of_kind(kind)}  # fmt: skip
    assert world.status()["verdict"] == "Promoted" and said == {world.store.memory.unfreed}
    assert world.condition("StorageReady")["status"] == "True"


@pytest.mark.parametrize("value", ["Bearer sk-live", '"sk-live"', "", "sk\nlive", "sk-live\n"])
async def test_an_api_key_that_no_pod_can_send_is_named_before_anything_starts(value: str) -> None:
    world = World()
    world.kube.seed(key_secret("teacher", "standin", token=base64.b64encode(value.encode()).decode()))
    endpoints = yaml.safe_load(ROUND)["spec"]["endpoints"]
    endpoints[0]["apiKey"] = {"secretName": "teacher", "key": "token"}
    world.apply(edited(spec__endpoints=endpoints))
    await turns(world, 4)
    found = world.condition("Preflight")
    if value.strip() == "sk-live":  # `--from-file` ends with a newline
        assert found["status"] == "True"
        return
    assert found["reason"] == "SecretKeyInvalid" and not world.of_kind("Job")
    assert "token of Secret 'teacher'" in found["message"] and "live" not in found["message"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spec__endpoints": [TEACHER | {"extraBody": {"n": 4}}]}, "endpoints, role Teacher: extraBody.n is set by"),
        ({"spec__endpoints": [TEACHER | {"headers": {"X-Api-Key": "x"}}]}, "a spec holds no secret: set apiKey"),
        ({"spec__endpoints": [TEACHER, POLICY | {"extraBody": {"top_k": 20}}]}, "takes chat_template_kwargs alone"),
        (
            {"spec__training__agentic__overrides": {"data.apply_chat_template_kwargs": {"enable_thinking": False}}},
            "training.agentic: overrides: data.apply_chat_template_kwargs would hold in training alone",
        ),
        (
            {"spec__training__reasoning__overrides": {"+data.apply_chat_template_kwargs.enable_thinking": False}},
            "as extraBody.chat_template_kwargs of the endpoint with role Policy",
        ),
        (
            {"spec__endpoints": [TEACHER, POLICY | {"extraBody": {"chat_template_kwargs": {"a": "${b}"}}}]},
            "write the value itself",
        ),
    ],
)
async def test_requests_that_cannot_be_asked_alike_are_said_before_anything_is_spent(
    changes: dict[str, Any], says: str
) -> None:
    world = World()
    world.apply(edited(**changes))
    await turns(world, 2)
    found = world.condition("Preflight")
    assert found["reason"] in ("InvalidSpec", "UnknownOverride") and says in found["message"]
    assert not world.of_kind("Job") and not world.of_kind("RolloutPool")


async def test_one_prompt_form_reaches_mining_training_and_evaluation() -> None:
    world = World()
    quiet = {"chat_template_kwargs": {"enable_thinking": False}}
    world.apply(edited(spec__endpoints=[TEACHER, POLICY | {"extraBody": quiet}]))
    asked: dict[str, Any] = {}
    for _ in range(400):
        await world.look()
        for job in world.of_kind("Job"):
            env = {e["name"]: e.get("value") for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
            config = json.loads(env["FLYWHEEL_STAGE_CONFIG"].replace("$$", "$"))
            for endpoint in config["endpoints"]:
                if endpoint["role"] == "Policy":
                    asked[config["stage"]] = endpoint["written"]
        asked |= {job["metadata"]["name"]: job["spec"]["overrides"] for job in world.of_kind("RLJob")}
        if world.status().get("verdict"):
            break
        world.act()
        world.tick()
    trained = [said for name, said in asked.items() if "train" in name and name.islower()]
    assert len(trained) == 2 and all(said == {PROMPTED: quiet["chat_template_kwargs"]} for said in trained)
    stages = {name: said for name, said in asked.items() if not name.islower()}
    assert {"EvaluateBase", "MineReasoning", "MeasureReasoning", "EvaluateCandidate"} <= stages.keys()
    assert all(said["chat_template_kwargs"] == {"enable_thinking": False} for said in stages.values())


@pytest.mark.parametrize("clip", [{"low": "0.2"}, {"high": "0.02"}])
async def test_a_clip_of_tokens_is_refused_where_sequences_are_clipped(clip: dict[str, str]) -> None:
    world = World()
    world.apply(edited(spec__training__agentic__algorithm={"type": "GSPO", "clip": clip}))
    await turns(world, 2)
    found = world.condition("Preflight")
    assert found["reason"] == "InvalidSpec" and found["message"].startswith("training.agentic: algorithm.clip ")
    assert 'such as {low: "0.0003", high: "0.0004"}' in found["message"]


def test_an_rljob_with_gspo_says_its_own_clip() -> None:
    job = {"model": "hf://a/b", "data": {"train": ["sha256:" + "a" * 64]}, "reward": {}, "gpusPerNode": 1}

    def problem(**algorithm: Any) -> str:
        found = rljob_spec(RLJobSpec.model_validate(job | {"algorithm": algorithm}), AllowList())
        return found.message if found is not None else ""

    assert "GSPO clips those of whole sequences" in problem(type="GSPO")
    assert problem(type="GSPO", clip={"low": "0.0003", "high": "0.01"}) == problem(type="DAPO") == ""
