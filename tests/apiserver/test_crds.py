"""The CRDs and the examples before a real Kubernetes API server: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.bases import BASES, EXPORTS, HUB, MODELS, TRACKERS
from apiserver.domains import DOMAINS, SOURCES
from apiserver.dry_run import DryRun, Refused
from cluster.apiserver import ApiServer, start_apiserver
from cluster.errors import ClusterError
from flywheel_api.crd import crd_yaml
from flywheel_api.resources import KINDS, Kind
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.verl.rules import refusals
from unit.operator.test_pod_templates import RICH, head_and_worker, job

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
NAMESPACES = ("flywheel", "flywheel-demo")
Object = dict[str, Any]
Edit = Callable[[Object], object]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with start_apiserver(tmp_path_factory.mktemp("apiserver")) as api:
        for kind in KINDS:
            api.kubectl("apply", "--server-side", "-f", "-", stdin=crd_yaml(kind))
        api.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        for name in NAMESPACES:
            api.kubectl("create", "namespace", name)
        yield api


@pytest.fixture(scope="module")
def dry(server: ApiServer) -> Iterator[DryRun]:
    found = DryRun(server.kubeconfig)
    yield found
    found.close()


def document(name: str) -> Object:
    loaded: Object = yaml.safe_load((ROOT / "examples" / name).read_text())
    return loaded


def apply(server: ApiServer, body: Object, *args: str) -> str:
    return server.kubectl("apply", *args, "-f", "-", stdin=json.dumps(body))


def get(server: ApiServer, body: Object) -> Object:
    meta = body["metadata"]
    found: Object = json.loads(server.kubectl("-n", meta["namespace"], "get", body["kind"], meta["name"], "-o", "json"))
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_applies_and_applying_it_again_changes_nothing(server: ApiServer, path: Path) -> None:
    body = yaml.safe_load(path.read_text())
    apply(server, body)
    first = get(server, body)
    again = apply(server, body)
    second = get(server, body)
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    if body["kind"] != "Secret":  # kubectl cannot tell for stringData
        assert again.strip().endswith("unchanged"), again


def test_the_server_writes_out_the_papers_defaults(server: ApiServer) -> None:
    body = document("rljob.yaml")
    body["metadata"]["name"] = "defaults"
    del body["spec"]["algorithm"]
    apply(server, body)
    algorithm = get(server, body)["spec"]["algorithm"]
    assert algorithm["groupSize"] == 16
    assert algorithm["promptsPerStep"] == 64
    assert algorithm["clip"] == {"low": "0.2", "high": "0.28", "c": "10"}
    assert algorithm["learningRate"] == "1e-6"


def test_a_stored_round_reads_back_as_the_model(server: ApiServer) -> None:
    body = document("round-8b.yaml")
    body["metadata"]["name"] = "read-back"
    apply(server, body)
    stored = FlywheelRoundSpec.model_validate(get(server, body)["spec"])
    assert stored == FlywheelRoundSpec.model_validate(body["spec"])


def put(*path: str | int, to: object) -> Edit:
    """An edit of spec: the value at `path`."""

    def edit(body: Object) -> None:
        target: Any = body["spec"]
        for step in path[:-1]:
            target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
        target[path[-1]] = to

    return edit


def drop(*names: str) -> Edit:
    """An edit of spec: without these fields."""
    return lambda body: [body["spec"].pop(name) for name in names]


def named(name: str) -> Edit:
    """An edit of the object's name."""
    return lambda body: body["metadata"].update(name=name)


ROUND, JOB, POOL = "round.yaml", "rljob.yaml", "rolloutpool.yaml"
TEACHER = {"role": "Teacher", "url": "http://t/v1", "model": "t"}
BAD: dict[str, tuple[str, Edit, str]] = {
    "unknown field": (ROUND, put("agentik", to={}), 'unknown field "spec.agentik"'),
    "unknown nested field": (ROUND, put("reasoning", "minning", to={}), 'unknown field "spec.reasoning.minning"'),
    "wrong type": (ROUND, put("seed", to="seven"), "spec.seed: Invalid value: \"string\": "),
    "unquoted number": (ROUND, put("budget", "gpuHours", to=300), "must be of type string"),
    "word for a number": (ROUND, put("budget", "gpuHours", to="many"), 'write hours from 0 in quotes, such as "300"'),
    "bad duration": (ROUND, put("budget", "wallClock", to="2 days"), "write a duration such as 90s, 36h or 1h30m"),
    "bad fraction": (ROUND, put("agentic", "legalShare", to="50"), "write a fraction from 0 to 1 in quotes"),
    "two bases": (ROUND, put("base", "round", to="r0"), "set exactly one of base.round and base.model"),
    "no base": (ROUND, put("base", to={}), "set exactly one of base.round and base.model"),
    "bad model": (ROUND, put("base", "model", to="Qwen/Qwen3-8B"), "or hf://org/name[@revision]"),
    "fields of built-in seeds": (ROUND, put("reasoning", "fields", to={"id": "q"}), "fields are for files of your own"),
    "fields of built-in personas": (ROUND, put("agentic", "personaFields", to={"text": "q"}), "for files of your own"),
    "fields of a built-in suite": (ROUND, put("evaluation", "suites", 0, "fields", to={"id": "q"}), "without a source"),
    "bad seeds": (ROUND, put("reasoning", "seeds", to="/data/seeds"), "write builtin://<name>, s3://bucket/prefix"),
    "no track": (ROUND, drop("reasoning", "agentic"), "add spec.reasoning, spec.agentic or both"),
    "no teacher": (ROUND, put("endpoints", 0, "role", to="Solver"), "name a Teacher in spec.endpoints"),
    "unknown role": (ROUND, put("endpoints", 0, "role", to="Critic"), 'supported values: "Policy", "Teacher"'),
    "role nobody calls": (ROUND, put("endpoints", 0, "role", to="Judge"), "the roles are Policy, Teacher, Solver"),
    "nobody's tokens": (ROUND, put("budget", "tokens", to=[{"role": "ToolSimulator", "limit": "9"}]), "leave them"),
    "role twice": (ROUND, put("endpoints", to=[TEACHER, TEACHER]), "Duplicate value"),
    "no address": (ROUND, put("endpoints", to=[{"role": "Teacher"}]), "set exactly one of url, poolRef and pool"),
    "no model name": (ROUND, put("endpoints", to=[{"role": "Teacher", "url": "http://t/v1"}]), "needs model"),
    "teacher's own pool": (ROUND, put("endpoints", to=[{"role": "Teacher", "pool": {}}]), "is for role Policy"),
    "url without scheme": (ROUND, put("endpoints", 0, "url", to="t:8000"), "starts with http:// or https://"),
    "a label by half of the votes": (
        ROUND, put("reasoning", "verification", to={"votes": 4, "agree": 2}), "more than half of verification.votes"),
    "more agreement than votes": (ROUND, put("reasoning", "verification", to={"votes": 2}), "must not exceed"),
    "no variants": (ROUND, put("reasoning", "synthesis", to={"structural": 0, "persona": 0}), "at least one variant"),
    "source of a built-in": (ROUND, put("evaluation", "suites", 0, "source", to="s3://b/k.jsonl"), "without source"),
    "gate without a limit": (ROUND, put("evaluation", "suites", 0, "gate", to={}), "a gate needs a limit"),
    "margin in points": (ROUND, put("evaluation", "regression", to={"margin": "5"}), "a fraction from 0 to 1"),
    "no simulator": (ROUND, put("agentic", "environment", to="Hybrid"), "use State"),
    "round's group size 1": (ROUND, put("training", "reasoning", to={"algorithm": {"groupSize": 1}}), "equal to 2"),
    "long name": (ROUND, named("r" * 41), "at most 40 characters"),
    "name with a dot": (ROUND, named("r.1"), "Services are named after it"),
    "name with a digit first": (JOB, named("1st"), "starts with a letter"),
    "group size 1": (JOB, put("algorithm", "groupSize", to=1), "should be greater than or equal to 2"),
    "unknown algorithm": (JOB, put("algorithm", "type", to="REINFORCE"), 'supported values: "GRPO"'),
    "judged": (JOB, put("reward", "type", to="Judge"), "use Math or StateDiff, or Custom with entryPoint"),
    "by rubric": (JOB, put("reward", "type", to="Rubric"), "use Math or StateDiff, or Custom with entryPoint"),
    "custom without code": (JOB, put("reward", "type", to="Custom"), "reward.entryPoint goes with reward.type Custom"),
    "code without custom": (JOB, put("reward", "entryPoint", to="a:b"), "reward.entryPoint goes with"),
    "bad entry point": (JOB, put("reward", to={"type": "Custom", "entryPoint": "a.b"}), "write module:function"),
    "mini batch too large": (JOB, put("algorithm", "miniBatchPrompts", to=65), "must not exceed algorithm.promptsPer"),
    "a warm-up of fewer conversations than GPUs": (
        JOB,
        put("warmUp", to={"data": ["sha256:" + "a" * 64], "conversationsPerStep": 1}),
        "warmUp.conversationsPerStep must be at least nodes times gpusPerNode",
    ),
    "tensor parallel too wide": (JOB, put("rolloutTensorParallel", to=16), "multiple of rolloutTensorParallel"),
    "tools without a loop": (JOB, drop("agentLoop"), "add agentLoop.domains, or use reward.type Math"),
    "bonus for form of a database": (JOB, put("reward", "formatBonus", to="0.1"), "goes with reward.type Math only"),
    "bonus for form of tools": (ROUND, put("training", "agentic", to={"formatBonus": "0.1"}), "of the reasoning track"),
    "correction on CPU": (JOB, lambda body: (
        put("algorithm", "rolloutCorrection", to="Token")(body), body["spec"].update(gpusPerNode=0)), "is for GPUs"),
    "sampling anew with PPO": (JOB, put("algorithm", to={"type": "PPO", "dynamicSampling": 3}), "PPO has one"),
    "no data": (JOB, put("data", "train", to=[]), "should have at least 1 items"),
    "bad data": (JOB, put("data", "train", to=["train.parquet"]), "or s3://bucket/key of a Parquet file"),
    "many CPU servers": (POOL, lambda body: body["spec"].update(gpusPerReplica=0, replicas=5), "at most 4 replicas"),
    "no model": (POOL, drop("model"), "set exactly one of round and model"),
    "two models": (POOL, put("round", to="support-r1"), "set exactly one of round and model"),
    "adapters after a warm-up": (
        JOB,
        lambda body: body["spec"].update(lora={"rank": 8}, warmUp={"data": ["sha256:" + "a" * 64]}),
        "warmUp trains whole weights",
    ),
    "a round's adapters after a warm-up": (
        ROUND,
        lambda body: body["spec"]["training"].update(lora={"rank": 8}, warmUp="SFT"),
        "warmUp trains whole weights",
    ),
    "adapters on CPU": (JOB, lambda body: body["spec"].update(gpusPerNode=0, lora={"rank": 8}), "lora is for GPUs"),
    "adapters of no rank": (JOB, put("lora", to={"rank": 0}), "greater than or equal to 1"),
    "adapters beyond vLLM": (ROUND, put("training", "lora", to={"rank": 513}), "less than or equal to 512"),
    "adapters without a rank": (JOB, put("lora", to={"alpha": 8}), "spec.lora.rank: Required value"),
    "adapters on the head": (JOB, put("lora", to={"rank": 8, "targets": ["lm_head"]}), 'supported values: "q_proj"'),
    "volume of two kinds": (JOB, put("podTemplate", "volumes", to=[
        {"name": "v", "mountPath": "/v", "emptyDir": {}, "secret": "s"}]), "exactly one of persistentVolumeClaim"),
    "volume without a place": (POOL, put("podTemplate", "volumes", to=[{"name": "v", "emptyDir": {}}]), "a mountPath"),
    "capabilities that do nothing": (JOB, put("podTemplate", "securityContext", to={
        "capabilities": {"add": ["IPC_LOCK"]}}), "set runAsUser to 0 as well"),
    "a head on CPU": (JOB, lambda body: body["spec"].update(gpusPerNode=0, headTemplate={}), "leave headTemplate out"),
    "a pool's head on CPU": (POOL, lambda body: body["spec"].update(
        gpusPerReplica=0, replicas=1, headTemplate={}), "leave headTemplate out"),
    "no spec": (POOL, lambda body: body.pop("spec"), "spec: Required value"),
}  # fmt: skip


def each(words: str, file: str, *path: str | int, values: list[object]) -> dict[str, tuple[str, Edit, str]]:
    """One row for each value at `path` that is refused with `words`."""
    return {f"{path[-1]} {value}": (file, put(*path, to=value), words) for value in values}


SUITE_GATE = ("evaluation", "suites", 0, "gate")
POD = "podTemplate"
BAD |= {
    name: (ROUND, put(*path, to=to), words)
    for name, (path, to, words) in (DOMAINS | BASES | EXPORTS | TRACKERS).items()
}
BAD |= {
    **each("write a score from 0 to 1", ROUND, *SUITE_GATE, "minScore", values=["95", "-0.1", "1.01", "1e400", "half"]),
    **each("write a gain in score from -1 to 1", ROUND, *SUITE_GATE, "minGainOverBase", values=["5", "-1.5", "2 %"]),
    **each("greater than or equal to 0", JOB, "algorithm", "warmUpSteps", values=[-1]),
    **each("supported values", JOB, "algorithm", "schedule", values=["Linear"]),
    **each("write a weight decay from 0 to 1", JOB, "algorithm", "weightDecay", values=["-0.1", "2"]),
    **each("write a norm above 0", JOB, "algorithm", "gradientClip", values=["0", "1e9"]),
    **each("supported values", JOB, "algorithm", "advantageNormalisation", values=["Std"]),
    **each("supported values", JOB, "algorithm", "klType", values=["k3"]),
    **each("write a weight from 0 to 10", JOB, "algorithm", "entropyCoefficient", values=["-1"]),
    **each("write a limit above 1", JOB, "algorithm", "rolloutCorrectionLimit", values=["1", "1000"]),
    **each("supported values", JOB, "algorithm", "overlong", values=["Penalty"]),
    **each("less than or equal to 100", JOB, "algorithm", "dynamicSampling", values=[101]),
    **each("write a fraction from 0 to 1", ROUND, "training", "informativeFloor", values=["20"]),
    **each("supported values", ROUND, "training", "warmUp", values=["On", "DPO"]),
    **each("write a temperature from 0 to 2", ROUND, "evaluation", "temperature", values=["-1", "2.5", "NaN", ".5"]),
    **each("write a confidence between 0 and 1", ROUND, "evaluation", "confidence", values=["0", "1", "95"]),
    **each("write a fraction above 0", ROUND, "endpoints", 1, "sampling", "topP", values=["95", "0", "1.1"]),
    **each("write a temperature from", ROUND, "endpoints", 1, "sampling", "temperature", values=["3", "-0.1"]),
    **each("write hours from 0", ROUND, "budget", "gpuHours", values=["-1", "Infinity"]),
    **each("write a fraction from 0 to below 1", ROUND, "agentic", "holdoutPersonas", values=["1", "1.0", "20"]),
    **each("write a duration of at least 1s", ROUND, "budget", "wallClock", values=["0s", "0h0m", "1ms", "999ms"]),
    **each("write a duration of at least 1s", ROUND, "endpoints", 0, "timeout", values=["0s", "1ms", "000m"]),
    **each("startupTimeout", ROUND, "endpoints", 1, "pool", "startupTimeout", values=["0s", "-5m"]),
    **each("stallAfter", JOB, "stallAfter", values=["0s", "0d", "00ms"]),
    **each("startupTimeout", JOB, "startupTimeout", values=["0s", "1ms"]),
    **each("wallClock", JOB, "wallClock", values=["0s"]),
    **each(
        "write a learning rate above 0", JOB, "algorithm", "learningRate", values=["0", "-1e-6", "1e400", "1e9", "0e-9"]
    ),
    **each("write a temperature above 0", JOB, "algorithm", "temperature", values=["0", "0.0", "-1", "9"]),
    **each("write a weight from 0 to 10", JOB, "algorithm", "klCoefficient", values=["-0.1", "11"]),
    **each("write a clip above 0 and at most 1", JOB, "algorithm", "clip", "low", values=["-0.2", "0", "20"]),
    **each("write a clip above 0 and at most 10", JOB, "algorithm", "clip", "high", values=["-0.2", "0", "28"]),
    **each("write a bound above 1", JOB, "algorithm", "clip", "c", values=["1", "0", "-3"]),
    **each(
        "learning rate above 0", ROUND, "training", "agentic", "algorithm", "learningRate", values=["0", "1e-400", "2"]
    ),
    **each("temperature above 0", ROUND, "training", "agentic", "algorithm", "temperature", values=["0"]),
    **each("reach, such as http://teacher", ROUND, "endpoints", 0, "url", values=[
        "http://localhost:8000/v1", "http://LOCALHOST", "http://127.0.0.1:8000/v1", "http://127.1", "http://[::1]:8000",
        "https://0.0.0.0/v1", "http://[::]/v1"]),
    **each("has no fragment", ROUND, "endpoints", 0, "url", values=["http://h/v1#f"]),
    **each("put an IPv6 address in brackets", ROUND, "endpoints", 0, "url", values=[
        "http://fd00::1:8000/v1", "http://2001:db8::5/v1"]),
    **each("starts with http:// or https://", ROUND, "endpoints", 0, "url", values=[
        "http:///v1", "https://", "ftp://m/v1", "http://m v1", "//m/v1"]),
    **each("put the key into a Secret", ROUND, "endpoints", 0, "url", values=[
        "https://robot:hunter2@models.internal/v1", "https://m/v1?api-key=abc", "https://m/v1?a=1&API_KEY=abc",
        "https://m/v1?key=abc", "https://m/v1?sig=abc", "https://m/v1?access_token=x", "https://sk-live@m/v1"]),
    **each("write the name of a Secret", ROUND, "store", "secretName", values=["My Secret", "", "a_b"]),
    **each("or hf://org/name[@revision]", JOB, "model", values=[
        "hf://https://huggingface.co/Qwen/Qwen3-8B", "hf://Qwen/Qwen3-8B ", "hf://Qwen", "hf:///Qwen3", "hf://a/b/c",
        "https://huggingface.co/Qwen/Qwen3-8B", "s3:///prefix", "s3://b/k ", "sha256:abc"]),
    **each("write an image without https://", JOB, POD, "image", values=[
        "https://registry.example.com/trainer:1", "oci://registry/trainer", "Registry/Trainer:1 ", "trainer:", "a b",
        "registry.example.com/trainer@sha256:abc", "docker://debian"]),
    **each("write a Kubernetes quantity", JOB, POD, "resources", "limits", "memory", values=[
        "16GB", "16 Gi", "", "four", "-1Gi", "16gi"]),
    **each("write a Kubernetes quantity", ROUND, "training", POD, "resources", "requests", "cpu", values=["4 cores"]),
    **each("write a Kubernetes quantity", ROUND, "endpoints", 1, "pool", POD, "resources", "requests", "cpu", values=[
        "1,5", -1]),
    **each("write a Kubernetes quantity", POOL, POD, "resources", "limits", "cpu", values=["2c"]),
    **each("write a label's value", JOB, POD, "nodeSelector", "gpu", values=["h100 sxm", "-h100", "h100!"]),
    **each('supported values: "Exists", "Equal"', JOB, POD, "tolerations", values=[[{"operator": "exists"}]]),
    **each('supported values: "NoSchedule"', JOB, POD, "tolerations", values=[[{"key": "a", "effect": "NoScedule"}]]),
    **each("without key needs operator: Exists", JOB, POD, "tolerations", values=[[{"value": "a"}], [{}]]),
    **each("Exists has no value", JOB, POD, "tolerations", values=[[{"key": "a", "operator": "Exists", "value": "b"}]]),
    **each("goes with effect: NoExecute", JOB, POD, "tolerations", values=[[{"key": "a", "tolerationSeconds": 3}]]),
    **each("greater than or equal to 0", JOB, POD, "tolerations", values=[
        [{"key": "a", "effect": "NoExecute", "tolerationSeconds": -1}]]),
    "requests above limits": (
        JOB, put(POD, "resources", to={"requests": {"memory": "2Gi"}, "limits": {"memory": "1500M"}}),
        "requests.memory must not exceed limits.memory"),
    "requests of disk above limits": (
        JOB, put(POD, "resources", to={
            "requests": {"ephemeral-storage": "2Ti"}, "limits": {"ephemeral-storage": "1Ti"}}),
        "requests.ephemeral-storage must not exceed"),
    "requests above limits as numbers": (
        POOL, put(POD, "resources", to={"requests": {"cpu": 4}, "limits": {"cpu": "3500m"}}),
        "requests.cpu must not exceed limits.cpu"),
    "a key that no Secret has": (
        ROUND, put("endpoints", 0, "apiKey", to={"secretName": "s", "key": "a key"}), "write a key of the Secret"),
    "an empty model name": (ROUND, put("endpoints", 0, "model", to=""), "should be at least 1 chars"),
    "bands that cross": (
        ROUND, put("reasoning", "difficulty", to={"low": "0.8", "high": "0.2"}), "difficulty.low must not exceed"),
    "one sample measures nothing": (
        ROUND, put("reasoning", "difficulty", to={"samples": 1}), "greater than or equal to 2"),
    "endless waves": (ROUND, put("reasoning", "difficulty", to={"waves": 17}), "less than or equal to 16"),
    "nothing but replay": (ROUND, put("reasoning", "replayShare", to="1"), "a fraction from 0 to below 1"),
    "a policy on another distribution": (ROUND, put("endpoints", 1, "sampling", "topP", to="0.9"), "samples at topP 1"),
    "eight equal samples": (ROUND, put("reasoning", "mining", "temperature", to="0"), "set mining.temperature above 0"),
    "difficulty upside down": (
        ROUND, put("agentic", "difficulty", to={"low": "0.8", "high": "0.2"}), "difficulty.low must not exceed"),
    "verl's batch": (
        JOB, lambda body: body["spec"].update(
            nodes=2, algorithm={"promptsPerStep": 5, "groupSize": 6, "microBatchSize": 2, "miniBatchPrompts": 8}
        ), "must not exceed algorithm.promptsPer"),
    "update of 24 samples on 16 GPUs": (
        JOB, lambda body: body["spec"].update(
            nodes=2, algorithm={"promptsPerStep": 16, "groupSize": 6, "miniBatchPrompts": 4}
        ), "samples of an update"),
    "step of 30 samples on 16 GPUs": (
        JOB, lambda body: body["spec"].update(
            nodes=2, algorithm={"promptsPerStep": 5, "groupSize": 6, "microBatchSize": 2}
        ), "samples of a step"),
    "micro-batch of 3": (JOB, put("algorithm", "microBatchSize", to=3), "a multiple of microBatchSize"),
    "PPO has one rollout a prompt": (
        JOB, put("algorithm", to={"type": "PPO", "promptsPerStep": 16, "groupSize": 16}), "samples of an update"),
    "tensor parallel 3 of 8": (JOB, put("rolloutTensorParallel", to=3), "multiple of rolloutTensorParallel"),
    "two CPU nodes": (
        JOB, lambda body: body["spec"].update(gpusPerNode=0, nodes=2, rolloutTensorParallel=1), "takes one node"),
    "odd samples on CPU": (
        JOB, lambda body: body["spec"].update(
            gpusPerNode=0, rolloutTensorParallel=1, algorithm={"promptsPerStep": 1, "groupSize": 3}
        ), "on CPU 2 by default"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_a_sentence_that_says_what_to_write(dry: DryRun, case: str) -> None:
    file, edit, words = BAD[case]
    body = document(file)
    body["metadata"]["name"] = "bad"
    edit(body)
    with pytest.raises(Refused) as refused:
        dry.create(body)
    assert words in str(refused.value)


GOOD: dict[str, tuple[str, Edit]] = {
    f"{path[-1]} {value}": (file, put(*path, to=value))
    for file, path, values in (
        (ROUND, (*SUITE_GATE, "minScore"), ["0", "1", "0.95", "1.0", "5e-1"]),
        (ROUND, (*SUITE_GATE, "minGainOverBase"), ["-0.02", "0", "1"]),
        (ROUND, ("evaluation", "confidence"), ["0.5", "0.999"]),
        (ROUND, ("budget", "wallClock"), ["1s", "1500ms", "1d12h", "90m", "0h1m"]),
        (ROUND, ("endpoints", 0, "url"), [
            "http://[fd00::1]:8000/v1", "https://m.openai.azure.com/openai?api-version=2024-06-01",
            "http://localhost.example.com/v1", "https://models.internal/v1?keyspace=a", "http://128.0.0.1:8000"]),
        (ROUND, ("agentic", "domains"), [[{"name": "library", "source": source}] for source in SOURCES]),
        (JOB, ("algorithm", "learningRate"), ["1e-6", "0.00002", "5E-7"]),
        (JOB, ("model",), MODELS),
        (JOB, (POD, "image"), [
            "localhost:5000/flywheel/trainer-gpu:0.1.0", "debian", "[fd00::1]:5000/x:1", "docker.io/library/a_b.c:V1",
            "registry.example.com/trainer@sha256:" + "a" * 64, "r.io/t:1@sha256:" + "a" * 64]),
        (JOB, (POD, "resources"), [
            {"limits": {"cpu": 4, "memory": 137438953472}}, {"requests": {"cpu": "0.5", "memory": "1e3"}},
            {"requests": {"cpu": 1, "memory": "1024Mi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}}]),
        (JOB, (POD, "tolerations"), [
            [{"operator": "Exists"}, {"key": "a", "value": "b"}, {"key": "a", "operator": "Exists"},
             {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]]),
        (JOB, (POD, "nodeSelector"), [{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "gpu": ""}]),
        (JOB, ("algorithm", "microBatchSize"), [2, 4]),
        (JOB, ("rolloutTensorParallel",), [1, 2, 4, 8]),
        (JOB, ("algorithm",), [{"type": "PPO", "promptsPerStep": 256}, {"promptsPerStep": 8, "groupSize": 8}]),
    )
    for value in values
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_what_can_work_is_taken_and_reads_back(dry: DryRun, case: str) -> None:
    file, edit = GOOD[case]
    body = document(file)
    body["metadata"]["name"] = "good"
    edit(body)
    taken = dry.create(body)
    spec = {kind.kind: kind.spec for kind in KINDS}[body["kind"]].model_validate(taken["spec"])
    assert not isinstance(spec, RLJobSpec) or refusals(spec) == []


CHANGES: dict[str, tuple[str, Edit, str]] = {
    "another model": (ROUND, put("base", "model", to="hf://a/b"), "apply a new round under another name"),
    "another preset": (ROUND, put("training", "preset", to="agenticqwen-8b"), "apply a new round under another name"),
    "a verl key": (ROUND, put("training", "agentic", "overrides", to={"a.b": 1}), "apply a new round"),
    "a track less": (ROUND, drop("agentic"), "apply a new round under another name"),
    "a gate less": (ROUND, put("evaluation", "suites", 0, "gate", to={}), "apply a new round under another name"),
    "more nodes": (ROUND, put("training", "nodes", to=2), "apply a new round under another name"),
    "a longer training": (
        ROUND,
        put("training", "reasoning", "algorithm", to={"epochs": 2}),
        "podTemplate, headTemplate and retries can",
    ),
    "another teacher": (ROUND, put("endpoints", 0, "model", to="other"), "apply a new round under another name"),
    "hotter sampling": (ROUND, put("endpoints", 1, "sampling", "temperature", to="0.1"), "apply a new round"),
    "a longer window": (ROUND, put("endpoints", 1, "pool", "engine", "maxModelLen", to=999), "apply a new round"),
    "a pool for a URL": (
        ROUND,
        put("endpoints", 1, to={"role": "Policy", "url": "http://x", "model": "m"}),
        "apply a new round under another name",
    ),
    "a role more": (
        ROUND,
        lambda body: body["spec"]["endpoints"].append({"role": "Solver", "url": "http://x", "model": "m"}),
        "who plays which role cannot be changed once applied",
    ),
    "no reuse": (ROUND, put("reuse", to="Never"), "apply a new round under another name"),
    "a longer run": (JOB, put("algorithm", "epochs", to=2), "what an RLJob trains cannot be changed"),
    "a job's verl key": (JOB, put("overrides", to={"a.b": 2}), "what an RLJob trains cannot be changed"),
    "adapters of a round": (
        ROUND,
        put("training", "lora", to={"rank": 8}),
        "podTemplate, headTemplate and retries can",
    ),
    "a job's adapters": (JOB, put("lora", to={"rank": 8}), "what an RLJob trains cannot be changed"),
    "a job's single turn": (JOB, drop("agentLoop"), "add agentLoop.domains"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_inputs_cannot_be_changed_once_applied(server: ApiServer, case: str) -> None:
    file, edit, words = CHANGES[case]
    body = document(file)
    body["metadata"]["name"] = "fixed"
    apply(server, body)
    changed = copy.deepcopy(body)
    edit(changed)
    with pytest.raises(ClusterError) as refused:
        apply(server, changed)
    assert words in str(refused.value)


MENDS: dict[str, tuple[str, Edit]] = {
    "budget and suspend": (
        ROUND,
        lambda body: body["spec"].update(suspend=True, budget={"gpuHours": "2", "wallClock": "3h"}),
    ),
    "memory of trainings": (ROUND, put("training", "podTemplate", to={"resources": {"limits": {"memory": "24Gi"}}})),
    "retries of a training": (ROUND, put("training", "agentic", "retries", to={"limit": 9})),
    "address and key": (
        ROUND,
        lambda body: body["spec"]["endpoints"][0].update(url="http://other/v1", apiKey={"secretName": "k", "key": "k"}),
    ),
    "mirror and token of the hub": ("round-8b.yaml", put("base", "hub", to=HUB)),
    "pace": (ROUND, lambda body: body["spec"]["endpoints"][0].update(timeout="5m", concurrency=4, requestsPerMinute=9)),
    "shape of the pool": (ROUND, put("endpoints", 1, "pool", "startupTimeout", to="2h")),
    "pods of a job": (JOB, put("podTemplate", to={"nodeSelector": {"a": "b"}})),
    "head of a job": (JOB, put("headTemplate", to={"annotations": {"a": "b"}})),
    "pods of stages": (ROUND, put("jobTemplate", to={"annotations": {"a": "b"}})),
    "time-outs of a job": (
        JOB,
        lambda body: body["spec"].update(stallAfter="2h", startupTimeout="3h", wallClock="9h", retries={"limit": 7}),
    ),
}


@pytest.mark.parametrize("case", MENDS)
def test_what_can_be_mended_without_starting_over_can_be_changed(server: ApiServer, case: str) -> None:
    file, edit = MENDS[case]
    body = document(file)
    body["metadata"]["name"] = "mended-" + case.replace(" ", "-")
    apply(server, body)
    before = get(server, body)["metadata"]["generation"]
    edit(body)
    apply(server, body)
    assert get(server, body)["metadata"]["generation"] == before + 1


def test_explain_tells_meaning_default_and_choices(server: ApiServer) -> None:
    spec = server.kubectl("explain", "fwr.spec")
    assert "<no description>" not in spec
    assert "absent turns the track off" in " ".join(spec.split())
    assert 'Default: "1e-6"' in server.kubectl("explain", "rlj.spec.algorithm")
    assert "GSPO" in server.kubectl("explain", "rlj.spec.algorithm.type")


def test_short_names_categories_columns_and_scale(server: ApiServer) -> None:
    pool = document(POOL)
    apply(server, pool)
    for short in ("fwr", "rlp", "rlj", "flywheel"):
        server.kubectl("get", short, "-A")
    header = server.kubectl("get", "rlp", "-A", "-o", "wide").splitlines()[0].split()
    assert header == ["NAMESPACE", "NAME", "PHASE", "READY", "DESIRED", "LAGGING", "ENDPOINT", "REASON", "AGE"]
    server.kubectl("-n", "flywheel", "scale", "rlp/qwen3-8b", "--replicas=2")
    assert get(server, pool)["spec"]["replicas"] == 2


def test_status_is_a_subresource_that_apply_does_not_touch(server: ApiServer) -> None:
    body = document(ROUND)
    body["metadata"]["name"] = "with-status"
    apply(server, body)
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "Running",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "message": "",
    }
    status = {"observedGeneration": 1, "stage": "Prepare", "conditions": [condition]}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    server.kubectl("-n", "flywheel-demo", "patch", "fwr", "with-status", *patch)
    apply(server, body)
    assert get(server, body)["status"] == status
    assert "Prepare" in server.kubectl("-n", "flywheel-demo", "get", "fwr", "with-status")


def test_kustomize_renames_both_ends(server: ApiServer, dry: DryRun) -> None:
    bodies = list(yaml.safe_load_all(server.kubectl("kustomize", str(ROOT / "examples" / "kustomize"))))
    names = {(body["kind"], body["metadata"]["name"]) for body in bodies}
    first, second = rounds = [body for body in bodies if body["kind"] == "FlywheelRound"]
    for body in bodies:
        dry.create(body)
        assert body["kind"] == "Secret" or ("Secret", body["spec"]["store"]["secretName"]) in names
    for body in rounds:
        teacher, users, _ = body["spec"]["endpoints"]
        assert names >= {("Secret", teacher["apiKey"]["secretName"]), ("RolloutPool", users["poolRef"])}
    assert ("FlywheelRound", second["spec"]["base"]["round"]) in names and first is not second
    assert all(name.startswith("emea-") for _, name in names)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_the_usual_clean_up_of_a_namespace_takes_none_of_ours(server: ApiServer, kind: Kind) -> None:
    listed = server.kubectl("api-resources", "--categories=all", "-o", "name").split()
    ours = server.kubectl("api-resources", "--categories=flywheel", "-o", "name").split()
    assert f"{kind.plural}.flywheel.dev" in ours and f"{kind.plural}.flywheel.dev" not in listed


def test_pods_of_every_shape_are_what_the_server_takes(server: ApiServer) -> None:
    """All that a template can say, as the pods that KubeRay and the Job controller make of what is rendered."""
    for kind, body in (("PriorityClass", {"value": 1}), ("RuntimeClass", {"handler": "nvidia"})):
        group = {"PriorityClass": "scheduling.k8s.io/v1", "RuntimeClass": "node.k8s.io/v1"}[kind]
        name = {"PriorityClass": "high", "RuntimeClass": "nvidia"}[kind]
        apply(server, {"apiVersion": group, "kind": kind, "metadata": {"name": name}, **body})
    meta = {"name": "with-a-role", "namespace": "flywheel"}
    apply(server, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    head, worker = head_and_worker(job(podTemplate=RICH, headTemplate=RICH))
    plain, _ = head_and_worker(job())
    plain["spec"]["serviceAccountName"] = "with-a-role"
    for number, template in enumerate((head, worker, plain)):
        where = template["metadata"] | {"name": f"shape-{number}", "namespace": "flywheel"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": where, "spec": template["spec"]}
        said = apply(server, pod, "--server-side", "--dry-run=server", "--validate=strict")
        assert "serverside-applied" in said
    made = worker["spec"]["containers"][0]["resources"]
    assert made["limits"]["nvidia.com/gpu"] == made["requests"]["nvidia.com/gpu"] == "8"
