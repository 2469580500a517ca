"""Edits of the examples, and those that the API server must refuse, each with words of its sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiserver.bases import BASES, EXPORTS, TRACKERS
from apiserver.domains import DOMAINS

Object = dict[str, Any]
Edit = Callable[[Object], object]


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
    "a wish for a held round without one": (
        ROUND,
        put("base", "onHeld", to="UseItsBase"),
        "base.onHeld says what to do when base.round was held",
    ),
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
    "a header of two lines": (ROUND, put("endpoints", 0, "headers", to={"X-T": "a\nb"}), "ASCII in one line"),
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
    **each("write a port from 1 to 65535", ROUND, "endpoints", 0, "url", values=[
        "http://t:0/v1", "http://t:99999/v1", "http://t:65536", "http://t:abc/v1", "http://[fd00::1]:70000/v1"]),
    **each("without /chat/completions", ROUND, "endpoints", 0, "url", values=[
        "http://t/v1/chat/completions", "https://t:8000/v1/chat/completions/", "https://t/v1/completions?api-version=1"]),
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
    "rounds out of order": (
        ROUND, put("training", "rounds", to=[{"from": 3, "learningRate": "1e-6"}, {"from": 2, "learningRate": "2e-6"}]),
        "in ascending order of from"),
    "a round twice": (
        ROUND, put("training", "rounds", to=[{"from": 2, "learningRate": "1e-6"}, {"from": 2, "replayShare": "0.1"}]),
        "Duplicate value"),
    "a round that changes nothing": (ROUND, put("training", "rounds", to=[{"from": 2}]), "say what changes"),
    "a round of no number": (ROUND, put("training", "rounds", to=[{"learningRate": "1e-6"}]), "Required value"),
    "round 0": (
        ROUND, put("training", "rounds", to=[{"from": 0, "learningRate": "1e-6"}]), "greater than or equal to 1"),
    "a round's limits upside down": (
        ROUND, put("training", "rounds", to=[{"from": 2, "difficulty": {"low": "0.8", "high": "0.2"}}]),
        "difficulty.low must not exceed"),
    "a round's limits that are none": (
        ROUND, put("training", "rounds", to=[{"from": 2, "difficulty": {}}]), "set difficulty.low, difficulty.high"),
    "too many rounds": (
        ROUND, put("training", "rounds", to=[{"from": n, "learningRate": "1e-6"} for n in range(1, 18)]),
        "must have at most 16 items"),
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
