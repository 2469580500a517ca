"""What cannot fit is refused before a GPU is asked for; what a round will need is in its status before it starts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from flywheel_api.artifacts import FileEntry, Owner, blob_key, manifest_digest_key
from flywheel_api.results import ModelResult
from flywheel_operator.settings import OperatorConfig
from unit.api.test_capacity import QWEN3_8B, QWEN3_30B
from unit.operator.world import NS, World

H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}
B200 = {"nvidia.com/gpu.product": "NVIDIA-B200"}
POOL: dict[str, Any] = {
    "role": "Policy",
    "pool": {"replicas": 8, "gpusPerReplica": 1, "engine": {"maxModelLen": 8192}},
    "sampling": {"maxTokens": 4096},
}
TEACHER: dict[str, Any] = {"role": "Teacher", "url": "http://t.x/v1", "model": "t"}
SHARE = "actor_rollout_ref.rollout.gpu_memory_utilization"


def model_of(world: World, config: Any, path: str = "model/config.json") -> str:
    """A checkpoint in the store whose config.json is this; its digest."""
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    sha = hashlib.sha256(text).hexdigest()
    world.store.put(blob_key(sha), text)
    owner = Owner(kind="Import", namespace=NS, name="base", uid="import-base")
    made = world.manifest(owner, "Import", 1, ModelResult())
    made = made.model_copy(update={"files": [FileEntry(path=path, sha256=sha, size=len(text))]})
    world.store.put(manifest_digest_key(made.digest), made.canonical())
    return made.digest


def on_gpus(world: World, base: str, labels: dict[str, str], **training: Any) -> None:
    preset = {"preset": "agenticqwen-8b", "podTemplate": {"nodeSelector": labels}}
    world.apply_as("big", base={"model": base}, endpoints=[TEACHER, POOL], training=preset | training)


async def test_a_training_that_cannot_fit_waits_in_preflight_and_says_what_to_change() -> None:
    world = World()
    on_gpus(world, model_of(world, QWEN3_8B), H100, agentic={"overrides": {SHARE: 0.85}})
    await world.look()
    said = world.condition("Preflight", name="big")
    assert (said["status"], said["reason"]) == ("False", "DoesNotFit")
    assert "training.agentic: generation needs" in said["message"] and "gpu_memory_utilization" in said["message"]
    assert world.of_kind("Job") == [] and world.of_kind("RayService") == []


async def test_a_round_that_fits_has_its_estimate_before_anything_is_spent() -> None:
    world = World()
    on_gpus(world, model_of(world, QWEN3_8B), H100)
    await world.look()
    estimate = world.status(name="big")["estimate"]
    assert world.condition("Preflight", name="big")["status"] == "True"
    assert estimate["card"] == "H100" and estimate["gpuHours"] and estimate["disk"] == "353"
    assert {t["role"] for t in estimate["tokens"]} == {"Teacher", "Solver", "UserSimulator"}


async def test_a_budget_below_the_estimate_is_said_and_not_refused() -> None:
    world = World()
    preset = {"preset": "agenticqwen-8b", "podTemplate": {"nodeSelector": H100}}
    base = {"model": model_of(world, QWEN3_8B)}
    budget = {"gpuHours": "5", "wallClock": "72h"}
    world.apply_as("big", base=base, endpoints=[TEACHER, POOL], training=preset, budget=budget)
    await world.look()
    said = world.condition("Preflight", name="big")
    assert said["status"] == "True" and "budget.gpuHours 5 is below" in said["message"]


async def test_a_merge_that_the_head_cannot_hold_is_refused() -> None:
    """It would end a training after its last step, and again at every retry. The default head merges 30B."""
    world = World()
    on_gpus(world, model_of(world, QWEN3_30B), H100, preset="agenticqwen-30b-a3b")
    await world.look()
    assert world.condition("Preflight", name="big")["reason"] == "Passed"
    gpu = OperatorConfig().gpu.model_dump()
    gpu["trainer"]["head"]["limits"]["memory"] = "4Gi"
    world = World(OperatorConfig.model_validate({"gpu": gpu}))
    on_gpus(world, model_of(world, QWEN3_30B), H100, preset="agenticqwen-30b-a3b")
    await world.look()
    assert "config.gpu.trainer.head.limits.memory" in world.condition("Preflight", name="big")["message"]


@pytest.mark.parametrize(
    ("head", "training", "reason"),
    [
        ("4Gi", {"podTemplate": {"resources": {"limits": {"rdma/hca": "8"}}}}, "DoesNotFit"),
        ("4Gi", {"podTemplate": {"resources": {"limits": {"memory": "900Gi"}}}}, "DoesNotFit"),
        ("64Gi", {"headTemplate": {"resources": {"limits": {"memory": "4Gi"}}}}, "DoesNotFit"),
        ("4Gi", {"headTemplate": {"resources": {"limits": {"memory": "16Gi"}}}}, "Passed"),
        ("4Gi", {"headTemplate": {"resources": {"requests": {"memory": "16Gi"}}}}, "Passed"),
    ],
)
async def test_the_head_is_judged_by_the_limit_that_it_will_have(
    head: str, training: dict[str, Any], reason: str
) -> None:
    """Templates go over the chart's sizes name by name: what is said of a worker, or of a network card, is not all."""
    gpu = OperatorConfig().gpu.model_dump()
    gpu["trainer"]["head"] = {"requests": {"memory": "2Gi"}, "limits": {"memory": head}}
    world = World(OperatorConfig.model_validate({"gpu": gpu, "podTemplate": {"resources": True}}))
    chosen = training.get("podTemplate", {}) | {"nodeSelector": H100}
    on_gpus(world, model_of(world, QWEN3_8B), {}, **training | {"podTemplate": chosen})
    await world.look()
    assert world.condition("Preflight", name="big")["reason"] == reason


def _workers(limits: dict[str, str], volumes: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    chosen: dict[str, Any] = {"nodeSelector": H100, "resources": {"limits": limits}}
    return chosen | ({"volumes": list(volumes)} if volumes else {})


_ON_A_CLAIM = ({"name": "tmp", "ephemeral": {"size": "2Ti"}},)


@pytest.mark.parametrize(
    ("template", "reason", "says"),
    [
        (_workers({"memory": "64Gi"}), "DoesNotFit", "limited to 69 GB of memory, and saving a checkpoint takes 98"),
        (_workers({"memory": "128Gi"}), "Passed", "about 218 in all: raise podTemplate.resources.limits.memory"),
        (_workers({"memory": "256Gi"}), "Passed", ""),
        (_workers({"ephemeral-storage": "100Gi"}), "DoesNotFit", "takes 115 there, about 328 in all"),
        (_workers({"ephemeral-storage": "200Gi"}), "Passed", "config.gpu.trainer.worker.limits.ephemeral-storage"),
        (_workers({"ephemeral-storage": "400Gi"}), "Passed", ""),
        (_workers({"ephemeral-storage": "100Gi"}, _ON_A_CLAIM), "Passed", ""),
    ],
)
async def test_a_node_s_memory_and_disk_are_judged_by_the_limits_of_its_pod(
    template: dict[str, Any], reason: str, says: str
) -> None:
    """8B on one node. What the checkpoint alone takes cannot fit; processes and what is kept beside are estimates."""
    world = World()
    on_gpus(world, model_of(world, QWEN3_8B), {}, podTemplate=template)
    await world.look()
    said = world.condition("Preflight", name="big")
    assert said["reason"] == reason and ("limited to" in said["message"]) is bool(says) and says in said["message"]


async def test_slices_of_a_card_are_judged_by_their_own_memory() -> None:
    world = World()
    on_gpus(world, model_of(world, QWEN3_8B), {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"})
    await world.look()
    said = world.condition("Preflight", name="big")
    assert said["reason"] == "DoesNotFit" and "H100 mig-1g.10gb has 10" in said["message"]
    world = World()
    on_gpus(world, model_of(world, QWEN3_8B), {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-SHARED"})
    await world.look()
    said = world.condition("Preflight", name="big")
    assert said["reason"] == "Passed" and "no card that is known, or one that is shared" in said["message"]


async def test_on_an_unknown_card_only_what_fits_none_is_refused() -> None:
    world = World()
    on_gpus(world, model_of(world, QWEN3_8B), {}, agentic={"overrides": {SHARE: 0.85}})
    await world.look()
    said = world.condition("Preflight", name="big")
    assert said["status"] == "True" and "nvidia.com/gpu.product" in said["message"]
    world = World()
    many = {"actor_rollout_ref.actor.ppo_max_token_len_per_gpu": 400_000}
    on_gpus(world, model_of(world, QWEN3_8B), {}, agentic={"overrides": many})
    await world.look()
    assert world.condition("Preflight", name="big")["reason"] == "DoesNotFit"


@pytest.mark.parametrize(
    "config",
    [b"", b"not json", b"[]", b"\xff\xfe", {"model_type": "qwen3_5"}, b"[" * 100_000, QWEN3_8B | {"vocab_size": "x"}],
)  # fmt: skip
async def test_a_shape_that_cannot_be_read_is_said_and_stops_nothing(config: Any) -> None:
    world = World()
    on_gpus(world, model_of(world, config), H100, agentic={"overrides": {SHARE: 0.85}})
    await world.look()
    assert world.condition("Preflight", name="big")["status"] == "True"
    assert world.status(name="big")["estimate"]["note"].startswith("no estimate: ")


async def test_a_hubs_model_is_known_by_its_name_where_its_makers_gave_it() -> None:
    world = World()
    on_gpus(world, "hf://Qwen/Qwen3-32B", H100)
    await world.look()
    assert world.condition("Preflight", name="big")["reason"] == "DoesNotFit"
    world = World()
    on_gpus(world, "hf://acme/Qwen3-32B-pruned", H100)
    await world.look()
    assert "is not known before it is imported" in world.condition("Preflight", name="big")["message"]


def with_pool(world: World, labels: dict[str, str], **args: Any) -> None:
    """14B trained on B200s, served with a long window by nodes with these labels."""
    engine = {"maxModelLen": 100_000, "args": args}
    pool = {**POOL, "pool": {**POOL["pool"], "engine": engine, "podTemplate": {"nodeSelector": labels}}}
    preset = {"preset": "agenticqwen-8b", "podTemplate": {"nodeSelector": B200}}
    world.apply_as("big", base={"model": "hf://Qwen/Qwen3-14B"}, endpoints=[TEACHER, pool], training=preset)


@pytest.mark.parametrize(
    ("labels", "args", "reason"),
    [(A100, {}, "DoesNotFit"), (B200, {}, "Passed"), (A100, {"quantization": "fp8"}, "Passed")],
)
async def test_a_pool_is_judged_by_its_own_card_if_its_weights_are_not_quantised(
    labels: dict[str, str], args: Any, reason: str
) -> None:
    world = World()
    with_pool(world, labels, **args)
    await world.look()
    assert world.condition("Preflight", name="big")["reason"] == reason


async def test_training_on_cpu_is_not_estimated() -> None:
    world = World()
    world.apply_as("small")
    await world.look()
    assert "estimate" not in world.status(name="small")


async def test_an_rljob_that_cannot_fit_starts_nothing() -> None:
    world = World()
    spec = {
        "model": model_of(world, QWEN3_8B), "data": {"train": ["s3://d/t.parquet"]}, "gpusPerNode": 8,
        "rolloutTensorParallel": 2, "podTemplate": {"nodeSelector": H100}, "reward": {"type": "Math"},
        "overrides": {SHARE: 0.85},
    }  # fmt: skip
    body = {"apiVersion": "flywheel.dev/v1alpha1", "kind": "RLJob", "metadata": {"name": "big", "namespace": NS}}
    world.kube.seed(body | {"spec": spec})
    await world.look()
    assert world.condition("Preflight", "RLJob", "big")["reason"] == "DoesNotFit"
    assert world.of_kind("RayJob") == []
