"""A training in the GPU flavour's own shape, without GPUs: a head that trains nothing and two workers of one GPU each.

The operator's renderer is the one of the GPU manifests, on values that `tests/golden/gpu-shape.txt` prints beside the
GPU flavour's. The node's GPUs are numbers in its status, the scheduler and the quota are real, the model is the demo's.
Needs the cluster that `make demo` leaves running; takes about 20 minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.kube import Kubectl, condition
from cluster.process import wait_for
from demo.settings import NAMESPACE, Settings
from e2e import shape

Json = shape.Json


@pytest.fixture(scope="module")
def images(kube: Kubectl) -> Iterator[Json]:
    """The shape's values on the demo's operator; as it was afterwards."""
    kube.delete("rljob", shape.NAME, NAMESPACE)
    made = shape.install(kube, Settings().chart)
    try:
        yield made
    finally:
        kube.delete("rljob", shape.NAME, NAMESPACE)
        for kind, name in (("resourcequota", "e2e-gpus"), ("job", "e2e-rival")):
            kube.delete(kind, name, NAMESPACE)
        kube.run("delete", "priorityclass", "e2e-rival", "--ignore-not-found")
        shape.offer(kube, 0)
        shape.restore(kube)


@pytest.mark.timeout(600)
def test_it_waits_for_quota_and_for_gpus(kube: Kubectl, images: Json) -> None:
    """Neither is a failure: it says what it waits for, and goes on by itself."""
    rows = [shape.put_rows(kube, images["jobs"], split, count) for split, count in (("train", 24), ("validation", 4))]
    shape.offer(kube, 1)
    kube.apply([shape.quota(1)])
    kube.apply([shape.job(*rows)])
    _says(kube, "exceeded quota", shape.GPU)
    kube.delete("resourcequota", "e2e-gpus", NAMESPACE)
    _says(kube, "Insufficient nvidia.com/gpu")
    shape.offer(kube, shape.NODES)
    wait_for("both workers", lambda: len(shape.workers(kube)) == shape.NODES, 180, 2)
    status = (kube.get("rljob", shape.NAME, NAMESPACE) or {})["status"]
    assert (status["attempt"], status["failures"]) == (1, 0)


@pytest.mark.timeout(shape.PATIENCE_S)
def test_a_lost_and_a_preempted_worker_cost_no_committed_step(kube: Kubectl, images: Json) -> None:
    killed_at = begun_at = preempted_at = 0
    kept: set[str] = set()
    crew: dict[int, list[str]] = {}
    said = ""
    for status in shape.statuses(kube):
        if status.get("progress") != said:
            said = status.get("progress") or ""
            print(f"attempt {status.get('attempt')}: {said[:200]}", flush=True)
        step, attempt = (status.get("checkpoint") or {}).get("step", 0), status.get("attempt", 0)
        live = shape.workers(kube)
        own = [pod for pod in live if f"-a{attempt}-" in pod]
        if len(own) == shape.NODES:
            crew.setdefault(attempt, own)
        if step and live == crew.get(attempt):  # who is made in place of a lost one has an address and no rank
            for rank, pod in enumerate(live):
                _own_shards_only(shape.checkpoints_on(kube, pod), rank, kept)
        if attempt == 1 and step and not killed_at and live:
            kube.run("-n", NAMESPACE, "delete", "pod", live[-1], "--grace-period=0", "--force", timeout_s=60)
            killed_at = step
            print(f"killed worker {live[-1]} after checkpoint {step}", flush=True)
        if attempt == 2 and not preempted_at and attempt not in crew:
            begun_at = step  # the first attempt's last step may be committed while its pods go
        elif attempt == 2 and not preempted_at and step > begun_at:
            kube.apply(shape.rival(images["jobs"]))
            preempted_at = step
            print(f"a pod of higher priority wants a GPU after checkpoint {step}", flush=True)
    assert killed_at and preempted_at, (killed_at, preempted_at)
    assert condition({"status": status}, "Ready")["status"] == "True", status
    lost, preempted, last = status["attempts"][-3:]
    # a deleted pod is asked to stop before it is killed: which of the two Ray saw is a matter of milliseconds
    assert lost["cause"] in ("Infra", "Preempted") and preempted["cause"] == "Preempted", status["attempts"]
    assert status["failures"] == 0, "neither is the program's fault"
    assert preempted["resumedFromStep"] >= killed_at and last["resumedFromStep"] >= preempted_at, status["attempts"]
    assert status["step"] == status["totalSteps"] == shape.STEPS, "trained to the end, whichever step was the best"
    assert kept, "no local checkpoint was seen"


@pytest.mark.timeout(600)
def test_what_it_published_is_a_model(kube: Kubectl, images: Json) -> None:
    """Merged from the shards of two ranks, best checkpoint by validation, read by transformers."""
    found = kube.get("rljob", shape.NAME, NAMESPACE)
    if not (found and found["status"].get("model")):
        pytest.skip("needs the training of the test before")
    said = shape.read_model(kube, images["rayCpu"], found["status"]["model"]["digest"])
    print(said, flush=True)
    assert int(said.split()[0]) > 100_000_000 and int(said.split()[2]) > 0, said


def _says(kube: Kubectl, *words: str) -> None:
    def said() -> bool:
        text = str((kube.get("rljob", shape.NAME, NAMESPACE) or {}).get("status") or {})
        return all(word in text for word in words)

    wait_for(f"the RLJob to say {words}", said, 180, 2)


def _own_shards_only(files: list[str], rank: int, kept: set[str]) -> None:
    """A node holds its own ranks' shards, of three steps at most: resumed from, on its way to the store, and newest."""
    steps = {folder for path in files if (folder := path.partition("/")[0]).startswith("global_step_")}
    assert len(steps) <= 3, f"checkpoints pile up on a worker: {sorted(steps)}"
    shards = [path for path in files if path.endswith(".pt") and "_rank_" in path]
    others = [path for path in shards if not path.endswith(f"_rank_{rank}.pt")]
    assert not others, f"rank {rank}'s node has {others}"
    kept.update(shards)
