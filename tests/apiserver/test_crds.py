"""The CRDs and the examples before a real Kubernetes API server: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from apiserver.bases import HUB, MODELS
from apiserver.domains import SOURCES
from apiserver.dry_run import DryRun, Refused
from apiserver.edits import BAD, JOB, POD, POOL, ROUND, SUITE_GATE, Edit, Object, drop, put
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


def worded(body: Object) -> None:
    """A round whose teacher is told more than the examples say."""
    if body["kind"] == "FlywheelRound":
        body["spec"]["endpoints"][0]["extraBody"] = {"stop": ["END"], "top_k": 9, "reasoning": {"effort": "low"}}


@pytest.fixture(scope="module")
def stored(server: ApiServer) -> Callable[[str], Object]:
    """An example as it is stored, applied once: what is tried on it is a dry run."""

    @cache
    def applied(file: str) -> Object:
        body = document(file)
        body["metadata"]["name"] = "fixed"
        worded(body)
        apply(server, body)
        return get(server, body)

    return applied


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
        (ROUND, ("training", "rounds"), [
            [], [{"from": n, "klCoefficient": "0"} for n in range(1, 17)],
            [{"from": 2, "learningRate": "1e-6", "klCoefficient": "0.001", "replayShare": "0.3",
              "difficulty": {"low": "0.2", "high": "0.8"}}, {"from": 9, "difficulty": {"low": "0.3"}}]]),
        (ROUND, ("budget", "wallClock"), ["1s", "1500ms", "1d12h", "90m", "0h1m"]),
        (ROUND, ("endpoints", 0, "url"), [
            "http://[fd00::1]:8000/v1", "https://m.openai.azure.com/openai?api-version=2024-06-01",
            "http://localhost.example.com/v1", "https://models.internal/v1?keyspace=a", "http://128.0.0.1:8000",
            "http://[fd00::1]/v1", "http://t:65535/v1", "http://t:1", "http://t/completions-proxy/v1"]),
        (ROUND, ("agentic", "domains"), [[{"name": "library", "source": source}] for source in SOURCES]),
        (ROUND, ("endpoints", 0, "extraBody"), [{}, {"top_k": 20, "stop": ["END"], "reasoning": {"effort": "low"}}]),
        (ROUND, ("endpoints", 0, "headers"), [{}, {"X-Title": "flywheel"}]),
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
    "a verl key beside what may change": (
        ROUND,
        lambda body: body["spec"]["training"].update(agentic={"overrides": {"a.b": 1}, "retries": {"limit": 9}}),
        "what is trained cannot be changed once applied",
    ),
    "another dialect": (ROUND, put("endpoints", 0, "dialect", to="Tools"), "model, sampling, dialect, extraBody"),
    "other values by round": (
        ROUND,
        put("training", "rounds", to=[{"from": 2, "learningRate": "1e-6"}]),
        "what is trained cannot be changed",
    ),
    "more nodes": (ROUND, put("training", "nodes", to=2), "apply a new round under another name"),
    "a longer training": (
        ROUND,
        put("training", "reasoning", "algorithm", to={"epochs": 2}),
        "retries, stallAfter and startupTimeout can",
    ),
    "another teacher": (ROUND, put("endpoints", 0, "model", to="other"), "apply a new round under another name"),
    "hotter sampling": (ROUND, put("endpoints", 1, "sampling", "temperature", to="0.1"), "apply a new round"),
    "other words in requests": (ROUND, put("endpoints", 0, "extraBody", "top_k", to=8), "apply a new round"),
    "other words and another pace": (
        ROUND,
        lambda body: body["spec"]["endpoints"][0].update(timeout="9m", extraBody={"stop": ["END"], "top_k": 8}),
        "extraBody, poolRef and engine cannot be changed",
    ),
    "no words": (ROUND, lambda body: body["spec"]["endpoints"][0].pop("extraBody"), "apply a new round"),
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
    "a job's verl key beside what may change": (
        JOB,
        lambda body: body["spec"].update(
            overrides={"a.b": 2}, retries={"limit": 7}, podTemplate={"nodeSelector": {"a": "b"}}
        ),
        "what an RLJob trains cannot be changed",
    ),
    "a job's verl key inside a value beside what may change": (
        JOB,
        lambda body: body["spec"].update(overrides={"trainer.logger": ["console", "file"]}, wallClock="9h"),
        "what an RLJob trains cannot be changed",
    ),
    "adapters of a round": (
        ROUND,
        put("training", "lora", to={"rank": 8}),
        "retries, stallAfter and startupTimeout can",
    ),
    "a job's adapters": (JOB, put("lora", to={"rank": 8}), "what an RLJob trains cannot be changed"),
    "a job's single turn": (JOB, drop("agentLoop"), "add agentLoop.domains"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_inputs_cannot_be_changed_once_applied(dry: DryRun, stored: Callable[[str], Object], case: str) -> None:
    file, edit, words = CHANGES[case]
    body = document(file)
    body["metadata"]["name"] = "fixed"
    worded(body)
    edit(body)
    with pytest.raises(Refused) as refused:
        dry.replace(stored(file), body)
    assert words in str(refused.value)


def test_kubectl_shows_why_an_input_cannot_be_changed(server: ApiServer, stored: Callable[[str], Object]) -> None:
    file, edit, words = CHANGES["a track less"]
    body = document(file)
    body["metadata"]["name"] = stored(file)["metadata"]["name"]
    edit(body)
    with pytest.raises(ClusterError) as refused:
        apply(server, body)
    assert words in str(refused.value)


MENDS: dict[str, tuple[str, Edit]] = {
    "budget and suspend": (
        ROUND,
        lambda body: body["spec"].update(suspend=True, budget={"gpuHours": "2", "wallClock": "3h"}),
    ),
    "memory of trainings": (ROUND, put("training", "podTemplate", to={"resources": {"limits": {"memory": "24Gi"}}})),
    "retries of a training": (ROUND, put("training", "agentic", "retries", to={"limit": 9})),
    "headers": (ROUND, put("endpoints", 0, "headers", to={"X-Title": "flywheel"})),
    "time-outs of a training": (
        ROUND,
        put("training", "reasoning", to={"stallAfter": "2h", "startupTimeout": "3h"}),
    ),
    "the tracker of a round": (ROUND, put("training", "tracking", to={"type": "MLflow", "url": "http://mlflow:5000"})),
    "the tracker of a job": (JOB, put("tracking", to={"type": "MLflow", "url": "http://mlflow:5000"})),
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
def test_what_can_be_mended_without_starting_over_can_be_changed(
    dry: DryRun, stored: Callable[[str], Object], case: str
) -> None:
    file, edit = MENDS[case]
    body = document(file)
    body["metadata"]["name"] = "fixed"
    worded(body)
    edit(body)
    mended = dry.replace(stored(file), body)
    assert mended["metadata"]["generation"] == stored(file)["metadata"]["generation"] + 1


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
        if body["kind"] == "Secret":
            continue
        used = [body["spec"]["store"]["secretName"], *body["spec"].get("podTemplate", {}).get("secretEnvFrom", [])]
        assert names >= {("Secret", name) for name in used}
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
