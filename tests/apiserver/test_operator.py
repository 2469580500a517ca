"""The operator as a process before a real API server, with the real Job controller and garbage collector."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.actors import Actors, LiveStore
from apiserver.operator_process import OperatorProcess, install_crds, install_kuberay, operating, store_secret
from cluster.apiserver import ApiServer, start_apiserver
from cluster.kube import KubeApi
from contract import servers
from contract.servers import BUCKET, S3Server
from flywheel_api.names import OWN_NAME_LIMIT
from flywheel_api.stages import PIPELINE, TRAIN_STAGE, Runs
from flywheel_operator.ports.kinds import POOLS, RLJOBS, ROUNDS
from flywheel_operator.ports.kube import Kube, path_of
from flywheel_operator.ports.login import Login
from unit.operator.world import NS, ROUND

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(400)]
Object = dict[str, Any]
OURS = {"fwr": ROUNDS, "rlp": POOLS, "rlj": RLJOBS}
EXAMPLES = Path(__file__).parents[2] / "examples"
NOT_RUN = {"ImportModel", "Export"}  # the base is there, and nothing is exported
FAST = {"timing": {"poll": 0.5, "preflight": 1, "backOff": 1}}
PLAYERS = set[asyncio.Task[None]]()
"""Actors at work: whoever waits for what they do hears at once that one has crashed."""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with servers.running("seaweedfs", tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[ApiServer]:
    with start_apiserver(tmp_path_factory.mktemp("apiserver"), controller_manager=True) as server:
        install_crds(server)
        server.kubectl("create", "namespace", NS)
        server.kubectl("label", "namespace", NS, "pod-security.kubernetes.io/enforce=restricted")
        store_secret(server, NS, s3)
        yield server


@asynccontextmanager
async def playing(api: ApiServer, s3: S3Server) -> AsyncIterator[Actors]:
    """Actors at work, with a model to start from."""
    async with Kube(Login(api.kubeconfig)) as kube:
        found = Actors(kube, LiveStore(s3.client(), BUCKET), NS)
        found.put_model("models/tiny/manifest.json")
        task = asyncio.create_task(found.play())
        PLAYERS.add(task)
        try:
            yield found
        finally:
            found.ended = True
            PLAYERS.remove(task)
            await task


@pytest.fixture
async def actors(api: ApiServer, s3: S3Server) -> AsyncIterator[Actors]:
    async with playing(api, s3) as found:
        yield found


def apply(api: ApiServer, name: str, text: str = ROUND) -> None:
    body = yaml.safe_load(text)
    body["metadata"]["name"] = name
    body["spec"]["reuse"] = "Never"  # each of these rounds does its own work
    api.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def read(api: ApiServer, name: str, kind: str = "fwr") -> Object:
    """Without a kubectl for each: it is asked for three times a second. Empty where nobody answers."""
    return KubeApi(api.kubeconfig).get(path_of(OURS[kind], NS, name)) or {}


async def until(api: ApiServer, name: str, what: Any, seconds: float = 120) -> Object:
    return await until_of(api, "fwr", name, what, seconds)


async def until_of(api: ApiServer, kind: str, name: str, what: Any, seconds: float = 120) -> Object:
    end = time.monotonic() + seconds
    found: Object = {}
    while time.monotonic() < end:
        found = await asyncio.to_thread(read, api, name, kind)
        if what(found.get("status", {})):
            return found
        for crashed in [task for task in PLAYERS if task.done()]:
            await crashed
        await asyncio.sleep(0.3)
    raise AssertionError(f"{name} did not get there: {json.dumps(found.get('status', {}), indent=1)[:6000]}")


def finished(status: Object) -> bool:
    return bool(status.get("finishedAt"))


async def test_a_round_runs_to_promotion(api: ApiServer, actors: Actors, tmp_path: Path) -> None:
    with operating(api.kubeconfig, tmp_path, FAST) as operator:
        apply(api, "r1")
        found = await until(api, "r1", finished, 150)
        assert found["status"]["verdict"] == "Promoted", operator.log[-4000:]
        assert "annotations" not in found["metadata"] or set(found["metadata"]["annotations"]) == {
            "kubectl.kubernetes.io/last-applied-configuration"
        }
        assert "finalizers" not in found["metadata"], "no finalizer of ours or of kopf's"
        assert "flywheel-test-secret" not in operator.log
        await asyncio.sleep(3)
        reads, looks = metric(operator, "flywheel_api_reads"), metric(operator, "flywheel_cache_reads")
        api.kubectl("-n", NS, "label", "fwr", "r1", "touched=yes")
        end = time.monotonic() + 30
        while metric(operator, "flywheel_cache_reads") == looks:
            assert time.monotonic() < end, "it was not looked at"
            await asyncio.sleep(0.1)
        await asyncio.sleep(4 * FAST["timing"]["poll"])
        assert metric(operator, "flywheel_api_reads") == reads, "a finished round costs no request"
        print(api.kubectl("-n", NS, "get", "fwr,rlp,rlj"))
        print(api.kubectl("-n", NS, "describe", "fwr", "r1")[-3000:])
        print(operator.rss_mib())


async def test_a_round_of_the_longest_name_ends_well_after_fifty_attempts_of_everything(
    api: ApiServer, actors: Actors, tmp_path: Path
) -> None:
    """Its status says that fifty attempts of each stage, and of its trainings, lie behind: the 51st has the work."""
    name = "x" * (OWN_NAME_LIMIT - 3) + "-r1"
    apply(api, name)
    behind = [
        {"name": d.stage.value, "state": "Pending", "attempt": 50} for d in PIPELINE if d.runs is not Runs.OPERATOR
    ]
    patch_status(api, "fwr", name, {"stages": behind})
    actors.holding.add(TRAIN_STAGE)
    with operating(api.kubeconfig, tmp_path, FAST, forked=True):
        await until(api, name, lambda s: "TrainReasoning" in running(s), 150)
        job = json.loads(api.kubectl("-n", NS, "get", "rlj", "-o", "json"))["items"][-1]["metadata"]["name"]
        await until_of(api, "rlj", job, lambda s: s.get("phase") == "Running")
    over = {"attempt": 50, "cause": "Infra", "reason": "HeadLost", "finishedAt": "2026-11-23T12:00:00Z"}
    patch_status(api, "rlj", job, {"attempt": 50, "attempts": [over], "child": None, "phase": "Pending"})
    with operating(api.kubeconfig, tmp_path, FAST, forked=True):
        await until_of(api, "rlj", job, lambda s: (s["attempt"], s["phase"]) == (51, "Running"))
        actors.holding.clear()
        found = await until(api, name, finished, 150)
    assert found["status"]["verdict"] == "Promoted", found["status"].get("progress")
    assert {s["attempt"] for s in found["status"]["stages"] if s["name"] not in ("Preflight", "ImportModel")} == {51}


def patch_status(api: ApiServer, kind: str, name: str, status: Object) -> None:
    body = json.dumps({"status": status})
    api.kubectl("-n", NS, "patch", kind, name, "--subresource=status", "--type=merge", "-p", body)


async def test_the_operator_killed_in_every_stage(api: ApiServer, actors: Actors, tmp_path: Path) -> None:
    """No Job ends before the operator that saw it run has been killed: how fast the machine is does not matter."""
    jobs_of = {d.stage.value for d in PIPELINE if d.runs is Runs.JOB} - NOT_RUN
    actors.holding |= jobs_of
    apply(api, "r2")
    lives = 0
    done: Object = {}
    while not finished(done.get("status", {})):
        with operating(api.kubeconfig, tmp_path, FAST, forked=True):
            done = await until(api, "r2", lambda s: finished(s) or running(s) & actors.holding)
        actors.holding -= running(done["status"])
        lives += 1
    assert not actors.holding & jobs_of, "some stages never ran"
    assert lives > 8
    assert done["status"].get("verdict") == "Promoted", done["status"].get("progress")
    assert all(s["state"] == "Succeeded" for s in done["status"]["stages"] if s["name"] not in NOT_RUN)
    children = json.loads(
        api.kubectl(
            "-n", NS, "get", "jobs,rlj", "-l", f"flywheel.dev/owner-uid={done['metadata']['uid']}", "-o", "json"
        )
    )
    per_stage = [i["metadata"]["labels"]["flywheel.dev/stage"] for i in children["items"]]
    assert len(per_stage) == len(set(per_stage)), f"one attempt each was enough, but there are {sorted(per_stage)}"


async def test_nothing_is_written_at_rest(api: ApiServer, actors: Actors, tmp_path: Path) -> None:
    actors.holding.add("EvaluateBase")
    apply(api, "r3")
    with operating(api.kubeconfig, tmp_path, FAST) as operator:
        await until(
            api, "r3", lambda s: state(s, "SolveAgentic") == "Succeeded" and state(s, "EvaluateBase") == "Running"
        )
        await asyncio.sleep(5)
        writes, version = metric(operator, "flywheel_api_writes"), read(api, "r3")["metadata"]["resourceVersion"]
        reads = metric(operator, "flywheel_api_reads")
        await asyncio.sleep(REST_SECONDS)
        assert metric(operator, "flywheel_api_writes") == writes
        assert metric(operator, "flywheel_api_reads") - reads <= 3, "the store's Secret, and no children"
        assert read(api, "r3")["metadata"]["resourceVersion"] == version
        assert operator.rss_mib() < 150
    actors.holding.clear()


async def test_a_missing_secret_is_said_and_mended(
    api: ApiServer, s3: S3Server, actors: Actors, tmp_path: Path
) -> None:
    api.kubectl("-n", NS, "delete", "secret", "flywheel-s3")
    apply(api, "r4")
    with operating(api.kubeconfig, tmp_path, FAST, forked=True):
        found = await until(api, "r4", lambda s: condition(s, "Preflight").get("reason") == "SecretNotFound")
        assert "flywheel-s3" in condition(found["status"], "Preflight")["message"]
        assert condition(found["status"], "Stalled")["status"] == "True"
        assert not json.loads(
            api.kubectl(
                "-n",
                NS,
                "get",
                "jobs,rlp,rlj",
                "-l",
                f"flywheel.dev/owner-uid={found['metadata']['uid']}",
                "-o",
                "json",
            )
        )["items"]
        store_secret(api, NS, s3)
        await until(api, "r4", lambda s: condition(s, "Preflight").get("status") == "True")
        api.kubectl("-n", NS, "delete", "fwr", "r4")


async def test_gpus_that_no_node_has_are_said_before_anything_starts(
    api: ApiServer, actors: Actors, tmp_path: Path
) -> None:
    gpu = "nvidia.com/gpu"
    sizes = {"cpu": "96", "memory": "1Ti", "pods": "110", gpu: "4"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gpus"}, "status": {"allocatable": sizes}}
    spec = yaml.safe_load((EXAMPLES / "rolloutpool.yaml").read_text())["spec"] | {"replicas": 1, "gpusPerReplica": 8}
    body = {"apiVersion": "flywheel.dev/v1alpha1", "kind": "RolloutPool", "metadata": {"name": "p1", "namespace": NS}}
    api.kubectl("create", "-f", "-", stdin=json.dumps(node))
    api.kubectl("create", "-f", "-", stdin=json.dumps(body | {"spec": spec}))
    try:
        with operating(api.kubeconfig, tmp_path, FAST, forked=True):
            found = await until_of(api, "rlp", "p1", lambda s: condition(s, "NodesFit").get("status") == "False")
            assert "nvidia.com/gpu 8 (the largest has 4)" in condition(found["status"], "Preflight")["message"]
            more = json.dumps({"status": {"allocatable": {gpu: "8"}, "capacity": {gpu: "8"}}})
            api.kubectl("patch", "node", "gpus", "--subresource=status", "--type=merge", "-p", more)
            await until_of(api, "rlp", "p1", lambda s: condition(s, "NodesFit").get("status") == "True")
    finally:
        api.kubectl("delete", "node", "gpus")
        api.kubectl("-n", NS, "delete", "rlp", "p1")


async def test_a_deleted_round_takes_its_children_along(api: ApiServer, actors: Actors, tmp_path: Path) -> None:
    actors.holding.add("EvaluateBase")
    apply(api, "r5")
    with operating(api.kubeconfig, tmp_path, FAST, forked=True):
        found = await until(api, "r5", lambda s: state(s, "EvaluateBase") == "Running")
        api.kubectl("-n", NS, "delete", "fwr", "r5")
        selector = f"flywheel.dev/owner-uid={found['metadata']['uid']}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            left = json.loads(api.kubectl("-n", NS, "get", "jobs,rlp,rlj", "-l", selector, "-o", "json"))["items"]
            if not left:
                break
            await asyncio.sleep(0.5)
        assert not left
        events = json.loads(api.kubectl("-n", NS, "get", "events", "-o", "json"))["items"]
        said = [e["message"] for e in events if e["reason"] == "Deleted" and e["involvedObject"]["name"] == "r5"]
        assert said and "kept" in said[0]
    actors.holding.clear()


REST_SECONDS = 16 * FAST["timing"]["poll"]


def state(status: Object, stage: str) -> str:
    return next((str(s["state"]) for s in status.get("stages", []) if s["name"] == stage), "")


def running(status: Object) -> set[str]:
    """Stages with an attempt under way."""
    return {str(s["name"]) for s in status.get("stages", []) if s["state"] == "Running"}


def condition(status: Object, kind: str) -> Object:
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})


def metric(operator: OperatorProcess, name: str) -> float:
    page = operator.page("/metrics") or ""
    return float(next(line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")))


async def test_kuberay_may_come_later(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> None:
    with start_apiserver(tmp_path_factory.mktemp("bare"), controller_manager=True) as server:
        install_crds(server, kuberay=False)
        server.kubectl("create", "namespace", NS)
        store_secret(server, NS, s3)
        async with playing(server, s3):
            with operating(server.kubeconfig, tmp_path, FAST, forked=True) as operator:
                apply(server, "early")
                await until(server, "early", lambda s: condition(s, "Preflight").get("reason") == "KubeRayNotInstalled")
                await asyncio.to_thread(install_kuberay, server)
                await until(server, "early", finished, 150)
                assert read(server, "early")["status"]["verdict"] == "Promoted"
                assert "kinds have come" in operator.log
