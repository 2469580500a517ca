"""The stages on vLLM in every role: a pool of the demo's cluster, which nobody made for a round, is the teacher too."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cluster import services
from cluster.kube import Kubectl, is_true
from demo.settings import NAMESPACE
from e2e.served import MODEL, owners, run_on
from flywheel_api.round import Role

POOL, PATIENCE_S = "e2e-served", 1500


@pytest.fixture(scope="module")
def pool(kube: Kubectl) -> Iterator[str]:
    """URL on the host's loopback of a pool with the model that the demo's round began from."""
    rounds = [r for r in kube.list("flywheelround", NAMESPACE) if r.get("status", {}).get("baseModel")]
    if not rounds:
        pytest.skip("no round of the demo has a model yet: run `make demo` first")
    spec = {
        "model": rounds[0]["status"]["baseModel"]["digest"],
        "servedModelName": MODEL,
        "gpusPerReplica": 0,
        "engine": {"maxModelLen": 2048, "maxNumSeqs": 16},
    }
    meta = {"name": POOL, "namespace": NAMESPACE}
    kube.delete("rolloutpool", POOL, NAMESPACE)
    kube.apply([{"apiVersion": "flywheel.dev/v1alpha1", "kind": "RolloutPool", "metadata": meta, "spec": spec}])
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not is_true(found := kube.get("rolloutpool", POOL, NAMESPACE), "Ready"):
            assert time.monotonic() < deadline, found
            time.sleep(5)
        port = services.forward(POOL, f"{POOL}.{NAMESPACE}:8000")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        kube.delete("rolloutpool", POOL, NAMESPACE)


@pytest.mark.timeout(PATIENCE_S + 900)
@pytest.mark.parametrize(
    "asked",
    [{Role.POLICY, Role.SOLVER, Role.USER_SIMULATOR}, {Role.POLICY, Role.TEACHER}],
    ids=["all but the teacher", "every role"],
)
def test_stages_on_vllm(pool: str, asked: set[Role]) -> None:
    """The policy alone is what every demo shows; the teacher's and the solver's requests are another shape."""
    done = run_on(pool, asked)
    print({s.owned_by for m in done.values() for s in m.served_by}, flush=True)
    assert len(owners(done)) == 1
