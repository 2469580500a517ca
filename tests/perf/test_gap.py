"""Benchmark: gap between a stage's manifest and the next child, over enough rounds for a p99 (target: under 2 s).

The API server, its controllers, the S3 server and the operator are the real ones; played are kubelet, KubeRay and the
stages' programs, which would only add waiting. `python -m perf.gap` measures the same beside a round of the demo.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from apiserver.actors import Actors, LiveStore
from apiserver.operator_process import install_crds, operating, store_secret
from cluster.apiserver import ApiServer, start_apiserver
from cluster.kube import Kubectl
from cluster.pins import binary_path
from contract.servers import BUCKET, S3Server, running
from demo.arrivals import watching
from demo.settings import NAMESPACE
from flywheel_api.artifacts import Manifest
from flywheel_api.names import LABEL_OWNER_UID, LABEL_STAGE
from flywheel_operator.ports.kinds import ROUNDS
from flywheel_operator.ports.kube import Kube
from flywheel_operator.ports.login import Login
from perf.gap import STAGE_OF, gaps
from perf.machine import middle, record
from unit.operator.world import ROUND

WAVES, AT_ONCE = 3, 5


class TimedStore(LiveStore):
    """Notes when a manifest has been committed, by owner and stage."""

    committed: dict[str, dict[str, float]]

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        if key.startswith("results/") and key.endswith("/manifest.json"):
            manifest = Manifest.model_validate_json(data)
            self.committed[manifest.owner.uid].setdefault(manifest.stage, time.time())


@contextmanager
def small_cluster(folder: Path) -> Iterator[tuple[ApiServer, S3Server]]:
    """An API server with our CRDs and KubeRay's, and an S3 server that it has the Secret of."""
    with running("seaweedfs", folder) as s3, start_apiserver(folder / "api", controller_manager=True) as api:
        install_crds(api)
        api.kubectl("create", "namespace", NAMESPACE)
        store_secret(api, NAMESPACE, s3)
        yield api, s3


@pytest.mark.timeout(900)
async def test_manifest_to_child(tmp_path: Path) -> None:
    with small_cluster(tmp_path) as (api, s3):
        store = TimedStore(s3.client(), BUCKET)
        store.committed = defaultdict(dict)
        kubectl = Kubectl(binary_path("kubectl"), api.kubeconfig)
        async with Kube(Login(api.kubeconfig)) as kube:
            actors = Actors(kube, store, NAMESPACE)
            actors.put_model("models/tiny/manifest.json")
            play = asyncio.create_task(actors.play())
            with operating(api.kubeconfig, tmp_path), watching(kubectl, "Job", "RLJob") as arrivals:
                for wave in range(WAVES):
                    await _finish_all(api, kube, [f"perf-{wave}-{n}" for n in range(AT_ONCE)])
            actors.ended = True
            await play
        children: dict[str, dict[str, float]] = defaultdict(dict)
        while not arrivals.empty():
            at, _, change, found = arrivals.get()
            labels = found["metadata"].get("labels", {})
            if change == "ADDED" and LABEL_STAGE in labels:
                children[labels[LABEL_OWNER_UID]].setdefault(STAGE_OF.get(labels[LABEL_STAGE], ""), at)
    values = sorted(v for uid, born in children.items() for v in gaps(born, store.committed[uid]).values())
    record(
        "manifest_to_child_many",
        {
            "what": "seconds from a stage's manifest to the next child; real API server, S3, operator; pods are played",
            "rounds": WAVES * AT_ONCE,
            "at_once": AT_ONCE,
            "gaps": len(values),
            "p50_s": round(middle(values), 3),
            "p99_s": round(statistics.quantiles(values, n=100, method="inclusive")[98], 3),
            "max_s": values[-1],
            "target_p99_s": 2.0,
        },
    )


async def _finish_all(api: ApiServer, kube: Kube, names: list[str]) -> None:
    """Applies rounds and waits until all are over."""
    for name in names:
        body = yaml.safe_load(ROUND)
        body["metadata"] = {"name": name, "namespace": NAMESPACE}
        body["spec"]["reuse"] = "Never"
        await asyncio.to_thread(api.kubectl, "apply", "-f", "-", stdin=json.dumps(body))
    deadline = time.monotonic() + 280
    while time.monotonic() < deadline:
        found = [await kube.get(ROUNDS, NAMESPACE, name) for name in names]
        if all(f and f.get("status", {}).get("finishedAt") for f in found):
            return
        await asyncio.sleep(1)
    raise AssertionError(f"not all rounds are over: {[f and f.get('status', {}).get('progress') for f in found]}")
