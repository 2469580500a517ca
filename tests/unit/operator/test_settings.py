"""The configuration file as people write it, probes on both families, and marks on everything that is made."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel_api.pods.template import PodTemplate
from flywheel_api.pool import RolloutPoolSpec
from flywheel_operator.config_file import ConfigError, load_config
from flywheel_operator.model import Act, Action, Meta
from flywheel_operator.ports import http
from flywheel_operator.render.common import marked
from flywheel_operator.render.pod import sizes
from flywheel_operator.render.rayservice import ray_service
from flywheel_operator.runtime import ready
from flywheel_operator.settings import OperatorConfig, Sizes
from unit.operator.world import ROUND, World

META = Meta("p", "team", "uid", 1)


def load(tmp_path: Path, text: str) -> OperatorConfig:
    (tmp_path / "config.yaml").write_text(text)
    return load_config(str(tmp_path / "config.yaml"))


@pytest.mark.parametrize(
    "section", ["cpu", "gpu", "job", "timing", "podTemplate", "rayVersion", "workers", "namespaces"]
)
def test_null_is_the_default(tmp_path: Path, section: str) -> None:
    assert load(tmp_path, f"{section}:") == OperatorConfig()
    assert load(tmp_path, "gpu: {trainer: {worker: , env: }}") == OperatorConfig()


def test_scalars_are_read_as_yaml_writes_them(tmp_path: Path) -> None:
    text = """
    job: {pod: {labels: {a: 4711, b: true}, annotations: {c: 1.5}}, env: {D: 1}, resources: {limits: {cpu: 2}}}
    cpu: {trainer: {shmSize: 1.37438953472e+11, headRayStartParams: {num-cpus: 4}, env: {OMP_NUM_THREADS: }}}
    commonLabels: {cost-center: 4711}
    """
    found = load(tmp_path, text)
    assert found.job.pod.labels == {"a": "4711", "b": "true"}
    assert found.job.pod.annotations == {"c": "1.5"}
    assert found.job.env == {"D": "1"}
    assert found.job.resources.limits == {"memory": "2Gi", "cpu": "2"}
    assert found.cpu.trainer.shm_size == "137438953472"
    assert found.cpu.trainer.head_ray_start_params["num-cpus"] == "4"
    assert "OMP_NUM_THREADS" not in found.cpu.trainer.env and "MALLOC_ARENA_MAX" in found.cpu.trainer.env
    assert found.common_labels == {"cost-center": "4711"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpuu:", "gpuu"),
        ("gpu: {trainer: {shmsize: 1Gi}}", "shmsize"),
        ("rayVersion: 2.60", "rayVersion"),
        ("gpu: {trainer: {shmSize: 128GB}}", "write a Kubernetes quantity"),
        ("job: {resources: {limits: {memory: 2 Gi}}}", "write a Kubernetes quantity"),
        ("job: {image: 'https://r/j:1'}", "job.image"),
        ("job: {pod: {tolerations: [{operator: exists}]}}", "operator"),
        ("job: {pod: {nodeSelector: {gpu type: a}}}", "is no key of a label"),
        ("commonLabels: {a: h100 sxm}", "commonLabels.a"),
        ("runAsUser: 0", "runAsUser"),
        ("gpu: {overrides: {data.apply_chat_template_kwargs: {a: 1}}}", "is no matter of hardware"),
        ("cpu: {overrides: {+data.apply_chat_template_kwargs.a: 1}}", "is no matter of hardware"),
        ("- a", "must be a mapping"),
        ("gpu: [", "is not a valid operator configuration"),
    ],
)
def test_what_cannot_work_ends_the_operator_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert words in str(refused.value)


def test_where_pods_have_ipv6_addresses_ray_listens_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def host(config: OperatorConfig) -> set[str]:
        shapes = (config.cpu.trainer, config.cpu.rollout, config.gpu.trainer, config.gpu.rollout)
        return {shape.head_ray_start_params["dashboard-host"] for shape in shapes}

    assert host(load(tmp_path, "{}")) == {"0.0.0.0"}
    monkeypatch.setenv("POD_IP", "10.0.0.7")
    assert host(load(tmp_path, "{}")) == {"0.0.0.0"}
    monkeypatch.setenv("POD_IP", "fd00::7")
    assert host(load(tmp_path, "workers: 2")) == {"::"}
    own = load(tmp_path, "cpu: {trainer: {headRayStartParams: {dashboard-host: 'fd00::9'}}}")
    assert own.cpu.trainer.head_ray_start_params["dashboard-host"] == "fd00::9"


def test_a_pool_answers_on_the_family_of_its_dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def options(config: OperatorConfig) -> object:
        spec = RolloutPoolSpec.model_validate({"model": "hf://a/b"})
        body = ray_service(
            config, META, spec, "hf://a/b", Action(Act.CREATE, "RayService", "p", params={"revision": "r"})
        )
        return yaml.safe_load(body["spec"]["serveConfigV2"]).get("http_options")

    assert options(load(tmp_path, "{}")) is None
    monkeypatch.setenv("POD_IP", "fd00::7")
    assert options(load(tmp_path, "{}")) == {"host": "::"}


async def test_probes_answer_on_both_families() -> None:
    runner = await http.serve(0, {"/healthz": lambda: (200, "text/plain", "ok")})
    try:
        families = {address[0] for address in runner.addresses}
    finally:
        await runner.cleanup()
    assert "0.0.0.0" in families
    assert "::" in families or not socket.has_ipv6


def test_a_pod_is_ready_once_everything_was_listed() -> None:
    listed = asyncio.Event()
    assert ready(listed)[0] == 503
    listed.set()
    assert ready(listed)[0] == 200


async def test_everything_that_a_round_makes_carries_the_common_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(OperatorConfig.model_validate({"commonLabels": {"team": "ml"}, "commonAnnotations": {"owner": "me"}}))
    kinds: set[str] = set()
    for verb in ("create", "apply"):
        original = getattr(world.kube, verb)

        async def seen(body: Any, original: Any = original) -> Any:
            if body["kind"] != "Event":
                assert body["metadata"]["labels"]["team"] == "ml", body["kind"]
                assert body["metadata"]["annotations"]["owner"] == "me", body["kind"]
                kinds.add(body["kind"])
            return await original(body)

        monkeypatch.setattr(world.kube, verb, seen)
    world.apply(ROUND)
    await world.run()
    assert world.status()["verdict"] == "Promoted"
    assert {"Job", "RolloutPool", "RLJob", "RayService", "RayJob", "Service"} <= kinds


def test_marks_lie_beneath_an_objects_own() -> None:
    config = OperatorConfig.model_validate(
        {"commonLabels": {"cost-center": "1", "a": "common"}, "commonAnnotations": {"owner": "ml"}}
    )
    head = {"template": {"metadata": {"labels": {"a": "own"}}, "spec": {}}}
    ray = {"headGroupSpec": head, "workerGroupSpecs": [{"template": {"metadata": {}, "spec": {}}}]}
    body = {"kind": "RayJob", "metadata": {"name": "x", "labels": {"a": "own"}}, "spec": {"rayClusterSpec": ray}}
    found = marked(lambda _: body, config)
    places = [found, head["template"], ray["workerGroupSpecs"][0]["template"]]  # type: ignore[index]
    assert [p["metadata"]["labels"]["cost-center"] for p in places] == ["1"] * 3  # type: ignore[index]
    assert [p["metadata"]["annotations"] for p in places] == [{"owner": "ml"}] * 3  # type: ignore[index]
    assert found["metadata"]["labels"]["a"] == "own"


@pytest.mark.parametrize(
    ("asked", "memory"),
    [
        ({}, ("2Gi", "15Gi")),
        ({"limits": {"memory": "1Gi"}}, ("1Gi", "1Gi")),
        ({"requests": {"memory": "24Gi"}}, ("24Gi", "24Gi")),
        ({"requests": {"memory": 17179869184}}, ("17179869184", "17179869184")),
        ({"requests": {"memory": "8G"}, "limits": {"memory": "8Gi"}}, ("8G", "8Gi")),
    ],
)
def test_an_objects_request_or_limit_beside_the_charts_makes_a_legal_pod(
    asked: dict[str, Any], memory: tuple[str, str]
) -> None:
    own = Sizes(requests={"cpu": "1", "memory": "2Gi"}, limits={"memory": "15Gi"})
    found = sizes(own, PodTemplate.model_validate({"resources": asked}), {"nvidia.com/gpu": "8"})
    assert (found["requests"]["memory"], found["limits"]["memory"]) == memory
    assert found["requests"]["cpu"] == "1" and "cpu" not in found["limits"]


def test_a_limit_of_the_chart_below_its_default_request_makes_a_legal_pod(tmp_path: Path) -> None:
    config = load(tmp_path, "gpu: {trainer: {worker: {limits: {memory: 256Gi}}}}")
    assert sizes(config.gpu.trainer.worker, None)["requests"]["memory"] == "256Gi"
