"""Following a round from outside, and breaking things while it runs."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from cluster.errors import ClusterError
from cluster.kube import Kubectl
from demo.arrivals import Arrival, watching
from demo.settings import NAMESPACE, SYSTEM_NAMESPACE

Json = dict[str, Any]
OPERATOR = "app.kubernetes.io/name=flywheel-operator"
PATIENCE_S = 3 * 3600
QUIET_S = 2.0


def load_round(kube: Kubectl, file: str, name: str, **spec: Any) -> Json:
    """A round of a file under another name, with other parts of its spec."""
    body: Json = json.loads(kube.run("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", file))
    body["metadata"] = {"name": name, "namespace": NAMESPACE}
    body["spec"] |= spec
    return body


def follow(kube: Kubectl, name: str) -> Iterator[Json]:
    """The round as each change of it arrives, and every few quiet seconds, until it is over.

    Only the newest state is given, so that what is done about it is done in time. Raises AssertionError if that takes
    longer than PATIENCE_S or the round is deleted.
    """
    deadline = time.monotonic() + PATIENCE_S
    newest: Json | None = None
    with watching(kube, "FlywheelRound") as arrivals:
        while time.monotonic() < deadline:
            newest = _newest(arrivals, name, newest)
            if newest is None:
                continue
            yield newest
            if newest.get("status", {}).get("finishedAt"):  # the verdict is there before the report
                return
    raise AssertionError(f"round {name} was not over after {PATIENCE_S} s: {newest and newest.get('status')}")


def _newest(arrivals: queue.Queue[Arrival], name: str, known: Json | None) -> Json | None:
    """Waits for a change, then takes all that have arrived."""
    timeout = QUIET_S
    while True:
        try:
            _, _, change, found = arrivals.get(timeout=timeout)
        except queue.Empty:
            return known
        if found["metadata"]["name"] == name:
            assert change != "DELETED", f"round {name} vanished"
            known, timeout = found, 0.0


def running_stages(found: Json) -> set[str]:
    """Stages with an attempt under way."""
    return {s["name"] for s in found.get("status", {}).get("stages", []) if s["state"] == "Running"}


def kill_operator(kube: Kubectl) -> None:
    """SIGKILL's equivalent: the pod goes without grace; its Deployment makes a new one. Waits for neither."""
    at_once = ("--grace-period=0", "--force", "--wait=false")
    kube.run("-n", SYSTEM_NAMESPACE, "delete", "pod", "-l", OPERATOR, *at_once, timeout_s=60)


def rljob_of(kube: Kubectl, found: Json, stage: str) -> Json | None:
    """The RLJob of a training stage."""
    for item in found.get("status", {}).get("stages", []):
        if item["name"] == stage and item.get("child"):
            return kube.get("rljob", item["child"]["name"], NAMESPACE)
    return None


def delete_head(kube: Kubectl, rljob: Json) -> bool:
    """Deletes the Ray head pod of the job's present attempt; False if there is none."""
    child = rljob.get("status", {}).get("child")
    rayjob = kube.get("rayjob", child["name"], NAMESPACE) if child else None
    cluster = (rayjob or {}).get("status", {}).get("rayClusterName")
    if not cluster:
        return False
    selector = f"ray.io/cluster={cluster},ray.io/node-type=head"
    if not kube.list("pod", NAMESPACE, selector):
        return False
    kube.run("-n", NAMESPACE, "delete", "pod", "-l", selector, "--grace-period=0", "--force", timeout_s=60)
    return True


def children(kube: Kubectl, uid: str) -> list[tuple[str, str, str]]:
    """(kind, stage, attempt) of every child ever seen now, one entry per object."""
    found = [
        (item["kind"], item["metadata"]["labels"])
        for item in kube.list("jobs,rolloutpools,rljobs", NAMESPACE, f"flywheel.dev/owner-uid={uid}")
    ]
    return [(kind, labels["flywheel.dev/stage"], labels["flywheel.dev/attempt"]) for kind, labels in found]


class Witness(threading.Thread):
    """Counts a round's children beside the test: each of its questions may take seconds, and a stage lasts as long."""

    def __init__(self, kube: Kubectl, name: str) -> None:
        super().__init__(daemon=True)
        self._kube, self._name = kube, name
        self._over = threading.Event()
        self.asked = 0
        self.twice: list[tuple[str, str, str]] = []

    def run(self) -> None:
        while not self._over.wait(QUIET_S):
            with suppress(ClusterError):  # an API server that is busy is asked again
                found = self._kube.get("flywheelround", self._name, NAMESPACE)
                seen = children(self._kube, found["metadata"]["uid"]) if found else []
                self.twice += [child for child in set(seen) if seen.count(child) > 1]
                self.asked += 1

    def __enter__(self) -> Witness:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join(timeout=60)


def scale_teacher(kube: Kubectl, replicas: int) -> None:
    """Takes the stand-in that plays the Teacher away, or brings it back."""
    kube.run("-n", NAMESPACE, "scale", "deployment/standin", f"--replicas={replicas}")
