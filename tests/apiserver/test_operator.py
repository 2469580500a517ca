"""The operator as a process before a real API server, with the real Job controller and garbage collector."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.actors import Actors, LiveStore
from apiserver.operator_process import install_crds, operating, store_secret
from cluster.apiserver import ApiServer, start_apiserver
from contract.servers import BUCKET, S3Server, running
from flywheel_operator.ports.credentials import from_kubeconfig
from flywheel_operator.ports.kube import Kube
from unit.operator.world import NS, ROUND

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(400)]
Object = dict[str, Any]
FAST = {"timing": {"poll": 0.5, "preflight": 1, "backOff": 1}}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running("seaweedfs", tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[ApiServer]:
    with start_apiserver(tmp_path_factory.mktemp("apiserver"), controller_manager=True) as server:
        install_crds(server)
        server.kubectl("create", "namespace", NS)
        server.kubectl("label", "namespace", NS, "pod-security.kubernetes.io/enforce=restricted")
        store_secret(server, NS, s3)
        yield server


@pytest.fixture
async def actors(api: ApiServer, s3: S3Server) -> AsyncIterator[Actors]:
    async with Kube(from_kubeconfig(api.kubeconfig)) as kube:
        found = Actors(kube, LiveStore(s3.client(), BUCKET), NS)
        found.put_model("models/tiny/manifest.json")
        task = asyncio.create_task(found.play())
        yield found
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def apply(api: ApiServer, name: str, text: str = ROUND) -> None:
    body = yaml.safe_load(text)
    body["metadata"]["name"] = name
    api.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def read(api: ApiServer, name: str, kind: str = "fwr") -> Object:
    found: Object = json.loads(api.kubectl("-n", NS, "get", kind, name, "-o", "json"))
    return found


async def until(api: ApiServer, name: str, what: Any, seconds: float = 120) -> Object:
    end = time.monotonic() + seconds
    found: Object = {}
    while time.monotonic() < end:
        found = await asyncio.to_thread(read, api, name)
        if what(found.get("status", {})):
            return found
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
        print(api.kubectl("-n", NS, "get", "fwr,rlp,rlj"))
        print(api.kubectl("-n", NS, "describe", "fwr", "r1")[-3000:])
        print(operator.rss_mib())
